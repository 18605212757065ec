/** Exact silence where a stream has no codes, with short fades, applied as blocks are decoded. */

const FADE = 120; // samples

export class Silencer {
  private nTold = 0;
  private nGiven = 0;
  private spans: [number, number][] = []; // without codes, in samples

  constructor(private readonly hop: number) {}

  /** Announce the next frames and their number of codebooks. */
  tell(nCodebooks: number, nFrames: number): void {
    let start = this.nTold;
    this.nTold += nFrames * this.hop;
    if (nCodebooks || !nFrames) return;
    const last = this.spans[this.spans.length - 1];
    if (last && last[1] === start) start = this.spans.pop()![0];
    this.spans.push([start, this.nTold]);
  }

  /** Silence the next decoded samples, in place, where there are no codes. */
  apply(block: Float32Array): Float32Array {
    const first = this.nGiven;
    this.nGiven += block.length;
    this.spans = this.spans.filter(([, stop]) => stop + FADE > first);
    for (const [start, stop] of this.spans) {
      const from = Math.max(start - first, 0);
      const to = Math.min(stop + FADE - first, block.length);
      for (let i = from; i < to; i++) {
        const at = first + i;
        const falling = start ? 1 - (at - start) / FADE : 0;
        const gain = at < stop ? falling : (at - stop) / FADE;
        block[i] *= Math.fround(Math.min(Math.max(gain, 0), 1));
      }
    }
    return block;
  }
}
