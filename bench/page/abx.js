// ABX: A is the original, B the coded version, X one of them by the toss of a coin. Which one?

const ABX_VERSIONS = ["A", "B", "X"];

/** The chance of at least `right` of `n` by tossing coins: the exact one-sided binomial test. */
function pValue(right, n) {
  let ways = 1, sum = 0; // "n choose k", from k = n downwards
  for (let k = n; k >= right; k--) {
    sum += ways;
    ways *= k / (n - k + 1);
  }
  return sum / 2 ** n;
}

class Abx extends BlindTest {
  kind = "abx";
  what = "Trial";

  /** `n` trials of one codec, over the clips in turn. */
  static trials(clips, codec, n, random) {
    const order = shuffled(clips.filter((clip) => DATA.sounds[clip].versions.includes(codec)), random);
    return Array.from({ length: order.length ? n : 0 }, (_, index) => ({
      clip: order[index % order.length], codec, x: random() < 0.5 ? "A" : "B", answer: null, heard: false, seconds: 0 }));
  }

  names({ codec, x }) {
    return [ORIGINAL, codec, x === "A" ? ORIGINAL : codec];
  }

  body(trial) {
    const labels = ["original", "coded", "one of them"];
    const answer = (said) => h("button", { type: "button", class: "main", "data-answer": said, onclick: () => {
      trial.answer = said;
      this.go(this.index + 1);
    } }, `X is ${said}`);
    return [
      h("p", {}, "X is the same as A or the same as B. Compare as often as you like, then say which; "
        + "guess where you cannot tell."),
      h("div", { class: "versions", "data-player": true }, ABX_VERSIONS.map((name, at) => this.choice(at, name, labels[at]))),
      h("div", { class: "versions answers" }, answer("A"), answer("B")),
      shortcuts([["A B X", "or 1 2 3: which to hear"]]),
    ];
  }

  update() {
    if (this.player.playing && this.player.chosen === ABX_VERSIONS.indexOf("X")) this.trial.heard = true;
    super.update();
    this.next.hidden = true; // an answer is what goes on, and none before X was heard: no double click counts twice
    for (const button of this.board.querySelectorAll("[data-answer]")) button.disabled = !this.trial?.heard;
  }

  key(key) {
    const at = ABX_VERSIONS.indexOf(key.toUpperCase());
    if (at >= 0) this.player.choose(at);
    else if (/^[1-3]$/.test(key)) this.player.choose(Number(key) - 1);
    else return !/^[0-9np]$/.test(key) && playerKey(this.player, key);
    return true;
  }

  get wanted() {
    return this.trial.heard ? "" : "Listen to X to answer.";
  }

  ready(trial) {
    return trial.answer !== null;
  }

  record({ codec, x, answer }) {
    return { codec, correct: answer === x };
  }

  summary() {
    const right = this.trials.filter((trial) => trial.answer === trial.x).length, n = this.trials.length;
    return [h("p", { class: "verdict" }, `${right} of ${n} right`),
      h("p", {}, `You compared the original with ${this.trials[0].codec}. Who hears no difference gets as many right `
        + `or more with probability ${number(pValue(right, n))}.`)];
  }

  static form(begin) {
    const option = (value, text) => h("option", { value }, text);
    const codec = h("select", {}, DATA.coders.map(({ name, anchor }) => option(name, anchor ? `${name} (anchor)` : name)));
    const clip = h("select", {}, option("", "all in turn"), DATA.sounds.map(({ name }, at) => option(at, name)));
    const many = h("select", {}, [8, 12, 16, 24].map((n) => h("option", { value: n, selected: n === 16 }, String(n))));
    const note = h("p", { class: "status", role: "status" });
    return h("form", { id: "abx", onsubmit: (event) => {
      event.preventDefault();
      const clips = clip.value === "" ? DATA.sounds.map((_, at) => at) : [Number(clip.value)];
      const trials = Abx.trials(clips, codec.value, Number(many.value), chance());
      if (trials.length) begin((...rest) => new Abx(trials, ...rest));
      else note.textContent = "This clip has no version by that codec.";
    } }, h("h3", {}, "Tell apart"), h("p", {}, "ABX: is a codec told from the original at all, or is it luck?"),
    h("label", {}, "Codec ", codec), h("label", {}, "Clip ", clip), h("label", {}, "Trials ", many),
    h("button", { class: "main" }, "Start ABX"), note);
  }
}
