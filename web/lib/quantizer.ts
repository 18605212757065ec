/** The residual vector quantizer: codes <-> latents. The first code also sets the scale of what the others code. */

import { ArgumentError } from "./errors.js";
import { plainNearest, type Nearest } from "./nearest.js";

type ReadBooks = (from: number, to: number) => Promise<Float32Array>;

/** Turns the codes of a stream into the latents of a decoder. */
export interface Dequantizer {
  readonly width: number; // of the latents of a frame
  /** Load the first `n` codebooks, unless they are here. */
  ensure(n: number): Promise<void>;
  /**
   * Write the latents of one stream to `out` [T, width] from `at` on.
   * `codes` holds `rows` codes for each of T frames; those of the stream are the `k` from `first` on.
   */
  decode(codes: Uint16Array, rows: number, first: number, k: number, nFrames: number, out: Float32Array, at: number): void;
}

/** Codebooks [V, D], loaded as they are needed. */
export class Books {
  private readonly books: Float32Array[] = [];

  constructor(
    readonly dimension: number,
    readonly size: number,
    readonly most: number,
    private readonly read: ReadBooks,
  ) {}

  /** Load the first `n` codebooks, unless they are here. */
  async ensure(n: number): Promise<void> {
    if (n > this.most) throw new ArgumentError(`the model has ${this.most} codebooks, but the codes have ${n}`);
    const from = this.books.length;
    if (n <= from) return;
    const found = await this.read(from, n);
    if (this.books.length !== from) return this.ensure(n); // another call was faster
    const each = this.size * this.dimension;
    for (let k = 0; k < n - from; k++) this.books.push(found.subarray(k * each, (k + 1) * each));
  }

  book(b: number): Float32Array {
    return this.books[b];
  }

  /** The entry [D] of a code. */
  entry(b: number, code: number): Float32Array {
    if (code >= this.size) throw new ArgumentError(`codes must be below ${this.size}, got ${code}`);
    return this.books[b].subarray(code * this.dimension, (code + 1) * this.dimension);
  }
}

export class Quantizer implements Dequantizer {
  readonly width: number;

  constructor(
    private readonly books: Books,
    private readonly scales: Float32Array,
  ) {
    this.width = books.dimension;
  }

  ensure(n: number): Promise<void> {
    return this.books.ensure(n);
  }

  decode(codes: Uint16Array, rows: number, first: number, k: number, nFrames: number, out: Float32Array, at: number): void {
    const { width } = this;
    const places = Array.from({ length: k }, (_, b) => first + b);
    this.add(codes, rows, places, out.subarray(at, at + nFrames * width).fill(0), width);
  }

  /** Add the latents of the codes at `places` of each frame to the start of each of the rows `out` [T, width]. */
  add(codes: Uint16Array, rows: number, places: readonly number[], out: Float32Array, width: number): void {
    const { dimension } = this.books;
    for (let t = 0; t * width < out.length; t++) {
      const at = t * width;
      places.forEach((place, b) => {
        const entry = this.books.entry(b, codes[t * rows + place]);
        const scale = b ? this.scales[codes[t * rows + places[0]]] : 1;
        for (let i = 0; i < dimension; i++) out[at + i] += Math.fround(entry[i] * scale);
      });
    }
  }

  /** Quantize latents [T, D] in float64 with k codebooks -> codes frame by frame [T * k]. */
  encode(latents: Float64Array, k: number, nearest: Nearest = plainNearest): Uint16Array {
    const d = this.books.dimension;
    const nFrames = latents.length / d;
    const codes = new Uint16Array(nFrames * k);
    const rest = latents.slice();
    for (let b = 0; b < k; b++) { // one codebook after the other: it stays in the processor's cache
      const book = this.books.book(b);
      for (let t = 0; t < nFrames; t++) {
        const own = rest.subarray(t * d, (t + 1) * d);
        const code = nearest(book, own);
        codes[t * k + b] = code;
        const scale = b ? 1 : this.scales[code];
        for (let i = 0, j = code * d; i < d; i++, j++) own[i] = (own[i] - book[j]) / scale;
      }
    }
    return codes;
  }
}
