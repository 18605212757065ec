/** The models and priors that a server has: their names, hashes and files. Parts of files are loaded as they are needed. */

import type { FindPrior } from "./chunk.js";
import { hex } from "./bytes.js";
import { parseConfig } from "./config.js";
import { MissingPrior, Unavailable, WrongModel } from "./errors.js";
import type { Resources } from "./file.js";
import type { Header } from "./header.js";
import { Model, type GraphName, type Kernels, type OnnxRuntime } from "./model.js";
import { PriorModel, PriorWeights, type PriorEngine, type ReadRange } from "./prior.js";

/** What catalog.json holds. Addresses are relative to the catalog. */
export interface Catalog {
  models: CatalogModel[];
  default?: string; // name of the model that encodes where none is named; without it, the first one
  priors: { hash: string; file: string }[];
}

export interface CatalogModel {
  name: string;
  tokenSpace: string;
  config: unknown;
  encoder: string; // graphs
  decoder: string;
  end?: string; // of split codecs
  weights: string;
  weightsName: string; // as the graphs call it
  weightsSize: number;
  prior: string | null; // hash of the prior for its codes
}

/** Reads files of a catalog. */
export interface Store {
  /** Return the bytes [start, stop) of a file. */
  range(file: string, start: number, stop: number): Promise<Uint8Array>;
  whole(file: string): Promise<Uint8Array>;
}

export class Library implements Resources {
  private readonly models = new Map<string, Model>();
  private readonly priors = new Map<string, Promise<PriorModel>>();

  constructor(
    readonly catalog: Catalog,
    private readonly store: Store,
    private readonly ort: () => Promise<OnnxRuntime>,
    private readonly engine: (weights: PriorWeights) => Promise<PriorEngine>,
    private readonly kernels: Kernels,
  ) {}

  findModel = async (header: Header): Promise<Model> => {
    const wanted = hex(header.tokenSpace);
    const entry = this.catalog.models.find((model) => model.tokenSpace === wanted);
    if (entry) return this.model(entry);
    const here = this.catalog.models.map((model) => model.name).join(", ");
    throw new WrongModel(60, `it needs the model ${JSON.stringify(header.codec.slice(0, 80))}, here is ${here || "none"}`);
  };

  /** The names of all models, the default first. */
  get names(): string[] {
    const { models, default: usual } = this.catalog;
    return [...new Set([...models.filter(({ name }) => name === usual), ...models].map(({ name }) => name))];
  }

  /** The model of that name; without a name, the default. */
  async named(name?: string): Promise<Model> {
    const wanted = name ?? this.names[0];
    const entry = this.catalog.models.find((model) => model.name === wanted);
    if (!entry) throw new Unavailable(`There is no model ${name === undefined ? "" : `${JSON.stringify(name)} `}here.`);
    return this.model(entry);
  }

  findPrior: FindPrior = async (header, nCodebooks) => {
    const prior = await this.prior(hex(header.prior));
    const { nCodebooks: most, codebookSize } = prior.weights.sizes;
    if (codebookSize !== header.codebookSize || header.maxCodebooks > most) {
      const wanted = `${header.maxCodebooks} of ${header.codebookSize}`;
      throw new MissingPrior(92, `its prior is for ${most} codebooks of ${codebookSize} entries, the stream has ${wanted}`);
    }
    return prior.ensure(nCodebooks);
  };

  /** The prior for the codes of a model, or null. */
  async priorOf(model: Model): Promise<{ prior: PriorModel; hash: string } | null> {
    const hash = this.catalog.models.find((entry) => entry.tokenSpace === model.files.tokenSpace)?.prior;
    return hash ? { prior: await this.prior(hash), hash } : null;
  }

  private async model(entry: CatalogModel): Promise<Model> {
    const known = this.models.get(entry.tokenSpace);
    if (known) return known;
    const files = {
      name: entry.name, tokenSpace: entry.tokenSpace, config: entry.config, weightsName: entry.weightsName,
      weightsSize: entry.weightsSize,
      readWeights: (start: number, stop: number) => this.store.range(entry.weights, start, stop),
      readGraph: async (name: GraphName) => {
        const file = entry[name];
        if (!file) throw new Unavailable(`${entry.name} lacks its graph ${name}.`);
        return this.store.whole(file);
      },
    };
    const config = parseConfig(entry.name, entry.config);
    const ort = await this.ort();
    const model = this.models.get(entry.tokenSpace) ?? new Model(files, config, ort, this.kernels);
    this.models.set(entry.tokenSpace, model);
    return model;
  }

  private prior(hash: string): Promise<PriorModel> {
    let found = this.priors.get(hash);
    if (!found) {
      found = this.openPrior(hash);
      this.priors.set(hash, found);
      found.catch(() => this.priors.delete(hash));
    }
    return found;
  }

  private async openPrior(hash: string): Promise<PriorModel> {
    const entry = this.catalog.priors.find((prior) => prior.hash === hash);
    if (!entry) throw new MissingPrior(92, `the codes need the entropy prior ${hash.slice(0, 12)}, which is not here`);
    const read: ReadRange = (start, stop) => this.store.range(entry.file, start, stop);
    const weights = await PriorWeights.open(read);
    return new PriorModel(weights, await this.engine(weights));
  }
}
