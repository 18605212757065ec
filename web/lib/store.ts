/** Loads parts of a server's files, keeps them in the browser's cache for use without a network, and tells how far it is. */

import type { Store } from "./catalog.js";
import { Unavailable } from "./errors.js";
import { get } from "./sources.js";

const CACHE = "ecdc-models-1";

/** Told of bytes as they arrive: those that came, and those that are wanted in all. */
export type Progress = (loaded: number, wanted: number) => void;

export class WebStore implements Store {
  private loaded = 0;
  private wanted = 0;
  private readonly running = new Map<string, Promise<Uint8Array>>();
  private readonly contents = new Map<string, Uint8Array>(); // starts of files, which are asked for again

  constructor(
    private readonly base: string,
    private readonly progress: Progress = () => undefined,
  ) {}

  range(file: string, start: number, stop: number): Promise<Uint8Array> {
    if (start >= stop) return Promise.resolve(new Uint8Array(0));
    return this.once(`${file}#${start}-${stop}`, async () => {
      const url = new URL(file, this.base).href;
      const response = await get(url, { Range: `bytes=${start}-${stop - 1}` });
      const data = await this.body(response, stop - start);
      if (response.status === 206 && data.length === stop - start) return data;
      if (response.status === 200 && data.length >= stop) return data.slice(start, stop); // no range requests: all of it came
      throw new Unavailable(`${file.split("?")[0]} is shorter on the server than its catalog says.`);
    });
  }

  whole(file: string): Promise<Uint8Array> {
    return this.once(file, async () => this.body(await get(new URL(file, this.base).href, {}), null));
  }

  /** Return what is in the browser's cache under a key, or load it once. Small parts are kept in memory only. */
  private once(key: string, load: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.contents.get(key);
    if (known) return Promise.resolve(known);
    let found = this.running.get(key);
    if (!found) {
      found = this.cached(key, load).finally(() => this.running.delete(key));
      this.running.set(key, found);
    }
    return found;
  }

  private async cached(key: string, load: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const cache = await openCache();
    const address = new URL(`cached/${encodeURIComponent(key)}`, this.base).href;
    const kept = await cache?.match(address);
    if (kept) return new Uint8Array(await kept.arrayBuffer());
    const data = await load();
    if (data.length < 65536) this.contents.set(key, data);
    await cache?.put(address, new Response(data as BodyInit)).catch(() => undefined); // a full disk is no fault
    return data;
  }

  private async body(response: Response, size: number | null): Promise<Uint8Array> {
    const length = size !== null && response.status === 206 ? size : Number(response.headers.get("Content-Length") ?? 0);
    const isPacked = response.headers.has("Content-Encoding");
    if (!response.body || !length || isPacked) return new Uint8Array(await response.arrayBuffer());
    if (length > 2 ** 28) throw new Unavailable("The server's file is too large for a model.");
    this.wanted += length;
    const out = new Uint8Array(length);
    let at = 0;
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return out.subarray(0, at);
      if (at + value.length > length) throw new Unavailable("The server sent more bytes than it promised.");
      out.set(value, at);
      at += value.length;
      this.loaded += value.length;
      this.progress(this.loaded, this.wanted);
    }
  }
}

async function openCache(): Promise<Cache | null> {
  try {
    return await caches.open(CACHE);
  } catch {
    return null; // private windows have none
  }
}
