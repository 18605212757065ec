// node decode.mjs CATALOG FOLDER JOBS: decode samples to FOLDER/0.raw and so on as float32, one channel after the other.
// JOBS is JSON: a list of [file, start, stop]. Prints what each file is, or why it is refused, and then how many bytes of each
// file of the catalog were read.
import { readFileSync, writeFileSync } from "node:fs";
import { joinSamples } from "../dist/lib/decoder.js";
import { sentence } from "../dist/lib/errors.js";
import { CodedFile } from "../dist/lib/file.js";
import { BytesSource } from "../dist/lib/sources.js";
import { openLibrary } from "./library.mjs";

const [catalog, folder, jobs] = process.argv.slice(2);
const loaded = new Map();
const library = openLibrary(catalog, "simd", loaded);
async function decode(i, [file, start = 0, stop = Infinity]) {
  const coded = await CodedFile.open(new BytesSource(new Uint8Array(readFileSync(file))), library);
  const parts = Array.from({ length: coded.header.channels }, () => []);
  let at = start;
  for await (const block of coded.blocks(start, stop)) {
    if (block.start !== at) throw new Error(`a block starts at ${block.start}, not at ${at}`);
    at += block.channels[0].length;
    block.channels.forEach((samples, c) => parts[c].push(samples));
  }
  const whole = joinSamples(parts.map((part) => joinSamples(part)));
  writeFileSync(`${folder}/${i}.raw`, new Uint8Array(whole.buffer, whole.byteOffset, whole.byteLength));
  return coded.facts();
}

for (const [i, job] of JSON.parse(jobs).entries()) {
  const found = await decode(i, job).catch((error) => ({ kind: error.name, sentence: sentence(error) }));
  console.log(JSON.stringify(found));
}
console.log(JSON.stringify(Object.fromEntries(loaded)));
