/** The picture of a file: waveform above, spectrogram below, and the place that is heard. */

import type { Survey } from "../lib/messages.js";
import { BANDS } from "../lib/survey.js";

const WAVE_SHARE = 0.38; // of the height

export class Scene {
  private peaks = new Float32Array(0);
  private levels = new Uint8Array(0);
  private known = new Uint8Array(0);
  private loudest = 0.05;
  private isDue = false;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly head: HTMLElement,
  ) {
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  /** Forget the picture. */
  clear(): void {
    this.peaks = new Float32Array(0);
    this.levels = this.known = new Uint8Array(0);
    this.loudest = 0.05;
    this.redraw();
  }

  /** Add columns of a file of `nColumns`. */
  add(survey: Survey, nColumns: number): void {
    if (this.peaks.length !== nColumns) {
      this.peaks = new Float32Array(nColumns);
      this.levels = new Uint8Array(nColumns * BANDS);
      this.known = new Uint8Array(nColumns);
    }
    const count = Math.min(survey.peaks.length, nColumns - survey.first);
    for (let i = 0; i < count; i++) {
      this.peaks[survey.first + i] = survey.peaks[i];
      this.known[survey.first + i] = 1;
      this.loudest = Math.max(this.loudest, survey.peaks[i]);
    }
    this.levels.set(survey.levels.subarray(0, count * BANDS), survey.first * BANDS);
    this.redraw();
  }

  /** Move the playhead; `share` is 0 to 1. */
  place(share: number): void {
    this.head.style.left = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  }

  private redraw(): void {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
    });
  }

  private draw(): void {
    const { canvas } = this;
    const scale = Math.min(devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * scale));
    const height = Math.max(1, Math.round(canvas.clientHeight * scale));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    if (!context) return;
    context.clearRect(0, 0, width, height);
    if (!this.peaks.length) return;
    const split = Math.round(height * WAVE_SHARE);
    this.drawWave(context, width, split);
    this.drawLevels(context, width, split, height);
  }

  private drawWave(context: CanvasRenderingContext2D, width: number, height: number): void {
    const n = this.peaks.length;
    context.fillStyle = colour("--wave");
    const middle = height / 2;
    for (let x = 0; x < width; x++) {
      const first = Math.floor((x * n) / width);
      const last = Math.max(first + 1, Math.floor(((x + 1) * n) / width));
      let peak = -1;
      for (let i = first; i < last; i++) if (this.known[i]) peak = Math.max(peak, this.peaks[i]);
      if (peak < 0) continue;
      const half = Math.max(0.5, (peak / this.loudest) * (middle - 2));
      context.fillRect(x, middle - half, 1, 2 * half);
    }
  }

  private drawLevels(context: CanvasRenderingContext2D, width: number, top: number, bottom: number): void {
    const height = bottom - top;
    const image = context.createImageData(width, height);
    const [low, high] = [rgb(colour("--low")), rgb(colour("--high"))];
    const n = this.peaks.length;
    for (let x = 0; x < width; x++) {
      const column = Math.min(n - 1, Math.floor((x * n) / width));
      if (!this.known[column]) continue;
      for (let y = 0; y < height; y++) {
        const band = Math.min(BANDS - 1, Math.floor(((height - 1 - y) * BANDS) / height));
        const level = (this.levels[column * BANDS + band] / 255) ** 1.6;
        const at = 4 * (y * width + x);
        for (let c = 0; c < 3; c++) image.data[at + c] = low[c] + (high[c] - low[c]) * level;
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, top);
  }
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function rgb(hex: string): [number, number, number] {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
