/** The header of a stream: its fields, checks, reading and writing. */

import { Builder, Fields, hex, hex32, sameBytes, textOf } from "./bytes.js";
import { crc32c } from "./crc.js";
import { ArgumentError, Corrupt, DamagedHeader, NotEcdc, OverLimit, Truncated, UnsupportedVersion, WrongModel } from "./errors.js";
import * as limits from "./schema.js";
import type { Source } from "./sources.js";
import { ceilDiv, codeBits, resampledLength } from "./timing.js";

const PREFIX_SIZE = 8;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const NAME_OFFSET = 92; // of the first field without a fixed place
const OFFSETS: Record<string, number> = {
  channels: 16, n_streams: 17, segment_length: 28, segment_stride: 32, original_n_samples: 52, token_space: 60,
};

/** Everything that a decoder must know. A length of null is not known yet: the END chunk then holds it. */
export interface Header {
  codec: string;
  tokenSpace: Uint8Array;
  sampleRate: number; // Hz, of the codec
  originalSampleRate: number; // Hz
  channels: number;
  nStreams: number;
  channelCoding: number;
  maxCodebooks: number;
  codebookSize: number;
  hopLength: number; // samples per frame
  segmentLength: number; // samples; 0: not segmented
  segmentStride: number; // samples
  preSkip: number; // samples
  outputGain: number; // 1/256 dB
  entropy: number;
  provenance: number; // 1: generated
  nSamples: number | null; // at sampleRate
  originalNSamples: number | null; // at originalSampleRate
  prior: Uint8Array;
  tags: [string, string][];
}

/** Frames per second. */
export function frameRate(header: Header): number {
  return header.sampleRate / header.hopLength;
}

/** Largest number of frames in one segment; 0 if the audio is not segmented. */
export function segmentFrames(header: Header): number {
  return ceilDiv(header.segmentLength, header.hopLength);
}

export function bitsOf(header: Header): number {
  return codeBits(header.codebookSize);
}

/** Throw WrongModel unless the codes belong to this token space. */
export function requireSpace(header: Header, codec: string, tokenSpace: Uint8Array): void {
  if (sameBytes(header.tokenSpace, tokenSpace)) return;
  throw new WrongModel(
    OFFSETS.token_space,
    `the codes are of ${header.codec} (${hex(header.tokenSpace)}), not of ${codec} (${hex(tokenSpace)})`,
  );
}

/** Read the header; returns it and its size in bytes. */
export async function readHeader(source: Source): Promise<{ header: Header; size: number }> {
  const start = await source.read(0, PREFIX_SIZE);
  const shown = Math.min(4, start.length);
  if (!sameBytes(start.subarray(0, shown), limits.MAGIC.subarray(0, shown))) throw new NotEcdc(0, "not an .ecdc stream");
  if (!start.length) throw new Truncated(0, "the stream is empty");
  if (start.length < 5) throw new Truncated(0, `the magic and the version need 5 bytes, ${start.length} are here`);
  if (start[4] === 0) throw new UnsupportedVersion(4, "version 0 is the original EnCodec container");
  if (start[4] !== limits.MAJOR) throw new UnsupportedVersion(4, `version ${start[4]} of the format is not supported (supported: ${limits.MAJOR})`);
  if (start.length < PREFIX_SIZE) throw new Truncated(5, `the header's size needs 3 bytes here, ${start.length - 5} remain`);
  const size = start[6] | (start[7] << 8);
  if (size < PREFIX_SIZE + limits.CRC_SIZE) throw new DamagedHeader(6, `the header cannot be ${size} bytes`);
  const data = await source.read(0, size);
  if (data.length < size) {
    throw new Truncated(PREFIX_SIZE, `the header needs ${size - PREFIX_SIZE} bytes here, ${data.length - PREFIX_SIZE} remain`);
  }
  return { header: parseHeader(data), size };
}

/** Parse a header from all of its bytes, from the magic to the CRC. */
export function parseHeader(data: Uint8Array): Header {
  const body = data.subarray(0, data.length - limits.CRC_SIZE);
  const stored = new Fields(data.subarray(body.length), body.length).u32();
  const crc = crc32c(body);
  if (crc !== stored) throw new DamagedHeader(body.length, `the header's CRC is ${hex32(stored)}, its bytes give ${hex32(crc)}`);
  const fields = new Fields(body, 0);
  fields.bytes(PREFIX_SIZE);
  const header = parseFixed(fields);
  header.codec = parseName(fields);
  header.prior = parsePrior(fields);
  const nTags = fields.u8();
  for (let i = 0; i < nTags; i++) header.tags.push(parseTag(fields));
  if (header.nStreams !== limits.N_STREAMS[header.channelCoding]) {
    throw new Corrupt(OFFSETS.n_streams, `${header.nStreams} streams do not fit ${limits.CODINGS[header.channelCoding]}`);
  }
  checkTogether(header);
  return header;
}

