/** Exact conversions between samples and frames. */

export function ceilDiv(a: number, b: number): number {
  return Math.ceil(a / b) === a / b ? a / b : Number((BigInt(a) + BigInt(b) - 1n) / BigInt(b));
}

/** Return how many samples at `toRate` cover `nSamples` at `fromRate`; exact, also above 2^53. */
export function resampledLength(nSamples: number, fromRate: number, toRate: number): number {
  return Number((BigInt(nSamples) * BigInt(toRate) + BigInt(fromRate) - 1n) / BigInt(fromRate));
}

/** Return the bits of one code in [0, codebookSize). */
export function codeBits(codebookSize: number): number {
  return 32 - Math.clz32(codebookSize - 1);
}
