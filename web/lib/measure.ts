/** How fast prior, decoder and encoder are on this machine. Runs in pages and in Node; see `ecdc bench web`. */

import type { Library } from "./catalog.js";
import type { Chunk } from "./chunk.js";
import { Encoding } from "./encode.js";
import { CodedFile } from "./file.js";
import type { Source } from "./sources.js";

const FRAMES = 100; // per run of the decoder
const BLOCK_SECONDS = 2; // that are encoded at a time
const KBPS = 6;

export interface Times {
  seconds: number; // of audio
  prior: number[]; // seconds that each repeat took
  decoder: number[];
  both: number[];
  encoder: number[]; // with the prior
  ready: number; // until the encoder and its files are loaded
}

/** Tells the time in seconds: of the wall, or of the processor. */
export type Clock = () => number;

/** Decode a whole file `repeats` times: its codes alone, its samples from known codes, and both. Then encode its samples again. */
export async function measure(
  source: Source, library: Library, repeats: number, clock: Clock = () => performance.now() / 1000,
): Promise<Times> {
  const took = async (work: () => Promise<void>): Promise<number> => {
    const start = clock();
    await work();
    return clock() - start;
  };
  const file = await CodedFile.open(source, library);
  const times: Times = { seconds: ((await file.nSamples()) ?? 0) / file.header.sampleRate, prior: [], decoder: [], both: [], encoder: [], ready: 0 };
  const silence = Array.from({ length: file.header.nStreams }, () => new Float32Array(1));
  times.ready = await took(() => encode(file, library, silence)); // first: a server closes connections that are idle for long
  for (let i = 0; i < repeats; i++) {
    const chunks: Chunk[] = [];
    times.prior.push(await took(async () => {
      for await (const chunk of file.reader.chunks()) chunks.push(chunk);
    }));
    times.decoder.push(await took(() => decode(file, chunks)));
    times.both.push(await took(async () => {
      for await (const block of file) void block;
    }));
  }
  const wav = await file.decode(0, times.seconds * file.header.sampleRate);
  for (let i = 0; i < repeats; i++) times.encoder.push(await took(() => encode(file, library, wav)));
  return times;
}

async function encode({ model, header }: CodedFile, library: Library, wav: Float32Array[]): Promise<void> {
  const encoding = await Encoding.start(model, await library.priorOf(model), wav.length, header.sampleRate, { kbps: KBPS });
  const block = BLOCK_SECONDS * header.sampleRate;
  for (let at = 0; at < wav[0].length; at += block) await encoding.push(wav.map((samples) => samples.subarray(at, at + block)));
  await encoding.finish();
}

async function decode(file: CodedFile, chunks: Chunk[]): Promise<void> {
  const { model, header } = file;
  const stream = await model.decoder(header.nStreams, 0);
  for (const chunk of chunks) {
    for (let from = 0; from < chunk.nFrames; from += FRAMES) {
      const to = Math.min(from + FRAMES, chunk.nFrames);
      await stream.push(await file.latents(chunk, from, to), to - from);
    }
  }
  await stream.finish();
}
