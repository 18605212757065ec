/** Recover a damaged stream: keep every intact chunk at its place, and put silence of equal length where chunks were lost. */

import { decodeCodes, decodeWithoutCodes, openEnvelope, parseHead, type Chunk, type Envelope, type Head } from "./chunk.js";
import { Corrupt, FormatError, MissingPrior } from "./errors.js";
import { frameRate, segmentFrames, type Header } from "./header.js";
import type { Reader } from "./reader.js";
import { CODES, CRC_SIZE, END, HEAD_SIZE, MAX_CHUNK_FRAMES, SPAN_SIZE, SYNC } from "./schema.js";
import { resampledLength } from "./timing.js";
import { Index, parseTrailer, type Trailer } from "./trailer.js";

const PIECE = 2 ** 16; // bytes searched at a time
const MIN_CODES_SIZE = HEAD_SIZE + SPAN_SIZE + 2 + CRC_SIZE;
const MAX_CHECKED = 64; // CRC-checked bytes per byte of the stream

/** A range of lost frames; if `nFrames` is 0, the end of the stream is missing. */
export interface Lost {
  firstFrame: number;
  nFrames: number;
  offset: number; // bytes
}

/** Return a sentence about lost frames. */
export function describeLost(lost: Lost, header: Header): string {
  const time = (frame: number) => (frame / frameRate(header)).toFixed(2);
  if (!lost.nFrames) return `The file was cut off: it is whole up to ${time(lost.firstFrame)} s.`;
  return `Damaged: silence from ${time(lost.firstFrame)} s to ${time(lost.firstFrame + lost.nFrames)} s.`;
}

/** A chunk, with the envelope that it is read from, or null if it is silence. */
export interface Saved {
  chunk: Chunk;
  envelope: Envelope | null;
}

/** Walks over the chunks of a stream that may be damaged anywhere after its header. */
export class Salvage {
  readonly lost: Lost[] = [];
  trailer: Trailer | null = null;
  private decodable: number | null = null; // samples
  private offset: number;
  private nChecked = 0;
  private furthest = 0;
  private readonly found: { sequence: number; size: number; nFrames: number }[] = []; // each intact chunk of codes

  /** Without `withCodes` only CRCs are checked, and chunks come without codes. */
  constructor(
    private readonly reader: Reader,
    private readonly withCodes = true,
  ) {
    this.offset = reader.headerSize;
  }

  /** N at the codec's rate, once all is read. */
  get nSamples(): number | null {
    return this.trailer && this.endTells() ? this.trailer.nSamples : this.decodable;
  }

  get originalNSamples(): number | null {
    if (this.decodable === null) return null;
    if (this.trailer && this.endTells()) return this.trailer.originalNSamples;
    const { sampleRate, originalSampleRate } = this.reader.header;
    return resampledLength(this.decodable, sampleRate, originalSampleRate);
  }

  private endTells(): boolean {
    return this.trailer !== null && this.decodable !== null && this.trailer.nSamples <= this.decodable;
  }

  async *chunks(): AsyncGenerator<Saved> {
    const lengths: number[] = [];
    let frame = 0;
    for (;;) {
      const expected = this.offset;
      const found = await this.next(frame);
      if (!found) {
        this.lost.push({ firstFrame: frame, nFrames: 0, offset: expected });
        this.decodable = this.decodableOf(lengths);
        return;
      }
      const stop = "index" in found ? found.index.nFrames : found.chunk.firstFrame;
      if (stop > frame) {
        for (const chunk of this.silence({ firstFrame: frame, nFrames: stop - frame, offset: expected })) {
          lengths.push(chunk.nFrames);
          yield { chunk, envelope: null };
        }
      }
      if ("index" in found) {
        [this.trailer, this.decodable] = [found, this.decodableOf(lengths)];
        return;
      }
      lengths.push(found.chunk.nFrames);
      frame = found.chunk.firstFrame + found.chunk.nFrames;
      yield found;
    }
  }

  private decodableOf(lengths: number[]): number {
    const index = Index.of(0, new Float64Array(lengths.length), lengths);
    return Math.max(0, index.nDecodable(this.reader.header) - this.reader.header.preSkip);
  }

