// One clip at a time: its versions in step, their spectrograms and their values.

class Listening {
  clip = 0;
  #chosen = ORIGINAL; // kept from clip to clip
  #beside = null; // the coded version that is drawn beside the original
  #drawn = new Map(); // version -> levels, of this clip
  #pictures = [];

  constructor() {
    this.player = new Player(() => this.update(), () => this.tick());
    this.bar = transport(this.player);
    this.chooser = h("select", { id: "clip", onchange: () => this.show(Number(this.chooser.value)) },
      DATA.sounds.map((sound, index) => h("option", { value: index }, `${index + 1}. ${sound.name} (${sound.kind})`)));
    this.about = h("p", { class: "hint" });
    this.status = h("p", { class: "status", role: "status" });
    this.versions = h("div", { class: "versions", role: "group", "aria-label": "Version", "data-player": true });
    this.all = h("input", { type: "checkbox", onchange: () => this.lay() });
    this.pictures = h("div", { class: "pictures" });
    this.table = h("table", { class: "clip-values" });
    this.reasons = h("p", { class: "hint" });
    this.element = this.build();
  }

  build() {
    const step = (by, text, label) => h("button", { type: "button", "aria-label": label, onclick: () => this.move(by) }, text);
    return h("div", {},
      h("div", { class: "chooser", "data-player": true }, h("label", { for: "clip" }, "Clip"), this.chooser,
        step(-1, "‹", "Previous clip"), step(1, "›", "Next clip")),
      this.about, this.status, this.bar.element, this.versions,
      shortcuts([["0", "original"], ["1–9", "versions"], ["N P", "next or previous clip"]]),
      h("div", { class: "over-pictures" }, h("h3", {}, "Spectrograms"), h("label", {}, this.all, " all versions")),
      this.pictures, h("p", { class: "hint" }, `Colours span ${RANGE_DB} dB below the loudest of the original.`),
      h("h3", {}, "Values of this clip"),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Values of this clip" }, this.table),
      this.reasons);
  }

  get names() {
    return DATA.sounds[this.clip].versions;
  }

  move(by) {
    const n = DATA.sounds.length;
    this.show((this.clip + by + n) % n);
  }

  /** Another clip; it plays on if one was playing. */
  show(clip) {
    const sound = DATA.sounds[clip], was = this.player.playing;
    this.player.load([]);
    this.status.textContent = "";
    Object.assign(this, { clip });
    this.chooser.value = clip;
    const seconds = (sound.n_samples / sound.sample_rate).toFixed(1);
    this.about.textContent = [`${seconds} s at ${kilohertz(sound.sample_rate)}`,
      `bandwidth ${kilohertz(sound.bandwidth_hz)}`, sound.licence].filter(Boolean).join(" · ");
    if (!this.names.includes(this.#chosen)) this.#chosen = ORIGINAL;
    if (!this.names.includes(this.#beside)) this.#beside = this.names[1] ?? null;
    this.#drawn.clear();
    this.versions.replaceChildren(...this.names.map((name, index) => this.button(name, index)));
    this.table.replaceChildren(...clipTable(clip));
    this.reasons.textContent = reasons(clipRows(clip));
    this.lay();
    return this.open(was);
  }

  button(name, index) {
    const kbps = rowOf(this.clip, name)?.kbps ?? coderOf(name)?.kbps ?? null;
    const about = kbps === null ? coderOf(name)?.family : `${number(kbps)} kbps`;
    return toggle([index < 10 ? h("kbd", {}, String(index)) : null, h("span", {}, labelOf(name), h("small", {}, about))],
      name === this.#chosen, () => this.player.choose(index));
  }

  /** Decode from now on: this part of the page has been seen. */
  see(play = false) {
    this.seen = true;
    return this.open(play);
  }

  async open(play) {
    if (!this.seen) return;
    const clip = this.clip;
    try {
      const decoded = await bank.open(clip);
      if (clip !== this.clip || !this.element.isConnected) return;
      this.decoded = decoded;
      this.player.load([...decoded.values()], this.names.indexOf(this.#chosen));
      if (play) this.player.play();
      await this.draw();
    } catch (error) {
      this.status.textContent = `This browser cannot play the clip: ${error.message}`;
    }
  }

  /** Forget what is decoded, while another view has the page. */
  release() {
    this.player.load([]);
    this.decoded = null;
    this.#drawn.clear();
  }

  /** Empty pictures: the original and the coded version chosen last, or all. */
  lay() {
    const names = this.all.checked ? this.names : [ORIGINAL, this.#beside].filter(Boolean);
    const sound = DATA.sounds[this.clip];
    this.#pictures = names.map((name) => ({ name, ...picture(labelOf(name), sound, this.player) }));
    this.pictures.replaceChildren(...this.#pictures.map(({ element }) => element));
    this.tick();
    this.draw();
  }

  async draw() {
    const { decoded } = this, pictures = this.#pictures;
    if (!decoded || bank.clip !== this.clip) return;
    for (const { name, canvas } of pictures) {
      await new Promise((resume) => setTimeout(resume)); // let the page answer between two pictures
      if (pictures !== this.#pictures || decoded !== this.decoded) return;
      paint(canvas, this.levels(name), this.levels(ORIGINAL).reduce((a, b) => Math.max(a, b)));
    }
  }

  levels(name) {
    if (!this.#drawn.has(name)) {
      this.#drawn.set(name, levels(this.decoded.get(name).getChannelData(0), DATA.sounds[this.clip].sample_rate));
    }
    return this.#drawn.get(name);
  }

  /** What changes as time passes. */
  tick() {
    this.bar.update();
    const left = `${this.player.seconds ? (100 * this.player.position) / this.player.seconds : 0}%`;
    for (const { head } of this.#pictures) head.style.left = left;
  }

  update() {
    this.tick();
    if (!this.player.buffers.length) return;
    this.#chosen = this.names[this.player.chosen];
    press(this.versions, this.player.chosen);
    for (const row of this.table.tBodies[0].rows) row.classList.toggle("now", row.dataset.codec === this.#chosen);
    if (this.#chosen === ORIGINAL || this.#chosen === this.#beside) return;
    this.#beside = this.#chosen;
    if (!this.all.checked) this.lay();
  }

  key(key) {
    if (key === "n" || key === "p") this.move(key === "n" ? 1 : -1);
    else if (key === " " && !this.player.buffers.length) this.see(true);
    else return playerKey(this.player, key);
    return true;
  }
}
