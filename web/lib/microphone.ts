/** Encode a live stream while it is recorded. */

import type { Engine } from "./engine.js";
import { Unavailable } from "./errors.js";
import type { Calls, EncodeOptions } from "./messages.js";

/** Ask for the microphone; throws Unavailable with one sentence if it is denied or there is none. */
export async function openMicrophone(): Promise<MediaStream> {
  if (!navigator.mediaDevices?.getUserMedia) throw new Unavailable("This page needs a secure address (https, or this machine) to record.");
  try {
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "NotAllowedError") throw new Unavailable("The browser does not allow this page to use the microphone.");
    if (name === "NotFoundError") throw new Unavailable("There is no microphone.");
    throw new Unavailable("The microphone cannot be used.");
  }
}

/** Encode a stream until it ends or `until` is aborted. `tell` receives the seconds and bytes so far. */
export async function capture(
  engine: Engine, stream: MediaStream, options: EncodeOptions, until?: AbortSignal,
  tell: (seconds: number, bytes: number, peak: number) => void = () => undefined,
): Promise<Calls["finish"]["result"]> {
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule(new URL("./recorder.js", import.meta.url));
    const source = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
    const nChannels = Math.min(2, stream.getAudioTracks()[0]?.getSettings().channelCount ?? 1);
    const node = new AudioWorkletNode(context, "ecdc-recorder", {
      numberOfOutputs: 1, channelCount: nChannels, channelCountMode: "explicit",
    });
    const recording = await engine.call("record", [nChannels, context.sampleRate, options]);
    let last: Promise<unknown> = Promise.resolve();
    let seconds = 0;
    let failure: unknown = null;
    node.port.onmessage = ({ data }: MessageEvent<Float32Array[]>) => {
      seconds += data[0].length / context.sampleRate;
      const peak = data[0].reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const pushed = engine.call("push", [recording, data]);
      last = pushed;
      pushed.then((bytes) => tell(seconds, bytes, peak), (error) => (failure ??= error));
    };
    source.connect(node).connect(context.destination); // the node is silent; connected, it runs
    await ended(stream, until);
    source.disconnect();
    await last.catch(() => undefined);
    if (failure) throw failure;
    return await engine.call("finish", [recording]);
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    void context.close();
  }
}

function ended(stream: MediaStream, until?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (until?.aborted) resolve();
    until?.addEventListener("abort", () => resolve(), { once: true });
    stream.getAudioTracks().forEach((track) => track.addEventListener("ended", () => resolve(), { once: true }));
  });
}
