/** The prior in WebAssembly (prior/prior.ts): places its weights in memory and runs it. */

import type { Book, Layer, PriorEngine, PriorWeights } from "./prior.js";

interface Exports {
  memory: WebAssembly.Memory;
  configure(...sizesAndPlaces: number[]): void;
  setState(state: bigint): void;
  getState(): bigint;
  decode(codes: number, nBooks: number, nFrames: number, words: number, nWords: number, nTaken: number): number;
  intervals(codes: number, nBooks: number, nFrames: number, out: number): void;
  encode(pairs: number, n: number, end: number): number;
}

const LOW = 1n << 31n;
const PAGE = 65536;
const MAX_BOOKS = 255;

// A module with one function that returns a vector: engines without SIMD refuse it.
const SIMD = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
);

/** Return whether this machine's WebAssembly has SIMD. */
export function hasSimd(): boolean {
  return WebAssembly.validate(SIMD);
}

export class WasmEngine implements PriorEngine {
  private readonly width: number; // padded
  private readonly size: number; // V, padded
  private readonly booksAt: number;
  private nBooks = 0;
  private free = 0;
  private buffers = new Map<string, { at: number; size: number }>();

  private constructor(
    private readonly wasm: Exports,
    private readonly weights: PriorWeights,
  ) {
    const { sizes, layers, table } = weights;
    this.width = (sizes.width + 7) & ~7;
    this.size = (sizes.codebookSize + 7) & ~7;
    this.free = this.wasm.memory.buffer.byteLength;
    const layersAt = this.alloc(28 * Math.max(layers.length, 1));
    this.booksAt = this.alloc(24 * MAX_BOOKS);
    layers.forEach((layer, i) => {
      const places = this.place(layer); // first, because memory that grows detaches views of it
      this.ints(layersAt + 28 * i).set(places);
    });
    const tableAt = this.alloc(4 * table.length);
    this.ints(tableAt).set(table);
    const scratch = this.alloc(4 * (5 * this.width + 2 * this.size));
    wasm.configure(this.width, sizes.codebookSize, layers.length, table.length, layersAt, this.booksAt, tableAt, scratch);
  }

  /** Make an engine from the bytes of prior.wasm or prior_scalar.wasm. */
  static async create(bytes: BufferSource, weights: PriorWeights): Promise<WasmEngine> {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    return new WasmEngine(instance.exports as unknown as Exports, weights);
  }

  grow(): void {
    const { books } = this.weights;
    for (; this.nBooks < books.length; this.nBooks++) {
      const places = this.placeBook(books[this.nBooks]);
      this.ints(this.booksAt + 24 * this.nBooks).set(places);
    }
  }

  decode(state: bigint, words: Uint32Array, nCodebooks: readonly number[], nFrames: number): Uint16Array[] | null {
    const { wasm } = this;
    const wordsAt = this.buffer("words", 4 * words.length);
    const codesAt = this.buffer("codes", 2 * nFrames * Math.max(...nCodebooks));
    new Uint32Array(wasm.memory.buffer, wordsAt, words.length).set(words);
    wasm.setState(state);
    let nTaken = 0;
    const streams: Uint16Array[] = [];
    for (const k of nCodebooks) {
      nTaken = k ? wasm.decode(codesAt, k, nFrames, wordsAt, words.length, nTaken) : nTaken;
      if (nTaken < 0) return null;
      streams.push(new Uint16Array(wasm.memory.buffer, codesAt, k * nFrames).slice());
    }
    return wasm.getState() === LOW && nTaken === words.length ? streams : null;
  }

  encode(streams: readonly Uint16Array[], nCodebooks: readonly number[], nFrames: number): Uint8Array {
    const { wasm } = this;
    const nCodes = streams.reduce((n, stream) => n + stream.length, 0);
    const pairsAt = this.buffer("pairs", 8 * nCodes);
    const codesAt = this.buffer("codes", 2 * nCodes);
    const wordsAt = this.buffer("words", 4 * (nCodes + 1));
    let done = 0;
    streams.forEach((codes, s) => {
      new Uint16Array(wasm.memory.buffer, codesAt, codes.length).set(codes);
      if (codes.length) wasm.intervals(codesAt, nCodebooks[s], nFrames, pairsAt + 8 * done);
      done += codes.length;
    });
    const end = wordsAt + 4 * (nCodes + 1);
    const start = wasm.encode(pairsAt, nCodes, end);
    const out = new Uint8Array(8 + end - start);
    new DataView(out.buffer).setBigUint64(0, BigInt.asUintN(64, wasm.getState()), true);
    out.set(new Uint8Array(wasm.memory.buffer, start, end - start), 8);
    return out;
  }

  private alloc(size: number): number {
    const at = this.free;
    this.free += (size + 15) & ~15;
    const missing = this.free - this.wasm.memory.buffer.byteLength;
    if (missing > 0) this.wasm.memory.grow(Math.ceil(missing / PAGE));
    return at;
  }

  /** Return a place for at least `size` bytes, which is used again by the next call for the same `name`. */
  private buffer(name: string, size: number): number {
    const known = this.buffers.get(name);
    if (known && known.size >= size) return known.at;
    const roomy = Math.max(PAGE, 2 * size);
    const at = this.alloc(roomy);
    this.buffers.set(name, { at, size: roomy });
    return at;
  }

  private ints(at: number): Int32Array {
    return new Int32Array(this.wasm.memory.buffer, at);
  }

  private place(layer: Layer): number[] {
    const { width } = this;
    const matrices = [layer.mixNow, layer.mixPast].map((m) => this.matrix(m, width));
    const mixBias = this.row(layer.mixBias, width);
    const out = this.matrix(layer.outWeight, width);
    const outBias = this.row(layer.outBias, width);
    return [layer.dilation, ...matrices, mixBias, out, outBias, this.alloc(4 * width * (layer.dilation + 1))];
  }

  private placeBook(book: Book): number[] {
    const embeddings = [book.frameEmbedding, book.bookEmbedding].map((e) => this.embedding(e));
    const mix = this.matrix(book.headMix, this.width);
    const mixBias = this.row(book.headMixBias, this.width);
    return [...embeddings, mix, mixBias, this.matrix(book.headWeight, this.size), this.row(book.headBias, this.size)];
  }

  private row(values: Int32Array, padded: number): number {
    const at = this.alloc(4 * padded);
    this.ints(at).set(values);
    return at;
  }

  private embedding(values: Int8Array): number {
    const n = this.weights.sizes.width;
    const at = this.alloc((values.length / n) * this.width);
    const out = new Int8Array(this.wasm.memory.buffer, at);
    for (let from = 0, to = 0; from < values.length; from += n, to += this.width) out.set(values.subarray(from, from + n), to);
    return at;
  }

  /** Store a matrix [in, out] by pairs of inputs, padded with zeros. */
  private matrix(values: Int8Array, padded: number): number {
    const nIn = this.weights.sizes.width;
    const nOut = values.length / nIn;
    const at = this.alloc(this.width * padded);
    const out = new Int8Array(this.wasm.memory.buffer, at, this.width * padded);
    for (let i = 0; i < nIn; i++) {
      const to = (i >> 1) * 2 * padded + (i & 1);
      for (let o = 0; o < nOut; o++) out[to + 2 * o] = values[i * nOut + o];
    }
    return at;
  }
}
