/** An .ecdc file that can be decoded from any place: container, prior and decoder together. Runs in pages, Workers and Node. */

import { decodeCodes, readEnvelope, sum, type Chunk } from "./chunk.js";
import { joinSamples, MOST_FRAMES } from "./decoder.js";
import { ArgumentError, Corrupt, FormatError, MissingPrior, Unavailable } from "./errors.js";
import { frameRate, requireSpace, type Header } from "./header.js";
import type { Model } from "./model.js";
import { Reader } from "./reader.js";
import { describeLost, Salvage, type Lost } from "./salvage.js";
import { JOINT, MID_SIDE } from "./schema.js";
import { Silencer } from "./silence.js";
import type { Source } from "./sources.js";
import { resampledLength } from "./timing.js";

const FIRST_FRAMES = 19; // decoded first, so that playing starts soon
const SCAN_BYTES = 2 ** 26; // up to this size, a file is checked for damage when it is opened
export const MAX_DECODED = 2 ** 28; // bytes of samples that `decode` returns at once

/** Decoded samples, one array for each channel, from sample `start` on. */
export interface Block {
  start: number;
  channels: Float32Array[];
}

/** What a file is, for people. */
export interface Facts {
  codec: string;
  sampleRate: number; // Hz, of the decoded samples
  originalSampleRate: number;
  channels: number;
  seconds: number | null; // null while the file is still arriving
  nSamples: number | null; // at sampleRate
  bytes: number | null;
  kbps: number | null;
  generated: boolean;
  tags: [string, string][];
  lost: string[]; // a sentence about each damage
}

export interface Resources {
  findPrior: Reader["findPrior"];
  findModel(header: Header): Promise<Model>;
}

/** An entry of the plan of a damaged file: where a chunk is, or null for silence. */
interface Planned {
  chunk: Chunk;
  offset: number | null;
}

export class CodedFile {
  private plan: Planned[] | null = null;
  private salvage: Salvage | null = null;

  private constructor(
    readonly reader: Reader,
    readonly model: Model,
  ) {}

  static async open(source: Source, resources: Resources): Promise<CodedFile> {
    const reader = await Reader.open(source, resources.findPrior);
    const { header } = reader;
    const model = await resources.findModel(header);
    requireSpace(header, model.files.name, Uint8Array.from(model.files.tokenSpace.match(/../g) ?? [], (pair) => parseInt(pair, 16)));
    checkFits(header, model);
    if (header.entropy) await reader.findPrior(header, 0);
    const file = new CodedFile(reader, model);
    if (source.size !== null && (source.size <= SCAN_BYTES || !(await reader.trailer().catch(() => null)))) await file.scan();
    return file;
  }

  get header(): Header {
    return this.reader.header;
  }

  /** Sentences about what is lost. */
  get lost(): string[] {
    return (this.salvage?.lost ?? []).map((lost: Lost) => describeLost(lost, this.header));
  }

  /** N at the codec's rate; null while the file is still arriving. */
  async nSamples(): Promise<number | null> {
    if (this.salvage) return this.salvage.nSamples;
    const known = await this.reader.nSamples();
    if (known !== null) return known;
    const index = await this.reader.index();
    return index && Math.max(0, index.nDecodable(this.header) - this.header.preSkip);
  }

  async facts(): Promise<Facts> {
    const { header, reader } = this;
    const nSamples = await this.nSamples();
    const seconds = nSamples === null ? null : nSamples / header.sampleRate;
    const bytes = reader.source.size;
    return {
      codec: header.codec, sampleRate: header.sampleRate, originalSampleRate: header.originalSampleRate, channels: header.channels,
      seconds, nSamples, bytes, kbps: bytes && seconds ? (8 * bytes) / 1000 / seconds : null,
      generated: header.provenance === 1, tags: header.tags, lost: this.lost,
    };
  }

  /** How many samples the file gives at its original rate. */
  async originalNSamples(): Promise<number | null> {
    if (this.salvage) return this.salvage.originalNSamples;
    const known = await this.reader.originalNSamples();
    const nSamples = await this.nSamples();
    if (known !== null || nSamples === null) return known;
    return resampledLength(nSamples, this.header.sampleRate, this.header.originalSampleRate);
  }

