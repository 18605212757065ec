// The prior in AssemblyScript: exact integers, one code at a time. lib/prior_plain.ts computes the same in plain TypeScript.
//
// The caller places all weights in memory. Rows are padded with zeros to multiples of 8. A matrix [in, out] is stored by pairs
// of inputs: for each pair, for each output, the weight of the first input and that of the second one. One instruction of
// SIMD then multiplies eight weights and adds the products of each pair.

const LARGEST: i32 = 127;
const LIMIT: i32 = 1 << 20;
const TOTAL: i64 = 1 << 24;
const MASK: u64 = (1 << 24) - 1;
const LOW: u64 = 1 << 31;

let width: i32 = 0; // padded
let size: i32 = 0; // V
let padded: i32 = 0; // V, padded
let nLayers: i32 = 0;
let layers: usize = 0; // of each: dilation, mixNow, mixPast, mixBias, outWeight, outBias, ring
let books: usize = 0; // of each: frameEmbedding, bookEmbedding, headMix, headMixBias, headWeight, headBias
let table: usize = 0;
let lastEntry: i32 = 0; // of the table
let h: usize = 0;
let active: usize = 0;
let hidden: usize = 0;
let logits: usize = 0;
let shares: usize = 0;
let pairs: usize = 0; // pairs of inputs that are not both zero: place of the weights and values
let state: u64 = 0;

const LAYER: usize = 28;
const BOOK: usize = 24;

/** Set sizes, and the places of weights and of scratch memory: 4 * (5 * width + 2 * V), all padded, in bytes. */
export function configure(
  width_: i32, size_: i32, nLayers_: i32, tableSize: i32, layers_: usize, books_: usize, table_: usize, scratch: usize,
): void {
  width = width_;
  size = size_;
  padded = (size + 7) & ~7;
  nLayers = nLayers_;
  layers = layers_;
  books = books_;
  table = table_;
  lastEntry = tableSize - 1;
  const row: usize = <usize>width << 2;
  h = scratch;
  active = h + row;
  hidden = active + row;
  pairs = hidden + row;
  logits = pairs + 2 * row;
  shares = logits + (<usize>padded << 2);
}

export function setState(value: u64): void {
  state = value;
}

export function getState(): u64 {
  return state;
}

// @ts-ignore: decorator
@inline
function quantized(sum: i32, low: i32): i32 {
  return min(max((sum + 32) >> 6, low), LARGEST);
}

function quantize(sums: usize, out: usize, low: i32): void {
  const end: usize = <usize>width << 2;
  for (let i: usize = 0; i < end; i += 4) store<i32>(out + i, quantized(load<i32>(sums + i), low));
}

/** Add x [width] times a matrix to out [n]. */
function addProduct(out: usize, weights: usize, x: usize, n: i32): void {
  const row: usize = <usize>n << 1; // bytes of the weights of a pair
  let used: usize = pairs;
  for (let p: i32 = 0; p < width; p += 2) {
    const first = load<i32>(x + (<usize>p << 2));
    const second = load<i32>(x + (<usize>p << 2), 4);
    if (first | second) {
      store<u32>(used, <u32>(weights + <usize>(p >> 1) * row));
      store<i32>(used, (first & 0xffff) | (second << 16), 4);
      used += 8;
    }
  }
  let at: usize = pairs;
  if ((used - at) & 8) {
    addPair(out, at, at, n, 0);
    at += 8;
  }
  for (; at < used; at += 16) addPair(out, at, at + 8, n, -1);
}

/** Add the products of the pair at `a`, and with `both` = -1 also of that at `b`; 0 leaves the second one out. */
function addPair(out: usize, a: usize, b: usize, n: i32, both: i32): void {
  let first: usize = load<u32>(a);
  let second: usize = load<u32>(b);
  const end: usize = first + (<usize>n << 1);
  if (ASC_FEATURE_SIMD) {
    const xa = i32x4.splat(load<i32>(a, 4));
    const xb = i32x4.splat(load<i32>(b, 4) & both);
    for (; first < end; first += 16, second += 16, out += 32) {
      const wa = v128.load(first);
      const wb = v128.load(second);
      const low = i32x4.add(
        i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(wa), xa), i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(wb), xb),
      );
      const high = i32x4.add(
        i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(wa), xa), i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(wb), xb),
      );
      v128.store(out, i32x4.add(v128.load(out), low));
      v128.store(out, i32x4.add(v128.load(out, 16), high), 16);
    }
  } else {
    const xa = load<i32>(a, 4);
    const xb = load<i32>(b, 4) & both;
    const a0 = (xa << 16) >> 16, a1 = xa >> 16, b0 = (xb << 16) >> 16, b1 = xb >> 16;
    for (; first < end; first += 2, second += 2, out += 4) {
      const sum = a0 * load<i8>(first) + a1 * load<i8>(first, 1) + b0 * load<i8>(second) + b1 * load<i8>(second, 1);
      store<i32>(out, load<i32>(out) + sum);
    }
  }
}

function embed(embedding: usize, code: i32): void {
  const row: usize = embedding + <usize>code * width;
  for (let i: usize = 0; i < <usize>width; i++) {
    const at = h + (i << 2);
    store<i32>(at, load<i32>(at) + (<i32>load<i8>(row + i) << 4));
  }
}

