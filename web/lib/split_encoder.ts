/** Samples -> codes of split codecs: measure levels, find their codes, then code the shape relative to the decoded levels. */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import { levelsOf, type SplitConfig } from "./config.js";
import { firstState, FrameCutter, joinCodes, ofStream, samplesOf, type Encoder } from "./encoder.js";
import type { LevelSearch } from "./level_search.js";
import type { Model } from "./model.js";
import type { Nearest } from "./nearest.js";
import type { SplitQuantizer } from "./split_quantizer.js";

/** The two graphs of the encoder. */
export interface SplitSessions {
  levels: InferenceSession;
  encoder: InferenceSession;
}

/** The encoder of codecs of nano-48k's kind. `nCodebooks` is the K of each stream, `searches` find the codes of its levels. */
export class SplitEncoder implements Encoder {
  private state: Record<string, Tensor>;
  private readonly cutter: FrameCutter;

  constructor(
    private readonly model: Model,
    private readonly config: SplitConfig,
    private readonly sessions: SplitSessions,
    private readonly quantizer: SplitQuantizer,
    private readonly searches: readonly LevelSearch[],
    private readonly nCodebooks: readonly number[],
    private readonly nearest: Nearest,
  ) {
    this.cutter = new FrameCutter(nCodebooks.length, config.hopLength, 2 * config.hopLength);
    this.state = firstState(model, config, nCodebooks.length);
  }

  async push(streams: Float32Array[], isLast = false): Promise<Uint16Array[]> {
    const parts: Uint16Array[][] = [];
    for (const block of this.cutter.push(streams, isLast)) parts.push(await this.step(block));
    return this.nCodebooks.map((_, s) => joinCodes(parts.map((part) => part[s])));
  }

  private async step(block: Float32Array[]): Promise<Uint16Array[]> {
    const { ort } = this.model;
    const samples = samplesOf(this.model, block);
    const { levels } = await this.model.run(this.sessions.levels, samples);
    const values = levels.data as Float64Array;
    const searched = this.searches.map((search, s) => search.encode(ofStream(values, s, block.length)));
    const base = new Float64Array(values.length);
    searched.forEach((found, s) => base.set(found.base, s * found.base.length));
    const dims = [block.length, values.length / (block.length * levelsOf(this.config)), levelsOf(this.config)];
    const feeds = { ...this.state, ...samples, levels, base: new ort.Tensor("float64", base, dims) };
    const found = await this.model.run(this.sessions.encoder, feeds);
    for (const name of Object.keys(this.state)) this.state[name] = found[`${name}.out`] as Tensor;
    const latents = found.latents.data as Float64Array;
    return this.nCodebooks.map((k, s) => this.quantizer.encode(ofStream(latents, s, block.length), searched[s].codes, k, this.nearest));
  }
}
