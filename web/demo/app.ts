/** The page: opens, plays, records and makes files. */

import { Engine } from "../lib/engine.js";
import { sentence, Unavailable } from "../lib/errors.js";
import type { Facts } from "../lib/file.js";
import type { EncodeOptions, Sound } from "../lib/messages.js";
import { capture, openMicrophone } from "../lib/microphone.js";
import { Player } from "../lib/player.js";
import { MAX_SOUND, readWav } from "../lib/wav.js";
import { Scene } from "./scene.js";
import { amount, clock, element } from "./text.js";

const KBPS = [1.5, 3, 4.5, 6, 9, 12];
const STEP = 5; // seconds

const engine = new Engine({ threads: Number(new URLSearchParams(location.search).get("threads")) || undefined });
const player = new Player(engine, { change: () => show(), error: (text) => say(text) });
const scene = new Scene(element<HTMLCanvasElement>("picture"), element("head"));

interface Current {
  id: number;
  facts: Facts;
  name: string;
  originalBytes: number | null;
}

let current: Current | null = null;
let recording: AbortController | null = null;
let isReady = false; // the decoder is loaded
let job = 0; // number of what was asked for last; what comes later of older jobs is dropped

/** Show one sentence about a fault; an empty one hides it. */
function say(text: string): void {
  const message = element("message");
  message.hidden = text === "";
  message.textContent = text;
}

