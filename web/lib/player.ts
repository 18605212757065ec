/** Plays files of one engine through an AudioWorklet. */

import type { Engine } from "./engine.js";
import { Unavailable } from "./errors.js";
import type { FromWorklet, ToWorklet } from "./messages.js";

export interface PlayerEvents {
  /** Told about twenty times a second while it plays, and when it pauses or ends. */
  change?: () => void;
  error?: (message: string) => void;
}

export class Player {
  private context: AudioContext | null = null;
  private node: AudioWorkletNode | null = null;
  private run = 0;
  private start = 0; // samples, of this run
  private played = 0;
  private rate = 24000;
  private file: number | null = null;
  private length: number | null = null;
  private volume = 1;
  private gain: GainNode | null = null;
  /** Whether sound is playing, or about to. */
  isPlaying = false;
  /** Whether the original is heard instead of the decoded version. */
  isOriginal = false;

  constructor(
    private readonly engine: Engine,
    private readonly events: PlayerEvents = {},
  ) {
    engine.on("playError", (run, message) => {
      if (run === this.run) this.events.error?.(message);
    });
  }

  /** Seconds from the start of the file to what is heard. */
  get position(): number {
    return (this.start + this.played) / this.rate;
  }

  get output(): AudioContext | null {
    return this.context;
  }

  /** Choose a file; it does not play yet. `nSamples` is null if it is still arriving. */
  load(file: number, sampleRate: number, nSamples: number | null): void {
    this.stop();
    [this.file, this.length, this.start, this.played] = [file, nSamples, 0, 0];
    if (this.rate !== sampleRate) this.release();
    this.rate = sampleRate;
  }

  /** Tell the length of a file that was still arriving. */
  complete(nSamples: number): void {
    this.length = nSamples;
  }

  /** Play from `seconds` on; default: where it is. Call it first from a click or a key, or the browser keeps it silent. */
  async play(seconds?: number): Promise<void> {
    if (this.file === null) throw new Unavailable("No file is open.");
    const isAtEnd = this.length !== null && this.start + this.played >= this.length;
    const from = seconds ?? (isAtEnd ? 0 : this.position);
    this.start = Math.max(0, Math.round(from * this.rate));
    [this.played, this.isPlaying] = [0, true];
    const mine = ++this.run;
    this.events.change?.();
    try {
      await this.ready();
      if (mine !== this.run) return;
      this.tell({ kind: "version", isOriginal: this.isOriginal });
      await this.engine.call("play", [this.file, this.start, mine]);
    } catch (error) {
      if (mine === this.run) this.isPlaying = false;
      throw error;
    }
  }

  pause(): void {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.start += this.played;
    this.played = 0;
    this.run++; // what still arrives is dropped
    this.tell({ kind: "pause", run: this.run });
    void this.engine.call("stop", []);
    this.events.change?.();
  }

  stop(): void {
    this.pause();
    [this.start, this.played] = [0, 0];
  }

  /** Go to a place, and go on playing if it plays. */
  async seek(seconds: number): Promise<void> {
    const most = this.length === null ? Infinity : this.length / this.rate;
    const to = Math.min(Math.max(0, seconds), most);
    if (this.isPlaying) return this.play(to);
    [this.start, this.played] = [Math.round(to * this.rate), 0];
    this.events.change?.();
  }

  /** Hear the original or the decoded version, at the same place. */
  choose(isOriginal: boolean): void {
    this.isOriginal = isOriginal;
    this.tell({ kind: "version", isOriginal });
    this.events.change?.();
  }

  setVolume(volume: number): void {
    this.volume = volume;
    if (this.gain) this.gain.gain.value = volume;
  }

  private tell(message: ToWorklet): void {
    this.node?.port.postMessage(message);
  }

  private release(): void {
    void this.context?.close();
    this.context = this.node = this.gain = null;
  }

  private opening: Promise<void> | null = null;

  /** Open the sound card at the codec's sample rate; the browser converts to the card's own. */
  private async ready(): Promise<void> {
    if (!this.context) {
      this.context = new AudioContext({ sampleRate: this.rate, latencyHint: "interactive" });
      this.opening = this.open(this.context);
    }
    const { context } = this;
    await this.opening;
    if (context.state !== "running") await Promise.race([context.resume(), new Promise((resolve) => setTimeout(resolve, 1000))]);
  }

  private async open(context: AudioContext): Promise<void> {
    if (!context.audioWorklet) throw new Unavailable("This page needs a secure address (https, or this machine) to play sound.");
    await context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
    this.node = new AudioWorkletNode(context, "ecdc-player", { numberOfInputs: 0, outputChannelCount: [2] });
    this.gain = new GainNode(context, { gain: this.volume });
    this.node.connect(this.gain).connect(context.destination);
    this.node.port.onmessage = ({ data }: MessageEvent<FromWorklet>) => this.heard(data);
    const { port1, port2 } = new MessageChannel();
    this.node.port.postMessage({ kind: "connect", port: port1 } satisfies ToWorklet, [port1]);
    await this.engine.call("connect", [port2], [port2]);
  }

  private heard(message: FromWorklet): void {
    if (message.run !== this.run) return;
    this.played = message.played;
    if (message.isDone) this.isPlaying = false;
    this.events.change?.();
  }
}
