// Decoding on demand, and a player whose versions run in step, so that switching keeps the position.

const FADE = 0.004; // seconds, time constant: too short for a gap, too long for a click

/** The versions of one clip, decoded at its own sample rate: name -> AudioBuffer. Only the last clip asked for is kept. */
const bank = {
  clip: -1,
  decoded: null,
  open(clip) {
    if (this.clip !== clip) Object.assign(this, { clip, decoded: decodeClip(clip) });
    return this.decoded;
  },
};

async function decodeClip(clip) {
  const { sample_rate: rate, versions } = DATA.sounds[clip];
  const decoder = new OfflineAudioContext(1, 1, rate); // needs no permission to play, and does not resample
  const buffers = await Promise.all(versions.map(async (name, index) => {
    const text = atob(AUDIO[clip][index].textContent);
    return [name, await decoder.decodeAudioData(Uint8Array.from(text, (c) => c.charCodeAt(0)).buffer)];
  }));
  return new Map(buffers);
}

let context = null; // one at a time, at the sample rate of what plays: the browser's resampler is better than a node's

function contextAt(sampleRate) {
  if (context?.sampleRate === sampleRate) return context;
  context?.close();
  context = new AudioContext({ sampleRate });
  return context;
}

/** Plays one of several AudioBuffers of equal length; calls `onchange` when anything changes, `onframe` as time passes. */
class Player {
  buffers = [];
  chosen = 0;
  playing = false;
  #loop = true;
  #voices = []; // [source, gain] of each buffer, all running
  #from = 0; // seconds: the position at ...
  #since = 0; // ... this time of the context

  constructor(onchange, onframe) {
    Object.assign(this, { onchange, onframe });
  }

  get seconds() {
    return this.buffers[0]?.duration ?? 0;
  }

  get position() {
    if (!this.playing) return this.#from;
    const now = this.#from + Math.max(0, context.currentTime - this.#since);
    return this.#loop ? now % this.seconds : Math.min(now, this.seconds);
  }

  get loop() {
    return this.#loop;
  }

  set loop(on) {
    if (this.playing) this.#settle();
    this.#loop = on;
    for (const [source] of this.#voices) source.loop = on;
    this.onchange();
  }

  /** Other buffers, from their beginning. */
  load(buffers, chosen = 0) {
    this.pause();
    Object.assign(this, { buffers, chosen });
    this.#from = 0;
    this.onchange();
  }

  choose(index) {
    if (index < 0 || index >= this.buffers.length) return;
    this.chosen = index;
    if (this.playing) this.#mix(context.currentTime);
    this.onchange();
  }

  play() {
    if (this.playing || !this.buffers.length) return;
    contextAt(this.buffers[0].sampleRate).resume();
    if (this.#from >= this.seconds) this.#from = 0;
    this.#start();
    this.playing = true;
    this.onchange();
    requestAnimationFrame(this.#frame);
  }

  pause() {
    if (!this.playing) return;
    this.#settle();
    this.#stop();
    this.playing = false;
    this.onchange();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  seek(seconds) {
    if (this.playing) this.#stop();
    this.#from = Math.max(0, Math.min(seconds, this.seconds));
    if (this.playing) this.#start();
    this.onchange();
  }

  #settle() {
    [this.#from, this.#since] = [this.position, Math.max(context.currentTime, this.#since)];
  }

  #start() {
    this.#since = context.currentTime + 0.01;
    this.#voices = this.buffers.map((buffer) => {
      const source = new AudioBufferSourceNode(context, { buffer, loop: this.#loop });
      const gain = new GainNode(context, { gain: 0 });
      source.connect(gain).connect(context.destination);
      source.start(this.#since, this.#from);
      return [source, gain.gain];
    });
    this.#mix(this.#since);
    this.#voices[0][0].onended = () => this.#end();
  }

  #stop() {
    this.#voices[0][0].onended = null;
    for (const [source, gain] of this.#voices) {
      gain.setTargetAtTime(0, context.currentTime, FADE);
      source.stop(context.currentTime + 10 * FADE);
    }
    this.#voices = [];
  }

  #mix(when) {
    this.#voices.forEach(([, gain], index) => gain.setTargetAtTime(index === this.chosen ? 1 : 0, when, FADE));
  }

  #end() {
    this.#voices = [];
    this.#from = 0;
    this.playing = false;
    this.onchange();
  }

  #frame = () => {
    if (!this.playing) return;
    this.onframe();
    requestAnimationFrame(this.#frame);
  };
}

/** Play, loop, position and time: an element, and how to bring it up to date. */
function transport(player) {
  const play = h("button", { type: "button", class: "play", onclick: () => player.toggle() }, "Play");
  const loop = toggle("Loop", true, () => { player.loop = !player.loop; });
  const seek = h("input", { type: "range", class: "seek", min: 0, max: 1, step: 0.01, value: 0, "aria-label": "Position",
    oninput: () => player.seek(Number(seek.value)) });
  const time = h("span", { class: "time" });
  const update = () => {
    play.textContent = player.playing ? "Pause" : "Play";
    loop.setAttribute("aria-pressed", String(player.loop));
    play.disabled = seek.disabled = !player.buffers.length;
    seek.max = player.seconds || 1;
    seek.value = player.position;
    time.textContent = `${clock(player.position)} / ${clock(player.seconds)}`;
    seek.setAttribute("aria-valuetext", time.textContent);
  };
  return { element: h("div", { class: "transport", "data-player": true }, play, loop, seek, time), update };
}

/** The keys of every player; true where `key` was one. */
function playerKey(player, key) {
  const acts = {
    " ": () => player.toggle(),
    ArrowLeft: () => player.seek(player.position - 1),
    ArrowRight: () => player.seek(player.position + 1),
    l: () => { player.loop = !player.loop; },
  };
  if (/^\d$/.test(key)) player.choose(Number(key));
  else if (key in acts) acts[key]();
  else return false;
  return true;
}

/** The list of keys, for reading. */
function shortcuts(more) {
  const keys = [["Space", "play or pause"], ...more, ["← →", "one second back or on"], ["L", "loop"]];
  return h("p", { class: "keys" }, keys.map(([key, text]) => h("span", {}, h("kbd", {}, key), ` ${text}`)));
}
