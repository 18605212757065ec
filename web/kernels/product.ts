// Products of matrices in AssemblyScript, in float64. The caller places all arrays in memory.

/**
 * Write x [T, k] times the transpose of w [n, k], plus bias [n], to out [T, n]. All are in float64, but w is in float32.
 * k and n are even; `bias` may be 0.
 */
export function product(out: usize, x: usize, w: usize, bias: usize, nRows: i32, k: i32, n: i32): void {
  const xRow: usize = <usize>k << 3;
  const wRow: usize = <usize>k << 2;
  const outRow: usize = <usize>n << 3;
  for (let column: i32 = 0; column < n; column += 2) {
    const weights = w + <usize>column * wRow;
    const place = <usize>column << 3;
    const first = bias ? load<f64>(bias + place) : 0;
    const second = bias ? load<f64>(bias + place, 8) : 0;
    let row: i32 = 0;
    for (; row + 4 <= nRows; row += 4) {
      fourRows(out + <usize>row * outRow + place, outRow, x + <usize>row * xRow, xRow, weights, wRow, first, second);
    }
    for (; row < nRows; row++) oneRow(out + <usize>row * outRow + place, x + <usize>row * xRow, weights, wRow, first, second);
  }
}

function fourRows(out: usize, outRow: usize, x: usize, xRow: usize, w: usize, wRow: usize, first: f64, second: f64): void {
  if (ASC_FEATURE_SIMD) {
    let a0 = f64x2.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (const end = w + wRow; w < end; w += 8, x += 16) {
      const a = f64x2.promote_low_f32x4(v128.load64_zero(w));
      const b = f64x2.promote_low_f32x4(v128.load64_zero(w + wRow));
      const x0 = v128.load(x);
      a0 = f64x2.add(a0, f64x2.mul(a, x0));
      b0 = f64x2.add(b0, f64x2.mul(b, x0));
      const x1 = v128.load(x + xRow);
      a1 = f64x2.add(a1, f64x2.mul(a, x1));
      b1 = f64x2.add(b1, f64x2.mul(b, x1));
      const x2 = v128.load(x + 2 * xRow);
      a2 = f64x2.add(a2, f64x2.mul(a, x2));
      b2 = f64x2.add(b2, f64x2.mul(b, x2));
      const x3 = v128.load(x + 3 * xRow);
      a3 = f64x2.add(a3, f64x2.mul(a, x3));
      b3 = f64x2.add(b3, f64x2.mul(b, x3));
    }
    const bias = f64x2.replace_lane(f64x2.splat(first), 1, second);
    v128.store(out, f64x2.add(bias, sums(a0, b0)));
    v128.store(out + outRow, f64x2.add(bias, sums(a1, b1)));
    v128.store(out + 2 * outRow, f64x2.add(bias, sums(a2, b2)));
    v128.store(out + 3 * outRow, f64x2.add(bias, sums(a3, b3)));
  } else {
    for (let row: usize = 0; row < 4; row++) oneRow(out + row * outRow, x + row * xRow, w, wRow, first, second);
  }
}

/** The same order of additions as in `fourRows`, so that a frame has the same result in every block. */
function oneRow(out: usize, x: usize, w: usize, wRow: usize, first: f64, second: f64): void {
  let a0: f64 = 0, a1: f64 = 0, b0: f64 = 0, b1: f64 = 0;
  for (const end = w + wRow; w < end; w += 8, x += 16) {
    const even = load<f64>(x), odd = load<f64>(x, 8);
    a0 += <f64>load<f32>(w) * even;
    a1 += <f64>load<f32>(w, 4) * odd;
    b0 += <f64>load<f32>(w + wRow) * even;
    b1 += <f64>load<f32>(w + wRow, 4) * odd;
  }
  store<f64>(out, first + (a0 + a1));
  store<f64>(out, second + (b0 + b1), 8);
}

// @ts-ignore: decorator
@inline
function sums(a: v128, b: v128): v128 {
  return f64x2.add(v128.shuffle<f64>(a, b, 0, 2), v128.shuffle<f64>(a, b, 1, 3));
}
