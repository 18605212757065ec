/** Finds the nearest entries of codebooks; this is the reference, and the fallback where WebAssembly is missing. */

/** Return the nearest entry of a codebook [V, D] to x [D], decided in float64. Ties: the lowest. */
export type Nearest = (book: Float32Array, x: Float64Array) => number;

const known = new WeakMap<Float32Array, Float64Array>();

/** Half the squares of the lengths of a codebook's entries [V]. */
export function halfNorms(book: Float32Array, dimension: number): Float64Array {
  const norms = new Float64Array(book.length / dimension);
  for (let v = 0, at = 0; v < norms.length; v++) {
    let sum = 0;
    for (let i = 0; i < dimension; i++, at++) sum += book[at] * book[at];
    norms[v] = 0.5 * sum;
  }
  return norms;
}

export const plainNearest: Nearest = (book, x) => {
  const d = x.length;
  const norms = known.get(book) ?? halfNorms(book, d);
  known.set(book, norms);
  let best = 0;
  let most = -Infinity;
  for (let v = 0, at = 0; v < norms.length; v++) {
    let score = -norms[v];
    for (let i = 0; i < d; i++, at++) score += x[i] * book[at];
    if (score > most) {
      best = v;
      most = score;
    }
  }
  return best;
};
