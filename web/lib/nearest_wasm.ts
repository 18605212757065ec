/** The nearest entry in WebAssembly (kernels/nearest.ts): places codebooks in its memory when they are first searched. */

import { halfNorms, type Nearest } from "./nearest.js";

interface Exports {
  memory: WebAssembly.Memory;
  nearest(book: number, norms: number, size: number, d: number, reach: number, x: number, narrow: number, scores: number): number;
}

interface Place {
  book: number;
  norms: number;
  size: number; // V
  reach: number; // length of the longest entry
}

const PAGE = 65536;
const MOST = 4096; // dimensions
const padded = (n: number) => (n + 3) & ~3;

/** Make a search from the bytes of nearest.wasm or nearest_scalar.wasm. */
export async function wasmNearest(bytes: BufferSource): Promise<Nearest> {
  const { instance } = await WebAssembly.instantiate(bytes, {});
  const search = new Search(instance.exports as unknown as Exports);
  return (book, x) => search.nearest(book, x);
}

class Search {
  private readonly places = new WeakMap<Float32Array, Place>();
  private free: number;
  private readonly x: number;
  private readonly narrow: number;
  private readonly scores: number;
  private view = new Float64Array(0); // of x, in the memory as it is now

  constructor(private readonly wasm: Exports) {
    this.free = wasm.memory.buffer.byteLength;
    this.x = this.alloc(8 * MOST);
    this.narrow = this.alloc(4 * MOST);
    this.scores = this.alloc(4 * PAGE);
  }

  nearest(book: Float32Array, x: Float64Array): number {
    const place = this.places.get(book) ?? this.place(book, x.length);
    if (this.view.buffer !== this.wasm.memory.buffer) this.view = new Float64Array(this.wasm.memory.buffer, this.x, MOST);
    const d = padded(x.length);
    this.view.set(x);
    this.view.fill(0, x.length, d);
    return this.wasm.nearest(place.book, place.norms, place.size, d, place.reach, this.x, this.narrow, this.scores);
  }

  private place(book: Float32Array, dimension: number): Place {
    const norms = halfNorms(book, dimension);
    const [d, size] = [padded(dimension), padded(norms.length)];
    const made = { book: this.alloc(4 * size * d), norms: this.alloc(8 * size), size, reach: Math.sqrt(2 * norms.reduce((a, b) => Math.max(a, b))) };
    const entries = new Float32Array(this.wasm.memory.buffer, made.book, size * d);
    for (let v = 0; v < norms.length; v++) entries.set(book.subarray(v * dimension, (v + 1) * dimension), v * d);
    new Float64Array(this.wasm.memory.buffer, made.norms, size).fill(Infinity).set(norms); // no entry is added: none is as far
    this.places.set(book, made);
    return made;
  }

  private alloc(size: number): number {
    const at = this.free;
    this.free += (size + 15) & ~15;
    const missing = this.free - this.wasm.memory.buffer.byteLength;
    if (missing > 0) this.wasm.memory.grow(Math.ceil(missing / PAGE));
    return at;
  }
}
