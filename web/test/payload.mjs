// node payload.mjs ENGINE PRIOR K...: code the codes of two or more streams, and decode a payload; prints both in hexadecimal.
import { readFileSync } from "node:fs";
import { hex } from "../dist/lib/bytes.js";
import { openPrior } from "./engines.mjs";

const [engine, path, ...ks] = process.argv.slice(2);
const { model, hash } = await openPrior(path, engine);
const nCodebooks = ks.map(Number);
const input = readFileSync(0);
const size = input.readUInt32LE(0);
const codes = new Uint16Array(input.buffer.slice(input.byteOffset + 4, input.byteOffset + 4 + size));
const payload = new Uint8Array(input.subarray(size + 8));
const nFrames = codes.length / nCodebooks.reduce((a, b) => a + b, 0);
await Promise.all([1, Math.max(...nCodebooks)].map((k) => model.ensure(k))); // overlapping calls, the smaller one first
const decoded = model.decode(payload, nCodebooks, nFrames);
console.log(JSON.stringify({
  hash,
  payload: hex(model.encode(codes, nCodebooks, nFrames)),
  codes: hex(new Uint8Array(decoded.buffer, decoded.byteOffset, decoded.byteLength)),
}));
