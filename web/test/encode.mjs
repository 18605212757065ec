// node encode.mjs CATALOG WAV OUTPUT KBPS BLOCK: encode a WAV in blocks of so many samples.
import { readFileSync, writeFileSync } from "node:fs";
import { Encoding } from "../dist/lib/encode.js";
import { readWav } from "../dist/lib/wav.js";
import { openLibrary } from "./library.mjs";

const [catalog, wav, output, kbps, block] = process.argv.slice(2);
const library = openLibrary(catalog);
const model = await library.named();
const { channels, sampleRate } = readWav(new Uint8Array(readFileSync(wav)));
const encoding = await Encoding.start(model, await library.priorOf(model), channels.length, sampleRate, { kbps: Number(kbps), tags: [["title", "ü"]] });
const pushed = []; // all at once, as from a microphone that is faster than the encoder
for (let at = 0; at < channels[0].length; at += Number(block)) {
  pushed.push(encoding.push(channels.map((samples) => samples.subarray(at, at + Number(block)))));
}
writeFileSync(output, (await encoding.finish()).bytes);
await Promise.all(pushed);
console.log(JSON.stringify({}));
