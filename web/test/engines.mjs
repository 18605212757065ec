// Engines of priors for tests and measurements in Node.
import { readFileSync } from "node:fs";
import { MissingPrior } from "../dist/lib/errors.js";
import { hex } from "../dist/lib/bytes.js";
import { PriorModel, PriorWeights } from "../dist/lib/prior.js";
import { PlainEngine } from "../dist/lib/prior_plain.js";
import { WasmEngine } from "../dist/lib/prior_wasm.js";

export const root = new URL("../", import.meta.url);

/** The prior in a file, on the engine "plain", "simd" or "scalar". */
export async function openPrior(path, engine) {
  const bytes = new Uint8Array(readFileSync(path));
  const weights = await PriorWeights.open(async (start, stop) => bytes.subarray(start, stop));
  const made =
    engine === "plain"
      ? new PlainEngine(weights)
      : await WasmEngine.create(readFileSync(new URL(engine === "simd" ? "dist/prior.wasm" : "dist/prior_scalar.wasm", root)), weights);
  return { model: new PriorModel(weights, made), hash: await weights.hash() };
}

/** A function that finds the priors of these files by their hashes. */
export async function finder(paths, engine) {
  const known = new Map();
  for (const path of paths) {
    const { model, hash } = await openPrior(path, engine);
    known.set(hash, model);
  }
  return async (header, nCodebooks) => {
    const model = known.get(hex(header.prior));
    if (!model) throw new MissingPrior(0, "no such prior");
    const { nCodebooks: most, codebookSize } = model.weights.sizes;
    if (codebookSize !== header.codebookSize || header.maxCodebooks > most) throw new MissingPrior(0, "the prior does not fit");
    return model.ensure(nCodebooks);
  };
}
