/** The quantizer of split codecs: codes -> the decoder's latents. Some codebooks are for levels, the others for the shape. */

import { levelsOf, type SplitConfig } from "./config.js";
import { type Books, type Dequantizer, Quantizer } from "./quantizer.js";

export class SplitQuantizer implements Dequantizer {
  readonly width: number;

  constructor(
    private readonly config: SplitConfig,
    private readonly levels: Books,
    private readonly shape: Quantizer,
  ) {
    this.width = config.dimension + config.levelPlaces.length * levelsOf(config) + 2;
  }

  /** Load the codebooks that codes of the first `n` need. */
  async ensure(n: number): Promise<void> {
    const nLevels = this.config.levelPlaces.filter((place) => place < n).length;
    await Promise.all([this.levels.ensure(nLevels), this.shape.ensure(n - nLevels)]);
  }

  /**
   * Write one stream's latents to `out` [T, width] from `at` on: the shape, an entry of each level codebook, and which shares
   * of both kinds of codebooks the codes hold. All are zero without codes, in lost frames.
   */
  decode(codes: Uint16Array, rows: number, first: number, k: number, nFrames: number, out: Float32Array, at: number): void {
    const { levels, shape, width } = this;
    const { dimension, nCodebooks, levelPlaces } = this.config;
    const places = levelPlaces.filter((place) => place < k);
    const others = Array.from({ length: k }, (_, place) => place).filter((place) => !places.includes(place));
    const target = out.subarray(at, at + nFrames * width).fill(0);
    shape.add(codes, rows, others.map((place) => first + place), target, width);
    for (let t = 0; t < nFrames; t++) {
      places.forEach((place, b) => {
        target.set(levels.entry(b, codes[t * rows + first + place]), t * width + dimension + b * levels.dimension);
      });
      target[(t + 1) * width - 2] = places.length / levelPlaces.length;
      target[(t + 1) * width - 1] = others.length / (nCodebooks - levelPlaces.length);
    }
  }
}
