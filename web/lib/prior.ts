/** An entropy prior: the integer network that predicts codes. SPEC.md, section 9, defines its arithmetic. */

import { hex } from "./bytes.js";
import { sum, type PriorCoder } from "./chunk.js";
import { ArgumentError } from "./errors.js";
import { contentsSize, parseContents, type Contents } from "./safetensors.js";
import { MAX_PRIOR_CODES } from "./schema.js";

const LAYOUT: [name: string, dtype: "I8" | "I32", axes: string][] = [
  ["frame_embedding", "I8", "KVH"], ["dilations", "I32", "L"], ["mix_now", "I8", "LHH"], ["mix_past", "I8", "LHH"],
  ["mix_bias", "I32", "LH"], ["out_weight", "I8", "LHH"], ["out_bias", "I32", "LH"], ["book_embedding", "I8", "KVH"],
  ["head_mix", "I8", "KHH"], ["head_mix_bias", "I32", "KH"], ["head_weight", "I8", "KHV"], ["head_bias", "I32", "KV"],
  ["table", "I32", "E"],
];
const MOST: Record<string, [number, number]> = { K: [1, 255], V: [2, 65536], H: [1, 256], L: [0, 16], E: [1, 4096] };
const LARGEST = 127;
const MAX_BIAS = 2 ** 20;
export const MAX_PRIOR_BYTES = 2 ** 28;

/** What a codebook needs: embeddings [V, H], matrices [in, out]. */
export interface Book {
  frameEmbedding: Int8Array;
  bookEmbedding: Int8Array;
  headMix: Int8Array;
  headMixBias: Int32Array;
  headWeight: Int8Array;
  headBias: Int32Array;
}

export interface Layer {
  dilation: number; // frames
  mixNow: Int8Array;
  mixPast: Int8Array;
  mixBias: Int32Array;
  outWeight: Int8Array;
  outBias: Int32Array;
}

export interface Sizes {
  nCodebooks: number;
  codebookSize: number;
  width: number;
  nLayers: number;
  tableSize: number;
}

/** Reads bytes [start, stop) of the file of a prior. */
export type ReadRange = (start: number, stop: number) => Promise<Uint8Array>;

/** The weights of a prior. Those of codebooks are loaded when they are needed. */
export class PriorWeights {
  readonly books: Book[] = [];

  private constructor(
    private readonly read: ReadRange,
    private readonly contents: Contents,
    readonly sizes: Sizes,
    readonly layers: Layer[],
    readonly table: Int32Array,
  ) {}

  /** Open a prior; only its layers are read. Throws ArgumentError for a file that is none. */
  static async open(read: ReadRange): Promise<PriorWeights> {
    const first = await read(0, 8);
    const contents = parseContents(await read(0, contentsSize(first)));
    const sizes = checkShapes(contents);
    const load = (name: string) => loadArray(read, contents, name);
    const layers = await loadLayers(load, sizes);
    const table = (await load("table")) as Int32Array;
    const rises = table.some((value, i) => i > 0 && value > table[i - 1]);
    if (table[0] < 1 || table[0] > 65536 || table[table.length - 1] < 0 || rises) throw new ArgumentError("the table of a prior must fall");
    return new PriorWeights(read, contents, sizes, layers, table);
  }

  /** Load the weights of the first `nCodebooks` codebooks; those that are here already are kept. */
  async ensure(nCodebooks: number): Promise<void> {
    const { codebookSize: v, width: h } = this.sizes;
    const stop = Math.min(nCodebooks, this.sizes.nCodebooks);
    const from = this.books.length;
    if (from >= stop) return;
    const load = async (name: string) => loadArray(this.read, this.contents, name, from, stop);
    const frame = (await load("frame_embedding")) as Int8Array;
    const book = (await load("book_embedding")) as Int8Array;
    const mix = (await load("head_mix")) as Int8Array;
    const mixBias = (await load("head_mix_bias")) as Int32Array;
    const weight = (await load("head_weight")) as Int8Array;
    const bias = (await load("head_bias")) as Int32Array;
    if (this.books.length !== from) return this.ensure(nCodebooks); // another call was faster, maybe with fewer
    for (let k = 0; k < stop - from; k++) {
      this.books.push({
        frameEmbedding: frame.subarray(k * v * h, (k + 1) * v * h),
        bookEmbedding: book.subarray(k * v * h, (k + 1) * v * h),
        headMix: mix.subarray(k * h * h, (k + 1) * h * h),
        headMixBias: mixBias.subarray(k * h, (k + 1) * h),
        headWeight: weight.subarray(k * h * v, (k + 1) * h * v),
        headBias: bias.subarray(k * v, (k + 1) * v),
      });
    }
  }

