/** Chunks: the framing common to all kinds, and the coding of CODES chunks. */

import { Builder, Fields, concat, hex, hex32, hexFlags, sameBytes } from "./bytes.js";
import { crc32c } from "./crc.js";
import { ArgumentError, Corrupt, OverLimit, Truncated, UnsupportedVersion } from "./errors.js";
import { bitsOf, limitedLength, segmentFrames, type Header } from "./header.js";
import { CODES, CRC_SIZE, END, HAS_SCALE, HEAD_SIZE, INDEX_ENTRY, PRIOR, RAW, SYNC } from "./schema.js";
import { MAX_BODY, MAX_CHUNK_CODES, MAX_CHUNK_FRAMES, MAX_PRIOR_CODES } from "./schema.js";
import type { Source } from "./sources.js";

/** Decodes and codes the payloads of one prior. */
export interface PriorCoder {
  /** Return codes frame by frame [T * R]; throws ArgumentError if no encoder made these bytes. */
  decode(payload: Uint8Array, nCodebooks: readonly number[], nFrames: number): Uint16Array;
  encode(codes: Uint16Array, nCodebooks: readonly number[], nFrames: number): Uint8Array;
}

/** Returns the coder of the prior that a header names, for at least `nCodebooks` codebooks, or throws MissingPrior. */
export type FindPrior = (header: Header, nCodebooks: number) => Promise<PriorCoder>;

export interface Envelope {
  offset: number; // of the sync word
  kind: number;
  flags: number;
  sequence: number;
  body: Uint8Array;
  size: number; // bytes of the whole chunk
}

/** Consecutive frames of codes. `codes` holds frame by frame the codebooks of all streams: [nFrames * R]. */
export interface Chunk {
  firstFrame: number;
  nFrames: number;
  nCodebooks: number[]; // K of each stream
  codes: Uint16Array;
  scale: number | null; // of a segment
}

export interface Head {
  kind: number;
  flags: number;
  sequence: number;
  bodySize: number;
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}

/** Parse the first 14 bytes of a chunk, whose CRC is not checked yet. */
export function parseHead(data: Uint8Array, offset: number): Head {
  if (!sameBytes(data.subarray(0, SYNC.length), SYNC)) {
    throw new Corrupt(offset, `a chunk must start here with ${hex(SYNC)}, got ${hex(data.subarray(0, SYNC.length))}`);
  }
  const fields = new Fields(data, offset);
  fields.bytes(SYNC.length);
  const head = { kind: fields.u8(), flags: fields.u8(), sequence: fields.u32(), bodySize: fields.u32() };
  const limit = head.kind === END ? MAX_BODY + INDEX_ENTRY * head.sequence : MAX_BODY;
  if (head.bodySize > limit) throw new OverLimit(offset, `a chunk's body must be at most ${limit} bytes, got ${head.bodySize}`);
  return head;
}

/** Read exactly the bytes of a chunk at `offset` and check its CRC. */
export async function readEnvelope(source: Source, offset: number): Promise<Envelope> {
  const first = await source.read(offset, HEAD_SIZE);
  if (first.length < HEAD_SIZE) {
    throw new Truncated(offset, `the next chunk's head needs ${HEAD_SIZE} bytes here, ${first.length} remain`);
  }
  const head = parseHead(first, offset);
  const size = HEAD_SIZE + head.bodySize + CRC_SIZE;
  let remain = source.size === null ? Infinity : source.size - offset;
  const data = remain < size ? null : await source.read(offset, size);
  if (data) remain = data.length;
  if (!data || remain < size) {
    throw new Truncated(offset, `chunk ${head.sequence} needs ${size - HEAD_SIZE} bytes here, ${remain - HEAD_SIZE} remain`);
  }
  return openEnvelope(data, head, offset);
}

