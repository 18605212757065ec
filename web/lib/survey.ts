/** The picture of a file: its loudest samples and the levels of bands, for columns of time. */

export const BANDS = 48;
const SIZE = 512; // samples of a transform
const LOWEST = 60; // Hz
const FLOOR = -96; // dB

export class Picture {
  private readonly edges: number[];
  private readonly real = new Float64Array(SIZE);
  private readonly imaginary = new Float64Array(SIZE);
  private readonly window = Float64Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));

  constructor(sampleRate: number) {
    const top = sampleRate / 2;
    const low = Math.min(LOWEST, top / 2);
    this.edges = Array.from({ length: BANDS + 1 }, (_, b) => (low * (top / low) ** (b / BANDS) * SIZE) / sampleRate);
  }

  /** Return the loudest sample, and write the levels of the bands, of one column. */
  column(channels: Float32Array[], from: number, to: number, levels: Uint8Array): number {
    let peak = 0;
    for (const samples of channels) for (let i = from; i < to; i++) peak = Math.max(peak, Math.abs(samples[i]));
    const start = Math.min(Math.max(0, ((from + to - SIZE) >> 1)), Math.max(0, channels[0].length - SIZE));
    for (let i = 0; i < SIZE; i++) {
      let value = 0;
      for (const samples of channels) value += samples[start + i] ?? 0;
      this.real[i] = (value / channels.length) * this.window[i];
      this.imaginary[i] = 0;
    }
    transform(this.real, this.imaginary);
    for (let b = 0; b < BANDS; b++) levels[b] = this.level(this.edges[b], this.edges[b + 1]);
    return peak;
  }

  private level(from: number, to: number): number {
    let power = 1e-20;
    const first = Math.floor(from);
    const last = Math.max(first, Math.ceil(to) - 1);
    for (let k = first; k <= last; k++) power = Math.max(power, this.real[k] ** 2 + this.imaginary[k] ** 2);
    const level = 10 * Math.log10(power / (SIZE / 4) ** 2);
    return Math.round(255 * Math.min(Math.max(1 - level / FLOOR, 0), 1));
  }
}

/** A fast Fourier transform in place; the length is a power of two. */
function transform(real: Float64Array, imaginary: Float64Array): void {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j |= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const angle = (-2 * Math.PI) / size;
    for (let k = 0; k < size / 2; k++) {
      const [c, s] = [Math.cos(angle * k), Math.sin(angle * k)];
      for (let i = k; i < n; i += size) {
        const j = i + size / 2;
        const re = real[j] * c - imaginary[j] * s;
        const im = real[j] * s + imaginary[j] * c;
        [real[j], imaginary[j]] = [real[i] - re, imaginary[i] - im];
        real[i] += re;
        imaginary[i] += im;
      }
    }
  }
}
