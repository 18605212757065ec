// After ITU-R BS.1534: rate unnamed versions, the original and the anchors hidden among them, from 0 to 100.

const GRADES = ["Bad", "Poor", "Fair", "Good", "Excellent"], MAX_VERSIONS = 12; // of a trial, as the recommendation has it

class Mushra extends BlindTest {
  kind = "mushra";
  what = "Clip";

  /** Clips and codecs by index, in an order of chance, and the original in every trial. */
  static trials(clips, codecs, random) {
    const names = codecs.map((index) => DATA.coders[index].name);
    return shuffled(clips, random).map((clip) => {
      const there = [ORIGINAL, ...names.filter((name) => DATA.sounds[clip].versions.includes(name))];
      return { clip, order: shuffled(there, random), scores: there.map(() => null), seconds: 0 };
    }).filter((trial) => trial.order.length > 1);
  }

  names(trial) {
    return [ORIGINAL, ...trial.order];
  }

  body(trial) {
    const grades = h("div", { class: "grades", "aria-hidden": "true" }, GRADES.map((grade) => h("span", {}, grade)));
    return [
      h("p", {}, "How good is each version, compared with the reference? One of them is the reference itself: "
        + "it is to be found and given 100."),
      h("div", { class: "versions", "data-player": true }, this.choice(0, "0", "Reference")),
      h("div", { class: "scores", "data-player": true }, grades, trial.scores.map((_, at) => this.row(trial, at))),
      shortcuts([["0", "reference"], ["1–9", "versions"], ["N P", "next or previous clip"]]),
    ];
  }

  row(trial, at) {
    const output = h("output", {}, trial.scores[at] ?? DASH);
    const rate = () => {
      trial.scores[at] = Number(slider.value);
      output.textContent = slider.value;
      slider.classList.add("rated");
      this.update();
    };
    const slider = h("input", { type: "range", class: trial.scores[at] === null ? "score" : "score rated", min: 0, max: 100,
      step: 1, value: trial.scores[at] ?? 0, "aria-label": `Score of version ${at + 1}`,
      oninput: rate, onclick: rate, onfocus: () => this.player.choose(at + 1) });
    const bands = h("div", { class: "bands" }, slider);
    return h("div", { class: "score-row" }, this.choice(at + 1, String(at + 1), ""), bands, output);
  }

  get wanted() {
    return this.ready(this.trial) ? "" : "Score every version to go on.";
  }

  ready(trial) {
    return trial.scores.every((score) => score !== null);
  }

  record({ order, scores }) {
    return { scores: Object.fromEntries(order.map((name, at) => [name, scores[at]])) };
  }

  /** Your own means, best first. */
  summary() {
    const given = new Map();
    for (const { order, scores } of this.trials) {
      order.forEach((name, at) => given.set(name, [...(given.get(name) ?? []), scores[at]]));
    }
    const mean = (scores) => scores.reduce((sum, score) => sum + score, 0) / scores.length;
    const rows = [...given].sort(([, one], [, other]) => mean(other) - mean(one));
    return [h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["version", "your mean", "clips"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, rows.map(([name, scores]) => h("tr", {}, h("th", { scope: "row" }, labelOf(name)),
        h("td", {}, mean(scores).toFixed(1)), h("td", {}, String(scores.length)))))))];
  }

  static form(begin) {
    const fits = MAX_VERSIONS - 1 - DATA.coders.filter((coder) => coder.anchor).length;
    const first = new Set(DATA.coders.filter((coder) => !coder.anchor).slice(0, Math.max(fits, 1)).map((coder) => coder.name));
    const clips = choices("Clips", DATA.sounds.map((sound) => sound.name), () => true);
    const codecs = choices("Codecs, and anchors", DATA.coders.map((coder) => coder.name),
      (name) => coderOf(name).anchor || first.has(name));
    const note = h("p", { class: "status", role: "status" });
    return h("form", { id: "mushra", onsubmit: (event) => {
      event.preventDefault();
      const trials = Mushra.trials(clips.indices, codecs.indices, chance());
      if (trials.length) begin((...rest) => new Mushra(trials, ...rest));
      else note.textContent = "Choose at least one clip and one codec of it.";
    } }, h("h3", {}, "Rate"), h("p", {}, "In the manner of MUSHRA: score unnamed versions of each clip from 0 to 100."),
    clips.element, codecs.element, h("button", { class: "main" }, "Start rating"), note);
  }
}
