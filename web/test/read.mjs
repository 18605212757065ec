// node read.mjs MODE ENGINE PRIOR...: read streams from standard input, each after its length as u32, and print what is in
// each as a line of JSON. MODE: "chunks" reads forwards, "index" through the index, "salvage" what survives of damage.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hex } from "../dist/lib/bytes.js";
import { FormatError } from "../dist/lib/errors.js";
import { Reader } from "../dist/lib/reader.js";
import { Salvage } from "../dist/lib/salvage.js";
import { BytesSource } from "../dist/lib/sources.js";
import { finder } from "./engines.mjs";

const [mode, engine, ...priors] = process.argv.slice(2);
const findPrior = await finder(priors, engine);

const described = (chunk) => [
  chunk.firstFrame, chunk.nFrames, chunk.nCodebooks, chunk.scale,
  createHash("sha256").update(new Uint8Array(chunk.codes.buffer, chunk.codes.byteOffset, chunk.codes.byteLength)).digest("hex"),
];

const headerOf = ({ tokenSpace, prior, ...rest }) => ({ ...rest, tokenSpace: hex(tokenSpace), prior: hex(prior) });

const modes = {
  async chunks(reader) {
    const chunks = [];
    for await (const chunk of reader.chunks()) chunks.push(described(chunk));
    return { header: headerOf(reader.header), lengths: [await reader.nSamples(), await reader.originalNSamples()], chunks };
  },
  async index(reader) {
    const { nFrames } = await reader.index();
    const parts = [];
    for (const start of nFrames ? [nFrames >> 1, nFrames - 1] : []) {
      for await (const chunk of reader.chunks(start, start + 1)) parts.push(described(chunk));
    }
    return { nFrames, lengths: [await reader.nSamples(), await reader.originalNSamples()], parts };
  },
  async salvage(reader) {
    const salvage = new Salvage(reader);
    const chunks = [];
    for await (const { chunk } of salvage.chunks()) chunks.push(described(chunk));
    const lost = salvage.lost.map(({ firstFrame, nFrames, offset }) => [firstFrame, nFrames, offset]);
    return { chunks, lost, lengths: [salvage.nSamples, salvage.originalNSamples] };
  },
};

const input = readFileSync(0);
for (let at = 0; at < input.length; ) {
  const size = input.readUInt32LE(at);
  const data = new Uint8Array(input.subarray(at + 4, at + 4 + size));
  at += 4 + size;
  let line;
  try {
    line = await modes[mode](await Reader.open(new BytesSource(data), findPrior));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    line = { error: error.name, offset: error.offset, problem: error.problem };
  }
  console.log(JSON.stringify(line));
}
