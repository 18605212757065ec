/** Auditory bands of split codecs, as codec/modules/bands.py and codec/light/split_sizes.py lay them out. */

import type { SplitConfig } from "./config.js";

const [LOWEST, CORE, HIGHEST] = [50, 12000, 20000]; // Hz

/** The edges in Hz of bands equally wide on the ERB-rate scale. */
function erbEdges(n: number, low: number, high: number): number[] {
  const rate = (hz: number) => 21.4 * Math.log10(1 + 0.00437 * hz);
  const step = (rate(high) - rate(low)) / n;
  return Array.from({ length: n + 1 }, (_, i) => (10 ** ((rate(low) + i * step) / 21.4) - 1) / 0.00437);
}

/** The edges of bands in bins of `binHz`: those up to 12 kHz, then those above. */
export function bandEdges(binHz: number, nBands: number, nTop: number): number[] {
  const edges = [0];
  for (const hz of erbEdges(nBands, LOWEST, CORE).slice(1)) edges.push(Math.max(edges[edges.length - 1] + 1, Math.round(hz / binHz)));
  const top = nTop ? erbEdges(nTop, CORE, HIGHEST).slice(1) : [];
  return [...edges, ...top.map((hz) => Math.round(hz / binHz))];
}

/** The band of each of the first `n` MDCT bins of the core. */
export function bandsOfBins(config: SplitConfig, n: number): Uint8Array {
  const coreHop = config.hopLength / config.coreFactor;
  const coreRate = config.sampleRate / config.coreFactor;
  const binHz = coreRate / ((3 * coreHop) / config.steps);
  const inner = bandEdges(binHz, config.bands, 0).slice(1, -1).map((edge) => edge * binHz);
  return new Uint8Array(n).map((_, bin) => inner.filter((edge) => edge <= ((bin + 0.5) * coreRate) / 2 / coreHop).length);
}
