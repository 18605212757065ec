/** The numbers of a codec, from its config.json. Two kinds of codecs run here. */

import { ArgumentError, Unavailable } from "./errors.js";

/** What all codecs have. */
interface CommonConfig {
  sampleRate: number; // Hz
  hopLength: number; // samples per frame
  dimension: number; // D
  nCodebooks: number;
  codebookSize: number; // V
  kbps: number[]; // legal bitrates of one stream
  encoderWidth: number;
  encoderDepth: number;
  decoderWidth: number;
  decoderDepth: number;
  kernelSize: number; // frames
}

/** Codecs of nano-24k's kind. */
export interface HybridConfig extends CommonConfig {
  kind: "hybrid";
  encoderWindow: number; // hops
  lookahead: number; // frames
  noiseSize: number; // bins of all blocks of a frame if noise decides signs; 0: there is no noise
}

/** Codecs of nano-48k's kind: some codebooks are for levels, the others for the shape. */
export interface SplitConfig extends CommonConfig {
  kind: "split";
  coreFactor: number; // sample rate relative to that of the networks
  steps: number; // of levels per frame
  bands: number; // of the core
  topBands: number; // above the core
  lowBins: number; // MDCT bins of the core that enter the latent directly
  exponent: number; // of the level that the shape is divided by
  expand: number; // inner width of a block relative to its outer width
  slowBands: number; // lowest ones, with one level per frame
  slowWeight: number; // of an error in a slow band, relative to one in another band, squared
  levelTaps: number; // past frames that predict levels
  levelPlaces: number[]; // positions of the level codebooks among all, ascending
  gainPoints: number; // per frame; 0: the decoder has no gain over time
  nGroups: number; // of bins that share a gain over time
}

export type Config = HybridConfig | SplitConfig;

const MOST = 2 ** 24;

/** Read the configuration of a model; throws Unavailable for kinds of codecs that cannot run here. */
export function parseConfig(name: string, raw: unknown): Config {
  const whole = raw as Record<string, unknown>;
  const own = (whole.architecture ?? {}) as Record<string, unknown>;
  const isKnown = own.kind === "split" || (own.kind === "hybrid" && whole.scaled_residuals === true);
  if (!isKnown || whole.channels !== 1) throw new Unavailable(`${name} is of a kind that does not run in browsers yet.`);
  const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= MOST;
  const lacks = (key: string) => new ArgumentError(`the configuration of ${name} lacks ${key}`);
  const count = (from: Record<string, unknown>, key: string): number => {
    if (!isCount(from[key])) throw lacks(key);
    return from[key] as number;
  };
  const counts = (key: string): number[] => {
    const values = own[key];
    if (!Array.isArray(values) || !values.every(isCount)) throw lacks(key);
    return values as number[];
  };
  const common: CommonConfig = {
    sampleRate: count(whole, "sample_rate"), dimension: count(whole, "dimension"), nCodebooks: count(whole, "n_codebooks"),
    codebookSize: count(whole, "codebook_size"), kbps: whole.bitrates_kbps as number[],
    hopLength: count(own, "hop_length"), encoderWidth: count(own, "encoder_width"), encoderDepth: count(own, "encoder_depth"),
    decoderWidth: count(own, "decoder_width"), decoderDepth: count(own, "decoder_depth"),
    kernelSize: count(own, "kernel_size"),
  };
  if (own.kind === "hybrid") {
    const hasSigns = own.random_sign_bin !== undefined && count(own, "random_sign_bin") > 0;
    const noiseSize = hasSigns ? common.hopLength * (count(own, "fine_blocks") ? 2 : 1) : 0;
    return { ...common, kind: "hybrid", encoderWindow: count(own, "encoder_window"), lookahead: count(own, "lookahead"), noiseSize };
  }
  const gainPoints = count(own, "gain_points");
  const share = (key: string): number => {
    const value = own[key];
    if (typeof value !== "number" || !(value >= 0 && value <= 1)) throw lacks(key);
    return value;
  };
  return {
    ...common, kind: "split", coreFactor: count(own, "core_factor"), steps: count(own, "steps"), bands: count(own, "bands"),
    topBands: count(own, "top_bands"), slowBands: count(own, "slow_bands"), slowWeight: share("slow_weight"),
    lowBins: count(own, "low_bins"), exponent: share("exponent"), expand: count(own, "expand"), levelTaps: count(own, "level_taps"), levelPlaces: counts("level_places"), gainPoints,
    nGroups: gainPoints ? counts("gain_edges").length + 1 : 1,
  };
}

/** How many frames before and after its own frame a decoded sample depends on. */
export function reachOf(config: Config): [number, number] {
  const past = config.decoderDepth * (config.kernelSize - 1);
  return config.kind === "hybrid" ? [past + 1, 1 + config.lookahead] : [past + config.levelTaps + 2, 2];
}

/** Number of levels per frame, F. */
export function levelsOf(config: SplitConfig): number {
  return config.steps * (config.bands + config.topBands);
}

/** The weight of each level in the search for its code [F]. */
export function levelWeight(config: SplitConfig): Float32Array {
  const each = config.bands + config.topBands;
  return new Float32Array(levelsOf(config)).map((_, i) => (i % each < config.slowBands ? Math.sqrt(config.slowWeight) : 1));
}
