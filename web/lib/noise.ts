/** Noise that depends only on a frame's number: the same in Python, in every span, and in every stream. */

export const STREAM_FRAMES = 2 ** 30; // the second stream of a file has the noise of the frames from this one on
const UNIT = Math.fround(Math.sqrt(3));

/** A bijection of 32-bit integers in which every output bit depends on every input bit. */
function mixed(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * Fill `out` with noise of unit power, uniform and in float32: the values from `position` on of the frame `number`, which may
 * be negative. Each `stream` differs.
 */
export function fillNoise(out: Float32Array, number: number, stream: number, position: number): void {
  const seed = mixed((Math.imul(number, 0x9e3779b1) + Math.imul(stream, 0x85ebca77)) | 0);
  for (let i = 0; i < out.length; i++) {
    const h = mixed((seed + position + i) | 0);
    out[i] = Math.fround(Math.fround(h) * 2 ** -31 - 1) * UNIT;
  }
}
