/** The encoder of split codecs, as codec/light/numpy_split_encoder.py computes it: in float64. */

import { levelsOf, type SplitConfig } from "./config.js";
import { ArgumentError } from "./errors.js";
import { gelu } from "./gelu.js";
import type { Matrix, Products, Rows } from "./product_wasm.js";
import { bandsOfBins } from "./split_bands.js";
import { hann, Spectrum } from "./split_levels.js";

const MAGNITUDE_FLOOR = 1e-8;
const SHAPE_GAIN = 2;
const EPSILON = 1e-5; // of norms
const MOST_ROWS = 16; // frames that are computed at once: they stay in the processor's cache

/** The encoder's weights by their names, without "encoder.". */
export type Weights = ReadonlyMap<string, Float32Array>;

interface Block {
  taps: Float64Array; // [kernel, W]
  bias: Float32Array;
  gain: Float32Array; // of the norm
  offset: Float32Array;
  up: Matrix;
  down: Matrix;
  scale: Float32Array; // of what the block adds
}

/** What the blocks remember of a stream's last frames, [kernel - 1, W] each. */
export type Past = Float64Array[];

/** Samples and levels -> latents. */
export class SplitNetwork {
  private readonly spectrum: Spectrum;
  private readonly bandOfBin: Uint8Array;
  private readonly blocks: Block[];
  private readonly matrices: { features: Matrix; low: Matrix; out: Matrix };
  private readonly rows: Record<"known" | "hidden" | "normed" | "inner" | "added" | "frames" | "bins" | "joined" | "latents", Rows>;
  private readonly padded: Float64Array; // the input of a convolution

  constructor(
    private readonly config: SplitConfig,
    private readonly products: Products,
    weights: Weights,
  ) {
    const { encoderWidth: width, hopLength: hop, lowBins, kernelSize, coreFactor } = config;
    const nBins = hop / coreFactor + 1;
    const part = (name: string, k: number) => ({ values: weight(weights, `${name}.weight`), k });
    const spectra = ["level", "real", "imaginary"].map((name) => part(name, nBins));
    const levels = ["exact_levels", "coded_levels"].map((name) => part(name, levelsOf(config)));
    this.matrices = {
      features: products.matrix([...spectra, ...levels], weight(weights, "level.bias")),
      low: products.matrix([{ values: mdct(hop, lowBins, coreFactor), k: 2 * hop }], null),
      out: products.matrix([part("out", width), part("skip", lowBins)], weight(weights, "out.bias")),
    };
    this.blocks = Array.from({ length: config.encoderDepth }, (_, i) => blockOf(config, products, weights, `stack.blocks.${i}`));
    const rows = (n: number) => products.rows(MOST_ROWS, n);
    this.rows = {
      known: rows(this.matrices.features.k), hidden: rows(width), normed: rows(width), inner: rows(config.expand * width),
      added: rows(width), frames: rows(2 * hop), bins: rows(lowBins), joined: rows(width + lowBins), latents: rows(config.dimension),
    };
    this.padded = new Float64Array((MOST_ROWS + kernelSize - 1) * width);
    this.spectrum = new Spectrum(hann(2 * hop).map((value) => Math.fround(value) / coreFactor), nBins);
    this.bandOfBin = bandsOfBins(config, lowBins);
  }

  /** What the blocks remember before the first frame. */
  firstPast(): Past {
    return this.blocks.map(() => new Float64Array((this.config.kernelSize - 1) * this.config.encoderWidth));
  }

  /** Return the latents [T, D] of samples [(T + 1) * hop], their levels [T, F], and the levels that the first codebook decodes to. */
  run(samples: Float32Array, levels: Float64Array, base: Float64Array, past: Past): Float64Array {
    const { hopLength: hop, dimension } = this.config;
    const nFrames = samples.length / hop - 1;
    const n = levelsOf(this.config);
    const latents = new Float64Array(nFrames * dimension);
    for (let first = 0; first < nFrames; first += MOST_ROWS) {
      const stop = Math.min(first + MOST_ROWS, nFrames);
      const part = (values: Float64Array) => values.subarray(first * n, stop * n);
      const found = this.step(samples.subarray(first * hop), part(levels), part(base), past, stop - first);
      for (let t = first; t < stop; t++) latents.set(found.values.subarray((t - first) * found.width, (t - first) * found.width + dimension), t * dimension);
    }
    return latents;
  }

  private step(samples: Float32Array, levels: Float64Array, base: Float64Array, past: Past, nRows: number): Rows {
    const { products, matrices: { features, low, out }, rows: { known, hidden, frames, bins, joined, latents } } = this;
    for (let t = 0; t < nRows; t++) this.look(samples, levels, base, t);
    products.run(hidden, known, features, nRows);
    this.blocks.forEach((block, i) => this.add(block, past[i], nRows));
    products.run(bins, frames, low, nRows);
    this.divide(base, nRows);
    const { encoderWidth: width, lowBins } = this.config;
    for (let t = 0; t < nRows; t++) {
      joined.values.set(hidden.values.subarray(t * hidden.width, t * hidden.width + width), t * joined.width);
      joined.values.set(bins.values.subarray(t * bins.width, t * bins.width + lowBins), t * joined.width + width);
    }
    products.run(latents, joined, out, nRows);
    return latents;
  }

