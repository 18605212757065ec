/**
 * Play, seek, decode and make .ecdc files in the browser.
 *
 *     const file = await Ecdc.open(blobOrUrl);
 *     await file.play();
 *     const { channels, sampleRate } = await file.decode(10, 2.5);
 *     for await (const block of file) draw(block);
 *     const blob = await Ecdc.encode(audioBuffer, { kbps: 6 });
 */

import { Engine, type EngineOptions } from "./engine.js";
import type { Facts } from "./file.js";
import type { EncodeOptions, Sound } from "./messages.js";
import { capture } from "./microphone.js";
import { Player } from "./player.js";

export { Engine, EngineError, type EngineOptions } from "./engine.js";
export * from "./errors.js";
export { CodedFile, type Block, type Facts } from "./file.js";
export { Library, type Catalog, type Store } from "./catalog.js";
export type { EncodeOptions, Sound } from "./messages.js";
export { Player } from "./player.js";
export { Reader } from "./reader.js";
export { readWav } from "./wav.js";

let shared: Engine | null = null;

/** The engine that is used if none is given; it is made at the first call. */
export function defaultEngine(options: EngineOptions = {}): Engine {
  return (shared ??= new Engine(options));
}

export interface OpenOptions {
  engine?: Engine;
}

export class Ecdc {
  private readonly player: Player;

  private constructor(
    private readonly engine: Engine,
    private readonly id: number,
    /** What the file is: sample rate, seconds, bytes, bitrate, tags, damage. */
    readonly facts: Facts,
  ) {
    this.player = new Player(engine);
    this.player.load(id, facts.sampleRate, facts.nSamples);
  }

  /** Open a file: a Blob, its bytes, or its address on a server. Rejects with one sentence if it cannot be played. */
  static async open(from: Blob | ArrayBuffer | Uint8Array | string | URL, options: OpenOptions = {}): Promise<Ecdc> {
    const engine = options.engine ?? defaultEngine();
    const plain = from instanceof URL ? from.href : from instanceof Uint8Array ? from.slice().buffer : from;
    const address = typeof plain === "string" ? new URL(plain, document.baseURI).href : plain;
    const { id, facts } = await engine.call("open", [address as Blob | ArrayBuffer | string]);
    return new Ecdc(engine, id, facts);
  }

  /** Encode a whole sound, or a live stream until it ends or `until` is aborted. */
  static async encode(
    from: AudioBuffer | MediaStream | Sound, options: EncodeOptions & OpenOptions & { until?: AbortSignal } = {},
  ): Promise<Blob> {
    const { engine = defaultEngine(), until, ...rest } = options;
    if (from instanceof MediaStream) {
      const bytes = (await capture(engine, from, rest, until)).bytes;
      return new Blob([bytes as BlobPart]);
    }
    const sound = "getChannelData" in from ? soundOf(from) : from;
    const { id, bytes } = await engine.call("encode", [sound, rest]);
    await engine.call("close", [id]);
    return new Blob([bytes as BlobPart]);
  }

  /** Play from `seconds` on; default: where it is. */
  play(seconds?: number): Promise<void> {
    return this.player.play(seconds);
  }

  pause(): void {
    this.player.pause();
  }

  seek(seconds: number): Promise<void> {
    return this.player.seek(seconds);
  }

  /** Seconds from the start to what is heard. */
  get position(): number {
    return this.player.position;
  }

  get isPlaying(): boolean {
    return this.player.isPlaying;
  }

  /** Decode a span: samples of each channel at `facts.sampleRate`. They equal those of a decoding of everything. */
  async decode(start = 0, seconds = Infinity): Promise<Sound> {
    const { sampleRate, nSamples } = this.facts;
    const first = Math.round(start * sampleRate);
    const stop = Math.min(Math.round((start + seconds) * sampleRate), nSamples ?? Infinity);
    return { channels: await this.engine.call("decode", [this.id, first, stop]), sampleRate };
  }

  /** Yield the whole file in blocks of about two seconds. Only one block is in memory at a time. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Sound> {
    const { sampleRate } = this.facts;
    for (let at = 0; ; ) {
      const stop = Math.min(at + 2 * sampleRate, this.facts.nSamples ?? Infinity);
      if (at >= stop) return;
      const channels = await this.engine.call("decode", [this.id, at, stop]);
      if (!channels[0].length) return;
      yield { channels, sampleRate };
      at += channels[0].length;
    }
  }

  /** Stop, and forget the file. */
  async close(): Promise<void> {
    this.player.stop();
    await this.engine.call("close", [this.id]);
  }
}

/** The channels of an AudioBuffer. */
export function soundOf(buffer: AudioBuffer): Sound {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, c) => buffer.getChannelData(c).slice());
  return { channels, sampleRate: buffer.sampleRate };
}
