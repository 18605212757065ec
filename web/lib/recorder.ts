/** Runs beside the microphone: collects its samples and sends them to the page, a quarter of a second at a time. */

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: unknown): void;

class Recorder extends AudioWorkletProcessor {
  private held: Float32Array[] = [];
  private at = 0;

  process(inputs: Float32Array[][]): boolean {
    const [input] = inputs;
    if (!input?.length) return true;
    if (!this.held.length) this.held = input.map(() => new Float32Array(Math.ceil(sampleRate / 4 / 128) * 128));
    input.forEach((samples, c) => this.held[c]?.set(samples, this.at));
    this.at += input[0].length;
    if (this.at >= this.held[0].length) {
      this.port.postMessage(this.held);
      this.held = [];
      this.at = 0;
    }
    return true;
  }
}

registerProcessor("ecdc-recorder", Recorder);
