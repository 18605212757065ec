/** Samples -> latents in float64, block by block, with the state that the encoder's graph keeps between two calls. */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import type { HybridConfig } from "./config.js";
import { MOST_FRAMES } from "./decoder.js";
import type { Model } from "./model.js";

/** Encodes S streams together. */
export class EncoderStream {
  private state: Record<string, Tensor> = {};
  private samples: Float32Array[]; // received ones that later frames need
  private readonly window: number;

  constructor(
    private readonly model: Model,
    private readonly config: HybridConfig,
    private readonly session: InferenceSession,
    private readonly nStreams: number,
  ) {
    const { ort } = model;
    this.window = config.encoderWindow * config.hopLength;
    this.samples = Array.from({ length: nStreams }, () => new Float32Array(this.context));
    const dims = [nStreams, config.kernelSize - 1, config.encoderWidth];
    for (let i = 0; i < config.encoderDepth; i++) {
      this.state[`past.${i}`] = new ort.Tensor("float64", new Float64Array(dims[0] * dims[1] * dims[2]), dims);
    }
  }

  /** Samples that a frame needs before its start, and after its end. */
  private get context(): number {
    return (this.window - this.config.hopLength) / 2;
  }

  /** Return the latents [T, D] of each stream of the frames that these samples complete; with `isLast`, of all. */
  async push(streams: Float32Array[], isLast = false): Promise<Float64Array[]> {
    const { hopLength: hop } = this.config;
    let known = this.samples.map((before, s) => joined(before, streams[s], 0));
    if (isLast) {
      const ragged = (known[0].length - this.context) % hop;
      const pad = (ragged ? hop - ragged : 0) + this.context;
      known = known.map((samples) => joined(samples, new Float32Array(0), pad));
    }
    const nFrames = Math.max(0, Math.floor((known[0].length - this.window) / hop) + 1);
    const parts: Float64Array[] = [];
    for (let first = 0; first < nFrames; first += MOST_FRAMES) {
      const stop = Math.min(first + MOST_FRAMES, nFrames);
      parts.push(await this.step(known.map((samples) => samples.subarray(first * hop, (stop - 1) * hop + this.window))));
    }
    this.samples = known.map((samples) => samples.slice(nFrames * hop));
    return this.collect(parts);
  }

  private async step(windows: Float32Array[]): Promise<Float64Array> {
    const { ort } = this.model;
    const n = windows[0].length;
    const wav = new Float32Array(n * this.nStreams);
    windows.forEach((samples, s) => wav.set(samples, s * n));
    const found = await this.model.run(this.session, {
      ...this.state,
      wav: new ort.Tensor("float32", wav, [this.nStreams, 1, n]),
      samples: new ort.Tensor("float32", new Float32Array(0), [this.nStreams, 0]),
    });
    for (const name of Object.keys(this.state)) this.state[name] = found[`${name}.out`] as Tensor;
    return found.latents.data as Float64Array;
  }

  private collect(parts: Float64Array[]): Float64Array[] {
    return Array.from({ length: this.nStreams }, (_, s) => {
      const own = parts.map((part) => part.subarray((s * part.length) / this.nStreams, ((s + 1) * part.length) / this.nStreams));
      const out = new Float64Array(own.reduce((n, part) => n + part.length, 0));
      let at = 0;
      for (const part of own) {
        out.set(part, at);
        at += part.length;
      }
      return out;
    });
  }
}

function joined(before: Float32Array, after: Float32Array, pad: number): Float32Array {
  const out = new Float32Array(before.length + after.length + pad);
  out.set(before);
  out.set(after, before.length);
  return out;
}
