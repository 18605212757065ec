/** Where the bytes of a stream come from: memory, a Blob, a server, or a download that is still running. */

import { concat } from "./bytes.js";
import { ArgumentError, Unavailable } from "./errors.js";

export const MAX_WHOLE = 2 ** 28; // bytes of a file that is loaded whole, because its server has no range requests
const BLOCK = 2 ** 16; // bytes per range request
const MAX_BLOCKS = 64; // kept in memory
const BROKEN = "The connection ended before the file was complete.";

/** Bytes that can be read at any place. `size` is null while it is not known. */
export interface Source {
  readonly size: number | null;
  /** Return `size` bytes from `offset` on, or fewer if the stream ends before. */
  read(offset: number, size: number): Promise<Uint8Array>;
}

export class BytesSource implements Source {
  readonly size: number;

  constructor(private readonly bytes: Uint8Array) {
    this.size = bytes.length;
  }

  async read(offset: number, size: number): Promise<Uint8Array> {
    return this.bytes.subarray(Math.min(offset, this.size), Math.min(offset + size, this.size));
  }
}

export class BlobSource implements Source {
  readonly size: number;

  constructor(private readonly blob: Blob) {
    this.size = blob.size;
  }

  async read(offset: number, size: number): Promise<Uint8Array> {
    const part = this.blob.slice(Math.min(offset, this.size), Math.min(offset + size, this.size));
    return new Uint8Array(await part.arrayBuffer());
  }
}

/** A file on a server that answers range requests. Blocks of 64 kB are loaded once, and the latest ones are kept. */
export class RangeSource implements Source {
  private readonly blocks = new Map<number, Promise<Uint8Array>>();

  private constructor(
    private readonly url: string,
    readonly size: number,
    private readonly version: string | null,
  ) {}

  /** Open a URL. A server without range requests sends the whole file, which is then kept, up to MAX_WHOLE bytes. */
  static async open(url: string): Promise<Source> {
    const response = await get(url, { Range: `bytes=0-${BLOCK - 1}` });
    if (response.status !== 206) return new BytesSource(await wholeBody(response, MAX_WHOLE));
    const size = totalSize(response);
    if (size === null) {
      await response.body?.cancel();
      return new BytesSource(await wholeBody(await get(url, {}), MAX_WHOLE));
    }
    const source = new RangeSource(url, size, response.headers.get("ETag"));
    source.blocks.set(0, body(response));
    return source;
  }

  async read(offset: number, size: number): Promise<Uint8Array> {
    const stop = Math.min(offset + size, this.size);
    if (offset >= stop) return new Uint8Array(0);
    const out = new Uint8Array(stop - offset);
    const first = Math.floor(offset / BLOCK);
    const last = Math.floor((stop - 1) / BLOCK);
    for (let i = first; i <= last; i++) {
      const block = await this.block(i);
      const start = Math.max(offset, i * BLOCK);
      out.set(block.subarray(start - i * BLOCK, Math.min(stop, (i + 1) * BLOCK) - i * BLOCK), start - offset);
    }
    return out;
  }

  private block(i: number): Promise<Uint8Array> {
    const known = this.blocks.get(i);
    this.blocks.delete(i); // so that the latest ones are last
    const block = known ?? this.load(i);
    this.blocks.set(i, block);
    if (this.blocks.size > MAX_BLOCKS) this.blocks.delete(this.blocks.keys().next().value as number);
    block.catch(() => this.blocks.delete(i));
    return block;
  }

  private async load(i: number): Promise<Uint8Array> {
    const stop = Math.min((i + 1) * BLOCK, this.size);
    const response = await get(this.url, { Range: `bytes=${i * BLOCK}-${stop - 1}` });
    const changed = this.version !== response.headers.get("ETag");
    if (response.status !== 206 || changed) throw new Unavailable("The file changed on the server while it was read.");
    const data = await body(response);
    if (data.length !== stop - i * BLOCK) throw new Unavailable("The server sent fewer bytes than it promised.");
    return data;
  }
}

/** A download that is still running, such as music that is being generated: `read` waits for its bytes. */
export class GrowingSource implements Source {
  size: number | null = null;
  private parts = new Uint8Array(2 ** 16);
  private length = 0;
  private failure: unknown = null;
  private wake: (() => void)[] = [];

  constructor(stream: ReadableStream<Uint8Array>) {
    void this.fill(stream);
  }

  /** All bytes that have arrived so far. */
  get bytes(): Uint8Array {
    return this.parts.subarray(0, this.length);
  }

  async read(offset: number, size: number): Promise<Uint8Array> {
    while (this.size === null && this.failure === null && this.length < offset + size) {
      await new Promise<void>((resolve) => this.wake.push(resolve));
    }
    if (this.failure !== null && this.length < offset + size) throw this.failure;
    return this.parts.subarray(Math.min(offset, this.length), Math.min(offset + size, this.length));
  }

  private async fill(stream: ReadableStream<Uint8Array>): Promise<void> {
    const reader = stream.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        this.append(value);
      }
      this.size = this.length;
    } catch {
      this.failure = new Unavailable(BROKEN);
    }
    this.notify();
  }

  private append(part: Uint8Array): void {
    const length = this.length + part.length;
    if (length > MAX_WHOLE) throw new ArgumentError("the stream is too long");
    if (length > this.parts.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.parts.length));
      larger.set(this.bytes);
      this.parts = larger;
    }
    this.parts.set(part, this.length);
    this.length = length;
    this.notify();
  }

  private notify(): void {
    const waiting = this.wake;
    this.wake = [];
    for (const resolve of waiting) resolve();
  }
}

/** Open a URL, a Blob or bytes as a source. */
export async function openSource(from: Blob | Uint8Array | ArrayBuffer | string | URL): Promise<Source> {
  if (from instanceof Uint8Array) return new BytesSource(from);
  if (from instanceof ArrayBuffer) return new BytesSource(new Uint8Array(from));
  if (from instanceof Blob) return new BlobSource(from);
  return RangeSource.open(String(from));
}

/** Fetch, or throw one sentence about what went wrong. */
export async function get(url: string, headers: Record<string, string>, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { ...init, headers });
  } catch {
    throw new Unavailable(`${nameOf(url)} cannot be loaded: the server does not answer.`);
  }
  if (!response.ok) throw new Unavailable(`${nameOf(url)} cannot be loaded: the server answered ${response.status}.`);
  return response;
}

function nameOf(url: string): string {
  const name = decodeURIComponentSafe(url.split(/[?#]/)[0].split("/").pop() ?? "");
  return name || "The file";
}

function decodeURIComponentSafe(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function totalSize(response: Response): number | null {
  const found = /^bytes \d+-\d+\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
  return found ? Number(found[1]) : null;
}

async function wholeBody(response: Response, most: number): Promise<Uint8Array> {
  const tooLong = () => new Unavailable(`The server has no range requests, and the file is larger than ${most / 2 ** 20} MB.`);
  if (Number(response.headers.get("Content-Length") ?? 0) > most) {
    await response.body?.cancel();
    throw tooLong();
  }
  if (!response.body) return body(response);
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new Unavailable(BROKEN);
    });
    if (done) break;
    size += value.length;
    if (size > most) {
      await reader.cancel();
      throw tooLong();
    }
    parts.push(value);
  }
  return concat(parts);
}

/** All bytes of an answer, or one sentence if the connection breaks. */
async function body(response: Response): Promise<Uint8Array> {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch {
    throw new Unavailable(BROKEN);
  }
}
