// node resample.mjs FROM TO BLOCK: resample float32 samples from standard input in blocks; prints them in base64.
import { readFileSync } from "node:fs";
import { Resampler } from "../dist/lib/resample.js";

const [from, to, block] = process.argv.slice(2).map(Number);
const input = readFileSync(0);
const samples = new Float32Array(input.buffer.slice(input.byteOffset + 4, input.byteOffset + input.length));
const resampler = new Resampler(from, to);
const parts = [];
for (let at = 0; at < samples.length; at += block) parts.push(...resampler.push(samples.subarray(at, at + block)));
parts.push(...resampler.push(new Float32Array(0), true));
console.log(JSON.stringify(Buffer.from(Float32Array.from(parts).buffer).toString("base64")));