/** Check the CRC of a whole chunk. */
export function openEnvelope(data: Uint8Array, head: Head, offset: number): Envelope {
  const end = data.length - CRC_SIZE;
  const stored = new Fields(data.subarray(end), offset + end).u32();
  const found = crc32c(data.subarray(0, end));
  if (found !== stored) {
    throw new Corrupt(offset, `chunk ${head.sequence} has the CRC ${hex32(stored)}, its bytes give ${hex32(found)}`);
  }
  return { offset, ...head, body: data.subarray(HEAD_SIZE, end), size: data.length };
}

interface CodesFields {
  firstFrame: number;
  nFrames: number;
  entropy: number;
  nCodebooks: number[];
  scale: number | null;
  payload: Uint8Array;
}

function parseCodes(envelope: Envelope, header: Header): CodesFields {
  if (envelope.flags & ~HAS_SCALE) {
    throw new UnsupportedVersion(envelope.offset, `chunk ${envelope.sequence} has unknown flags ${hexFlags(envelope.flags)}`);
  }
  const bodyOffset = envelope.offset + HEAD_SIZE;
  const fields = new Fields(envelope.body, bodyOffset);
  const firstFrame = limitedLength("first_frame", fields.u64(), bodyOffset);
  const nFrames = fields.u16();
  if (nFrames < 1) throw new OverLimit(bodyOffset + 8, `n_frames must be 1 to ${MAX_CHUNK_FRAMES}, got ${nFrames}`);
  const entropy = fields.u8();
  if (entropy > PRIOR) throw new UnsupportedVersion(bodyOffset + 10, `entropy ${entropy} is not one that this version knows`);
  const nCodebooks = Array.from(fields.bytes(header.nStreams));
  const scale = envelope.flags & HAS_SCALE ? fields.f32() : null;
  if (scale !== null && !(Number.isFinite(scale) && scale > 0)) {
    throw new Corrupt(bodyOffset + 11 + header.nStreams, `scale must be finite and above 0, got ${scale}`);
  }
  const found = { firstFrame, nFrames, entropy, nCodebooks, scale, payload: fields.rest() };
  if (sum(nCodebooks) * nFrames > MAX_CHUNK_CODES) throw new OverLimit(bodyOffset, `a chunk holds at most ${MAX_CHUNK_CODES} codes`);
  if (entropy !== RAW && entropy !== header.entropy) {
    throw new Corrupt(envelope.offset, `chunk ${envelope.sequence} is coded with a prior, but the header names none`);
  }
  return found;
}

function codebooksProblem(ks: readonly number[], header: Header): string | null {
  if (ks.every((k) => k <= header.maxCodebooks)) return null;
  const got = `(${ks.join(", ")}${ks.length === 1 ? "," : ""})`;
  return `K must be 0 to ${header.maxCodebooks} for each of ${header.nStreams} streams, got ${got}`;
}

function problemOf(found: CodesFields, header: Header): string | null {
  const problem = codebooksProblem(found.nCodebooks, header);
  if (problem) return problem;
  const most = segmentFrames(header);
  if (header.segmentLength && found.nFrames > most) return `a segment has at most ${most} frames, got ${found.nFrames}`;
  if (found.scale !== null && !header.segmentLength) return "only a segment has a scale";
  return null;
}

/** Decode the envelope of a CODES chunk. */
export async function decodeCodes(envelope: Envelope, header: Header, findPrior: FindPrior): Promise<Chunk> {
  const found = parseCodes(envelope, header);
  const coder = found.entropy === PRIOR ? await findPrior(header, Math.min(Math.max(...found.nCodebooks), header.maxCodebooks)) : null;
  try {
    const problem = problemOf(found, header);
    if (problem) throw new ArgumentError(problem);
    const codes = coder
      ? coder.decode(found.payload, found.nCodebooks, found.nFrames)
      : unpackCodes(found.payload, sum(found.nCodebooks) * found.nFrames, bitsOf(header));
    const largest = codes.reduce((most, code) => Math.max(most, code), 0);
    if (largest >= header.codebookSize) throw new ArgumentError(`codes must be below ${header.codebookSize}, got ${largest}`);
    return { firstFrame: found.firstFrame, nFrames: found.nFrames, nCodebooks: found.nCodebooks, codes, scale: found.scale };
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    throw new Corrupt(envelope.offset, `chunk ${envelope.sequence}: ${error.message}`);
  }
}

