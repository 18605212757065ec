/** Latents -> samples, block by block, with the state that the decoder's graph keeps between two calls. */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import type { HybridConfig } from "./config.js";
import type { Model } from "./model.js";
import { fillNoise, STREAM_FRAMES } from "./noise.js";

export const MOST_FRAMES = 100; // per run of the graph

/** Decodes S streams of a file together. */
export interface Decoder {
  /** Decode latents [S, T, width]; returns the samples of each stream that no later frame changes. */
  push(latents: Float32Array, nFrames: number): Promise<Float32Array[]>;
  /** Return the rest of the signal. */
  finish(): Promise<Float32Array[]>;
}

/** The decoder of codecs of nano-24k's kind. */
export class HybridDecoder implements Decoder {
  private state: Record<string, Tensor> = {};
  private held: Float32Array; // [S, n, D]: frames that wait for the next one
  private nHeld = 0;
  private rest: Float32Array | null = null; // [S, hop / 2]: what follows if the signal ends here

  constructor(
    private readonly model: Model,
    private readonly config: HybridConfig,
    private readonly session: InferenceSession,
    private readonly nStreams: number,
    private frame = 0, // number of the next frame in the whole signal
  ) {
    this.held = new Float32Array(0);
    const { decoderDepth, decoderWidth, kernelSize, hopLength } = config;
    for (let i = 0; i < decoderDepth; i++) this.state[`past.${i}`] = this.zeros(kernelSize - 1, decoderWidth);
    this.state.tail = this.zeros(hopLength);
    const edge = this.zeros(hopLength);
    for (let s = 0; s < nStreams; s++) (edge.data as Float32Array).set(firstEdge(hopLength), s * hopLength);
    this.state.edge = edge;
  }

  private zeros(...shape: number[]): Tensor {
    const dims = [this.nStreams, ...shape];
    return new this.model.ort.Tensor("float32", new Float32Array(dims.reduce((a, b) => a * b)), dims);
  }

  async push(latents: Float32Array, nFrames: number): Promise<Float32Array[]> {
    const { dimension: d, lookahead } = this.config;
    const known = this.joined(latents, nFrames);
    const nKnown = this.nHeld + nFrames;
    const nReady = Math.max(0, nKnown - lookahead);
    const parts: Float32Array[][] = [];
    for (let first = 0; first < nReady; first += MOST_FRAMES) {
      const stop = Math.min(first + MOST_FRAMES, nReady);
      parts.push(await this.step(rows(known, this.nStreams, nKnown, d, first, stop + lookahead), stop + lookahead - first));
    }
    this.held = rows(known, this.nStreams, nKnown, d, nReady, nKnown);
    this.nHeld = nKnown - nReady;
    return this.collect(parts);
  }

  async finish(): Promise<Float32Array[]> {
    const { dimension, lookahead, hopLength } = this.config;
    const silence = lookahead && this.nHeld ? 1 : 0;
    const last = await this.push(new Float32Array(this.nStreams * silence * dimension), silence);
    const { rest } = this;
    if (!rest) return last;
    const half = hopLength / 2;
    return last.map((samples, s) => {
      const out = new Float32Array(samples.length + half);
      out.set(samples);
      out.set(rest.subarray(s * half, (s + 1) * half), samples.length);
      return out;
    });
  }

  private joined(latents: Float32Array, nFrames: number): Float32Array {
    if (!this.nHeld) return latents;
    const d = this.config.dimension;
    const whole = new Float32Array(this.held.length + latents.length);
    for (let s = 0; s < this.nStreams; s++) {
      const at = s * (this.nHeld + nFrames) * d;
      whole.set(this.held.subarray(s * this.nHeld * d, (s + 1) * this.nHeld * d), at);
      whole.set(latents.subarray(s * nFrames * d, (s + 1) * nFrames * d), at + this.nHeld * d);
    }
    return whole;
  }

  private async step(latents: Float32Array, nFrames: number): Promise<Float32Array[]> {
    const { config } = this;
    const { ort } = this.model;
    const feeds: Record<string, Tensor> = { ...this.state };
    feeds.latents = new ort.Tensor("float32", latents, [this.nStreams, nFrames, config.dimension]);
    if (config.lookahead) feeds.held = new ort.Tensor("float32", new Float32Array(0), [this.nStreams, 0, config.dimension]);
    const n = nFrames - config.lookahead;
    if (config.noiseSize) feeds.noise = this.noise(n, config.noiseSize);
    this.frame += n;
    const found = await this.model.run(this.session, feeds);
    for (const name of Object.keys(this.state)) this.state[name] = found[`${name}.out`] as Tensor;
    const wav = found.wav.data as Float32Array;
    const skip = this.rest ? 0 : config.hopLength / 2; // what comes before the signal
    this.rest = found.rest.data as Float32Array;
    const nSamples = wav.length / this.nStreams;
    return Array.from({ length: this.nStreams }, (_, s) => wav.slice(s * nSamples + skip, (s + 1) * nSamples));
  }

  /** The noise of the next `n` frames of each stream. */
  private noise(n: number, size: number): Tensor {
    const values = new Float32Array(this.nStreams * n * size);
    for (let i = 0; i < this.nStreams * n; i++) {
      const number = this.frame + (i % n) + Math.floor(i / n) * STREAM_FRAMES;
      fillNoise(values.subarray(i * size, (i + 1) * size), number, 0, 0);
    }
    return new this.model.ort.Tensor("float32", values, [this.nStreams, n, size]);
  }

  private collect(parts: Float32Array[][]): Float32Array[] {
    return Array.from({ length: this.nStreams }, (_, s) => joinSamples(parts.map((part) => part[s])));
  }
}

/** Join blocks of samples. */
export function joinSamples(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0];
  const out = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Frames [first, stop) of each of S streams [S, T, D]. */
export function rows(values: Float32Array, nStreams: number, nFrames: number, d: number, first: number, stop: number): Float32Array {
  const out = new Float32Array(nStreams * (stop - first) * d);
  for (let s = 0; s < nStreams; s++) {
    out.set(values.subarray((s * nFrames + first) * d, (s * nFrames + stop) * d), s * (stop - first) * d);
  }
  return out;
}

/** The first state `edge`: the gain that the first long block lacks, minus one. */
function firstEdge(hop: number): Float32Array {
  const edge = new Float32Array(hop);
  for (let n = hop >> 1; n < hop; n++) {
    const quarter = Math.fround(Math.sin((Math.PI / (2 * hop)) * (n + 0.5)));
    edge[n] = Math.fround(1 / Math.fround(quarter * quarter)) - 1;
  }
  return edge;
}
