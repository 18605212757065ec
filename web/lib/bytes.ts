/** Read and write little-endian fields. */

import { Corrupt } from "./errors.js";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return the flags of a chunk as two hex digits. */
export function hexFlags(flags: number): string {
  return `0x${flags.toString(16).padStart(2, "0")}`;
}

/** Return an unsigned number of 32 bits as eight hex digits. */
export function hex32(value: number): string {
  return value.toString(16).padStart(8, "0");
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A cursor over fields. `offset` is where the bytes begin in their stream, for errors. */
export class Fields {
  private readonly view: DataView;
  at = 0;

  constructor(
    readonly data: Uint8Array,
    readonly offset: number,
  ) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  get left(): number {
    return this.data.length - this.at;
  }

  /** The offset of the next field in the stream. */
  get place(): number {
    return this.offset + this.at;
  }

  private step(size: number): number {
    if (size > this.left) throw new Corrupt(this.offset, `the ${this.data.length} bytes here end inside a field`);
    this.at += size;
    return this.at - size;
  }

  u8(): number {
    return this.view.getUint8(this.step(1));
  }

  u16(): number {
    return this.view.getUint16(this.step(2), true);
  }

  i16(): number {
    return this.view.getInt16(this.step(2), true);
  }

  u32(): number {
    return this.view.getUint32(this.step(4), true);
  }

  u64(): bigint {
    return this.view.getBigUint64(this.step(8), true);
  }

  f32(): number {
    return this.view.getFloat32(this.step(4), true);
  }

  bytes(size: number): Uint8Array {
    const start = this.step(size);
    return this.data.subarray(start, start + size);
  }

  rest(): Uint8Array {
    return this.bytes(this.left);
  }
}

/** Decode UTF-8 strictly; null if the bytes are none. A byte order mark and zeros are part of the text. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

/** Fields to be written, in order. */
export class Builder {
  private readonly parts: Uint8Array[] = [];

  private number(size: number, set: (view: DataView) => void): this {
    const part = new Uint8Array(size);
    set(new DataView(part.buffer));
    return this.bytes(part);
  }

  u8(value: number): this {
    return this.number(1, (view) => view.setUint8(0, value));
  }

  u16(value: number): this {
    return this.number(2, (view) => view.setUint16(0, value, true));
  }

  i16(value: number): this {
    return this.number(2, (view) => view.setInt16(0, value, true));
  }

  u32(value: number): this {
    return this.number(4, (view) => view.setUint32(0, value, true));
  }

  u64(value: bigint): this {
    return this.number(8, (view) => view.setBigUint64(0, value, true));
  }

  f32(value: number): this {
    return this.number(4, (view) => view.setFloat32(0, value, true));
  }

  bytes(part: Uint8Array): this {
    this.parts.push(part);
    return this;
  }

  done(): Uint8Array {
    return concat(this.parts);
  }
}
