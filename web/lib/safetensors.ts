/** Read the table of contents of a safetensors file, and arrays from its bytes. */

import { ArgumentError } from "./errors.js";

export const MAX_CONTENTS = 2 ** 20; // bytes of the table

export interface Entry {
  dtype: string;
  shape: number[];
  start: number; // in bytes, in the file
  stop: number;
}

export interface Contents {
  size: number; // bytes before the data
  entries: Map<string, Entry>;
  metadata: Record<string, string>;
}

/** Return the size of the table with its length field, from the first 8 bytes of a file. */
export function contentsSize(first: Uint8Array): number {
  if (first.length < 8) throw new ArgumentError("the file is too short for safetensors");
  const size = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  if (size > BigInt(MAX_CONTENTS)) throw new ArgumentError(`the table of contents of a safetensors file is too long: ${size} bytes`);
  return 8 + Number(size);
}

/** Parse the table from the first bytes of a file; every array must fit its type and shape, and follow the table. */
export function parseContents(data: Uint8Array): Contents {
  const size = contentsSize(data);
  let table: unknown;
  try {
    table = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data.subarray(8, size)));
  } catch {
    throw new ArgumentError("the table of contents of a safetensors file is no JSON");
  }
  if (typeof table !== "object" || table === null) throw new ArgumentError("the table of contents of a safetensors file is no object");
  const found: Contents = { size, entries: new Map(), metadata: {} };
  for (const [name, value] of Object.entries(table as Record<string, unknown>)) {
    if (name === "__metadata__") found.metadata = value as Record<string, string>;
    else found.entries.set(name, entryOf(name, value, size));
  }
  return found;
}

const BYTES: Record<string, number> = { I8: 1, U8: 1, F16: 2, I32: 4, F32: 4, F64: 8, I64: 8 };

function entryOf(name: string, value: unknown, size: number): Entry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as { dtype?: string; shape?: number[]; data_offsets?: number[] };
  const isCount = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
  if (!dtype || !(dtype in BYTES) || !Array.isArray(shape) || !shape.every(isCount) || offsets?.length !== 2 || !offsets.every(isCount)) {
    throw new ArgumentError(`${name} is not described as safetensors describes arrays`);
  }
  const [start, stop] = offsets;
  if (stop - start !== shape.reduce((n, length) => n * length, BYTES[dtype])) throw new ArgumentError(`${name} does not fit its shape`);
  return { dtype, shape, start: size + start, stop: size + stop };
}

/** Convert half-precision numbers to single precision. */
export function halfToFloat(bytes: Uint8Array): Float32Array {
  const n = bytes.length >> 1;
  const out = new Float32Array(n);
  for (let i = 0; i < n; i++) out[i] = halves()[bytes[2 * i] | (bytes[2 * i + 1] << 8)];
  return out;
}

let table: Float32Array | null = null;

function halves(): Float32Array {
  if (table) return table;
  table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
    else table[bits] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }
  return table;
}

/** Return floats of any width as float32. */
export function floats(bytes: Uint8Array, dtype: string): Float32Array {
  if (dtype === "F16") return halfToFloat(bytes);
  const aligned = bytes.slice();
  if (dtype === "F32") return new Float32Array(aligned.buffer);
  if (dtype === "F64") return Float32Array.from(new Float64Array(aligned.buffer));
  throw new ArgumentError(`${dtype} is no type of floats`);
}
