/** What page, Worker and AudioWorklet say to each other. */

import type { Facts } from "./file.js";
import type { Times } from "./measure.js";

/**
 * To the AudioWorklet, from the page or from the Worker. Messages of the two may overtake each other: each start and each
 * pause has a higher number `run` than those before it, and what belongs to a lower one is dropped.
 */
export type ToWorklet =
  | { kind: "connect"; port: MessagePort }
  | { kind: "start"; run: number }
  | { kind: "block"; run: number; channels: Float32Array[] } // two decoded channels, then maybe two original ones
  | { kind: "end"; run: number }
  | { kind: "pause"; run: number }
  | { kind: "version"; isOriginal: boolean };

/** From the AudioWorklet. */
export interface FromWorklet {
  run: number;
  played: number; // samples since the start of the run
  isDone: boolean;
}

/** Audio to encode: samples of each channel. */
export interface Sound {
  channels: Float32Array[];
  sampleRate: number; // Hz
}

export interface EncodeOptions {
  kbps?: number;
  model?: string; // name; default: the catalog's default
  tags?: [string, string][];
}

/** What the Worker can be asked: name -> arguments and result. */
export interface Calls {
  warm: { arguments: [model?: string]; result: void };
  models: { arguments: []; result: string[] }; // names, the default first
  open: { arguments: [from: Blob | ArrayBuffer | string]; result: { id: number; facts: Facts } };
  generate: { arguments: [url: string, body: string]; result: { id: number; facts: Facts } };
  facts: { arguments: [id: number]; result: Facts };
  bytes: { arguments: [id: number]; result: Uint8Array };
  decode: { arguments: [id: number, start: number, stop: number]; result: Float32Array[] };
  connect: { arguments: [port: MessagePort]; result: void };
  play: { arguments: [id: number, start: number, run: number]; result: void };
  stop: { arguments: []; result: void };
  survey: { arguments: [id: number]; result: void };
  close: { arguments: [id: number]; result: void };
  transferred: { arguments: []; result: [address: string, bytes: number][] };
  measure: { arguments: [from: string, repeats: number]; result: Times };
  encode: { arguments: [sound: Sound, options: EncodeOptions]; result: { id: number; facts: Facts; bytes: Uint8Array } };
  record: { arguments: [nChannels: number, sampleRate: number, options: EncodeOptions]; result: number };
  push: { arguments: [recording: number, channels: Float32Array[]]; result: number };
  finish: { arguments: [recording: number]; result: { id: number; facts: Facts; bytes: Uint8Array } };
}

export type CallName = keyof Calls;

export interface Request {
  number: number;
  name: CallName;
  args: unknown[];
}

/** A stretch of a file as a picture: loudest samples and levels of bands, for columns of `samples` samples each. */
export interface Survey {
  id: number;
  first: number; // column
  peaks: Float32Array; // [columns]
  levels: Uint8Array; // [columns, BANDS], 0 to 255
}

export type Answer =
  | { kind: "result"; number: number; result: unknown }
  | { kind: "error"; number: number; name: string; message: string }
  | { kind: "loading"; loaded: number; wanted: number }
  | { kind: "survey"; survey: Survey; samplesPerColumn: number }
  | { kind: "progress"; done: number } // share of an encoding
  | { kind: "playError"; run: number; message: string };
