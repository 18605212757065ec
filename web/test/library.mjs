// A library of models in local files, for tests and measurements in Node.
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { Library } from "../dist/lib/catalog.js";
import { plainNearest } from "../dist/lib/nearest.js";
import { wasmNearest } from "../dist/lib/nearest_wasm.js";
import { PlainEngine } from "../dist/lib/prior_plain.js";
import { Products } from "../dist/lib/product_wasm.js";
import { WasmEngine } from "../dist/lib/prior_wasm.js";
import { root } from "./engines.mjs";

ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

/** What encoders compute with: "plain", "simd" or "scalar". */
export function openKernels(engine) {
  const wasm = (name) => readFileSync(new URL(`dist/${name}${engine === "simd" ? "" : "_scalar"}.wasm`, root));
  return {
    nearest: async () => (engine === "plain" ? plainNearest : wasmNearest(wasm("nearest"))),
    products: async () => Products.create(wasm("product")),
  };
}

/** Open the catalog in a file; its addresses are paths. `loaded` is told how many bytes of each file are read. */
export function openLibrary(catalog, engine = "simd", loaded = new Map()) {
  const tell = (file, bytes) => loaded.set(file, (loaded.get(file) ?? 0) + bytes);
  const store = {
    async range(file, start, stop) {
      const out = new Uint8Array(stop - start);
      const handle = openSync(file);
      readSync(handle, out, 0, stop - start, start);
      closeSync(handle);
      tell(file, out.length);
      return out;
    },
    async whole(file) {
      const out = new Uint8Array(readFileSync(file));
      tell(file, out.length);
      return out;
    },
  };
  const make = async (weights) =>
    engine === "plain"
      ? new PlainEngine(weights)
      : WasmEngine.create(readFileSync(new URL(engine === "simd" ? "dist/prior.wasm" : "dist/prior_scalar.wasm", root)), weights);
  return new Library(JSON.parse(readFileSync(catalog, "utf8")), store, async () => ort, make, openKernels(engine));
}
