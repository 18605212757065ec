/** A codec: its configuration, its codebooks, and the sessions of its graphs, each loaded when it is needed. */

import type * as Ort from "onnxruntime-web";
import { ArgumentError, Unavailable } from "./errors.js";
import type { ReadRange } from "./prior.js";
import { Quantizer } from "./quantizer.js";
import { contentsSize, floats, parseContents, type Contents } from "./safetensors.js";

export type OnnxRuntime = typeof Ort;

/** Where the parts of a model are. */
export interface ModelFiles {
  name: string;
  tokenSpace: string; // SHA-256 in hexadecimal
  config: unknown; // of config.json
  weightsName: string; // as the graphs call it
  weightsSize: number; // bytes
  readWeights: ReadRange;
  readGraph(name: "encoder" | "decoder"): Promise<Uint8Array>;
}

/** The numbers of a codec of nano-24k's kind. */
export interface Config {
  sampleRate: number; // Hz
  hopLength: number; // samples per frame
  dimension: number; // D
  nCodebooks: number;
  codebookSize: number; // V
  kbps: number[]; // legal bitrates of one stream
  encoderWidth: number;
  encoderDepth: number;
  encoderWindow: number; // hops
  decoderWidth: number;
  decoderDepth: number;
  lookahead: number; // frames
  kernelSize: number;
}

/** Read the configuration of a model; throws Unavailable for kinds of codecs that cannot run here. */
export function parseConfig(name: string, raw: unknown): Config {
  const whole = raw as Record<string, unknown>;
  const own = (whole.architecture ?? {}) as Record<string, unknown>;
  if (own.kind !== "hybrid" || whole.channels !== 1 || whole.scaled_residuals !== true) {
    throw new Unavailable(`${name} is of a kind that does not run in browsers yet.`);
  }
  const count = (from: Record<string, unknown>, key: string): number => {
    const value = from[key];
    if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > 2 ** 24) {
      throw new ArgumentError(`the configuration of ${name} lacks ${key}`);
    }
    return value as number;
  };
  return {
    sampleRate: count(whole, "sample_rate"), dimension: count(whole, "dimension"), nCodebooks: count(whole, "n_codebooks"),
    codebookSize: count(whole, "codebook_size"), kbps: whole.bitrates_kbps as number[],
    hopLength: count(own, "hop_length"), encoderWidth: count(own, "encoder_width"), encoderDepth: count(own, "encoder_depth"),
    encoderWindow: count(own, "encoder_window"), decoderWidth: count(own, "decoder_width"),
    decoderDepth: count(own, "decoder_depth"), lookahead: count(own, "lookahead"), kernelSize: count(own, "kernel_size"),
  };
}

export class Model {
  private sessions = new Map<string, Promise<Ort.InferenceSession>>();
  private contents: Promise<Contents> | null = null;
  private books: Promise<Quantizer> | null = null;

  constructor(
    readonly files: ModelFiles,
    readonly config: Config,
    readonly ort: OnnxRuntime,
  ) {}

  /** How many frames before and after its own frame a decoded sample depends on. */
  get reach(): [number, number] {
    return [this.config.decoderDepth * (this.config.kernelSize - 1) + 1, 1 + this.config.lookahead];
  }

  /** The session of a graph. Only the weights of this graph are loaded. */
  session(name: "encoder" | "decoder"): Promise<Ort.InferenceSession> {
    let found = this.sessions.get(name);
    if (!found) {
      found = this.open(name);
      this.sessions.set(name, found);
      found.catch(() => this.sessions.delete(name));
    }
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
  async quantizer(nCodebooks: number): Promise<Quantizer> {
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

  private async openQuantizer(): Promise<Quantizer> {
    const { entries } = await this.readContents();
    const codebooks = entries.get("quantizer.codebooks");
    const scales = entries.get("quantizer.scales");
    const { nCodebooks, codebookSize, dimension } = this.config;
    if (String(codebooks?.shape) !== String([nCodebooks, codebookSize, dimension]) || String(scales?.shape) !== String([codebookSize])) {
      throw new ArgumentError(`the codebooks of ${this.files.name} do not fit its configuration`);
    }
    const read = async (entry: typeof codebooks & object, start: number, stop: number) => {
      return floats(await this.files.readWeights(start, stop), entry.dtype);
    };
    const row = (codebooks!.stop - codebooks!.start) / nCodebooks;
    return new Quantizer(
      dimension, codebookSize, nCodebooks, await read(scales!, scales!.start, scales!.stop),
      (from, to) => read(codebooks!, codebooks!.start + from * row, codebooks!.start + to * row),
    );
  }

  /** The graphs refer to weights by their places in the weights' file: a buffer of its size, of which one part is filled. */
  private async open(name: "encoder" | "decoder"): Promise<Ort.InferenceSession> {
    const [graph, { entries }] = await Promise.all([this.files.readGraph(name), this.readContents()]);
    const own = [...entries].filter(([key]) => key.startsWith(`${name}.`)).map(([, entry]) => entry);
    const start = Math.min(...own.map((entry) => entry.start));
    const stop = Math.max(...own.map((entry) => entry.stop));
    if (!own.length || stop > this.files.weightsSize) throw new ArgumentError(`${this.files.name} lacks the weights of its ${name}`);
    const data = new Uint8Array(this.files.weightsSize);
    data.set(await this.files.readWeights(start, stop), start);
    try {
      return await this.ort.InferenceSession.create(graph, {
        executionProviders: ["wasm"], externalData: [{ path: this.files.weightsName, data }],
      });
    } catch (error) {
      throw new Unavailable(`The ${name} of ${this.files.name} cannot start here: ${String(error).split("\n")[0].slice(0, 200)}.`);
    }
  }
}
