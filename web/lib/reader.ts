/** Read codes from a stream: forwards while it arrives, or from any frame of a file. */

import { Fields } from "./bytes.js";
import { codesChecksum, decodeCodes, parseHead, readEnvelope, type Chunk, type Envelope, type FindPrior } from "./chunk.js";
import { Corrupt, FormatError } from "./errors.js";
import { readHeader, type Header } from "./header.js";
import { CODES, CRC_SIZE, END, END_SIZE, HEAD_SIZE, SPAN_SIZE } from "./schema.js";
import type { Source } from "./sources.js";
import { Index, parseTrailer, type Trailer } from "./trailer.js";

/** A stream whose header is read. Every other byte is checked as it is read, and any fault throws a FormatError. */
export class Reader {
  private found: { index: Index; trailer: Trailer | null } | null = null;

  private constructor(
    readonly source: Source,
    readonly header: Header,
    readonly headerSize: number,
    readonly findPrior: FindPrior,
  ) {}

  static async open(source: Source, findPrior: FindPrior): Promise<Reader> {
    const { header, size } = await readHeader(source);
    return new Reader(source, header, size, findPrior);
  }

  /** The END chunk, or null if it is missing or has not arrived yet. */
  async trailer(): Promise<Trailer | null> {
    return (await this.load())?.trailer ?? null;
  }

  /** Places of all chunks; for a truncated file, of the complete ones; null while the stream still arrives. */
  async index(): Promise<Index | null> {
    return (await this.load())?.index ?? null;
  }

  /** N at the codec's rate; null while it is unknown. */
  async nSamples(): Promise<number | null> {
    return this.header.nSamples ?? (await this.trailer())?.nSamples ?? null;
  }

  async originalNSamples(): Promise<number | null> {
    return this.header.originalNSamples ?? (await this.trailer())?.originalNSamples ?? null;
  }

  /** Yield every chunk that overlaps the frames [startFrame, stopFrame), uncut. */
  async *chunks(startFrame = 0, stopFrame = Infinity): AsyncGenerator<Chunk> {
    let [offset, sequence, frame] = await this.place(startFrame);
    const seen = sequence === 0 ? new Seen(this.headerSize) : null;
    while (frame < stopFrame) {
      const envelope = await readEnvelope(this.source, offset);
      if (envelope.sequence !== sequence) {
        throw new Corrupt(offset, `chunk ${sequence} was expected here, got chunk ${envelope.sequence}`);
      }
      if (envelope.kind === END) return await this.finish(envelope, frame, seen);
      let nFrames = 0;
      if (envelope.kind === CODES) {
        const chunk = await decodeCodes(envelope, this.header, this.findPrior);
        if (chunk.firstFrame !== frame) {
          throw new Corrupt(offset, `chunk ${sequence} must start at frame ${frame}, got ${chunk.firstFrame}`);
        }
        seen?.addCodes(chunk);
        nFrames = chunk.nFrames;
        frame += nFrames;
        if (frame > startFrame) yield chunk;
      }
      seen?.add(envelope.size, nFrames);
      offset += envelope.size;
      sequence += 1;
    }
  }

  private async place(frame: number): Promise<[number, number, number]> {
    const index = frame ? await this.index() : null;
    if (!index) return [this.headerSize, 0, 0];
    const i = index.find(frame);
    return [index.offsets[i], i, index.frames[i]];
  }

  /** Check the END chunk against all chunks before it, if they were read, and that nothing follows it. */
  private async finish(envelope: Envelope, nFrames: number, seen: Seen | null): Promise<void> {
    const trailer = parseTrailer(envelope, this.header, this.headerSize);
    if (trailer.index.nFrames !== nFrames || (seen && !seen.agrees(trailer))) {
      throw new Corrupt(envelope.offset, "the END chunk does not describe the chunks before it");
    }
    const end = envelope.offset + envelope.size;
    if ((await this.source.read(end, 1)).length) throw new Corrupt(end, "bytes follow the END chunk");
    this.found = { index: trailer.index, trailer };
  }

  private async load(): Promise<{ index: Index; trailer: Trailer | null } | null> {
    if (!this.found && this.source.size !== null) {
      const trailer = await this.findTrailer(this.source.size);
      this.found = { trailer, index: trailer ? trailer.index : await this.scan(this.source.size) };
    }
    return this.found;
  }

  private async findTrailer(size: number): Promise<Trailer | null> {
    const at = size - CRC_SIZE - END_SIZE;
    if (at < this.headerSize) return null;
    const offset = size - new Fields(await this.source.read(at, END_SIZE), at).u32();
    if (offset < this.headerSize || offset > at) return null;
    let envelope: Envelope;
    try {
      envelope = await readEnvelope(this.source, offset);
    } catch (error) {
      if (error instanceof FormatError) return null;
      throw error;
    }
    if (envelope.kind !== END || offset + envelope.size !== size) return null;
    return parseTrailer(envelope, this.header, this.headerSize);
  }

  /** Return the index of the complete chunks at the start of a file, reading only their heads. */
  private async scan(size: number): Promise<Index> {
    const sizes: number[] = [];
    const lengths: number[] = [];
    let offset = this.headerSize;
    for (;;) {
      const data = await this.source.read(offset, HEAD_SIZE + SPAN_SIZE);
      try {
        if (data.length < HEAD_SIZE) break;
        const head = parseHead(data.subarray(0, HEAD_SIZE), offset);
        const whole = HEAD_SIZE + head.bodySize + CRC_SIZE;
        if (head.kind === END || head.sequence !== sizes.length || offset + whole > size) break;
        const nFrames = head.kind === CODES ? spanFrames(data, offset) : 0;
        sizes.push(whole);
        lengths.push(nFrames);
        offset += whole;
      } catch (error) {
        if (error instanceof FormatError) break;
        throw error;
      }
    }
    return Index.of(this.headerSize, sizes, lengths);
  }
}

function spanFrames(data: Uint8Array, offset: number): number {
  const fields = new Fields(data.subarray(HEAD_SIZE), offset + HEAD_SIZE);
  const firstFrame = Number(fields.u64());
  const nFrames = fields.u16();
  if (firstFrame > 2 ** 48 || nFrames < 1) throw new Corrupt(offset, "the frames of a chunk are out of range");
  return nFrames;
}

/** Record of the chunks read so far, starting at the first, to compare with the END chunk. */
class Seen {
  private readonly sizes: number[] = [];
  private readonly lengths: number[] = [];
  private checksum = 0;

  constructor(private readonly headerSize: number) {}

  add(size: number, nFrames: number): void {
    this.sizes.push(size);
    this.lengths.push(nFrames);
  }

  addCodes(chunk: Chunk): void {
    this.checksum = codesChecksum(chunk.codes, this.checksum);
  }

  agrees(trailer: Trailer): boolean {
    return this.checksum === trailer.checksum && trailer.index.same(Index.of(this.headerSize, this.sizes, this.lengths));
  }
}
