/** Everything that computes, off the page's own thread: reading, decoding, encoding, and feeding the AudioWorklet. */

import { Library, type Catalog } from "./catalog.js";
import { Encoding } from "./encode.js";
import { sentence, Unavailable } from "./errors.js";
import { CodedFile, type Block } from "./file.js";
import type { Answer, CallName, Calls, EncodeOptions, FromWorklet, Request, Sound, ToWorklet } from "./messages.js";
import { measure } from "./measure.js";
import type { OnnxRuntime } from "./model.js";
import { plainNearest } from "./nearest.js";
import { wasmNearest } from "./nearest_wasm.js";
import { PlainEngine } from "./prior_plain.js";
import { hasSimd, WasmEngine } from "./prior_wasm.js";
import { Products } from "./product_wasm.js";
import { get, GrowingSource, openSource } from "./sources.js";
import { WebStore } from "./store.js";
import { BANDS, Picture } from "./survey.js";

const AHEAD = 4; // seconds that are decoded ahead of what is heard
const COLUMNS = 960; // of a survey
const SPARSE_SECONDS = 1200; // files longer than this are surveyed at a few places
const SPARSE_COLUMNS = 160;
const MAX_OPEN = 8; // files; the oldest ones are closed
const BLOCK_SECONDS = 2; // encoded at a time

interface Opened {
  file: CodedFile;
  original: Float32Array[] | null; // at the codec's rate
  growing: GrowingSource | null;
}

const base = new URL("../", import.meta.url).href;
const settings = new URL(self.location.href).searchParams;
const files = new Map<number, Opened>();
const recordings = new Map<number, Encoding>();
let nextId = 1;
let player: MessagePort | null = null;
let run = 0; // the stretch that is played
let sent = 0; // samples of it
let played = 0;
let isPlaying = false;
let wake: () => void = () => undefined;

function answer(message: Answer, transfer: Transferable[] = []): void {
  (self as unknown as Worker).postMessage(message, transfer);
}

async function loadRuntime(): Promise<OnnxRuntime> {
  const address = new URL("ort/ort.wasm.min.mjs", base).href;
  let ort: OnnxRuntime;
  try {
    ort = (await import(address)) as OnnxRuntime;
  } catch {
    throw new Unavailable("onnxruntime-web cannot be loaded from the server.");
  }
  ort.env.wasm.wasmPaths = new URL("ort/", base).href;
  const wanted = Number(settings.get("threads") ?? 0) || Math.min(4, Math.ceil((navigator.hardwareConcurrency || 2) / 2));
  ort.env.wasm.numThreads = self.crossOriginIsolated ? wanted : 1;
  ort.env.logLevel = "error";
  return ort;
}

let starting: Promise<OnnxRuntime> | null = null;

function runtime(): Promise<OnnxRuntime> {
  starting ??= loadRuntime();
  starting.catch(() => (starting = null));
  return starting;
}

async function loadLibrary(): Promise<Library> {
  const catalogUrl = new URL(settings.get("catalog") ?? "catalog.json", base).href;
  const catalog = (await (await get(catalogUrl, {})).json()) as Catalog;
  const store = new WebStore(catalogUrl, (loaded, wanted) => answer({ kind: "loading", loaded, wanted }));
  const wasm = async (name: string) => (await get(new URL(hasSimd() ? `${name}.wasm` : `${name}_scalar.wasm`, base).href, {})).arrayBuffer();
  const isPlain = settings.has("plain");
  const kernels = {
    nearest: async () => (isPlain ? plainNearest : wasmNearest(await wasm("nearest"))),
    products: async () => Products.create(await wasm("product")),
  };
  return new Library(
    catalog, store, runtime,
    async (weights) => (isPlain ? new PlainEngine(weights) : WasmEngine.create(await wasm("prior"), weights)),
    kernels,
  );
}

let loading: Promise<Library> | null = null;

function library(): Promise<Library> {
  loading ??= loadLibrary();
  loading.catch(() => (loading = null));
  return loading;
}

function opened(id: number): Opened {
  const found = files.get(id);
  if (!found) throw new Unavailable("The file is closed.");
  return found;
}