function limited(name: string, value: number, low: number, high: number, place: number): number {
  if (value < low || value > high) throw new OverLimit(place, `${name} must be ${low} to ${high}, got ${value}`);
  return value;
}

function parseFixed(fields: Fields): Header {
  const number = (name: string, read: () => number, low: number, high: number): number => {
    const place = fields.place;
    return limited(name, read(), low, high, place);
  };
  const u8 = (name: string, low: number, high: number) => number(name, () => fields.u8(), low, high);
  const u32 = (name: string, low: number, high: number) => number(name, () => fields.u32(), low, high);
  const choice = (name: string, highest: number): number => {
    const place = fields.place;
    const value = fields.u8();
    if (value > highest) throw new UnsupportedVersion(place, `${name} ${value} is not one that this version knows`);
    return value;
  };
  return {
    codec: "",
    prior: new Uint8Array(0),
    tags: [],
    sampleRate: u32("sample_rate", 1, limits.MAX_RATE),
    originalSampleRate: u32("original_sample_rate", 1, limits.MAX_RATE),
    channels: u8("channels", 1, 255),
    nStreams: u8("n_streams", 1, 2),
    channelCoding: choice("channel_coding", limits.JOINT),
    maxCodebooks: u8("max_codebooks", 1, 255),
    codebookSize: u32("codebook_size", 2, limits.MAX_CODEBOOK_SIZE),
    hopLength: u32("hop_length", 1, limits.MAX_HOP),
    segmentLength: u32("segment_length", 0, limits.MAX_HOP),
    segmentStride: u32("segment_stride", 0, limits.MAX_HOP),
    preSkip: fields.u32(),
    outputGain: fields.i16(),
    entropy: choice("entropy", limits.PRIOR),
    provenance: choice("provenance", 1),
    nSamples: parseLength(fields, "n_samples"),
    originalNSamples: parseLength(fields, "original_n_samples"),
    tokenSpace: fields.bytes(limits.DIGEST_SIZE),
  };
}

/** Return a number of samples or frames; throw OverLimit for one that the format does not allow. */
export function limitedLength(name: string, value: bigint, place: number): number {
  if (value > limits.MAX_LENGTH) throw new OverLimit(place, `${name} must be 0 to ${limits.MAX_LENGTH}, got ${value}`);
  return Number(value);
}

function parseLength(fields: Fields, name: string): number | null {
  const place = fields.place;
  const value = fields.u64();
  return value === limits.UNKNOWN ? null : limitedLength(name, value, place);
}

function quoted(text: string): string {
  const named: Record<string, string> = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
  const control = (c: string) => named[c] ?? `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`;
  return `'${text.slice(0, 32).replace(/[\u0000-\u001f\u007f-\u009f]/g, control)}'`;
}

function isName(text: string): boolean {
  return text !== "" && !CONTROL.test(text);
}

function parseName(fields: Fields): string {
  const place = fields.place;
  const bytes = fields.bytes(fields.u8());
  const text = textOf(bytes);
  if (text === null) throw new Corrupt(place, `codec must be UTF-8, got ${hex(bytes.subarray(0, 32))}`);
  if (!isName(text)) throw new Corrupt(place, `codec must be a name without control characters, got ${quoted(text)}`);
  return text;
}

function parsePrior(fields: Fields): Uint8Array {
  const place = fields.place;
  const prior = fields.bytes(fields.u8());
  if (prior.length !== 0 && prior.length !== limits.DIGEST_SIZE) {
    throw new Corrupt(place, `prior must be 0 or ${limits.DIGEST_SIZE} bytes, got ${prior.length}`);
  }
  return prior;
}