function busy(text: string, share: number | null = null): void {
  element("work").hidden = text === "";
  element("doing").textContent = text;
  const bar = element<HTMLProgressElement>("share");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

/** Do what was asked for; say what goes wrong. */
async function attempt(text: string, work: (isLatest: () => boolean) => Promise<void>): Promise<void> {
  const mine = ++job;
  const isLatest = () => mine === job;
  say("");
  busy(text);
  try {
    await work(isLatest);
  } catch (error) {
    if (isLatest()) say(sentence(error));
  } finally {
    if (isLatest()) busy("");
  }
}

async function use(id: number, facts: Facts, name: string, bytes: Uint8Array | null, originalBytes: number | null): Promise<void> {
  if (current) void engine.call("close", [current.id]);
  current = { id, facts, name, originalBytes };
  player.load(id, facts.sampleRate, facts.nSamples);
  player.choose(false);
  scene.clear();
  element("player").hidden = false;
  element("title").textContent = name;
  element("versions").hidden = originalBytes === null;
  offer(bytes, name);
  describe(facts);
  show();
  if (facts.nSamples !== null) engine.call("survey", [id]).catch(() => undefined);
}

function describe(facts: Facts): void {
  const parts = [
    facts.generated ? "generated" : "", facts.codec, `${facts.originalSampleRate / 1000} kHz`,
    facts.channels === 1 ? "mono" : facts.channels === 2 ? "stereo" : `${facts.channels} channels`,
    facts.kbps === null ? "" : `${facts.kbps.toFixed(1)} kbps`, facts.bytes === null ? "" : amount(facts.bytes),
    facts.seconds === null ? "arriving" : clock(facts.seconds),
  ];
  element("facts").textContent = parts.filter(Boolean).join(" · ");
  const lost = element("lost");
  lost.hidden = !facts.lost.length;
  lost.replaceChildren(...facts.lost.slice(0, 5).map((text) => item("li", text)));
  const tags = element("tags");
  element("more").hidden = !facts.tags.length;
  tags.replaceChildren(...facts.tags.flatMap(([key, value]) => [item("dt", key), item("dd", value)]));
  const before = current?.originalBytes ?? null;
  const sizes = element("sizes");
  sizes.hidden = before === null || facts.bytes === null;
  if (before !== null && facts.bytes) {
    sizes.textContent = `${amount(before)} became ${amount(facts.bytes)}: ${(before / facts.bytes).toFixed(0)} times smaller.`;
  }
}

function item(kind: string, text: string): HTMLElement {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

let offered = "";

function offer(bytes: Uint8Array | null, name: string): void {
  if (offered) URL.revokeObjectURL(offered);
  offered = "";
  const link = element<HTMLAnchorElement>("download");
  link.hidden = bytes === null;
  if (!bytes) return;
  offered = URL.createObjectURL(new Blob([bytes as BlobPart], { type: "application/octet-stream" }));
  link.href = offered;
  link.download = `${name.replace(/\.[^.]*$/, "")}.ecdc`;
}

/** Bring times, buttons and playhead up to date. */
function show(): void {
  const seconds = current?.facts.seconds ?? null;
  const position = player.position;
  element("play").textContent = player.isPlaying ? "Pause" : "Play";
  element("time").textContent = seconds === null ? clock(position) : `${clock(position)} / ${clock(seconds)}`;
  scene.place(seconds ? position / seconds : 0);
  const slider = element("scene");
  slider.setAttribute("aria-valuemax", String(Math.round(seconds ?? position)));
  slider.setAttribute("aria-valuenow", String(Math.round(position)));
  slider.setAttribute("aria-valuetext", clock(position));
  element("decoded").ariaPressed = String(!player.isOriginal);
  element("original").ariaPressed = String(player.isOriginal);
}

function toggle(): void {
  if (!current) return;
  if (player.isPlaying) player.pause();
  else player.play().catch((error) => say(sentence(error)));
}

function seek(seconds: number): void {
  if (current) player.seek(seconds).catch((error) => say(sentence(error)));
}

async function isEcdc(file: Blob): Promise<boolean> {
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return start.length === 4 && String.fromCharCode(...start) === "ECDC";
}

async function openFile(file: File): Promise<void> {
  if ((await isEcdc(file)) || file.name.toLowerCase().endsWith(".ecdc")) {
    return attempt(`Opening ${file.name} …`, async (isLatest) => {
      const { id, facts } = await engine.call("open", [file]);
      if (isLatest()) await use(id, facts, file.name, null, null);
    });
  }
  return attempt(`Reading ${file.name} …`, async (isLatest) => {
    const sound = await soundOf(file);
    busy(`Encoding ${file.name} …`, 0);
    const made = await engine.call("encode", [sound, chosen()], sound.channels.map((samples) => samples.buffer as ArrayBuffer));
    if (isLatest()) await use(made.id, made.facts, file.name, made.bytes, file.size);
  });
}

/** The samples of a sound file: WAV by our own reader, all others by the browser. */
async function soundOf(file: File): Promise<Sound> {
  if (file.size > MAX_SOUND) throw new Unavailable(`${file.name} is too large for this page`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (bytes[0] === 0x52 && bytes[1] === 0x49 && bytes[8] === 0x57) {
    const sound = readWav(bytes);
    if (sound.channels.length <= 2) return sound;
  }
  try {
    const context = new OfflineAudioContext(2, 1, 48000);
    const buffer = await context.decodeAudioData(bytes.buffer);
    const channels = Array.from({ length: Math.min(2, buffer.numberOfChannels) }, (_, c) => buffer.getChannelData(c).slice());
    return { channels, sampleRate: buffer.sampleRate };
  } catch {
    throw new Unavailable(`${file.name} is neither .ecdc nor a sound that this browser can read`);
  }
}

/** How new files are made. */
function chosen(): EncodeOptions {
  const value = (id: string) => element<HTMLSelectElement>(id).value;
  return { kbps: Number(value("kbps")), model: value("model") || undefined };
}

async function record(): Promise<void> {
  if (recording) return recording.abort();
  recording = new AbortController();
  const { signal } = recording;
  const button = element("record");
  await attempt("Waiting for the microphone …", async (isLatest) => {
    try {
      const stream = await openMicrophone();
      button.textContent = "Stop";
      player.pause();
      busy("Recording …");
      const made = await capture(engine, stream, chosen(), signal, (seconds, bytes, peak) => {
        busy(`Recording ${clock(seconds)}, ${amount(bytes)}`, Math.min(1, peak));
      });
      const samples = (made.facts.nSamples ?? 0) * (made.facts.originalSampleRate / made.facts.sampleRate);
      if (isLatest()) await use(made.id, made.facts, "recording", made.bytes, 44 + 2 * Math.round(samples) * made.facts.channels);
    } finally {
      recording = null; // before the page says that it is done, so that the next click records again
      button.textContent = "Record";
    }
  });
}

async function generate(): Promise<void> {
  const prompt = element<HTMLInputElement>("prompt").value.trim();
  const seconds = Number(element<HTMLInputElement>("seconds").value);
  const body = JSON.stringify({ prompt, seconds, seed: Math.floor(Math.random() * 2 ** 31) });
  await attempt(`Generating ${JSON.stringify(prompt)} …`, async (isLatest) => {
    const { id, facts } = await engine.call("generate", [new URL("generate", document.baseURI).href, body]);
    if (!isLatest()) return;
    await use(id, facts, prompt, null, null);
    await player.play();
    await arrived(id, prompt, isLatest);
  });
}

/** Wait for the end of a stream that is still arriving, and then show all of it. */
async function arrived(id: number, name: string, isLatest: () => boolean): Promise<void> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    if (!isLatest() || current?.id !== id) return;
    const facts = await engine.call("facts", [id]);
    if (facts.nSamples === null) continue;
    current = { ...current, facts };
    player.complete(facts.nSamples);
    describe(facts);
    offer(await engine.call("bytes", [id]), name);
    engine.call("survey", [id]).catch(() => undefined);
    return show();
  }
}

async function loadFolder(): Promise<void> {
  const response = await fetch("files.json").catch(() => null);
  if (!response?.ok) return; // a plain server of static files has none
  interface Folder { files: { name: string; size: number }[]; more: number; generate: boolean }
  const { files, more, generate: canGenerate } = (await response.json()) as Folder;
  element("generator").hidden = !canGenerate;
  element("folder").hidden = !files.length;
  element("list").replaceChildren(...files.map(({ name, size }) => {
    const button = document.createElement("button");
    button.append(item("span", name), item("span", amount(size)));
    button.addEventListener("click", () => void openFromFolder(name, button));
    const row = document.createElement("li");
    row.append(button);
    return row;
  }));
  if (more) element("list").append(item("li", `${more} more files are not listed.`));
}

async function openFromFolder(name: string, button: HTMLElement): Promise<void> {
  const path = name.split("/").map(encodeURIComponent).join("/");
  await attempt(`Opening ${name} …`, async (isLatest) => {
    const { id, facts } = await engine.call("open", [new URL(`files/${path}`, document.baseURI).href]);
    if (!isLatest()) return;
    await use(id, facts, name, null, null);
    document.querySelectorAll("#list button").forEach((other) => other.setAttribute("aria-current", String(other === button)));
    await player.play();
  });
}

function key(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || !current) return;
  const target = event.target as HTMLElement;
  if (target.closest("input, select, textarea, summary")) return;
  if (target.closest("button, a") && (event.key === " " || event.key === "Enter")) return; // they have their own use
  const moves: Record<string, () => void> = {
    " ": toggle, k: toggle, ArrowLeft: () => seek(player.position - STEP), ArrowRight: () => seek(player.position + STEP),
    PageUp: () => seek(player.position + 6 * STEP), PageDown: () => seek(player.position - 6 * STEP), Home: () => seek(0),
    End: () => seek(current?.facts.seconds ?? 0), x: () => element("versions").hidden || compare(!player.isOriginal),
  };
  const move = moves[event.key] ?? moves[event.key.toLowerCase()];
  if (!move) return;
  event.preventDefault();
  move();
}

