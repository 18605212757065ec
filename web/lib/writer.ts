/** Write codes as a stream: header, chunks, END chunk. */

import { concat } from "./bytes.js";
import { codesChecksum, encodeCodes, sum, type PriorCoder } from "./chunk.js";
import { ArgumentError } from "./errors.js";
import { buildHeader, finalLengthsProblem, type Header } from "./header.js";
import { MAX_CHUNK_CODES, MAX_CHUNK_FRAMES, MAX_PRIOR_CODES } from "./schema.js";
import { buildTrailer, Index } from "./trailer.js";

const CHUNK_SECONDS = 5;

export class Writer {
  private readonly parts: Uint8Array[];
  private readonly headerSize: number;
  private readonly sizes: number[] = [];
  private readonly lengths: number[] = [];
  private readonly chunkFrames: number;
  private waiting = new Uint16Array(0);
  private nFrames = 0; // written
  private checksum = 0;

  /** All chunks have the same K for each stream. `coder` is the prior's, or null. */
  constructor(
    private readonly header: Header,
    private readonly nCodebooks: number[],
    private readonly coder: PriorCoder | null,
  ) {
    const head = buildHeader(header);
    this.parts = [head];
    this.headerSize = head.length;
    const most = Math.floor((header.entropy ? MAX_PRIOR_CODES : MAX_CHUNK_CODES) / (header.nStreams * header.maxCodebooks));
    this.chunkFrames = Math.min(Math.ceil((CHUNK_SECONDS * header.sampleRate) / header.hopLength), MAX_CHUNK_FRAMES, most);
  }

  /** Bytes so far. */
  get size(): number {
    return this.parts.reduce((n, part) => n + part.length, 0);
  }

  /** Add frames: their codes frame by frame. */
  append(codes: Uint16Array): void {
    const whole = new Uint16Array(this.waiting.length + codes.length);
    whole.set(this.waiting);
    whole.set(codes, this.waiting.length);
    const each = this.chunkFrames * sum(this.nCodebooks);
    let at = 0;
    for (; whole.length - at >= each; at += each) this.write(whole.subarray(at, at + each));
    this.waiting = whole.slice(at);
  }

  private write(codes: Uint16Array): void {
    const nFrames = codes.length / sum(this.nCodebooks);
    const chunk = { firstFrame: this.nFrames, nFrames, nCodebooks: this.nCodebooks, codes, scale: null };
    const data = encodeCodes(chunk, this.header, this.sizes.length, this.coder);
    this.parts.push(data);
    this.sizes.push(data.length);
    this.lengths.push(nFrames);
    this.checksum = codesChecksum(codes, this.checksum);
    this.nFrames += nFrames;
  }

  /** Write what waits and the END chunk; returns all bytes. */
  close(nSamples: number, originalNSamples: number): Uint8Array {
    if (this.waiting.length) this.write(this.waiting);
    const index = Index.of(this.headerSize, this.sizes, this.lengths);
    const problem = finalLengthsProblem(this.header, nSamples, originalNSamples, index.nDecodable(this.header));
    if (problem) throw new ArgumentError(problem);
    this.parts.push(buildTrailer({ nSamples, originalNSamples, checksum: this.checksum, index }));
    return concat(this.parts);
  }
}
