/** Samples -> codes, block by block, with the state that the encoder's graph keeps between two calls. Computes in float64. */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import type { HybridConfig } from "./config.js";
import { MOST_FRAMES } from "./decoder.js";
import type { Model } from "./model.js";
import type { Nearest } from "./nearest.js";
import type { Quantizer } from "./quantizer.js";

/** Encodes S streams of a file together. */
export interface Encoder {
  /** Return the codes of each stream, frame by frame [T * K], of the frames that these samples complete; with `isLast`, of all. */
  push(streams: Float32Array[], isLast?: boolean): Promise<Uint16Array[]>;
}

/** The encoder of codecs of nano-24k's kind. `nCodebooks` is the K of each stream. */
export class HybridEncoder implements Encoder {
  private state: Record<string, Tensor>;
  private readonly cutter: FrameCutter;

  constructor(
    private readonly model: Model,
    config: HybridConfig,
    private readonly session: InferenceSession,
    private readonly quantizer: Quantizer,
    private readonly nCodebooks: readonly number[],
    private readonly nearest: Nearest,
  ) {
    this.cutter = new FrameCutter(nCodebooks.length, config.hopLength, config.encoderWindow * config.hopLength);
    this.state = firstState(model, config, nCodebooks.length);
  }

  async push(streams: Float32Array[], isLast = false): Promise<Uint16Array[]> {
    const parts: Uint16Array[][] = [];
    for (const block of this.cutter.push(streams, isLast)) parts.push(await this.step(block));
    return this.nCodebooks.map((_, s) => joinCodes(parts.map((part) => part[s])));
  }

  private async step(block: Float32Array[]): Promise<Uint16Array[]> {
    const found = await this.model.run(this.session, { ...this.state, ...samplesOf(this.model, block) });
    for (const name of Object.keys(this.state)) this.state[name] = found[`${name}.out`] as Tensor;
    const latents = found.latents.data as Float64Array;
    return this.nCodebooks.map((k, s) => this.quantizer.encode(ofStream(latents, s, block.length), k, this.nearest));
  }
}

/** Cuts the samples of S streams into blocks of frames. A frame is seen through a window around it, at first with silence before. */
export class FrameCutter {
  private samples: Float32Array[]; // received ones that later frames need
  private readonly context: number; // samples that a frame needs before its start, and after its end

  constructor(
    nStreams: number,
    private readonly hop: number,
    private readonly window: number,
  ) {
    this.context = (window - hop) / 2;
    this.samples = Array.from({ length: nStreams }, () => new Float32Array(this.context));
  }

  /** Return the windows of the frames that these samples complete, of at most MOST_FRAMES at a time; with `isLast`, of all. */
  push(streams: Float32Array[], isLast: boolean): Float32Array[][] {
    const { hop, window, context } = this;
    let known = this.samples.map((before, s) => joined(before, streams[s], 0));
    if (isLast) {
      const ragged = (known[0].length - context) % hop;
      known = known.map((samples) => joined(samples, new Float32Array(0), (ragged ? hop - ragged : 0) + context));
    }
    const nFrames = Math.max(0, Math.floor((known[0].length - window) / hop) + 1);
    const blocks: Float32Array[][] = [];
    for (let first = 0; first < nFrames; first += MOST_FRAMES) {
      const stop = Math.min(first + MOST_FRAMES, nFrames);
      blocks.push(known.map((samples) => samples.subarray(first * hop, (stop - 1) * hop + window)));
    }
    this.samples = known.map((samples) => samples.slice(nFrames * hop));
    return blocks;
  }
}

/** The state of an encoder's graph before the first frame. */
function firstState({ ort }: Model, { kernelSize, encoderWidth, encoderDepth }: HybridConfig, nStreams: number): Record<string, Tensor> {
  const dims = [nStreams, kernelSize - 1, encoderWidth];
  const zeros = () => new ort.Tensor("float64", new Float64Array(dims[0] * dims[1] * dims[2]), dims);
  return Object.fromEntries(Array.from({ length: encoderDepth }, (_, i) => [`past.${i}`, zeros()]));
}

/** The samples of each stream as inputs of an encoder's graph. */
function samplesOf({ ort }: Model, block: Float32Array[]): Record<string, Tensor> {
  const n = block[0].length;
  const wav = new Float32Array(n * block.length);
  block.forEach((samples, s) => wav.set(samples, s * n));
  return {
    wav: new ort.Tensor("float32", wav, [block.length, 1, n]),
    samples: new ort.Tensor("float32", new Float32Array(0), [block.length, 0]),
  };
}

/** The part of values [S, ...] that belongs to a stream. */
function ofStream(values: Float64Array, stream: number, nStreams: number): Float64Array {
  const each = values.length / nStreams;
  return values.subarray(stream * each, (stream + 1) * each);
}

/** Join the codes of blocks. */
export function joinCodes(parts: readonly Uint16Array[]): Uint16Array {
  const out = new Uint16Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function joined(before: Float32Array, after: Float32Array, pad: number): Float32Array {
  const out = new Float32Array(before.length + after.length + pad);
  out.set(before);
  out.set(after, before.length);
  return out;
}
