// node measure.mjs URL FILE REPEATS: how fast prior, decoder and encoder are in Node, in processor time, with the models of a
// server.
// node measure.mjs URL FILE decode: peak memory after decoding parts of a long file, in bytes.
// node measure.mjs URL FILE encode: peak memory after encoding a minute of noise with the model of the file, and what is loaded
// for it, in bytes.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { Library } from "../dist/lib/catalog.js";
import { Encoding } from "../dist/lib/encode.js";
import { CodedFile } from "../dist/lib/file.js";
import { measure } from "../dist/lib/measure.js";
import { WasmEngine } from "../dist/lib/prior_wasm.js";
import { BytesSource } from "../dist/lib/sources.js";
import { WebStore } from "../dist/lib/store.js";
import { root } from "./engines.mjs";
import { openKernels } from "./library.mjs";

ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const [url, path, mode] = process.argv.slice(2);
const catalog = await (await fetch(`${url}catalog.json`)).json();
const engine = (weights) => WasmEngine.create(readFileSync(new URL("dist/prior.wasm", root)), weights);
let loaded = 0;
const store = new WebStore(`${url}catalog.json`, (bytes) => (loaded = bytes));
const library = new Library(catalog, store, async () => ort, engine, openKernels("simd"));
const file = await CodedFile.open(new BytesSource(new Uint8Array(readFileSync(path))), library);
const processor = () => {
  const { user, system } = process.cpuUsage(); // microseconds
  return (user + system) / 1e6;
};
const peak = () => process.resourceUsage().maxRSS * 1024;

const modes = {
  async decode() {
    const n = await file.nSamples();
    for (let place = 0; place < 20; place++) {
      const start = Math.floor((n * place) / 20);
      await file.decode(start, Math.min(start + 2 * file.header.sampleRate, n));
    }
    return peak();
  },
  async encode() {
    const { sampleRate } = file.header;
    const encoding = await Encoding.start(file.model, await library.priorOf(file.model), 1, sampleRate, { kbps: 6 });
    for (let second = 0; second < 60; second++) {
      await encoding.push([new Float32Array(sampleRate).map(() => 0.2 * Math.random() - 0.1)]);
    }
    await encoding.finish();
    return { peak: peak(), loaded };
  },
};
const found = modes[mode] ? await modes[mode]() : await measure(file.reader.source, library, Number(mode), processor);
console.log(JSON.stringify(found));
