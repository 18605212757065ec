/** A codec: its configuration, its codebooks, and the sessions of its graphs, each loaded when it is needed. */

import type * as Ort from "onnxruntime-web";
import { levelsOf, levelWeight, reachOf, type Config, type SplitConfig } from "./config.js";
import { HybridDecoder, type Decoder } from "./decoder.js";
import { HybridEncoder, type Encoder } from "./encoder.js";
import { ArgumentError, Unavailable } from "./errors.js";
import { LevelSearch, type Prediction } from "./level_search.js";
import type { Nearest } from "./nearest.js";
import type { Products } from "./product_wasm.js";
import type { ReadRange } from "./prior.js";
import { Books, Quantizer, type Dequantizer } from "./quantizer.js";
import { contentsSize, floats, parseContents, type Contents, type Entry } from "./safetensors.js";
import { SplitDecoder } from "./split_decoder.js";
import { SplitEncoder } from "./split_encoder.js";
import { SplitNetwork } from "./split_network.js";
import { SplitQuantizer } from "./split_quantizer.js";

export type OnnxRuntime = typeof Ort;
/** The graphs of a codec; "end" ends a signal, and only split codecs have it. Their encoder runs without a graph. */
export type GraphName = "encoder" | "decoder" | "end";

/** What encoders compute with. */
export interface Kernels {
  nearest(): Promise<Nearest>;
  products(): Promise<Products>;
}

/** Where the parts of a model are. */
export interface ModelFiles {
  name: string;
  tokenSpace: string; // SHA-256 in hexadecimal
  config: unknown; // of config.json
  weightsName: string; // as the graphs call it
  weightsSize: number; // bytes
  readWeights: ReadRange;
  readGraph(name: GraphName): Promise<Uint8Array>;
}

const PREDICTION = ["quantizer.levels.mean", "quantizer.levels.taps"]; // the decoder's graph of split codecs predicts levels

let creating: Promise<unknown> = Promise.resolve(); // the session that was asked for last

export class Model {
  private sessions = new Map<string, Promise<Ort.InferenceSession>>();
  private contents: Promise<Contents> | null = null;
  private books: Promise<Dequantizer> | null = null;

  constructor(
    readonly files: ModelFiles,
    readonly config: Config,
    readonly ort: OnnxRuntime,
    private readonly kernels: Kernels,
  ) {}

  /** How many frames before and after its own frame a decoded sample depends on. */
  get reach(): [number, number] {
    return reachOf(this.config);
  }

  /** The session of a graph. Only the weights of this graph are loaded. */
  session(name: GraphName): Promise<Ort.InferenceSession> {
    let found = this.sessions.get(name);
    if (!found) {
      found = this.open(name);
      this.sessions.set(name, found);
      found.catch(() => this.sessions.delete(name));
    }
    return found;
  }

  /** A decoder for S streams whose first frame has this number in its file. */
  async decoder(nStreams: number, firstFrame: number): Promise<Decoder> {
    const { config } = this;
    const session = await this.session("decoder");
    if (config.kind === "split") return new SplitDecoder(this, config, session, nStreams, firstFrame);
    return new HybridDecoder(this, config, session, nStreams, firstFrame);
  }

  /** An encoder of as many streams as `nCodebooks` has numbers: the K of each. */
  async encoder(nCodebooks: readonly number[]): Promise<Encoder> {
    const { config } = this;
    const shared = Promise.all([this.quantizer(Math.max(...nCodebooks)), this.search()]);
    if (config.kind === "hybrid") {
      const [session, [quantizer, nearest]] = await Promise.all([this.session("encoder"), shared]);
      return new HybridEncoder(this, config, session, quantizer as Quantizer, nCodebooks, nearest); // as `openQuantizer` makes it
    }
    const nBooks = nCodebooks.map((k) => config.levelPlaces.filter((place) => place < k).length);
    const predicted = this.prediction(config, Math.max(...nBooks));
    const [[found, nearest], network, prediction] = await Promise.all([shared, this.splitNetwork(config), predicted]);
    const quantizer = found as SplitQuantizer;
    const streams = nCodebooks.map((k, s) => {
      const search = new LevelSearch(quantizer.levels, prediction, nBooks[s], config.levelTaps, nearest);
      return { nCodebooks: k, search, past: network.firstPast() };
    });
    return new SplitEncoder(config, network, quantizer, streams, nearest);
  }

  private nearest: Promise<Nearest> | null = null;
  private network: Promise<SplitNetwork> | null = null;

  private search(): Promise<Nearest> {
    this.nearest ??= this.kernels.nearest();
    this.nearest.catch(() => (this.nearest = null));
    return this.nearest;
  }

  private splitNetwork(config: SplitConfig): Promise<SplitNetwork> {
    this.network ??= (async () => {
      const [weights, products] = await Promise.all([this.tensors("encoder."), this.kernels.products()]);
      return new SplitNetwork(config, products, weights);
    })();
    this.network.catch(() => (this.network = null));
    return this.network;
  }

  /** The arrays whose names begin with `prefix`, which is left out. */
  private async tensors(prefix: string): Promise<Map<string, Float32Array>> {
    const { entries } = await this.readContents();
    const own = [...entries].filter(([name]) => name.startsWith(prefix));
    const found = new Map<string, Float32Array>();
    await Promise.all(joined(own.map(([, entry]) => entry)).map(async ({ start, stop }) => {
      const bytes = await this.files.readWeights(start, stop);
      for (const [name, entry] of own) {
        const isHere = entry.start >= start && entry.stop <= stop;
        if (isHere) found.set(name.slice(prefix.length), floats(bytes.subarray(entry.start - start, entry.stop - start), entry.dtype));
      }
    }));
    return found;
  }

