/** Read and write WAV files. Numbers are kept exactly: no browser resamples them on the way. */

import { ArgumentError } from "./errors.js";
import type { Sound } from "./messages.js";

export const MAX_SOUND = 2 ** 29; // bytes of samples in memory

/** Return the samples of a WAV: PCM of 8 to 32 bits, or floats. Throws ArgumentError, in one sentence. */
export function readWav(bytes: Uint8Array): Sound {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const name = (at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 12 || name(0) !== "RIFF" || name(8) !== "WAVE") throw new ArgumentError("This is not a WAV file.");
  let format: { kind: number; channels: number; sampleRate: number; bits: number } | null = null;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    const start = at + 8;
    if (name(at) === "fmt " && size >= 16 && start + 16 <= bytes.length) {
      const extended = view.getUint16(start, true) === 0xfffe && size >= 26 && start + 26 <= bytes.length;
      format = {
        kind: view.getUint16(extended ? start + 24 : start, true), channels: view.getUint16(start + 2, true),
        sampleRate: view.getUint32(start + 4, true), bits: view.getUint16(start + 14, true),
      };
    } else if (name(at) === "data") {
      if (!format) throw new ArgumentError("The WAV file has no format before its samples.");
      return samplesOf(view, start, Math.min(size, bytes.length - start), format);
    }
    at = start + size + (size & 1);
  }
  throw new ArgumentError("The WAV file holds no samples.");
}

function samplesOf(
  view: DataView, start: number, size: number, format: { kind: number; channels: number; sampleRate: number; bits: number },
): Sound {
  const { kind, channels: count, sampleRate, bits } = format;
  const read = sampleReader(view, kind, bits);
  if (!read || !count) throw new ArgumentError(`WAV files of this kind (format ${kind}, ${bits} bits) cannot be read here.`);
  const step = bits / 8;
  const n = Math.floor(size / (step * count));
  if (4 * n * count > MAX_SOUND) throw new ArgumentError("The WAV file is too long for this page.");
  const channels = Array.from({ length: count }, () => new Float32Array(n));
  for (let i = 0, at = start; i < n; i++) for (let c = 0; c < count; c++, at += step) channels[c][i] = read(at);
  return { channels, sampleRate };
}

function sampleReader(view: DataView, kind: number, bits: number): ((at: number) => number) | null {
  if (kind === 3 && bits === 32) return (at) => view.getFloat32(at, true);
  if (kind === 3 && bits === 64) return (at) => view.getFloat64(at, true);
  if (kind !== 1) return null;
  if (bits === 8) return (at) => (view.getUint8(at) - 128) / 128;
  if (bits === 16) return (at) => view.getInt16(at, true) / 2 ** 15;
  if (bits === 24) return (at) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 2 ** 23;
  if (bits === 32) return (at) => view.getInt32(at, true) / 2 ** 31;
  return null;
}

/** Return a WAV of 16 bits. */
export function writeWav(sound: Sound): Uint8Array {
  const { channels, sampleRate } = sound;
  const n = channels[0]?.length ?? 0;
  const data = 2 * n * channels.length;
  const view = new DataView(new ArrayBuffer(44 + data));
  const text = (at: number, value: string) => [...value].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + data, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels.length, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * sampleRate * channels.length, true);
  view.setUint16(32, 2 * channels.length, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, data, true);
  for (let i = 0, at = 44; i < n; i++) {
    for (const samples of channels) {
      view.setInt16(at, Math.round(Math.min(Math.max(samples[i], -1), 1 - 2 ** -15) * 2 ** 15), true);
      at += 2;
    }
  }
  return new Uint8Array(view.buffer);
}
