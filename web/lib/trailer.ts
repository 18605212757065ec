/** The END chunk: lengths, checksum and index, which are known only after all codes are written. */

import { Builder, Fields, hexFlags } from "./bytes.js";
import { buildChunk, type Envelope } from "./chunk.js";
import { Corrupt, UnsupportedVersion } from "./errors.js";
import { finalLengthsProblem, limitedLength, type Header } from "./header.js";
import { CRC_SIZE, END, END_SIZE, HEAD_SIZE, INDEX_ENTRY } from "./schema.js";

/** Position of every chunk before END: arrays of n + 1 numbers for n chunks; the last one is the end. */
export class Index {
  private constructor(
    readonly offsets: Float64Array, // bytes from the start of the stream
    readonly frames: Float64Array, // first frame; for a chunk without frames, that of the next chunk
  ) {}

  static of(headerSize: number, sizes: ArrayLike<number>, lengths: ArrayLike<number>): Index {
    return new Index(cumulate(headerSize, sizes), cumulate(0, lengths));
  }

  get nChunks(): number {
    return this.offsets.length - 1;
  }

  get nFrames(): number {
    return this.frames[this.nChunks];
  }

  get end(): number {
    return this.offsets[this.nChunks];
  }

  /** Return the number of the chunk that holds `frame`, or the number of chunks if there is none. */
  find(frame: number): number {
    let low = 0;
    let high = this.frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.frames[middle] <= frame) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Return how many samples all codes decode to, including pre-skip and padding. */
  nDecodable(header: Header): number {
    if (!header.segmentLength) return this.nFrames * header.hopLength;
    let count = 0;
    let last = 0;
    for (let i = 0; i < this.nChunks; i++) {
      const length = this.frames[i + 1] - this.frames[i];
      if (length > 0) [count, last] = [count + 1, length];
    }
    return count ? (count - 1) * header.segmentStride + last * header.hopLength : 0;
  }

  same(other: Index): boolean {
    const equal = (a: Float64Array, b: Float64Array) => a.length === b.length && a.every((value, i) => value === b[i]);
    return equal(this.offsets, other.offsets) && equal(this.frames, other.frames);
  }
}

function cumulate(start: number, steps: ArrayLike<number>): Float64Array {
  const total = new Float64Array(steps.length + 1);
  total[0] = start;
  for (let i = 0; i < steps.length; i++) total[i + 1] = total[i] + steps[i];
  return total;
}

export interface Trailer {
  nSamples: number; // at the codec's rate
  originalNSamples: number;
  checksum: number;
  index: Index;
}

/** Parse an END chunk and check it against the header and, unless `headerSize` is null, its own offset. */
export function parseTrailer(envelope: Envelope, header: Header, headerSize: number | null): Trailer {
  const { offset, body, sequence } = envelope;
  if (envelope.flags) throw new UnsupportedVersion(offset, `the END chunk has unknown flags ${hexFlags(envelope.flags)}`);
  const bodyOffset = offset + HEAD_SIZE;
  const at = Math.max(body.length - END_SIZE, 0);
  const fields = new Fields(body.subarray(0, at), bodyOffset);
  const length = (name: string): number => {
    const place = fields.place;
    return limitedLength(name, fields.u64(), place);
  };
  const nSamples = length("n_samples");
  const originalNSamples = length("original_n_samples");
  const checksum = fields.u32();
  const entries = new Fields(fields.bytes(INDEX_ENTRY * sequence), bodyOffset);
  const size = new Fields(body.subarray(at), bodyOffset + at).u32();
  if (size !== envelope.size) {
    throw new Corrupt(bodyOffset + at, `the END chunk states a size of ${size} bytes, but has ${envelope.size}`);
  }
  const index = readIndex(entries, headerSize, sequence, offset);
  if (index.end !== offset) throw new Corrupt(offset, `the index places the END chunk at byte ${index.end}`);
  const problem = finalLengthsProblem(header, nSamples, originalNSamples, index.nDecodable(header));
  if (problem) throw new Corrupt(offset, `the END chunk: ${problem}`);
  return { nSamples, originalNSamples, checksum, index };
}

/** Read the index. Without `headerSize` it ends at byte `end`. */
function readIndex(entries: Fields, headerSize: number | null, nChunks: number, end: number): Index {
  const sizes = new Float64Array(nChunks);
  const lengths = new Float64Array(nChunks);
  for (let i = 0; i < nChunks; i++) {
    sizes[i] = entries.u32();
    lengths[i] = entries.u16();
  }
  return Index.of(headerSize ?? end - sizes.reduce((total, size) => total + size, 0), sizes, lengths);
}

/** Return an END chunk as bytes. */
export function buildTrailer(trailer: Trailer): Uint8Array {
  const { index } = trailer;
  const body = new Builder().u64(BigInt(trailer.nSamples)).u64(BigInt(trailer.originalNSamples)).u32(trailer.checksum);
  for (let i = 0; i < index.nChunks; i++) {
    body.u32(index.offsets[i + 1] - index.offsets[i]).u16(index.frames[i + 1] - index.frames[i]);
  }
  const size = HEAD_SIZE + 20 + INDEX_ENTRY * index.nChunks + END_SIZE + CRC_SIZE;
  return buildChunk(END, 0, index.nChunks, body.u32(size).done());
}
