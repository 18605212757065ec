// node encode.mjs CATALOG JOBS: encode WAVs, each job with an engine of its own; prints what was loaded for each, in bytes by file.
// A job: { wav, output, kbps, block, model, engine }, where blocks have so many samples, and the model may be missing.
import { readFileSync, writeFileSync } from "node:fs";
import { Encoding } from "../dist/lib/encode.js";
import { readWav } from "../dist/lib/wav.js";
import { openLibrary } from "./library.mjs";

const [catalog, jobs] = process.argv.slice(2);
for (const { wav, output, kbps, block, model: name, engine } of JSON.parse(jobs)) {
  const loaded = new Map();
  const library = openLibrary(catalog, engine, loaded);
  const model = await library.named(name);
  const { channels, sampleRate } = readWav(new Uint8Array(readFileSync(wav)));
  const encoding = await Encoding.start(model, await library.priorOf(model), channels.length, sampleRate, { kbps, tags: [["title", "ü"]] });
  const pushed = []; // all at once, as from a microphone that is faster than the encoder
  for (let at = 0; at < channels[0].length; at += block) {
    pushed.push(encoding.push(channels.map((samples) => samples.subarray(at, at + block))));
  }
  writeFileSync(output, (await encoding.finish()).bytes);
  await Promise.all(pushed);
  console.log(JSON.stringify(Object.fromEntries(loaded)));
}