  /** Return silent chunks for lost frames; throw Corrupt if the skipped bytes are too few for them. */
  private silence(lost: Lost): Chunk[] {
    const { header } = this.reader;
    const atOnce = segmentFrames(header) || MAX_CHUNK_FRAMES;
    const most = atOnce * (Math.floor((this.offset - lost.offset) / MIN_CODES_SIZE) + 1);
    if (lost.nFrames > most) throw new Corrupt(lost.offset, `${lost.nFrames} frames are missing, more than fit here`);
    this.lost.push(lost);
    const chunks: Chunk[] = [];
    for (let first = lost.firstFrame; first < lost.firstFrame + lost.nFrames; first += atOnce) {
      const nFrames = Math.min(atOnce, lost.firstFrame + lost.nFrames - first);
      const nCodebooks = new Array<number>(header.nStreams).fill(0);
      chunks.push({ firstFrame: first, nFrames, nCodebooks, codes: new Uint16Array(0), scale: null });
    }
    return chunks;
  }

  /** Return the next intact chunk of codes at or after `frame`, or the END chunk; null at the end of the bytes. */
  private async next(frame: number): Promise<Saved | Trailer | null> {
    for (;;) {
      const at = await this.findSync();
      if (at === null) return null;
      this.offset = at;
      const envelope = await this.envelope();
      const found = envelope && (await this.understood(envelope, frame));
      if (found) return found;
      this.offset += envelope ? envelope.size : 1;
    }
  }

  /** Return the place of the next sync word. At the end of the bytes, go there and return null. */
  private async findSync(): Promise<number | null> {
    for (let from = this.offset; ; ) {
      const data = await this.reader.source.read(from, PIECE);
      this.furthest = Math.max(this.furthest, from + data.length);
      for (let i = data.indexOf(SYNC[0]); i >= 0 && i + 4 <= data.length; i = data.indexOf(SYNC[0], i + 1)) {
        if (data[i + 1] === SYNC[1] && data[i + 2] === SYNC[2] && data[i + 3] === SYNC[3]) return from + i;
      }
      if (data.length < PIECE) {
        this.offset = Math.max(this.offset, from + data.length - (SYNC.length - 1));
        return null;
      }
      from += data.length - (SYNC.length - 1);
    }
  }

  private async envelope(): Promise<Envelope | null> {
    const { source } = this.reader;
    let head: Head;
    try {
      const data = await source.read(this.offset, HEAD_SIZE);
      if (data.length < HEAD_SIZE) return null;
      head = parseHead(data, this.offset);
    } catch (error) {
      if (error instanceof FormatError) return null;
      throw error;
    }
    const size = HEAD_SIZE + head.bodySize + CRC_SIZE;
    const data = await source.read(this.offset, Math.min(size, (source.size ?? Infinity) - this.offset));
    if (data.length < size) return null;
    this.nChecked += size;
    this.furthest = Math.max(this.furthest, this.offset + size);
    if (this.nChecked > MAX_CHECKED * (this.furthest + PIECE)) {
      throw new Corrupt(this.offset, "too many chunks begin here without an end");
    }
    try {
      return openEnvelope(data, head, this.offset);
    } catch {
      return null;
    }
  }

  /** Return what an envelope holds and go past a chunk of codes; null if it does not fit here. */
  private async understood(envelope: Envelope, frame: number): Promise<Saved | Trailer | null> {
    const { header, findPrior } = this.reader;
    try {
      if (envelope.kind === END) {
        const trailer = parseTrailer(envelope, header, null);
        return this.endsHere(trailer, frame) ? trailer : null;
      }
      if (envelope.kind !== CODES) return null;
      const chunk = this.withCodes ? await decodeCodes(envelope, header, findPrior) : decodeWithoutCodes(envelope, header);
      if (chunk.firstFrame < frame) return null;
      this.offset += envelope.size;
      this.found.push({ sequence: envelope.sequence, size: envelope.size, nFrames: chunk.nFrames });
      return { chunk, envelope };
    } catch (error) {
      if (error instanceof MissingPrior || !(error instanceof FormatError)) throw error;
      return null;
    }
  }

  /**
   * Return true if an END chunk is that of this stream, whose chunks so far end at `frame`.
   *
   * If bytes were lost or inserted before it, it is not where its index says. It is then taken only if the index has every
   * chunk that was found, and ends at this frame: it could be the end of another stream that follows.
   */
  private endsHere({ index }: Trailer, frame: number): boolean {
    if (index.offsets[0] === this.reader.headerSize) return index.nFrames >= frame;
    const isOurs = this.found.every(({ sequence: i, size, nFrames }) =>
      i < index.nChunks && index.offsets[i + 1] - index.offsets[i] === size && index.frames[i + 1] - index.frames[i] === nFrames);
    return index.nFrames === frame && isOurs;
  }
}
