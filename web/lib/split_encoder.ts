/** Samples -> codes of split codecs: measure levels, find their codes, then code the shape relative to the decoded levels. */

import type { SplitConfig } from "./config.js";
import { FrameCutter, joinCodes, type Encoder } from "./encoder.js";
import type { LevelSearch } from "./level_search.js";
import type { Nearest } from "./nearest.js";
import { LevelAnalysis } from "./split_levels.js";
import type { Past, SplitNetwork } from "./split_network.js";
import type { SplitQuantizer } from "./split_quantizer.js";

/** What encodes one stream. */
export interface Stream {
  nCodebooks: number;
  search: LevelSearch; // for the codes of its levels
  past: Past;
}

/** The encoder of codecs of nano-48k's kind. It needs no onnxruntime. */
export class SplitEncoder implements Encoder {
  private readonly cutter: FrameCutter;
  private readonly analysis: LevelAnalysis;

  constructor(
    config: SplitConfig,
    private readonly network: SplitNetwork,
    private readonly quantizer: SplitQuantizer,
    private readonly streams: readonly Stream[],
    private readonly nearest: Nearest,
  ) {
    this.cutter = new FrameCutter(streams.length, config.hopLength, 2 * config.hopLength);
    this.analysis = new LevelAnalysis(config);
  }

  async push(samples: Float32Array[], isLast = false): Promise<Uint16Array[]> {
    const parts: Uint16Array[][] = [];
    for (const block of this.cutter.push(samples, isLast)) parts.push(block.map((own, s) => this.step(own, this.streams[s])));
    return this.streams.map((_, s) => joinCodes(parts.map((part) => part[s])));
  }

  private step(samples: Float32Array, { nCodebooks, search, past }: Stream): Uint16Array {
    const levels = this.analysis.run(samples);
    const { codes, base } = search.encode(levels);
    return this.quantizer.encode(this.network.run(samples, levels, base, past), codes, nCodebooks, this.nearest);
  }
}
