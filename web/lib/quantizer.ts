/** The residual vector quantizer: codes <-> latents. The first code also sets the scale of what the others code. */

import { ArgumentError } from "./errors.js";

type ReadBooks = (from: number, to: number) => Promise<Float32Array>;

export class Quantizer {
  private readonly books: Float32Array[] = []; // each [V, D]
  private readonly halfNorms: Float64Array[] = []; // each [V]
  private readonly columns: Float32Array[] = []; // each [D, V]: only for encoding

  constructor(
    readonly dimension: number,
    readonly size: number,
    readonly most: number,
    private readonly scales: Float32Array,
    private readonly read: ReadBooks,
  ) {}

  /** Load the first `n` codebooks, unless they are here. */
  async ensure(n: number): Promise<void> {
    if (n > this.most) throw new ArgumentError(`the model has ${this.most} codebooks, the codes have ${n}`);
    const from = this.books.length;
    if (n <= from) return;
    const found = await this.read(from, n);
    if (this.books.length !== from) return this.ensure(n); // another call was faster
    const each = this.size * this.dimension;
    for (let k = 0; k < n - from; k++) this.books.push(found.subarray(k * each, (k + 1) * each));
  }

  /**
   * Write the latents of one stream to `out` [T, D] from `at` on.
   * `codes` holds `rows` codes for each of T frames; those of the stream are the `k` from `first` on.
   */
  decode(codes: Uint16Array, rows: number, first: number, k: number, nFrames: number, out: Float32Array, at: number): void {
    const { dimension: d } = this;
    for (let t = 0; t < nFrames; t++) {
      const target = out.subarray(at + t * d, at + (t + 1) * d);
      target.fill(0);
      for (let b = 0; b < k; b++) {
        const code = codes[t * rows + first + b];
        if (code >= this.size) throw new ArgumentError(`codes must be below ${this.size}, got ${code}`);
        const scale = b ? this.scales[codes[t * rows + first]] : 1;
        const book = this.books[b];
        for (let i = 0, j = code * d; i < d; i++, j++) target[i] += Math.fround(book[j] * scale);
      }
    }
  }

  /** Quantize latents [T, D] in float64 with k codebooks -> codes frame by frame [T * k]. */
  encode(latents: Float64Array, k: number): Uint16Array {
    const d = this.dimension;
    const nFrames = latents.length / d;
    const codes = new Uint16Array(nFrames * k);
    const rest = new Float64Array(d);
    for (let b = 0; b < k; b++) this.prepare(b);
    for (let t = 0; t < nFrames; t++) {
      rest.set(latents.subarray(t * d, (t + 1) * d));
      for (let b = 0; b < k; b++) {
        const code = this.nearest(b, rest);
        codes[t * k + b] = code;
        const book = this.books[b];
        const scale = b ? 1 : this.scales[code];
        for (let i = 0, j = code * d; i < d; i++, j++) rest[i] = (rest[i] - book[j]) / scale;
      }
    }
    return codes;
  }

  private prepare(b: number): void {
    if (this.columns[b]) return;
    const { dimension: d, size } = this;
    const book = this.books[b];
    const columns = new Float32Array(d * size);
    const norms = new Float64Array(size);
    for (let v = 0; v < size; v++) {
      let sum = 0;
      for (let i = 0; i < d; i++) {
        const value = book[v * d + i];
        columns[i * size + v] = value;
        sum += value * value;
      }
      norms[v] = 0.5 * sum;
    }
    this.columns[b] = columns;
    this.halfNorms[b] = norms;
  }

  private readonly scores = new Float64Array(65536);

  /** Return the nearest entry of codebook `b`, computed in float64. Ties: the lowest. */
  private nearest(b: number, x: Float64Array): number {
    const { dimension: d, size, scores } = this;
    const columns = this.columns[b];
    const norms = this.halfNorms[b];
    for (let v = 0; v < size; v++) scores[v] = -norms[v];
    for (let i = 0; i < d; i++) {
      const value = x[i];
      for (let v = 0, at = i * size; v < size; v++, at++) scores[v] += value * columns[at];
    }
    let best = 0;
    for (let v = 1; v < size; v++) if (scores[v] > scores[best]) best = v;
    return best;
  }
}
