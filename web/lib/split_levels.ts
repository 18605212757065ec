/** The levels of split codecs: mean power in auditory bands and short steps of time, in dB, in float64. */

import { levelsOf, type SplitConfig } from "./config.js";
import { RealTransform } from "./fourier.js";
import { bandEdges } from "./split_bands.js";

const FLOOR = -88; // of the lowest level
const RANGE = 70; // of the levels of a frame

/** Transforms frames under a window. */
export class Spectrum {
  readonly real: Float64Array;
  readonly imaginary: Float64Array;
  private readonly transform: RealTransform;
  private readonly frame: Float64Array;

  constructor(
    private readonly window: Float64Array,
    nBins: number,
  ) {
    this.transform = new RealTransform(window.length);
    this.frame = new Float64Array(window.length);
    this.real = new Float64Array(nBins);
    this.imaginary = new Float64Array(nBins);
  }

  /** Write the first bins of the frame that starts at `at` to `real` and `imaginary`. */
  run(samples: Float32Array, at: number): void {
    const { window, frame } = this;
    for (let i = 0; i < frame.length; i++) frame[i] = samples[at + i] * window[i];
    this.transform.run(frame, this.real, this.imaginary);
  }
}

export function hann(length: number): Float64Array {
  return new Float64Array(length).map((_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / length));
}

export class LevelAnalysis {
  private readonly spectrum: Spectrum;
  private readonly edges: number[]; // of bands, in bins
  private readonly step: number; // samples

  constructor(private readonly config: SplitConfig) {
    this.step = config.hopLength / config.steps;
    this.edges = bandEdges(config.sampleRate / (3 * this.step), config.bands, config.topBands);
    const window = hann(3 * this.step);
    const sum = window.reduce((a, b) => a + b);
    this.spectrum = new Spectrum(window.map((value) => value / sum), this.edges[this.edges.length - 1]);
  }

  /** Return the levels [T, F] of samples [(T + 1) * hop]. */
  run(samples: Float32Array): Float64Array {
    const { config: { hopLength: hop, steps }, step } = this;
    const n = levelsOf(this.config);
    const nFrames = samples.length / hop - 1;
    const levels = new Float64Array(nFrames * n);
    for (let t = 0; t < nFrames; t++) {
      const own = levels.subarray(t * n, (t + 1) * n);
      for (let i = 0; i < steps; i++) this.measure(samples, t * hop + hop / 2 - step + i * step, own.subarray((i * n) / steps, ((i + 1) * n) / steps));
      this.limit(own);
    }
    return levels;
  }

  /** Write the levels of a step. */
  private measure(samples: Float32Array, at: number, out: Float64Array): void {
    const { edges, spectrum } = this;
    const { real, imaginary } = spectrum;
    spectrum.run(samples, at);
    for (let band = 0; band < out.length; band++) {
      let power = 0;
      for (let bin = edges[band]; bin < edges[band + 1]; bin++) power += real[bin] * real[bin] + imaginary[bin] * imaginary[bin];
      out[band] = 10 * Math.log10(power * Math.fround(1 / (edges[band + 1] - edges[band])) + 1e-10);
    }
  }

  /** Limit the levels of a frame to its range, and give the slow bands their mean in every step. */
  private limit(levels: Float64Array): void {
    const { steps, slowBands } = this.config;
    const least = Math.max(FLOOR, levels.reduce((a, b) => Math.max(a, b)) - RANGE);
    for (let i = 0; i < levels.length; i++) levels[i] = Math.max(levels[i], least);
    const each = levels.length / steps;
    for (let band = 0; band < slowBands; band++) {
      let sum = 0;
      for (let at = band; at < levels.length; at += each) sum += levels[at];
      for (let at = band; at < levels.length; at += each) levels[at] = sum / steps;
    }
  }
}