  private last: Promise<unknown> = Promise.resolve();

  /** Run a graph. Runs wait for each other, because onnxruntime-web takes one at a time. */
  run(session: Ort.InferenceSession, feeds: Record<string, Ort.Tensor>): Promise<Ort.InferenceSession.OnnxValueMapType> {
    const found = this.last.then(() => session.run(feeds));
    this.last = found.catch(() => undefined);
    return found;
  }

  /** The quantizer with at least the first `nCodebooks` codebooks. */
  async quantizer(nCodebooks: number): Promise<Dequantizer> {
    this.books ??= this.openQuantizer();
    this.books.catch(() => (this.books = null));
    const quantizer = await this.books;
    await quantizer.ensure(nCodebooks);
    return quantizer;
  }

  private async readContents(): Promise<Contents> {
    this.contents ??= (async () => {
      const read = this.files.readWeights;
      return parseContents(await read(0, contentsSize(await read(0, 8))));
    })();
    this.contents.catch(() => (this.contents = null));
    return this.contents;
  }

  private async openQuantizer(): Promise<Dequantizer> {
    const { config } = this;
    const { nCodebooks } = config;
    if (config.kind === "hybrid") return this.residual("quantizer", nCodebooks);
    const n = config.levelPlaces.length;
    const [levels, shape] = await Promise.all([
      this.openBooks("quantizer.levels.codebooks", n, levelsOf(config)), this.residual("quantizer.shape", nCodebooks - n),
    ]);
    return new SplitQuantizer(config, levels, shape);
  }

  /** What predicts the levels that the first `n` level codebooks code. */
  private async prediction(config: SplitConfig, n: number): Promise<Prediction> {
    const [size, most] = [levelsOf(config), config.levelPlaces.length];
    const [mean, taps] = await Promise.all([
      this.entry("quantizer.levels.mean", [size]), this.entry("quantizer.levels.taps", [most, config.levelTaps, size, size]),
    ]);
    const end = taps.start + (n * (taps.stop - taps.start)) / most;
    const [means, values] = await Promise.all([this.read(mean, mean.start, mean.stop), this.read(taps, taps.start, end)]);
    return { taps: values, mean: means, weight: levelWeight(config) };
  }

  private async residual(name: string, n: number): Promise<Quantizer> {
    const { codebookSize, dimension } = this.config;
    const scales = await this.entry(`${name}.scales`, [codebookSize]);
    const [books, values] = await Promise.all([this.openBooks(`${name}.codebooks`, n, dimension), this.read(scales, scales.start, scales.stop)]);
    return new Quantizer(books, values);
  }

  private async openBooks(name: string, n: number, dimension: number): Promise<Books> {
    const { codebookSize } = this.config;
    const entry = await this.entry(name, [n, codebookSize, dimension]);
    const each = (entry.stop - entry.start) / n;
    return new Books(dimension, codebookSize, n, (from, to) => this.read(entry, entry.start + from * each, entry.start + to * each));
  }

  private async entry(name: string, shape: number[]): Promise<Entry> {
    const found = (await this.readContents()).entries.get(name);
    if (String(found?.shape) === String(shape)) return found!;
    throw new ArgumentError(`${name} of ${this.files.name} does not fit its configuration`);
  }

  private async read(entry: Entry, start: number, stop: number): Promise<Float32Array> {
    return floats(await this.files.readWeights(start, stop), entry.dtype);
  }

  /**
   * The weights' file as a buffer of its size, of which the parts are filled that a graph refers to: it does so by places in
   * the file. Null for a graph without weights.
   */
  private async weights(name: GraphName): Promise<Uint8Array | null> {
    if (name === "end") return null;
    const { entries } = await this.readContents();
    const isSplit = this.config.kind === "split";
    const isOwn = (key: string) => key.startsWith(`${name}.`) || (isSplit && name === "decoder" && PREDICTION.includes(key));
    const own = [...entries].filter(([key]) => isOwn(key)).map(([, entry]) => entry);
    const parts = joined(own);
    if (!own.length || parts[parts.length - 1].stop > this.files.weightsSize) {
      throw new ArgumentError(`${this.files.name} lacks the weights of its ${name}`);
    }
    const data = new Uint8Array(this.files.weightsSize);
    await Promise.all(parts.map(async ({ start, stop }) => data.set(await this.files.readWeights(start, stop), start)));
    return data;
  }

  private async open(name: GraphName): Promise<Ort.InferenceSession> {
    const [graph, data] = await Promise.all([this.files.readGraph(name), this.weights(name)]);
    const externalData = data ? [{ path: this.files.weightsName, data }] : [];
    const create = () => this.ort.InferenceSession.create(graph, { executionProviders: ["wasm"], externalData });
    const created = creating.then(create); // one at a time: onnxruntime-web forgets the data of all when one is made
    creating = created.catch(() => undefined);
    try {
      return await created;
    } catch (error) {
      throw new Unavailable(`The ${name} of ${this.files.name} cannot start here: ${String(error).split("\n")[0].slice(0, 200)}.`);
    }
  }
}

/** Join ranges of bytes without gaps between them. */
function joined(entries: Entry[]): { start: number; stop: number }[] {
  const parts: { start: number; stop: number }[] = [];
  for (const { start, stop } of [...entries].sort((a, b) => a.start - b.start)) {
    const last = parts[parts.length - 1];
    if (last?.stop === start) last.stop = stop;
    else parts.push({ start, stop });
  }
  return parts;
}
