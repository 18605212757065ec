// node measure.mjs URL FILE REPEATS: how fast prior and decoder are in Node, in processor time, with the models
// of a server.
// node measure.mjs URL FILE: peak memory after decoding parts of a long file, in bytes.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { Library } from "../dist/lib/catalog.js";
import { CodedFile } from "../dist/lib/file.js";
import { measure } from "../dist/lib/measure.js";
import { WasmEngine } from "../dist/lib/prior_wasm.js";
import { BytesSource } from "../dist/lib/sources.js";
import { WebStore } from "../dist/lib/store.js";
import { root } from "./engines.mjs";

ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const [url, path, repeats] = process.argv.slice(2);
const catalog = await (await fetch(`${url}catalog.json`)).json();
const engine = (weights) => WasmEngine.create(readFileSync(new URL("dist/prior.wasm", root)), weights);
const library = new Library(catalog, new WebStore(`${url}catalog.json`), async () => ort, engine);
const source = new BytesSource(new Uint8Array(readFileSync(path)));
const processor = () => {
  const { user, system } = process.cpuUsage(); // microseconds
  return (user + system) / 1e6;
};
if (repeats) console.log(JSON.stringify(await measure(source, library, Number(repeats), processor)));
else {
  const file = await CodedFile.open(source, library);
  const n = await file.nSamples();
  for (let place = 0; place < 20; place++) {
    const start = Math.floor((n * place) / 20);
    await file.decode(start, Math.min(start + 2 * file.header.sampleRate, n));
  }
  console.log(JSON.stringify(process.resourceUsage().maxRSS * 1024));
}