function context(t: i32): void {
  const row: usize = <usize>width << 2;
  for (let i: i32 = 0; i < nLayers; i++) {
    const layer = layers + <usize>i * LAYER;
    const dilation = load<i32>(layer);
    const ring: usize = load<u32>(layer, 24);
    const now = ring + <usize>(t % (dilation + 1)) * row;
    quantize(h, now, -LARGEST);
    memory.copy(hidden, load<u32>(layer, 12), row);
    addProduct(hidden, load<u32>(layer, 4), now, width);
    if (t >= dilation) {
      addProduct(hidden, load<u32>(layer, 8), ring + <usize>((t - dilation) % (dilation + 1)) * row, width);
    }
    quantize(hidden, active, 0);
    const bias: usize = load<u32>(layer, 20);
    for (let j: usize = 0; j < row; j += 4) store<i32>(h + j, load<i32>(h + j) + load<i32>(bias + j));
    addProduct(h, load<u32>(layer, 16), active, width);
    for (let j: usize = 0; j < row; j += 4) store<i32>(h + j, min(max(load<i32>(h + j), -LIMIT), LIMIT));
  }
}

/** Write the frequencies of codebook k to `shares`. */
function distribution(k: i32): void {
  const book = books + <usize>k * BOOK;
  quantize(h, active, -LARGEST);
  memory.copy(hidden, load<u32>(book, 12), <usize>width << 2);
  addProduct(hidden, load<u32>(book, 8), active, width);
  quantize(hidden, active, 0);
  memory.copy(logits, load<u32>(book, 20), <usize>padded << 2);
  addProduct(logits, load<u32>(book, 16), active, padded);
  const end: usize = <usize>size << 2;
  let best: usize = 0;
  let highest = load<i32>(logits);
  for (let v: usize = 4; v < end; v += 4) {
    const value = load<i32>(logits + v);
    if (value > highest) {
      highest = value;
      best = v;
    }
  }
  let total: i64 = 0;
  for (let v: usize = 0; v < end; v += 4) {
    const step = min((highest - load<i32>(logits + v)) >> 5, lastEntry);
    const weight = load<i32>(table + (<usize>step << 2));
    store<i32>(shares + v, weight);
    total += weight;
  }
  const factor: i64 = ((TOTAL - <i64>size) << 28) / total;
  let left: i64 = TOTAL;
  for (let v: usize = 0; v < end; v += 4) {
    const share: i64 = 1 + ((<i64>load<i32>(shares + v) * factor) >> 28);
    store<i32>(shares + v, <i32>share);
    left -= share;
  }
  store<i32>(shares + best, load<i32>(shares + best) + <i32>left);
}

function begin(t: i32, nBooks: i32, codes: usize): void {
  memory.fill(h, 0, <usize>width << 2);
  if (t) {
    const before = codes + (<usize>((t - 1) * nBooks) << 1);
    for (let k: i32 = 0; k < nBooks; k++) {
      embed(load<u32>(books + <usize>k * BOOK), load<u16>(before + (<usize>k << 1)));
    }
  }
  context(t);
}

/** Decode a stream into `codes` [T * K]; returns the number of words taken so far, or -1 if there are too few. */
export function decode(codes: usize, nBooks: i32, nFrames: i32, words: usize, nWords: i32, nTaken: i32): i32 {
  for (let t: i32 = 0; t < nFrames; t++) {
    begin(t, nBooks, codes);
    for (let k: i32 = 0; k < nBooks; k++) {
      distribution(k);
      const slot = <i32>(state & MASK);
      let symbol: i32 = 0;
      let start: i32 = 0;
      let share = load<i32>(shares);
      while (start + share <= slot) {
        start += share;
        symbol++;
        share = load<i32>(shares + (<usize>symbol << 2));
      }
      state = <u64>share * (state >> 24) + <u64>(slot - start);
      store<u16>(codes + (<usize>(t * nBooks + k) << 1), <u16>symbol);
      embed(load<u32>(books + <usize>k * BOOK, 4), symbol);
      if (state < LOW) {
        if (nTaken == nWords) return -1;
        state = (state << 32) | <u64>load<u32>(words + (<usize>nTaken << 2));
        nTaken++;
      }
    }
  }
  return nTaken;
}

/** Write start and size of the interval of each code of a stream [T * K], as pairs. */
export function intervals(codes: usize, nBooks: i32, nFrames: i32, out: usize): void {
  for (let t: i32 = 0; t < nFrames; t++) {
    begin(t, nBooks, codes);
    for (let k: i32 = 0; k < nBooks; k++) {
      distribution(k);
      const symbol: i32 = load<u16>(codes + (<usize>(t * nBooks + k) << 1));
      let start: i32 = 0;
      for (let v: i32 = 0; v < symbol; v++) start += load<i32>(shares + (<usize>v << 2));
      store<i32>(out, start);
      store<i32>(out, load<i32>(shares + (<usize>symbol << 2)), 4);
      out += 8;
      embed(load<u32>(books + <usize>k * BOOK, 4), symbol);
    }
  }
}

/** Code n intervals, last to first, into words that end at `end`; returns where the words begin. */
export function encode(pairsOf: usize, n: i32, end: usize): usize {
  state = LOW;
  for (let i: i32 = n - 1; i >= 0; i--) {
    const start: u64 = load<u32>(pairsOf + (<usize>i << 3));
    const share: u64 = load<u32>(pairsOf + (<usize>i << 3), 4);
    if (state >= share << 39) {
      end -= 4;
      store<u32>(end, <u32>state);
      state >>= 32;
    }
    state = ((state / share) << 24) + (state % share) + start;
  }
  return end;
}
