// The nearest entry of a codebook in AssemblyScript. lib/nearest.ts computes the same in plain TypeScript.
//
// The caller places all arrays in memory. The dimension d is padded with zeros to a multiple of 4, and V is one.

const TOLERANCE: f64 = 2 * 128 * 2 ** -24; // of scores in float32, as in codec/quantize/common.py

/**
 * Return the nearest entry of a codebook [V, d] in float32 to x [d] in float64: decided in float32 if that decides it, otherwise
 * in float64. Ties: the lowest. `norms` [V] are half the squares of the entries' lengths, `reach` is the greatest length.
 * `narrow` [d] and `scores` [V] are scratch memory, in float32.
 */
export function nearest(book: usize, norms: usize, size: i32, d: i32, reach: f64, x: usize, narrow: usize, scores: usize): i32 {
  const row: usize = <usize>d << 2;
  let square: f32 = 0;
  for (let i: usize = 0; i < row; i += 4) {
    const value = <f32>load<f64>(x + (i << 1));
    store<f32>(narrow + i, value);
    square += value * value;
  }
  for (let v: i32 = 0; v < size; v += 4) scoreFour(book + <usize>v * row, row, narrow, scores + (<usize>v << 2), norms + (<usize>v << 3));
  const best = highest(scores, size);
  const least = <f32>(<f64>load<f32>(scores + (<usize>best << 2)) - TOLERANCE * reach * (<f64>sqrt<f32>(square) + reach));
  let found = -1;
  let most: f64 = 0;
  let nClose: i32 = 0;
  for (let v: i32 = 0; v < size; v++) nClose += i32(load<f32>(scores + (<usize>v << 2)) >= least);
  if (nClose < 2) return best;
  for (let v: i32 = 0; v < size; v++) {
    if (load<f32>(scores + (<usize>v << 2)) < least) continue;
    const score = exact(book + <usize>v * row, row, x) - load<f64>(norms + (<usize>v << 3));
    if (found < 0 || score > most) {
      found = v;
      most = score;
    }
  }
  return found;
}

function highest(scores: usize, size: i32): i32 {
  let best: i32 = 0;
  let most = load<f32>(scores);
  for (let v: i32 = 1; v < size; v++) {
    const score = load<f32>(scores + (<usize>v << 2));
    if (score > most) {
      best = v;
      most = score;
    }
  }
  return best;
}

/** Write the scores of four entries in float32. */
function scoreFour(at: usize, row: usize, x: usize, scores: usize, norms: usize): void {
  const end = at + row;
  if (ASC_FEATURE_SIMD) {
    let a = f32x4.splat(0), b = a, c = a, d = a;
    for (; at < end; at += 16, x += 16) {
      const value = v128.load(x);
      a = f32x4.add(a, f32x4.mul(v128.load(at), value));
      b = f32x4.add(b, f32x4.mul(v128.load(at + row), value));
      c = f32x4.add(c, f32x4.mul(v128.load(at + 2 * row), value));
      d = f32x4.add(d, f32x4.mul(v128.load(at + 3 * row), value));
    }
    store<f32>(scores, sum(a) - <f32>load<f64>(norms));
    store<f32>(scores, sum(b) - <f32>load<f64>(norms, 8), 4);
    store<f32>(scores, sum(c) - <f32>load<f64>(norms, 16), 8);
    store<f32>(scores, sum(d) - <f32>load<f64>(norms, 24), 12);
  } else {
    let a: f32 = 0, b: f32 = 0, c: f32 = 0, d: f32 = 0;
    for (; at < end; at += 4, x += 4) {
      const value = load<f32>(x);
      a += load<f32>(at) * value;
      b += load<f32>(at + row) * value;
      c += load<f32>(at + 2 * row) * value;
      d += load<f32>(at + 3 * row) * value;
    }
    store<f32>(scores, a - <f32>load<f64>(norms));
    store<f32>(scores, b - <f32>load<f64>(norms, 8), 4);
    store<f32>(scores, c - <f32>load<f64>(norms, 16), 8);
    store<f32>(scores, d - <f32>load<f64>(norms, 24), 12);
  }
}

// @ts-ignore: decorator
@inline
function sum(x: v128): f32 {
  return f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1) + (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3));
}

/** Return the product of an entry and x in float64. */
function exact(at: usize, row: usize, x: usize): f64 {
  let total: f64 = 0;
  for (const end = at + row; at < end; at += 4, x += 8) total += <f64>load<f32>(at) * load<f64>(x);
  return total;
}