/** Return the same chunk without its codes. No prior is needed. */
export function decodeWithoutCodes(envelope: Envelope, header: Header): Chunk {
  const { firstFrame, nFrames, nCodebooks, scale } = parseCodes(envelope, header);
  const problem = codebooksProblem(nCodebooks, header);
  if (problem) throw new Corrupt(envelope.offset, `chunk ${envelope.sequence}: ${problem}`);
  return { firstFrame, nFrames, nCodebooks, codes: new Uint16Array(0), scale };
}

/** Unpack codes of a fixed width from exactly the bytes that `packCodes` returns for them. */
export function unpackCodes(data: Uint8Array, nCodes: number, bits: number): Uint16Array {
  const size = Math.ceil((nCodes * bits) / 8);
  if (data.length !== size) throw new ArgumentError(`${nCodes} codes of ${bits} bits take ${size} bytes, got ${data.length}`);
  const codes = new Uint16Array(nCodes);
  const mask = (1 << bits) - 1;
  let held = 0;
  let nHeld = 0;
  let at = 0;
  for (let i = 0; i < nCodes; i++) {
    while (nHeld < bits) {
      held |= data[at++] << nHeld;
      nHeld += 8;
    }
    codes[i] = held & mask;
    held >>>= bits;
    nHeld -= bits;
  }
  if (held) throw new ArgumentError("the unused bits after the last code are not zero");
  return codes;
}

/** Pack codes into bytes, the first code in the least significant bits. */
export function packCodes(codes: Uint16Array, bits: number): Uint8Array {
  const out = new Uint8Array(Math.ceil((codes.length * bits) / 8));
  let held = 0;
  let nHeld = 0;
  let at = 0;
  for (const code of codes) {
    held |= code << nHeld;
    nHeld += bits;
    while (nHeld >= 8) {
      out[at++] = held & 0xff;
      held >>>= 8;
      nHeld -= 8;
    }
  }
  if (nHeld) out[at] = held;
  return out;
}

/** Return a complete chunk as bytes: head, body and CRC. */
export function buildChunk(kind: number, flags: number, sequence: number, body: Uint8Array): Uint8Array {
  const data = new Builder().bytes(SYNC).u8(kind).u8(flags).u32(sequence).u32(body.length).bytes(body).done();
  return new Builder().bytes(data).u32(crc32c(data)).done();
}

/** Return the bytes of a CODES chunk, coded with `coder` if that is smaller. */
export function encodeCodes(chunk: Chunk, header: Header, sequence: number, coder: PriorCoder | null): Uint8Array {
  let payload = packCodes(chunk.codes, bitsOf(header));
  let entropy = RAW;
  if (coder && chunk.codes.length > 0 && chunk.codes.length <= MAX_PRIOR_CODES) {
    const coded = coder.encode(chunk.codes, chunk.nCodebooks, chunk.nFrames);
    if (coded.length < payload.length) [payload, entropy] = [coded, PRIOR];
  }
  const body = new Builder().u64(BigInt(chunk.firstFrame)).u16(chunk.nFrames).u8(entropy);
  body.bytes(Uint8Array.from(chunk.nCodebooks));
  if (chunk.scale !== null) body.f32(chunk.scale);
  return buildChunk(CODES, chunk.scale === null ? 0 : HAS_SCALE, sequence, concat([body.done(), payload]));
}

/** Continue the CRC-32C of all codes of a stream: each as two bytes, least significant first. */
export function codesChecksum(codes: Uint16Array, checksum: number): number {
  const bytes = new Uint8Array(2 * codes.length);
  for (let i = 0; i < codes.length; i++) {
    bytes[2 * i] = codes[i] & 0xff;
    bytes[2 * i + 1] = codes[i] >> 8;
  }
  return crc32c(bytes, checksum);
}
