// node nearest.mjs ENGINE D: the nearest entries of a codebook [V, D] to vectors [T, D]: the two are float32 and float64 from
// standard input.
import { readFileSync } from "node:fs";
import { openKernels } from "./library.mjs";

const [engine, dimension] = process.argv.slice(2);
const input = readFileSync(0);
const size = input.readUInt32LE(0);
const book = new Float32Array(input.buffer.slice(input.byteOffset + 4, input.byteOffset + 4 + size));
const vectors = new Float64Array(input.buffer.slice(input.byteOffset + 8 + size, input.byteOffset + input.length));
const nearest = await openKernels(engine).nearest();
const d = Number(dimension);
console.log(JSON.stringify(Array.from({ length: vectors.length / d }, (_, t) => nearest(book, vectors.subarray(t * d, (t + 1) * d)))));
