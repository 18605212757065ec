// node noise.mjs SIZE STREAM NUMBER...: the noise of frames by their numbers, in base64.
import { fillNoise } from "../dist/lib/noise.js";

const [size, stream, ...numbers] = process.argv.slice(2).map(Number);
const out = new Float32Array(numbers.length * size);
numbers.forEach((number, i) => {
  fillNoise(out.subarray(i * size, i * size + 10), number, stream, 0);
  fillNoise(out.subarray(i * size + 10, (i + 1) * size), number, stream, 10); // in parts
});
console.log(JSON.stringify(Buffer.from(out.buffer).toString("base64")));