function parseTag(fields: Fields): [string, string] {
  const place = fields.place;
  const bytes = fields.bytes(fields.u16());
  const text = textOf(bytes);
  if (text === null) throw new Corrupt(place, `tags must be UTF-8, got ${hex(bytes.subarray(0, 32))}`);
  const equals = text.indexOf("=");
  if (equals < 0 || !isName(text.slice(0, equals))) throw new Corrupt(place, `tags must each be key=value, got ${quoted(text)}`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** Check the rules that involve more than one field. */
function checkTogether(header: Header): void {
  const fault = (field: string, problem: string) => new Corrupt(OFFSETS[field] ?? NAME_OFFSET, `${field} ${problem}`);
  if (header.channelCoding !== limits.JOINT && header.channels !== header.nStreams) {
    throw fault("channels", `must be ${header.nStreams} for ${limits.CODINGS[header.channelCoding]}, got ${header.channels}`);
  }
  if (header.entropy === limits.RAW && header.prior.length) throw fault("prior", `must be empty for RAW, got ${header.prior.length} bytes`);
  if (header.entropy === limits.PRIOR && !header.prior.length) throw fault("prior", "must name the prior for PRIOR");
  const { segmentLength: length, segmentStride: stride } = header;
  if (!((stride > 0 && stride <= length) || (stride === 0 && length === 0))) {
    throw fault("segment_stride", `must be 1 to ${length}, got ${stride}`);
  }
  const most = limits.MAX_CHUNK_FRAMES;
  if (segmentFrames(header) > most) throw fault("segment_length", `must be at most ${most} frames, got ${segmentFrames(header)}`);
  if (header.nSamples !== null && header.originalNSamples !== null) {
    const problem = lengthsProblem(header, header.nSamples, header.originalNSamples);
    if (problem) throw new Corrupt(OFFSETS.original_n_samples, problem);
  }
}

function lengthsProblem(header: Header, nSamples: number, originalNSamples: number): string | null {
  const { sampleRate, originalSampleRate } = header;
  if (sampleRate === originalSampleRate && nSamples !== originalNSamples) {
    return `original_n_samples must be ${nSamples} because the rates are equal, got ${originalNSamples}`;
  }
  const most = resampledLength(nSamples, sampleRate, originalSampleRate);
  if (originalNSamples <= most) return null;
  return `original_n_samples must be at most ${most} for ${nSamples} samples at ${sampleRate} Hz, got ${originalNSamples}`;
}

/** Return what is wrong with the final lengths of a stream whose codes decode to `nDecodable` samples, or null. */
export function finalLengthsProblem(
  header: Header, nSamples: number, originalNSamples: number, nDecodable: number,
): string | null {
  const promised = (name: string, value: number | null, got: number) =>
    value === null || value === got ? null : `${name} must be ${value} as the header says, got ${got}`;
  const broken =
    promised("n_samples", header.nSamples, nSamples) ??
    promised("original_n_samples", header.originalNSamples, originalNSamples);
  if (broken) return broken;
  const most = Math.max(nDecodable - header.preSkip, 0);
  if (nSamples > most) return `n_samples must be at most ${most} for these codes, got ${nSamples}`;
  return lengthsProblem(header, nSamples, originalNSamples);
}

/** Return a header as bytes. */
export function buildHeader(header: Header): Uint8Array {
  const text = new TextEncoder();
  const codec = text.encode(header.codec);
  const tags = header.tags.slice(0, limits.MAX_TAGS).map(([key, value]) => text.encode(`${key}=${value}`));
  const size = NAME_OFFSET + 1 + codec.length + 1 + header.prior.length + 1 + tags.reduce((n, tag) => n + 2 + tag.length, 4);
  if (size > limits.MAX_HEADER) throw new ArgumentError(`tags must leave the header at most ${limits.MAX_HEADER} bytes, got ${size}`);
  const builder = new Builder();
  builder.bytes(limits.MAGIC).u8(limits.MAJOR).u8(header.entropy ? 1 : 0).u16(size);
  builder.u32(header.sampleRate).u32(header.originalSampleRate);
  builder.u8(header.channels).u8(header.nStreams).u8(header.channelCoding).u8(header.maxCodebooks);
  builder.u32(header.codebookSize).u32(header.hopLength).u32(header.segmentLength).u32(header.segmentStride);
  builder.u32(header.preSkip).i16(header.outputGain).u8(header.entropy).u8(header.provenance);
  for (const length of [header.nSamples, header.originalNSamples]) builder.u64(length === null ? limits.UNKNOWN : BigInt(length));
  builder.bytes(header.tokenSpace).u8(codec.length).bytes(codec).u8(header.prior.length).bytes(header.prior).u8(tags.length);
  for (const tag of tags) builder.u16(tag.length).bytes(tag);
  const data = builder.done();
  const whole = new Builder().bytes(data).u32(crc32c(data)).done();
  parseHeader(whole); // checks every field
  return whole;
}
