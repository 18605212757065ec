/** The Fourier transform of real frames of one length, in float64. A frame's result does not depend on other frames. */

const RADICES = [4, 3, 5, 2, 7, 11, 13];

export class RealTransform {
  private readonly half: number; // the frame's length as complex numbers: even samples are their real parts
  private readonly cosine: Float64Array; // of the turns of the frame's length
  private readonly sine: Float64Array;
  private readonly real: Float64Array; // of the transform of these complex numbers
  private readonly imaginary: Float64Array;
  private readonly part: Float64Array; // scratch for one butterfly

  constructor(readonly length: number) {
    this.half = length / 2;
    this.cosine = new Float64Array(length).map((_, k) => Math.cos((2 * Math.PI * k) / length));
    this.sine = new Float64Array(length).map((_, k) => -Math.sin((2 * Math.PI * k) / length));
    this.real = new Float64Array(this.half);
    this.imaginary = new Float64Array(this.half);
    this.part = new Float64Array(length);
  }

  /** Write the first bins of a frame [length] to `real` and `imaginary`, which hold at most length / 2 + 1. */
  run(frame: Float64Array, real: Float64Array, imaginary: Float64Array): void {
    const { half, cosine, sine, real: re, imaginary: im } = this;
    this.transform(frame, 0, 1, half, 0);
    for (let k = 0; k < real.length; k++) {
      const a = k % half;
      const b = (half - k) % half;
      const evenRe = 0.5 * (re[a] + re[b]);
      const evenIm = 0.5 * (im[a] - im[b]);
      const oddRe = 0.5 * (im[a] + im[b]);
      const oddIm = 0.5 * (re[b] - re[a]);
      real[k] = evenRe + cosine[k] * oddRe - sine[k] * oddIm;
      imaginary[k] = evenIm + cosine[k] * oddIm + sine[k] * oddRe;
    }
  }

  /** Transform n complex numbers of a frame, from number `from` on at distances `stride`, to those from `to` on. */
  private transform(frame: Float64Array, from: number, stride: number, n: number, to: number): void {
    const { real, imaginary } = this;
    if (n === 1) {
      real[to] = frame[2 * from];
      imaginary[to] = frame[2 * from + 1];
      return;
    }
    const radix = RADICES.find((p) => n % p === 0) ?? n;
    const m = n / radix;
    for (let q = 0; q < radix; q++) this.transform(frame, from + q * stride, stride * radix, m, to + q * m);
    for (let k = 0; k < m; k++) this.butterfly(radix, m, k, to + k);
  }

  /** Combine the numbers at `at`, `at` + m, ... of `radix` transforms of length m. */
  private butterfly(radix: number, m: number, k: number, at: number): void {
    const { real, imaginary, cosine, sine, part, length } = this;
    const turn = length / (radix * m);
    for (let r = 0; r < radix; r++) {
      let sumRe = real[at];
      let sumIm = imaginary[at];
      const step = ((k + r * m) * turn) % length;
      for (let q = 1, place = step; q < radix; q++) {
        const c = cosine[place];
        const s = sine[place];
        const re = real[at + q * m];
        const im = imaginary[at + q * m];
        sumRe += re * c - im * s;
        sumIm += re * s + im * c;
        place += step;
        if (place >= length) place -= length;
      }
      part[2 * r] = sumRe;
      part[2 * r + 1] = sumIm;
    }
    for (let r = 0; r < radix; r++) {
      real[at + r * m] = part[2 * r];
      imaginary[at + r * m] = part[2 * r + 1];
    }
  }
}