  /** Decode the samples [start, stop) at the codec's rate as one array for each channel. */
  async decode(start: number, stop: number): Promise<Float32Array[]> {
    const { channels } = this.header;
    if (4 * channels * (stop - start) > MAX_DECODED) throw new ArgumentError("this is too long to be decoded at once: take it block by block");
    const parts: Float32Array[][] = Array.from({ length: channels }, () => []);
    for await (const block of this.blocks(start, stop)) block.channels.forEach((samples, c) => parts[c].push(samples));
    return parts.map((part) => joinSamples(part));
  }

  /** Yield the samples [start, stop) as blocks, the first one short. They equal those of a decoding of everything. */
  async *blocks(start = 0, stop = Infinity): AsyncGenerator<Block> {
    if (!(start >= 0 && stop >= start)) throw new ArgumentError(`samples ${start} to ${stop} are no range`);
    const { header, model } = this;
    const hop = header.hopLength;
    const [before, after] = model.reach;
    const known = await this.nSamples();
    const end = Math.min(stop, known ?? Infinity);
    if (start >= end) return;
    const first = start && this.reader.source.size !== null ? Math.max(0, Math.floor((start + header.preSkip) / hop) - before) : 0;
    const last = end === Infinity ? Infinity : Math.ceil((end + header.preSkip) / hop) + after;
    const cut = new Cut(start, end, first * hop - header.preSkip, known === null ? hop : 0);
    for await (const decoded of this.decodeFrames(first, last)) {
      const block = cut.take(this.join(decoded));
      if (block) yield block;
    }
    const total = await this.nSamples();
    const rest = cut.finish(Math.min(stop, total ?? Infinity));
    if (rest) yield rest;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Block> {
    yield* this.blocks();
  }

  /** Decode frames to blocks of samples, one array for each stream. */
  private async *decodeFrames(first: number, last: number): AsyncGenerator<Float32Array[]> {
    const { header, model } = this;
    const n = header.nStreams;
    const decoder = await model.decoder(n, first);
    const silencers = Array.from({ length: n }, () => new Silencer(header.hopLength));
    const quiet = (blocks: Float32Array[]) => blocks.map((block, s) => silencers[s].apply(block));
    let most = FIRST_FRAMES;
    for await (const chunk of this.chunks(first, last)) {
      for (let from = Math.max(first - chunk.firstFrame, 0); from < Math.min(chunk.nFrames, last - chunk.firstFrame); from += most) {
        if (from + chunk.firstFrame > first + FIRST_FRAMES) most = MOST_FRAMES;
        const to = Math.min(from + most, chunk.nFrames, last - chunk.firstFrame);
        const latents = await this.latents(chunk, from, to);
        chunk.nCodebooks.forEach((k, s) => silencers[s].tell(k, to - from));
        yield quiet(await decoder.push(latents, to - from));
      }
    }
    yield quiet(await decoder.finish());
  }

  /** Return the latents [S, T, width] of the frames [from, to) of a chunk. */
  async latents(chunk: Chunk, from: number, to: number): Promise<Float32Array> {
    const most = Math.max(...chunk.nCodebooks);
    if (most > this.model.config.nCodebooks) throw new Corrupt(0, `the model has ${this.model.config.nCodebooks} codebooks, but the codes have ${most}`);
    const quantizer = await this.model.quantizer(most);
    const rows = sum(chunk.nCodebooks);
    const nFrames = to - from;
    const { width } = quantizer;
    const out = new Float32Array(chunk.nCodebooks.length * nFrames * width);
    const codes = chunk.codes.subarray(from * rows, to * rows);
    let first = 0;
    chunk.nCodebooks.forEach((k, s) => {
      quantizer.decode(codes, rows, first, k, nFrames, out, s * nFrames * width);
      first += k;
    });
    return out;
  }

  /** Turn the streams into channels, with the file's gain. */
  private join(streams: Float32Array[]): Float32Array[] {
    const { channelCoding, outputGain } = this.header;
    let channels = streams;
    if (channelCoding === MID_SIDE) {
      const [mid, side] = streams;
      channels = [mid.map((value, i) => value + side[i]), mid.map((value, i) => value - side[i])];
    }
    if (!outputGain) return channels;
    const gain = Math.fround(10 ** (outputGain / 5120));
    return channels.map((samples) => samples.map((value) => value * gain));
  }

  /** Yield the chunks that overlap [first, last). After damage, lost chunks come as silence. */
  private async *chunks(first: number, last: number): AsyncGenerator<Chunk> {
    let frame = first;
    if (!this.plan) {
      try {
        for await (const chunk of this.reader.chunks(first, last)) {
          yield chunk;
          frame = chunk.firstFrame + chunk.nFrames;
        }
        return;
      } catch (error) {
        if (!(error instanceof FormatError) || error instanceof MissingPrior) throw error;
        await this.scan(true);
      }
    }
    for (const planned of this.plan ?? []) {
      const { firstFrame, nFrames } = planned.chunk;
      if (firstFrame + nFrames <= frame || firstFrame >= last) continue;
      yield await this.planned(planned);
    }
  }

  private async planned({ chunk, offset }: Planned): Promise<Chunk> {
    if (offset === null) return chunk;
    try {
      return await decodeCodes(await readEnvelope(this.reader.source, offset), this.header, this.reader.findPrior);
    } catch (error) {
      if (!(error instanceof FormatError) || error instanceof MissingPrior) throw error;
      const { firstFrame, nFrames } = chunk; // its checksum is right, but its codes are none
      this.salvage?.lost.push({ firstFrame, nFrames, offset });
      return { ...chunk, nCodebooks: chunk.nCodebooks.map(() => 0), codes: new Uint16Array(0) };
    }
  }

  /** Check all chunks, and plan what to decode if some are lost, or if `always`. */
  private async scan(always = false): Promise<void> {
    const salvage = new Salvage(this.reader, false);
    const plan: Planned[] = [];
    for await (const { chunk, envelope } of salvage.chunks()) plan.push({ chunk, offset: envelope && envelope.offset });
    if (salvage.lost.length || always) [this.plan, this.salvage] = [plan, salvage];
  }

  /** Seconds of a frame. */
  get frameSeconds(): number {
    return 1 / frameRate(this.header);
  }
}

function checkFits(header: Header, model: Model): void {
  const { config } = model;
  const fits =
    header.sampleRate === config.sampleRate && header.hopLength === config.hopLength && header.codebookSize === config.codebookSize;
  if (!fits) throw new Corrupt(8, "the header does not fit the model that it names");
  const isJointMono = header.channelCoding === JOINT && header.channels === 1;
  if (header.segmentLength || (header.channelCoding === JOINT && !isJointMono)) {
    throw new Unavailable("Files of this kind cannot be played in the browser yet.");
  }
}

/** Cuts decoded blocks to the samples [start, stop). */
class Cut {
  private held: Float32Array[] | null = null;

  /** `at` is the number of the first sample that comes; the last `hold` samples wait until the length is known. */
  constructor(
    private start: number,
    private readonly stop: number,
    private at: number,
    private readonly hold: number,
  ) {}

  take(channels: Float32Array[]): Block | null {
    const held = this.held;
    const whole = held ? channels.map((samples, c) => joinSamples([held[c], samples])) : channels;
    const ready = Math.max(0, whole[0].length - this.hold);
    this.held = this.hold ? whole.map((samples) => samples.slice(ready)) : null;
    return this.give(whole.map((samples) => samples.subarray(0, ready)), this.stop);
  }

  finish(stop: number): Block | null {
    return this.held ? this.give(this.held, stop) : null;
  }

  private give(channels: Float32Array[], stop: number): Block | null {
    const from = Math.max(this.start - this.at, 0);
    const to = Math.min(channels[0].length, stop - this.at);
    this.at += channels[0].length;
    if (to <= from) return null;
    const block = { start: this.start, channels: channels.map((samples) => samples.slice(from, to)) };
    this.start += to - from;
    return block;
  }
}
