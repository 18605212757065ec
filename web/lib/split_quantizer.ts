/** The quantizer of split codecs: codes <-> latents. Some codebooks are for levels, the others for the shape. */

import { levelsOf, type SplitConfig } from "./config.js";
import type { Nearest } from "./nearest.js";
import { type Books, type Dequantizer, Quantizer } from "./quantizer.js";

export class SplitQuantizer implements Dequantizer {
  readonly width: number;

  constructor(
    private readonly config: SplitConfig,
    readonly levels: Books,
    private readonly shape: Quantizer,
  ) {
    this.width = config.dimension + config.levelPlaces.length * levelsOf(config) + 2;
  }

  /** Load the codebooks that codes of the first `n` need. */
  async ensure(n: number): Promise<void> {
    const { places, others } = this.split(n);
    await Promise.all([this.levels.ensure(places.length), this.shape.ensure(others.length)]);
  }

  /** The positions of level codebooks among the first `n` codebooks, and those of the shape. */
  split(n: number): { places: number[]; others: number[] } {
    const places = this.config.levelPlaces.filter((place) => place < n);
    return { places, others: Array.from({ length: n }, (_, place) => place).filter((place) => !places.includes(place)) };
  }

  /** Return codes frame by frame [T * k] of shapes [T, D] in float64, and of the codes of their levels [T * L]. */
  encode(latents: Float64Array, levels: Uint16Array, k: number, nearest: Nearest): Uint16Array {
    const { places, others } = this.split(k);
    const shape = this.shape.encode(latents, others.length, nearest);
    const nFrames = levels.length / places.length;
    const codes = new Uint16Array(nFrames * k);
    for (let t = 0; t < nFrames; t++) {
      places.forEach((place, b) => (codes[t * k + place] = levels[t * places.length + b]));
      others.forEach((place, b) => (codes[t * k + place] = shape[t * others.length + b]));
    }
    return codes;
  }

  /**
   * Write one stream's latents to `out` [T, width] from `at` on: the shape, an entry of each level codebook, and which shares
   * of both kinds of codebooks the codes hold. All are zero without codes, in lost frames.
   */
  decode(codes: Uint16Array, rows: number, first: number, k: number, nFrames: number, out: Float32Array, at: number): void {
    const { levels, shape, width } = this;
    const { dimension, nCodebooks, levelPlaces } = this.config;
    const { places, others } = this.split(k);
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
