// node encode.mjs CATALOG WAV OUTPUT KBPS BLOCK [MODEL]: encode a WAV in blocks of so many samples; prints why a model does not.
import { readFileSync, writeFileSync } from "node:fs";
import { Encoding } from "../dist/lib/encode.js";
import { sentence } from "../dist/lib/errors.js";
import { readWav } from "../dist/lib/wav.js";
import { openLibrary } from "./library.mjs";

const [catalog, wav, output, kbps, block, name] = process.argv.slice(2);
const library = openLibrary(catalog);
const model = await library.named(name);
const { channels, sampleRate } = readWav(new Uint8Array(readFileSync(wav)));
const options = { kbps: Number(kbps), tags: [["title", "ü"]] };
const encoding = await Encoding.start(model, await library.priorOf(model), channels.length, sampleRate, options).catch((error) => {
  console.log(JSON.stringify({ kind: error.name, sentence: sentence(error) }));
  process.exit(0);
});
const pushed = []; // all at once, as from a microphone that is faster than the encoder
for (let at = 0; at < channels[0].length; at += Number(block)) {
  pushed.push(encoding.push(channels.map((samples) => samples.subarray(at, at + Number(block)))));
}
writeFileSync(output, (await encoding.finish()).bytes);
await Promise.all(pushed);
console.log(JSON.stringify({}));
