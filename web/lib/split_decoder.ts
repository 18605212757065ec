/** Latents -> samples of split codecs, block by block. The noise that the graphs take depends on the numbers of frames. */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import { levelsOf, type SplitConfig } from "./config.js";
import { joinSamples, MOST_FRAMES, rows, type Decoder } from "./decoder.js";
import type { Model } from "./model.js";
import { fillNoise, STREAM_FRAMES } from "./noise.js";

const FLOOR = -88; // dB, of the lowest level
const OVERLAP = 3; // windows of the last layer that cover each sample

/** Decodes S streams of a file together. */
export class SplitDecoder implements Decoder {
  private readonly state: Record<string, Tensor>;
  private readonly nEarly: number; // windows of the last layer that end before the signal does
  private nFrames = 0;
  private ending: Tensor | null = null; // what ends the core if the signal ends here

  constructor(
    private readonly model: Model,
    private readonly config: SplitConfig,
    private readonly session: InferenceSession,
    private readonly nStreams: number,
    private readonly firstFrame: number,
  ) {
    const step = this.coreHop / config.steps;
    this.nEarly = Math.ceil(this.coreHop / 2 / step);
    this.state = this.firstState(step);
  }

  private get coreHop(): number {
    return this.config.hopLength / this.config.coreFactor;
  }

  private firstState(step: number): Record<string, Tensor> {
    const { config, coreHop: hop, nEarly } = this;
    const state: Record<string, Tensor> = {};
    for (let i = 0; i < config.decoderDepth; i++) state[`past.${i}`] = this.filled(0, config.kernelSize - 1, config.decoderWidth);
    state.entries = this.filled(0, config.levelTaps, config.levelPlaces.length * levelsOf(config));
    state.overlap = this.filled(0, OVERLAP - 1, step * config.coreFactor);
    state.tail = this.filled(0, config.nGroups + 1, hop);
    if (config.gainPoints) state.gain = this.filled(0, 1, config.nGroups, 1);
    state.samples = this.filled(0, (nEarly + 2) * step - hop / 2);
    state.first = this.filled(1, 1);
    const [nLevels, nTargets] = [config.bands + config.topBands, 2 * config.bands + config.topBands];
    state.targets = this.filled(0, nEarly + 1, nTargets);
    const targets = state.targets.data as Float32Array;
    for (let s = 0; s < this.nStreams; s++) {
      for (let w = s * (nEarly + 1); w < s * (nEarly + 1) + nEarly; w++) targets.fill(FLOOR, w * nTargets, w * nTargets + nLevels);
    }
    return state;
  }

  private filled(value: number, ...shape: number[]): Tensor {
    const dims = [this.nStreams, ...shape];
    return this.tensor(new Float32Array(dims.reduce((a, b) => a * b)).fill(value), dims);
  }

  private tensor(values: Float32Array, dims: number[]): Tensor {
    return new this.model.ort.Tensor("float32", values, dims);
  }

  async push(latents: Float32Array, nFrames: number): Promise<Float32Array[]> {
    const parts: Float32Array[][] = [];
    for (let first = 0; first < nFrames; first += MOST_FRAMES) {
      const stop = Math.min(first + MOST_FRAMES, nFrames);
      const width = latents.length / (this.nStreams * nFrames);
      parts.push(await this.step(rows(latents, this.nStreams, nFrames, width, first, stop), stop - first));
    }
    return Array.from({ length: this.nStreams }, (_, s) => joinSamples(parts.map((part) => part[s])));
  }

  async finish(): Promise<Float32Array[]> {
    const { state, ending, nEarly } = this;
    if (!ending) return Array.from({ length: this.nStreams }, () => new Float32Array(0));
    const found = await this.model.run(await this.model.session("end"), {
      ending, samples: state.samples, targets: state.targets, overlap: state.overlap, ...this.hiss(nEarly + 2),
    });
    return this.cut(found.wav.data as Float32Array);
  }

  private async step(latents: Float32Array, n: number): Promise<Float32Array[]> {
    const { config, state } = this;
    const feeds: Record<string, Tensor> = { ...state, ...this.hiss(n * config.steps) };
    feeds.latents = this.tensor(latents, [this.nStreams, n, latents.length / (this.nStreams * n)]);
    const size = 2 * this.coreHop;
    const noise = new Float32Array(this.nStreams * n * size);
    for (let i = 0; i < this.nStreams * n; i++) {
      fillNoise(noise.subarray(i * size, (i + 1) * size), this.frame(Math.floor(i / n)) + (i % n), 0, 0);
    }
    feeds.noise = this.tensor(noise, [this.nStreams, n, size]);
    const found = await this.model.run(this.session, feeds);
    for (const name of Object.keys(state)) state[name] = found[`${name}.out`] as Tensor;
    this.ending = found.ending as Tensor;
    const wavs = this.cut(found.wav.data as Float32Array);
    this.nFrames += n;
    return wavs;
  }

  /** The number by which the next frame of a stream gets its noise. */
  private frame(stream: number): number {
    return this.firstFrame + this.nFrames + stream * STREAM_FRAMES;
  }

  /** The noise of the bands above the core, for the next `n` windows of the last layer; nothing if there are no such bands. */
  private hiss(n: number): Record<string, Tensor> {
    const { steps, coreFactor } = this.config;
    if (coreFactor === 1) return {};
    const window = (OVERLAP * this.coreHop) / steps;
    const [above, all] = [((coreFactor - 1) * window) / 2 + 1, (window * coreFactor) / 2 + 1]; // bins
    const values = new Float32Array(this.nStreams * n * 2 * above);
    for (let i = 0; i < this.nStreams * n * 2; i++) {
      const part = i % 2; // the real one, then the imaginary one
      const number = this.frame(Math.floor(i / (2 * n))) * steps - this.nEarly + (Math.floor(i / 2) % n);
      fillNoise(values.subarray(i * above, (i + 1) * above), number, 1, (part + 1) * all - above);
    }
    return { hiss: this.tensor(values, [this.nStreams, n, 2 * above]) };
  }

  /** Cut a result into streams, without what comes before the signal. */
  private cut(wav: Float32Array): Float32Array[] {
    const { hopLength, steps } = this.config;
    const nDropped = (this.nEarly + OVERLAP - 1) * (hopLength / steps);
    const n = wav.length / this.nStreams;
    const skip = Math.min(n, Math.max(0, nDropped - this.nFrames * hopLength));
    return Array.from({ length: this.nStreams }, (_, s) => wav.slice(s * n + skip, (s + 1) * n));
  }
}
