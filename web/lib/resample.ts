/** Change the sample rate of a stream with a windowed sinc. The output does not depend on how the input is cut. */

import { resampledLength } from "./timing.js";

const CROSSINGS = 64; // of the sinc on each side of its middle, at the lower rate
const BETA = 14; // of the Kaiser window: 140 dB
const MOST_PHASES = 1024;

export class Resampler {
  private readonly up: number;
  private readonly down: number;
  private readonly half: number; // taps on each side, at the input's rate
  private readonly phases: Float32Array[] = [];
  private held: Float32Array; // input from sample `first` on
  private first: number;
  private nIn = 0;
  private nOut = 0;

  constructor(
    private readonly fromRate: number,
    private readonly toRate: number,
  ) {
    const common = gcd(fromRate, toRate);
    [this.up, this.down] = [toRate / common, fromRate / common];
    this.half = Math.ceil((CROSSINGS * fromRate) / Math.min(fromRate, toRate));
    this.held = new Float32Array(this.half); // silence before the signal
    this.first = -this.half;
  }

  /** Return the samples that these complete; with `isLast`, all that are left. */
  push(input: Float32Array, isLast = false): Float32Array {
    if (this.fromRate === this.toRate) return input;
    this.nIn += input.length;
    const tail = isLast ? this.half + 1 : 0;
    const known = new Float32Array(this.held.length + input.length + tail);
    known.set(this.held);
    known.set(input, this.held.length);
    const end = this.first + known.length;
    const ready = Math.max(this.nOut, Math.ceil(((end - this.half - 1) * this.up) / this.down));
    const stop = isLast ? resampledLength(this.nIn, this.fromRate, this.toRate) : ready;
    const out = new Float32Array(Math.max(stop - this.nOut, 0));
    for (let i = 0; i < out.length; i++) out[i] = this.at(known, this.nOut + i);
    this.nOut += out.length;
    const from = Math.max(Math.floor((this.nOut * this.down) / this.up) - this.half, this.first);
    this.held = known.slice(from - this.first);
    this.first = from;
    return out;
  }

  private at(known: Float32Array, m: number): number {
    const numerator = m * this.down;
    const place = Math.floor(numerator / this.up);
    const taps = this.phase(numerator - place * this.up);
    const start = place - this.half + 1 - this.first;
    let sum = 0;
    for (let i = 0; i < taps.length; i++) sum += taps[i] * (known[start + i] ?? 0);
    return sum;
  }

  /** The taps for an output that lies `part` / `up` input samples after one of the input. */
  private phase(part: number): Float32Array {
    const coarse = this.up <= MOST_PHASES ? part : Math.round((part * MOST_PHASES) / this.up);
    const known = this.phases[coarse];
    if (known) return known;
    const shift = this.up <= MOST_PHASES ? part / this.up : coarse / MOST_PHASES;
    const ratio = Math.min(1, this.toRate / this.fromRate) * 0.97; // the transition band ends at the lower rate's limit
    const taps = new Float32Array(2 * this.half);
    for (let i = 0; i < taps.length; i++) {
      const x = i - this.half + 1 - shift;
      taps[i] = ratio * sinc(ratio * x) * kaiser(x / this.half);
    }
    this.phases[coarse] = taps;
    return taps;
  }
}

function gcd(a: number, b: number): number {
  return b ? gcd(b, a % b) : a;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x: number): number {
  return Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA);
}

/** The modified Bessel function of order zero. */
function bessel(x: number): number {
  let term = 1;
  let total = 1;
  for (let n = 1; term > 1e-12 * total; n++) {
    term *= (x / (2 * n)) ** 2;
    total += term;
  }
  return total;
}