async function keep(file: CodedFile, original: Float32Array[] | null = null, growing: GrowingSource | null = null) {
  const id = nextId++;
  files.set(id, { file, original, growing });
  for (const old of files.keys()) if (files.size > MAX_OPEN) files.delete(old);
  return { id, facts: await file.facts() };
}

/** Wait until less than AHEAD seconds are waiting to be heard, or another stretch begins. */
async function untilWanted(mine: number, rate: number): Promise<boolean> {
  while (run === mine && sent - played > AHEAD * rate) await new Promise<void>((resolve) => (wake = resolve));
  return run === mine;
}

async function play(id: number, start: number, mine: number): Promise<void> {
  const { file, original } = opened(id);
  [run, sent, played, isPlaying] = [mine, 0, 0, true];
  wake();
  post({ kind: "start", run: mine });
  try {
    for await (const block of file.blocks(start)) {
      if (!(await untilWanted(mine, file.header.sampleRate))) return;
      const channels = versions(block, original);
      post({ kind: "block", run: mine, channels });
      sent += channels[0].length;
    }
    post({ kind: "end", run: mine });
  } catch (error) {
    if (run !== mine) return;
    post({ kind: "end", run: mine });
    answer({ kind: "playError", run: mine, message: sentence(error) });
  } finally {
    if (run === mine) isPlaying = false;
  }
}

/** Two channels of the decoded sound, and two of the original where there is one. */
function versions(block: Block, original: Float32Array[] | null): Float32Array[] {
  const two = (channels: Float32Array[]) => [channels[0], channels[Math.min(1, channels.length - 1)]];
  const decoded = two(block.channels);
  if (!original) return decoded;
  const n = decoded[0].length;
  return [...decoded, ...two(original).map((samples) => {
    const part = new Float32Array(n);
    part.set(samples.subarray(block.start, block.start + n));
    return part;
  })];
}

function post(message: ToWorklet): void {
  player?.postMessage(message);
}

/** Give way to playing: wait while little is decoded ahead. */
async function giveWay(rate: number): Promise<void> {
  do {
    await new Promise((resolve) => setTimeout(resolve, isPlaying && sent - played < rate ? 50 : 0));
  } while (isPlaying && sent - played < rate);
}

async function survey(id: number): Promise<void> {
  const { file } = opened(id);
  const n = await file.nSamples();
  if (!n) return;
  const rate = file.header.sampleRate;
  const isSparse = n > SPARSE_SECONDS * rate;
  const per = Math.max(Math.ceil(n / (isSparse ? SPARSE_COLUMNS : COLUMNS)), 240);
  const picture = new Picture(rate);
  const give = (first: number, peaks: number[], levels: Uint8Array) =>
    answer({ kind: "survey", samplesPerColumn: per, survey: { id, first, peaks: Float32Array.from(peaks), levels } });
  if (isSparse) return surveySparsely(file, n, per, picture, give, () => files.has(id));
  let held: Float32Array[] = [];
  let column = 0;
  for await (const block of file.blocks()) {
    await giveWay(rate);
    if (!files.has(id)) return;
    held = held.length ? held.map((before, c) => joined(before, block.channels[c])) : block.channels;
    const isLast = block.start + block.channels[0].length >= n;
    const count = isLast ? Math.ceil(held[0].length / per) : Math.floor(held[0].length / per);
    const levels = new Uint8Array(count * BANDS);
    const peaks = Array.from({ length: count }, (_, i) =>
      picture.column(held, i * per, Math.min((i + 1) * per, held[0].length), levels.subarray(i * BANDS, (i + 1) * BANDS)));
    held = held.map((samples) => samples.slice(count * per));
    if (count) give(column, peaks, levels);
    column += count;
  }
}

async function surveySparsely(
  file: CodedFile, n: number, per: number, picture: Picture, give: (first: number, peaks: number[], levels: Uint8Array) => void,
  isOpen: () => boolean,
): Promise<void> {
  const part = 2048; // samples of each column
  for (let column = 0; column * per < n; column++) {
    await giveWay(file.header.sampleRate);
    if (!isOpen()) return;
    const start = Math.min(column * per + (per >> 1), Math.max(0, n - part));
    const channels = await file.decode(start, Math.min(start + part, n));
    const levels = new Uint8Array(BANDS);
    give(column, [picture.column(channels, 0, channels[0].length, levels)], levels);
  }
}

