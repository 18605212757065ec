/** Runs beside the sound card: plays the blocks that the Worker sends, and tells how much it has played. */

import type { FromWorklet, ToWorklet } from "./messages.js";

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: unknown): void;

const FADE = 0.005; // seconds, from one version to the other and when playing starts and stops
const REPORT = 0.05; // seconds between two reports

class Player extends AudioWorkletProcessor {
  private blocks: Float32Array[][] = []; // each: channels of the decoded version, then those of the original
  private at = 0; // samples of the first block that are played
  private run = 0; // number of the stretch that is played; blocks of others are dropped
  private worker: MessagePort | null = null;
  private isPlaying = false;
  private isEnded = false;
  private played = 0; // samples of this stretch
  private reported = 0;
  private gain = 0; // of all
  private mix = 0; // 0: decoded, 1: original
  private wantsOriginal = false;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<ToWorklet>) => this.told(data);
  }

  private told(message: ToWorklet): void {
    if (message.kind === "connect") {
      this.worker = message.port;
      this.worker.onmessage = ({ data }: MessageEvent<ToWorklet>) => this.told(data);
    } else if (message.kind === "start" && message.run > this.run) {
      [this.run, this.blocks, this.at, this.played, this.reported] = [message.run, [], 0, 0, 0];
      [this.isEnded, this.isPlaying] = [false, true];
    } else if (message.kind === "block" && message.run === this.run) this.blocks.push(message.channels);
    else if (message.kind === "end" && message.run === this.run) this.isEnded = true;
    else if (message.kind === "pause") [this.run, this.isPlaying] = [Math.max(this.run, message.run), false];
    else if (message.kind === "version") this.wantsOriginal = message.isOriginal;
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const [out] = outputs;
    const step = 1 / (FADE * sampleRate);
    const size = out[0].length;
    for (let i = 0; i < size; i++) {
      const block = this.blocks[0];
      const runs = this.isPlaying && block !== undefined;
      this.gain = Math.min(Math.max(this.gain + (runs ? step : -step), 0), 1);
      if (!block || (!this.isPlaying && this.gain === 0)) continue;
      this.sample(block, out, i);
      if (++this.at === block[0].length) {
        this.blocks.shift();
        this.at = 0;
      }
      this.played++;
    }
    this.report();
    return true;
  }

  private sample(block: Float32Array[], out: Float32Array[], i: number): void {
    const step = 1 / (FADE * sampleRate);
    const hasOriginal = block.length > 2;
    const target = this.wantsOriginal && hasOriginal ? 1 : 0;
    this.mix += Math.min(Math.max(target - this.mix, -step), step);
    for (let c = 0; c < out.length; c++) {
      const decoded = block[Math.min(c, 1)][this.at];
      const original = hasOriginal ? block[2 + Math.min(c, 1)][this.at] : 0;
      out[c][i] = this.gain * (decoded + this.mix * (original - decoded));
    }
  }

  private report(): void {
    const isDone = this.isEnded && !this.blocks.length && this.isPlaying;
    const due = this.played - this.reported >= REPORT * sampleRate;
    if (!due && !isDone) return;
    this.reported = this.played;
    const message: FromWorklet = { run: this.run, played: this.played, isDone };
    if (isDone) this.isPlaying = false;
    this.port.postMessage(message);
    this.worker?.postMessage(message);
  }
}

registerProcessor("ecdc-player", Player);