  /** Write what the network sees of a frame. */
  private look(samples: Float32Array, levels: Float64Array, base: Float64Array, t: number): void {
    const { spectrum: { real, imaginary }, rows: { known, frames }, config: { hopLength: hop } } = this;
    frames.values.set(samples.subarray(t * hop, (t + 2) * hop), t * frames.width);
    this.spectrum.run(samples, t * hop);
    const values = known.values;
    const nBins = real.length;
    const at = t * known.width;
    for (let k = 0; k < nBins; k++) {
      const logPower = Math.log(real[k] * real[k] + imaginary[k] * imaginary[k] + MAGNITUDE_FLOOR);
      const scale = Math.exp(-0.35 * logPower);
      values[at + k] = 0.3 * logPower;
      values[at + nBins + k] = real[k] * scale;
      values[at + 2 * nBins + k] = imaginary[k] * scale;
    }
    const n = levelsOf(this.config);
    for (let i = 0, to = at + 3 * nBins; i < n; i++, to++) {
      values[to] = (levels[t * n + i] + 60) / 20;
      values[to + n] = (base[t * n + i] + 60) / 20;
    }
  }

  /** Add what a block computes to the hidden rows; updates its past. */
  private add(block: Block, past: Float64Array, nRows: number): void {
    const { products, padded, rows: { hidden, normed, inner, added }, config: { encoderWidth: width, kernelSize } } = this;
    const h = hidden.values;
    padded.set(past);
    for (let t = 0; t < nRows; t++) padded.set(h.subarray(t * hidden.width, t * hidden.width + width), (kernelSize - 1 + t) * width);
    past.set(padded.subarray(nRows * width, (nRows + kernelSize - 1) * width));
    for (let t = 0; t < nRows; t++) this.convolve(block, t, normed.values.subarray(t * normed.width, t * normed.width + width));
    products.run(inner, normed, block.up, nRows);
    gelu(inner.values, nRows * inner.width);
    products.run(added, inner, block.down, nRows);
    const more = added.values;
    for (let t = 0; t < nRows; t++) for (let i = 0, at = t * hidden.width; i < width; i++, at++) h[at] += block.scale[i] * more[at];
  }

  /** Write the convolution of a frame with those before it, normed, to `out` [W]. */
  private convolve({ taps, bias, gain, offset }: Block, t: number, out: Float64Array): void {
    const { padded } = this;
    const width = out.length;
    out.set(bias);
    for (let i = 0; i < taps.length; i++) out[i % width] += padded[t * width + i] * taps[i];
    let mean = 0;
    for (let i = 0; i < width; i++) mean += out[i];
    mean /= width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (out[i] - mean) ** 2;
    const root = Math.sqrt(variance / width + EPSILON);
    for (let i = 0; i < width; i++) out[i] = (out[i] - mean) * (gain[i] / root) + offset[i];
  }

  /** Divide the low MDCT bins by a power of the decoded levels. */
  private divide(base: Float64Array, nRows: number): void {
    const { rows: { bins }, bandOfBin, config: { steps, bands, exponent, hopLength, coreFactor } } = this;
    const n = levelsOf(this.config);
    const reference = Math.sqrt((3 * hopLength) / coreFactor / steps / 1.5); // amplitude of a bin relative to that of a level of 0 dB
    const gains = new Float64Array(bands);
    const values = bins.values;
    for (let t = 0; t < nRows; t++) {
      for (let band = 0; band < bands; band++) {
        let power = 0;
        for (let at = t * n + band; at < (t + 1) * n; at += n / steps) power += Math.exp(base[at] * (Math.LN10 / 10));
        gains[band] = SHAPE_GAIN * (Math.sqrt(power / steps) * reference) ** (exponent - 1);
      }
      for (let k = 0; k < bandOfBin.length; k++) values[t * bins.width + k] *= gains[bandOfBin[k]];
    }
  }
}

function weight(weights: Weights, name: string): Float32Array {
  const found = weights.get(name);
  if (!found) throw new ArgumentError(`the encoder lacks its weights ${name}`);
  return found;
}

function blockOf(config: SplitConfig, products: Products, weights: Weights, prefix: string): Block {
  const { encoderWidth: width, expand, kernelSize } = config;
  const get = (name: string) => weight(weights, `${prefix}.${name}`);
  const own = get("depthwise.weight"); // [W, 1, kernel]
  const taps = new Float64Array(own.length).map((_, i) => own[(i % width) * kernelSize + Math.floor(i / width)]);
  return {
    taps, bias: get("depthwise.bias"), gain: get("norm.weight"), offset: get("norm.bias"), scale: get("scale"),
    up: products.matrix([{ values: get("up.weight"), k: width }], get("up.bias")),
    down: products.matrix([{ values: get("down.weight"), k: expand * width }], get("down.bias")),
  };
}

/** The first rows of the windowed cosine basis [bins, 2 * hop]. */
function mdct(hop: number, nBins: number, coreFactor: number): Float32Array {
  const basis = new Float32Array(nBins * 2 * hop);
  for (let k = 0, at = 0; k < nBins; k++) {
    for (let n = 0.5; n < 2 * hop; n++, at++) {
      const wave = Math.cos((Math.PI / hop) * (n + hop / 2) * (k + 0.5)) * Math.sin((Math.PI / (2 * hop)) * n) * Math.sqrt(2 / hop);
      basis[at] = wave / Math.sqrt(coreFactor);
    }
  }
  return basis;
}
