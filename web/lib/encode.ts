/** Audio -> .ecdc: resampling, encoder, quantizer, prior and writer together, block by block. */

import { sum } from "./chunk.js";
import type { Config } from "./config.js";
import { joinSamples } from "./decoder.js";
import type { Encoder } from "./encoder.js";
import { ArgumentError } from "./errors.js";
import type { Header } from "./header.js";
import type { EncodeOptions } from "./messages.js";
import type { Model } from "./model.js";
import type { PriorModel } from "./prior.js";
import { Resampler } from "./resample.js";
import { MAX_RATE, MID_SIDE, MONO } from "./schema.js";
import { Writer } from "./writer.js";

const SIDE_SHARE = 4; // the side stream gets one of this many codebooks
const EPSILON = 1e-9;
export const MAX_SECONDS = 3600; // of audio in one file that is encoded here
const MAX_KEPT = 2 ** 28; // bytes of an original that is kept to compare

/** Return the K of each stream for a bitrate of the whole file. */
export function codebooksFor(config: Config, nStreams: number, kbps: number): number[] {
  const each = (config.sampleRate / config.hopLength) * Math.ceil(Math.log2(config.codebookSize)) / 1000; // kbps of a codebook
  const lowest = nStreams * config.kbps[0];
  if (!(kbps + EPSILON >= lowest)) throw new ArgumentError(`The lowest bitrate is ${lowest} kbps, not ${kbps}.`);
  const most = config.nCodebooks;
  if (nStreams === 1) {
    const legal = Math.max(...config.kbps.filter((rate) => rate <= kbps + EPSILON));
    return [Math.max(1, Math.min(most, Math.floor(legal / each + EPSILON)))];
  }
  const total = Math.min(Math.floor((kbps + EPSILON) / each), 2 * most);
  const side = Math.max(1, Math.floor(total / SIDE_SHARE), total - most);
  return [total - side, side];
}

/** Encodes one file. */
export class Encoding {
  private readonly resamplers: Resampler[];
  private readonly writer: Writer;
  private readonly encoder: Promise<Encoder>;
  private original: Float32Array[][] | null; // at the codec's rate, if it is kept
  private nOriginal = 0;
  private nSamples = 0;

  private constructor(
    model: Model,
    private readonly header: Header,
    private readonly nCodebooks: number[],
    prior: PriorModel | null,
    keeps: boolean,
  ) {
    const n = header.nStreams;
    this.resamplers = Array.from({ length: n }, () => new Resampler(header.originalSampleRate, header.sampleRate));
    this.writer = new Writer(header, nCodebooks, prior);
    this.encoder = model.encoder(nCodebooks);
    this.encoder.catch(() => undefined); // `push` tells
    this.original = keeps ? Array.from({ length: n }, () => []) : null;
  }

  /** Start a file of one or two channels. With `keeps`, the original is kept at the codec's rate, up to MAX_KEPT bytes. */
  static async start(
    model: Model, prior: { prior: PriorModel; hash: string } | null, nChannels: number, sampleRate: number, options: EncodeOptions,
    keeps = false,
  ): Promise<Encoding> {
    if (nChannels !== 1 && nChannels !== 2) throw new ArgumentError(`The sound has ${nChannels} channels: mix it to stereo first.`);
    if (!Number.isInteger(sampleRate) || sampleRate < 1 || sampleRate > MAX_RATE) throw new ArgumentError(`${sampleRate} Hz is no sample rate.`);
    const { files, config } = model;
    const nCodebooks = codebooksFor(config, nChannels, options.kbps ?? 6);
    await Promise.all([model.quantizer(Math.max(...nCodebooks)), prior?.prior.ensure(Math.max(...nCodebooks))]);
    const bytes = (text: string) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
    const header: Header = {
      codec: files.name, tokenSpace: bytes(files.tokenSpace), sampleRate: config.sampleRate, originalSampleRate: sampleRate,
      channels: nChannels, nStreams: nChannels, channelCoding: nChannels === 1 ? MONO : MID_SIDE, maxCodebooks: config.nCodebooks,
      codebookSize: config.codebookSize, hopLength: config.hopLength, segmentLength: 0, segmentStride: 0, preSkip: 0, outputGain: 0,
      entropy: prior ? 1 : 0, provenance: 0, nSamples: null, originalNSamples: null, prior: bytes(prior?.hash ?? ""),
      tags: options.tags ?? [],
    };
    return new Encoding(model, header, nCodebooks, prior?.prior ?? null, keeps);
  }

  private last: Promise<unknown> = Promise.resolve();

  /** Add samples of each channel; returns the bytes written so far. Calls may overlap: each waits for those before it. */
  push(channels: readonly Float32Array[], isLast = false): Promise<number> {
    const found = this.last.then(() => this.encode(channels, isLast));
    this.last = found.catch(() => undefined);
    return found;
  }

  private async encode(channels: readonly Float32Array[], isLast: boolean): Promise<number> {
    if (channels.some((samples) => samples.some((value) => !Number.isFinite(value)))) throw new ArgumentError("The sound holds values that are no numbers.");
    this.nOriginal += channels[0].length;
    if (this.nOriginal > MAX_SECONDS * this.header.originalSampleRate) throw new ArgumentError("The sound is longer than an hour.");
    const wav = channels.map((samples, c) => this.resamplers[c].push(samples, isLast));
    this.nSamples += wav[0].length;
    if (4 * wav.length * this.nSamples > MAX_KEPT) this.original = null;
    this.original?.forEach((parts, c) => parts.push(wav[c].slice()));
    this.writer.append(this.interleaved(await (await this.encoder).push(this.split(wav), isLast)));
    return this.writer.size;
  }

  /** Encode what is left; returns the file, and the original or null. */
  async finish(): Promise<{ bytes: Uint8Array; original: Float32Array[] | null }> {
    await this.last;
    if (!this.nOriginal) throw new ArgumentError("The sound holds no samples.");
    await this.push(this.resamplers.map(() => new Float32Array(0)), true);
    return { bytes: this.writer.close(this.nSamples, this.nOriginal), original: this.original?.map((parts) => joinSamples(parts)) ?? null };
  }

  private split(wav: Float32Array[]): Float32Array[] {
    if (wav.length === 1) return wav;
    const [left, right] = wav;
    const half = Math.fround(0.5);
    return [
      left.map((value, i) => Math.fround(value + right[i]) * half),
      left.map((value, i) => Math.fround(value - right[i]) * half),
    ];
  }

  private interleaved(streams: Uint16Array[]): Uint16Array {
    const rows = sum(this.nCodebooks);
    const nFrames = streams[0].length / this.nCodebooks[0];
    const out = new Uint16Array(nFrames * rows);
    let first = 0;
    streams.forEach((codes, s) => {
      const k = this.nCodebooks[s];
      for (let t = 0; t < nFrames; t++) out.set(codes.subarray(t * k, (t + 1) * k), t * rows + first);
      first += k;
    });
    return out;
  }
}