  /** SHA-256 of all arrays as SPEC.md defines it, in hexadecimal; reads the whole file. */
  async hash(): Promise<string> {
    const text = new TextEncoder();
    const parts: Uint8Array[] = [];
    for (const [name, dtype] of LAYOUT) {
      const entry = this.contents.entries.get(name)!;
      parts.push(text.encode(`${name} ${dtype === "I8" ? "int8" : "int32"} ${entry.shape.join(" ")}\n`));
      parts.push(await this.read(entry.start, entry.stop));
    }
    const whole = await new Blob(parts as BlobPart[]).arrayBuffer();
    return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", whole)));
  }
}

function checkShapes(contents: Contents): Sizes {
  const found: Record<string, number> = {};
  for (const [name, dtype, axes] of LAYOUT) {
    const entry = contents.entries.get(name);
    if (!entry) throw new ArgumentError(`this is not a prior: ${name} is missing`);
    const fits = entry.dtype === dtype && entry.shape.length === axes.length;
    if (!fits || entry.shape.some((n, i) => (found[axes[i]] ??= n) !== n)) {
      throw new ArgumentError(`this is not a prior: ${name} has a wrong type or shape`);
    }
  }
  for (const [axis, [low, high]] of Object.entries(MOST)) {
    if (!(found[axis] >= low && found[axis] <= high)) throw new ArgumentError(`this is not a prior: ${axis} must be ${low} to ${high}`);
  }
  return { nCodebooks: found.K, codebookSize: found.V, width: found.H, nLayers: found.L, tableSize: found.E };
}

/** Load an array, or its rows [from, to) along the first axis. Throws ArgumentError for numbers out of range. */
async function loadArray(read: ReadRange, contents: Contents, name: string, from = 0, to?: number): Promise<Int8Array | Int32Array> {
  const entry = contents.entries.get(name)!;
  const row = entry.shape[0] ? (entry.stop - entry.start) / entry.shape[0] : 0;
  const bytes = await read(entry.start + from * row, entry.start + (to ?? entry.shape[0]) * row);
  if (entry.dtype === "I8") {
    const array = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    if (array.some((value) => value < -LARGEST)) throw new ArgumentError(`${name} must be at least ${-LARGEST}`);
    return array;
  }
  const array = new Int32Array(bytes.slice().buffer);
  if (name.includes("bias") && array.some((value) => Math.abs(value) > MAX_BIAS)) throw new ArgumentError(`${name} must be within ${MAX_BIAS}`);
  return array;
}

async function loadLayers(load: (name: string) => Promise<Int8Array | Int32Array>, sizes: Sizes): Promise<Layer[]> {
  const { width: h } = sizes;
  const dilations = (await load("dilations")) as Int32Array;
  if (dilations.some((d) => d < 1 || d > 4096)) throw new ArgumentError("dilations must be 1 to 4096");
  const matrices = (await Promise.all(["mix_now", "mix_past", "out_weight"].map(load))) as Int8Array[];
  const biases = (await Promise.all(["mix_bias", "out_bias"].map(load))) as Int32Array[];
  return Array.from(dilations, (dilation, i) => {
    const [mixNow, mixPast, outWeight] = matrices.map((m) => m.subarray(i * h * h, (i + 1) * h * h));
    const [mixBias, outBias] = biases.map((b) => b.subarray(i * h, (i + 1) * h));
    return { dilation, mixNow, mixPast, outWeight, mixBias, outBias };
  });
}