function compare(isOriginal: boolean): void {
  player.choose(isOriginal);
}

function point(event: PointerEvent): void {
  const box = element("scene").getBoundingClientRect();
  const seconds = current?.facts.seconds;
  if (seconds && box.width) seek(((event.clientX - box.left) / box.width) * seconds);
}

function listen(): void {
  const on = (id: string, name: string, work: (event: Event) => unknown) => element(id).addEventListener(name, (event) => void work(event));
  const input = element<HTMLInputElement>("file");
  on("choose", "click", () => input.click());
  on("file", "change", () => {
    if (input.files?.[0]) void openFile(input.files[0]);
    input.value = "";
  });
  on("record", "click", record);
  on("play", "click", toggle);
  on("back", "click", () => seek(player.position - STEP));
  on("ahead", "click", () => seek(player.position + STEP));
  on("decoded", "click", () => compare(false));
  on("original", "click", () => compare(true));
  on("volume", "input", (event) => player.setVolume(Number((event.target as HTMLInputElement).value)));
  on("scene", "pointerdown", (event) => point(event as PointerEvent));
  on("ask", "submit", (event) => {
    event.preventDefault();
    return generate();
  });
  document.addEventListener("keydown", key);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    element("open").classList.add("over");
  });
  document.addEventListener("dragleave", () => element("open").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    element("open").classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) void openFile(file);
  });
}

async function start(): Promise<void> {
  const select = element<HTMLSelectElement>("kbps");
  select.append(...KBPS.map((rate) => new Option(`${rate} kbps`, String(rate), rate === 6, rate === 6)));
  listen();
  engine.on("loading", (loaded, wanted) => {
    const isAll = loaded >= wanted;
    element("state").textContent = isAll ? (isReady ? "Ready" : "Preparing …") : `Loading: ${amount(loaded)} of ${amount(wanted)}`;
  });
  engine.on("progress", (done) => busy("Encoding …", done));
  engine.on("survey", (survey, per) => {
    if (survey.id === current?.id && current.facts.nSamples) scene.add(survey, Math.ceil(current.facts.nSamples / per));
  });
  void loadFolder();
  if ("serviceWorker" in navigator) navigator.serviceWorker.register("sw.js").catch(() => undefined);
  try {
    element("model").append(...(await engine.call("models", [])).map((name) => new Option(name, name)));
    await engine.call("warm", []);
    isReady = true;
    element("state").textContent = "Ready";
  } catch (error) {
    element("state").textContent = "Not ready";
    say(sentence(error));
  }
}

void start();
