// What both blind tests share: a stage of their own, one trial at a time, and a file of results.

/** Of the setup form: names of the chosen boxes under `legend`, some of them chosen to begin with. */
function choices(legend, names, chosen) {
  const boxes = names.map((name, index) => h("input", { type: "checkbox", value: index, checked: chosen(name) }));
  const labels = boxes.map((box, index) => h("label", {}, box, ` ${names[index]}`));
  const element = h("fieldset", {}, h("legend", {}, legend), labels);
  return { element, get indices() { return boxes.filter((box) => box.checked).map((box) => Number(box.value)); } };
}

/**
 * A test under way. The page is taken out of the document until it ends, so that no name can be found there.
 * Subclasses give `kind`, `names(trial)` (the versions to decode, in the order of their buttons), `body(trial)`, `ready(trial)`
 * (may one go on?), `wanted` (what is missing for that), `record(trial)` (its part of the results) and `summary()`.
 */
class BlindTest {
  index = -1;
  started = new Date().toISOString();

  constructor(trials, listener, back) {
    Object.assign(this, { trials, listener, back });
    this.player = new Player(() => this.update(), () => this.bar.update());
    this.bar = transport(this.player);
    this.status = h("p", { class: "status", role: "status" });
    this.progress = h("progress", { max: trials.length, value: 0, "aria-label": "Progress" });
    this.count = h("h1", { tabindex: -1 });
    this.board = h("div");
    this.before = h("button", { type: "button", onclick: () => this.go(this.index - 1) }, "Previous");
    this.next = h("button", { type: "button", class: "main", onclick: () => this.go(this.index + 1) });
    this.note = h("span", { class: "hint" });
    const stop = () => confirm("Stop the test? Its answers are lost.") && this.end();
    this.stop = h("button", { type: "button", onclick: stop }, "Stop");
  }

  enter() {
    [this.page, this.title] = [document.getElementById("page"), document.title];
    document.title = "Blind test";
    this.scroll = scrollY;
    this.stage = h("main", { class: "test" }, h("header", {}, this.count, this.stop), this.progress, this.status,
      this.bar.element, this.board, h("div", { class: "steps" }, this.before, this.next, this.note));
    this.page.replaceWith(this.stage);
    onKey = (key) => this.key(key);
    addEventListener("beforeunload", this.warn);
    return this.go(0);
  }

  warn = (event) => event.preventDefault();

  /** To a trial; after the last one, to the results. */
  async go(index) {
    if (index < 0 || (index > this.index && this.index >= 0 && !this.ready(this.trial))) return;
    const was = this.player.playing;
    if (this.trial) this.trial.seconds += (performance.now() - this.shown) / 1000;
    this.player.load([]);
    if (index === this.trials.length) {
      this.finish();
      return;
    }
    [this.index, this.trial, this.shown] = [index, this.trials[index], performance.now()];
    this.count.textContent = `${this.what} ${index + 1} of ${this.trials.length}`;
    this.progress.value = index;
    this.board.replaceChildren(...this.body(this.trial));
    this.update();
    scrollTo(0, 0);
    await this.open(was);
  }

  async open(play) {
    const trial = this.trial;
    this.status.textContent = "";
    try {
      const decoded = await bank.open(trial.clip);
      if (trial !== this.trial || !this.stage.isConnected) return;
      this.player.load(this.names(trial).map((name) => decoded.get(name)));
      if (play) this.player.play();
    } catch (error) {
      this.status.textContent = `This browser cannot play the clip: ${error.message}`;
    }
  }

  update() {
    this.bar.update();
    if (!this.trial) return;
    this.before.hidden = this.kind === "abx";
    this.before.disabled = this.index === 0;
    this.next.textContent = this.index + 1 === this.trials.length ? "Finish" : "Next";
    this.next.disabled = !this.ready(this.trial);
    this.note.textContent = this.wanted;
    for (const button of this.board.querySelectorAll("[data-version]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.version) === this.player.chosen));
    }
  }

  /** A button that chooses a version by its place among `names`. */
  choice(version, key, label) {
    return toggle([h("kbd", {}, key), label], false, () => this.player.choose(version), { "data-version": version });
  }

  key(key) {
    if (key === "n" || key === "p") this.go(this.index + (key === "n" ? 1 : -1));
    else return playerKey(this.player, key);
    return true;
  }

  get results() {
    const { kind, listener, started } = this;
    return { format: "ecdc-listening-test", version: 1, kind, page: DATA.id, listener, started,
      trials: this.trials.map((trial) => ({ clip: DATA.sounds[trial.clip].name, ...this.record(trial),
        seconds: Math.round(trial.seconds * 10) / 10 })) };
  }

  finish() {
    const text = JSON.stringify(this.results, null, 1);
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const name = `ecdc-${this.kind}-${DATA.id.slice(0, 8)}-${this.started.slice(0, 19).replace(/\D/g, "")}.json`;
    this.trial = null;
    onKey = () => false;
    this.count.textContent = "Results";
    this.progress.remove();
    this.bar.element.remove();
    const saved = () => removeEventListener("beforeunload", this.warn);
    this.board.replaceChildren(...this.summary(),
      h("p", {}, "Nothing was sent anywhere. To have your answers counted, download them."),
      h("div", { class: "steps" },
        h("a", { class: "button main", id: "download", href: url, download: name, onclick: saved }, "Download results"),
        h("button", { type: "button", onclick: () => this.end() }, "Back to the page")),
      h("details", {}, h("summary", {}, "The file"), h("pre", { id: "results" }, text)));
    this.before.parentElement.remove();
    this.stop.remove();
    this.count.focus();
  }

  end() {
    this.player.load([]);
    this.trial = null;
    removeEventListener("beforeunload", this.warn);
    this.stage.replaceWith(this.page);
    document.title = this.title;
    this.back();
    scrollTo(0, this.scroll);
  }
}