/** Runs the network on one stream of a chunk at a time: plain TypeScript, or WebAssembly. */
export interface PriorEngine {
  /** Make the weights of more codebooks known, after `ensure`. */
  grow(): void;
  /**
   * Decode the streams of a chunk, one after the other, from the first state and the words of a payload.
   * Returns the codes of each stream [T * K], or null if the payload does not end where its codes do.
   */
  decode(state: bigint, words: Uint32Array, nCodebooks: readonly number[], nFrames: number): Uint16Array[] | null;
  /** Return the payload of streams of codes [T * K]. */
  encode(streams: readonly Uint16Array[], nCodebooks: readonly number[], nFrames: number): Uint8Array;
}

const LOW = 1n << 31n;

/** Codes and decodes payloads with an engine. */
export class PriorModel implements PriorCoder {
  constructor(
    readonly weights: PriorWeights,
    readonly engine: PriorEngine,
  ) {}

  async ensure(nCodebooks: number): Promise<this> {
    await this.weights.ensure(nCodebooks);
    this.engine.grow();
    return this;
  }

  private check(nCodebooks: readonly number[], nFrames: number): void {
    const most = this.weights.sizes.nCodebooks;
    const k = Math.max(...nCodebooks);
    if (k > most) throw new ArgumentError(`the prior is for ${most} codebooks, but the codes have ${k}`);
    if (sum(nCodebooks) * nFrames > MAX_PRIOR_CODES) throw new ArgumentError(`a chunk coded with a prior holds at most ${MAX_PRIOR_CODES} codes`);
    if (nCodebooks.some((k) => k > this.weights.books.length)) throw new Error("the prior's codebooks are not loaded");
  }

  decode(payload: Uint8Array, nCodebooks: readonly number[], nFrames: number): Uint16Array {
    this.check(nCodebooks, nFrames);
    if (payload.length < 8 || payload.length % 4) {
      throw new ArgumentError(`coded payloads take 8 bytes and a multiple of 4, got ${payload.length}`);
    }
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const state = view.getBigUint64(0, true);
    if (state < LOW || state >> 63n) throw new ArgumentError("the first state is out of range");
    const words = new Uint32Array(payload.length / 4 - 2);
    for (let i = 0; i < words.length; i++) words[i] = view.getUint32(8 + 4 * i, true);
    const streams = this.engine.decode(state, words, nCodebooks, nFrames);
    if (!streams) throw new ArgumentError("the payload does not end where its codes do");
    return interleave(streams, nCodebooks, nFrames);
  }

  encode(codes: Uint16Array, nCodebooks: readonly number[], nFrames: number): Uint8Array {
    this.check(nCodebooks, nFrames);
    if (codes.some((code) => code >= this.weights.sizes.codebookSize)) throw new ArgumentError("a code is too large for the prior");
    return this.engine.encode(separate(codes, nCodebooks, nFrames), nCodebooks, nFrames);
  }
}

/** Streams [T * K] -> frame by frame the codebooks of all streams. */
function interleave(streams: Uint16Array[], nCodebooks: readonly number[], nFrames: number): Uint16Array {
  if (streams.length === 1) return streams[0];
  const out = new Uint16Array(sum(nCodebooks) * nFrames);
  let at = 0;
  for (let t = 0; t < nFrames; t++) {
    streams.forEach((stream, s) => {
      const k = nCodebooks[s];
      out.set(stream.subarray(t * k, (t + 1) * k), at);
      at += k;
    });
  }
  return out;
}

function separate(codes: Uint16Array, nCodebooks: readonly number[], nFrames: number): Uint16Array[] {
  const rows = sum(nCodebooks);
  let first = 0;
  return nCodebooks.map((k) => {
    const stream = new Uint16Array(k * nFrames);
    for (let t = 0; t < nFrames; t++) stream.set(codes.subarray(t * rows + first, t * rows + first + k), t * k);
    first += k;
    return stream;
  });
}
