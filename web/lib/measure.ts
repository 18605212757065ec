/** How fast prior and decoder are on this machine. Runs in pages and in Node; see `ecdc bench web`. */

import { CodedFile, type Resources } from "./file.js";
import type { Chunk } from "./chunk.js";
import type { Source } from "./sources.js";

const FRAMES = 100; // per run of the decoder

export interface Times {
  seconds: number; // of audio
  prior: number[]; // seconds that each repeat took
  decoder: number[];
  both: number[];
}

/** Tells the time in seconds: of the wall, or of the processor. */
export type Clock = () => number;

/** Decode a whole file `repeats` times: its codes alone, its samples from known codes, and both. */
export async function measure(
  source: Source, resources: Resources, repeats: number, clock: Clock = () => performance.now() / 1000,
): Promise<Times> {
  const took = async (work: () => Promise<void>): Promise<number> => {
    const start = clock();
    await work();
    return clock() - start;
  };
  const file = await CodedFile.open(source, resources);
  const times: Times = { seconds: ((await file.nSamples()) ?? 0) / file.header.sampleRate, prior: [], decoder: [], both: [] };
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
  return times;
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