function joined(a: Float32Array, b: Float32Array): Float32Array {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

async function beginEncoding(nChannels: number, sampleRate: number, options: EncodeOptions): Promise<Encoding> {
  const own = await library();
  const model = await own.named(options.model);
  return Encoding.start(model, await own.priorOf(model), nChannels, sampleRate, options, true);
}

async function finished(encoding: Encoding) {
  const { bytes, original } = await encoding.finish();
  const file = await CodedFile.open(await openSource(bytes), await library());
  return { ...(await keep(file, original)), bytes };
}

const calls: { [Name in CallName]: (...args: Calls[Name]["arguments"]) => Promise<Calls[Name]["result"]> } = {
  async warm(name) {
    const own = await library();
    if (name === undefined) return void (await runtime());
    const model = await own.named(name);
    const nCodebooks = Math.min(8, model.config.nCodebooks);
    const prior = own.priorOf(model).then((found) => found?.prior.ensure(nCodebooks));
    await Promise.all([model.decoder(1, 0), model.quantizer(nCodebooks), prior]);
  },
  models: async () => (await library()).names,
  async open(from) {
    const own = await library();
    return keep(await CodedFile.open(await openSource(from), own));
  },
  async generate(url, body) {
    const own = await library();
    const response = await fetch(url, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    if (!response.ok || !response.body) {
      const said = (await response.json().catch(() => ({}))) as { error?: string };
      throw new Unavailable(`The generator cannot do this: ${said.error ?? response.status}.`);
    }
    const growing = new GrowingSource(response.body);
    return keep(await CodedFile.open(growing, own), null, growing);
  },
  facts: async (id) => opened(id).file.facts(),
  async bytes(id) {
    const { file } = opened(id);
    const { source } = file.reader;
    return (await source.read(0, source.size ?? 0)).slice();
  },
  decode: async (id, start, stop) => opened(id).file.decode(start, stop),
  async connect(port) {
    player = port;
    port.onmessage = ({ data }: MessageEvent<FromWorklet>) => {
      if (data.run !== run) return;
      played = data.played;
      wake();
    };
  },
  async play(id, start, mine) {
    void play(id, start, mine);
  },
  async stop() {
    run = -1;
    isPlaying = false;
    wake();
  },
  survey,
  async close(id) {
    files.delete(id);
  },
  async transferred() {
    const loaded = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
    return loaded.map((entry) => [entry.name, entry.transferSize]);
  },
  measure: async (from, repeats) => measure(await openSource(from), await library(), repeats),
  async encode(sound: Sound, options: EncodeOptions) {
    const n = sound.channels[0]?.length ?? 0;
    const encoding = await beginEncoding(sound.channels.length, sound.sampleRate, options);
    const block = Math.ceil(BLOCK_SECONDS * sound.sampleRate);
    for (let at = 0; at < n; at += block) {
      await encoding.push(sound.channels.map((samples) => samples.subarray(at, at + block)));
      answer({ kind: "progress", done: Math.min(1, (at + block) / n) });
    }
    return finished(encoding);
  },
  async record(nChannels, sampleRate, options) {
    const id = nextId++;
    recordings.set(id, await beginEncoding(nChannels, sampleRate, options));
    return id;
  },
  async push(recording, channels) {
    const encoding = recordings.get(recording);
    if (!encoding) throw new Unavailable("The recording is closed.");
    return encoding.push(channels);
  },
  async finish(recording) {
    const encoding = recordings.get(recording);
    recordings.delete(recording);
    if (!encoding) throw new Unavailable("The recording is closed.");
    return finished(encoding);
  },
};

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { number, name, args } = data;
  try {
    const call = calls[name] as (...values: unknown[]) => Promise<unknown>;
    answer({ kind: "result", number, result: await call(...args) });
  } catch (error) {
    answer({ kind: "error", number, name: error instanceof Error ? error.name : "Error", message: sentence(error) });
  }
};
