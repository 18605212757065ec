/**
 * The search for the codes of levels: the same codes, and the same decoded levels, as codec/modules/level_search.py.
 *
 * A codebook predicts a frame from its own entries of the frames before, and codes what the codebook before it left over.
 */

import type { Nearest } from "./nearest.js";
import type { Books } from "./quantizer.js";

/** What predicts levels: taps [L, nTaps, F, F], the latest frame first, and mean and weight [F]. */
export interface Prediction {
  taps: Float32Array;
  mean: Float32Array;
  weight: Float32Array;
}

/** Searches the levels of one stream with the first `nBooks` codebooks. Decides in float64. */
export class LevelSearch {
  private readonly past: (Float32Array | null)[][]; // of each codebook, the entries of the last frames, oldest first
  private readonly predicted: Float64Array;

  constructor(
    private readonly books: Books,
    private readonly prediction: Prediction,
    private readonly nBooks: number,
    private readonly nTaps: number,
    private readonly nearest: Nearest,
  ) {
    this.past = Array.from({ length: nBooks }, () => new Array<null>(nTaps).fill(null));
    this.predicted = new Float64Array(books.dimension);
  }

  /** Return the codes [T * nBooks] of levels [T, F], and the levels [T, F] that the first codebook decodes to. */
  encode(levels: Float64Array): { codes: Uint16Array; base: Float64Array } {
    const { books, nBooks, predicted, prediction: { mean, weight } } = this;
    const n = books.dimension;
    const nFrames = levels.length / n;
    const codes = new Uint16Array(nFrames * nBooks);
    const base = new Float64Array(levels.length);
    const rest = levels.map((level, at) => (level - mean[at % n]) * weight[at % n]); // what is to be coded
    for (let b = 0; b < nBooks; b++) {
      for (let t = 0; t < nFrames; t++) {
        const own = rest.subarray(t * n, (t + 1) * n);
        this.predict(b);
        for (let i = 0; i < n; i++) own[i] -= predicted[i];
        const code = this.nearest(books.book(b), own);
        const entry = books.entry(b, code);
        for (let i = 0; i < n; i++) own[i] -= entry[i];
        if (b === 0) for (let i = 0; i < n; i++) base[t * n + i] = (predicted[i] + entry[i]) / weight[i] + mean[i];
        codes[t * nBooks + b] = code;
        this.past[b].shift();
        this.past[b].push(entry);
      }
    }
    return { codes, base };
  }

  /** Compute what a codebook predicts of the next frame. */
  private predict(b: number): void {
    const { nTaps, predicted, prediction: { taps } } = this;
    const n = predicted.length;
    predicted.fill(0);
    this.past[b].forEach((entry, i) => {
      if (!entry) return;
      let at = (b * nTaps + nTaps - 1 - i) * n * n;
      for (let row = 0; row < n; row++) {
        let sum = 0;
        for (let column = 0; column < n; column++, at++) sum += taps[at] * entry[column];
        predicted[row] += sum;
      }
    });
  }
}
