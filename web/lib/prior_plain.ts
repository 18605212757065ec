/** The prior in plain TypeScript: the reference for the WebAssembly module, and its fallback where there is none. */

import type { Layer, PriorEngine, PriorWeights } from "./prior.js";

const LARGEST = 127;
const LIMIT = 1 << 20;
const TOTAL = 1 << 24;
const RECIPROCAL = 2 ** 28;
const LOW = 1n << 31n;

/** The activations of the last frames of one stream: a ring for each layer. */
class Past {
  private readonly rings: Int32Array[];
  private readonly lengths: number[];

  constructor(
    layers: Layer[],
    private readonly width: number,
  ) {
    this.lengths = layers.map((layer) => layer.dilation + 1);
    this.rings = this.lengths.map((n) => new Int32Array(n * width));
  }

  at(layer: number, t: number): Int32Array {
    const row = t % this.lengths[layer];
    return this.rings[layer].subarray(row * this.width, (row + 1) * this.width);
  }
}

export class PlainEngine implements PriorEngine {
  private readonly h: Int32Array;
  private readonly hidden: Int32Array;
  private readonly active: Int32Array;
  private readonly logits: Int32Array;
  private readonly shares: Float64Array;

  constructor(private readonly weights: PriorWeights) {
    const { width, codebookSize } = weights.sizes;
    this.h = new Int32Array(width);
    this.hidden = new Int32Array(width);
    this.active = new Int32Array(width);
    this.logits = new Int32Array(codebookSize);
    this.shares = new Float64Array(codebookSize);
  }

  grow(): void {}

  decode(first: bigint, words: Uint32Array, nCodebooks: readonly number[], nFrames: number): Uint16Array[] | null {
    let state = first;
    let nTaken = 0;
    const streams: Uint16Array[] = [];
    for (const nBooks of nCodebooks) {
      const codes = new Uint16Array(nBooks * nFrames);
      const complete = this.walk(codes, nBooks, nFrames, () => {
        const slot = Number(state & 0xffffffn);
        let symbol = 0;
        let start = 0;
        while (start + this.shares[symbol] <= slot) start += this.shares[symbol++];
        state = BigInt(this.shares[symbol]) * (state >> 24n) + BigInt(slot - start);
        if (state < LOW) {
          if (nTaken === words.length) return -1;
          state = (state << 32n) | BigInt(words[nTaken++]);
        }
        return symbol;
      });
      if (!complete) return null;
      streams.push(codes);
    }
    return state === LOW && nTaken === words.length ? streams : null;
  }

  encode(streams: readonly Uint16Array[], nCodebooks: readonly number[], nFrames: number): Uint8Array {
    const starts: number[] = [];
    const sizes: number[] = [];
    streams.forEach((codes, s) => {
      let at = 0;
      this.walk(codes, nCodebooks[s], nFrames, () => {
        const symbol = codes[at++];
        let start = 0;
        for (let v = 0; v < symbol; v++) start += this.shares[v];
        starts.push(start);
        sizes.push(this.shares[symbol]);
        return symbol;
      });
    });
    return encodeIntervals(starts, sizes);
  }

  /** Visit every code of a stream in order, with its distribution in `shares`; `next` returns the code, or -1 to stop. */
  private walk(codes: Uint16Array, nBooks: number, nFrames: number, next: () => number): boolean {
    const past = new Past(this.weights.layers, this.weights.sizes.width);
    const { books } = this.weights;
    for (let t = 0; t < nFrames && nBooks; t++) {
      this.h.fill(0);
      for (let k = 0; t > 0 && k < nBooks; k++) this.embed(books[k].frameEmbedding, codes[(t - 1) * nBooks + k]);
      this.context(t, past);
      for (let k = 0; k < nBooks; k++) {
        const book = books[k];
        quantize(this.h, this.active, -LARGEST);
        this.hidden.set(book.headMixBias);
        addProduct(this.hidden, book.headMix, this.active);
        quantize(this.hidden, this.active, 0);
        this.logits.set(book.headBias);
        addProduct(this.logits, book.headWeight, this.active);
        this.frequencies();
        const symbol = next();
        if (symbol < 0) return false;
        codes[t * nBooks + k] = symbol;
        this.embed(book.bookEmbedding, symbol);
      }
    }
    return true;
  }

  private embed(embedding: Int8Array, code: number): void {
    const { h } = this;
    for (let i = 0, at = code * h.length; i < h.length; i++) h[i] += embedding[at + i] << 4;
  }

  private context(t: number, past: Past): void {
    this.weights.layers.forEach((layer, i) => {
      const now = past.at(i, t);
      quantize(this.h, now, -LARGEST);
      this.hidden.set(layer.mixBias);
      addProduct(this.hidden, layer.mixNow, now);
      if (t >= layer.dilation) addProduct(this.hidden, layer.mixPast, past.at(i, t - layer.dilation));
      quantize(this.hidden, this.active, 0);
      const { h } = this;
      for (let j = 0; j < h.length; j++) h[j] += layer.outBias[j];
      addProduct(h, layer.outWeight, this.active);
      for (let j = 0; j < h.length; j++) h[j] = Math.min(Math.max(h[j], -LIMIT), LIMIT);
    });
  }

  /** Write the frequencies of `logits` to `shares`. All numbers here are integers below 2^53. */
  private frequencies(): void {
    const { logits, shares } = this;
    const { table } = this.weights;
    let best = 0;
    for (let v = 1; v < logits.length; v++) if (logits[v] > logits[best]) best = v;
    let total = 0;
    for (let v = 0; v < logits.length; v++) {
      shares[v] = table[Math.min((logits[best] - logits[v]) >> 5, table.length - 1)];
      total += shares[v];
    }
    const factor = Math.floor(((TOTAL - logits.length) * RECIPROCAL) / total);
    let left = TOTAL;
    for (let v = 0; v < logits.length; v++) {
      shares[v] = 1 + Math.floor((shares[v] * factor) / RECIPROCAL);
      left -= shares[v];
    }
    shares[best] += left;
  }
}

/** Add x [i] times weights [i, o] to out [o]. */
function addProduct(out: Int32Array, weights: Int8Array, x: Int32Array): void {
  const n = out.length;
  for (let i = 0; i < x.length; i++) {
    const value = x[i];
    if (value === 0) continue;
    for (let o = 0, at = i * n; o < n; o++) out[o] += weights[at + o] * value;
  }
}

function quantize(sums: Int32Array, out: Int32Array, low: number): void {
  for (let i = 0; i < sums.length; i++) out[i] = Math.min(Math.max((sums[i] + 32) >> 6, low), LARGEST);
}

/** Code symbols, given by their intervals of [0, 2^24), from the last to the first. */
export function encodeIntervals(starts: ArrayLike<number>, sizes: ArrayLike<number>): Uint8Array {
  let state = LOW;
  const words: number[] = [];
  for (let i = starts.length - 1; i >= 0; i--) {
    const size = BigInt(sizes[i]);
    if (state >= size << 39n) {
      words.push(Number(state & 0xffffffffn));
      state >>= 32n;
    }
    state = ((state / size) << 24n) + (state % size) + BigInt(starts[i]);
  }
  const out = new DataView(new ArrayBuffer(8 + 4 * words.length));
  out.setBigUint64(0, state, true);
  words.reverse().forEach((word, i) => out.setUint32(8 + 4 * i, word, true));
  return new Uint8Array(out.buffer);
}
