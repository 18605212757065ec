/** The page's side of the Worker: calls that return promises. */

import { Unavailable } from "./errors.js";
import type { Answer, CallName, Calls, Survey } from "./messages.js";

export interface EngineOptions {
  /** Address of the catalog of models; default: catalog.json beside the page's files. */
  catalog?: string;
  /** Threads of onnxruntime-web, where the page is cross-origin isolated; default: half of the processors, at most 4. */
  threads?: number;
}

/** An error that the Worker reports; `kind` is the name of its class, such as NotEcdc. */
export class EngineError extends Error {
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
    this.name = "EngineError";
  }
}

type Listeners = {
  loading: (loaded: number, wanted: number) => void;
  survey: (survey: Survey, samplesPerColumn: number) => void;
  progress: (done: number) => void;
  playError: (run: number, message: string) => void;
};

export class Engine {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private readonly listeners: { [Name in keyof Listeners]: Set<Listeners[Name]> } = {
    loading: new Set(), survey: new Set(), progress: new Set(), playError: new Set(),
  };
  private number = 0;

  constructor(options: EngineOptions = {}) {
    const url = new URL("./worker.js", import.meta.url);
    if (options.catalog) url.searchParams.set("catalog", new URL(options.catalog, document.baseURI).href);
    if (options.threads) url.searchParams.set("threads", String(options.threads));
    this.worker = new Worker(url, { type: "module", name: "ecdc" });
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => this.answered(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.fail(new Unavailable(`The page's Worker cannot run: ${event.message ?? "its files cannot be loaded"}.`));
    };
  }

  call<Name extends CallName>(
    name: Name, args: Calls[Name]["arguments"], transfer: Transferable[] = [],
  ): Promise<Calls[Name]["result"]> {
    const number = ++this.number;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve: resolve as (value: unknown) => void, reject });
      this.worker.postMessage({ number, name, args }, transfer);
    });
  }

  /** Call a function at every event of this name; returns a function that ends this. */
  on<Name extends keyof Listeners>(name: Name, listener: Listeners[Name]): () => void {
    this.listeners[name].add(listener);
    return () => this.listeners[name].delete(listener);
  }

  /** End the Worker. */
  close(): void {
    this.worker.terminate();
    this.fail(new Unavailable("The player is closed."));
  }

  private fail(error: Error): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  private answered(data: Answer): void {
    if (data.kind === "loading") this.listeners.loading.forEach((tell) => tell(data.loaded, data.wanted));
    else if (data.kind === "survey") this.listeners.survey.forEach((tell) => tell(data.survey, data.samplesPerColumn));
    else if (data.kind === "progress") this.listeners.progress.forEach((tell) => tell(data.done));
    else if (data.kind === "playError") this.listeners.playError.forEach((tell) => tell(data.run, data.message));
    else {
      const waiting = this.waiting.get(data.number);
      this.waiting.delete(data.number);
      if (data.kind === "result") waiting?.resolve(data.result);
      else waiting?.reject(new EngineError(data.name, data.message));
    }
  }
}
