// The facts, the table of means, and the values of one clip.

const ORIGINAL = "reference"; // what the original is called in the data and in result files

function labelOf(version) {
  return version === ORIGINAL ? "Original" : version;
}

function coderOf(name) {
  return DATA.coders.find((coder) => coder.name === name);
}

function rowOf(clip, codec) {
  return DATA.rows.find((row) => row.clip === DATA.sounds[clip].name && row.codec === codec);
}

function showFacts() {
  const pairs = Object.entries(DATA.facts).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)));
  document.getElementById("facts").append(...pairs);
}

/** The name of a metric, which way it points, and its unit. */
function heading(metric) {
  return [`${metric.name} ${metric.higher_is_better ? "↑" : "↓"}`, metric.unit ? h("small", {}, metric.unit) : null];
}

/** A value, or [mean, half interval], as a cell; a dash that says why where there is none. */
function cell(value, best, why) {
  if (value === null || value === undefined) return h("td", { class: "none", title: why || "not measured" }, DASH);
  const [mean, half] = Array.isArray(value) ? value : [value, null];
  return h("td", {}, best ? h("strong", { class: "best" }, number(mean)) : number(mean),
    half === null ? null : h("span", { class: "half" }, ` ± ${number(half, decimals(mean))}`));
}

const meanOf = (value) => (Array.isArray(value) ? value[0] : value ?? null);
const isAnchor = (row) => coderOf(row.codec)?.anchor ?? false;

/** The best figure of each metric, anchors aside, as it is printed: what looks the same is as good. */
function bestOf(rows) {
  return Object.fromEntries(DATA.metrics.map(({ key, higher_is_better: higher }) => {
    const means = rows.filter((row) => !isAnchor(row)).map((row) => meanOf(row[key])).filter((mean) => mean !== null);
    return [key, means.length > 1 ? number(Math[higher ? "max" : "min"](...means)) : null];
  }));
}

/** Rows of codecs as table rows. */
function codecRows(rows) {
  const best = bestOf(rows);
  return rows.map((row) => h("tr", { "data-codec": row.codec },
    h("th", { scope: "row" }, row.codec, isAnchor(row) ? h("small", {}, "anchor") : null), cell(row.kbps || null, false, row.why?.kbps ?? "no coded file"),
    DATA.metrics.map(({ key }) => {
      const mean = meanOf(row[key]);
      return cell(row[key], mean !== null && !isAnchor(row) && number(mean) === best[key], row.why?.[key]);
    })));
}

/** Why there are dashes: the distinct reasons, for those who cannot point at one. */
function reasons(rows) {
  const found = DATA.metrics.flatMap(({ key, name }) =>
    rows.filter((row) => row.why?.[key]).map((row) => `${name}: ${row.why[key]}`));
  return found.length ? `${DASH} ${[...new Set(found)].join("; ")}` : "";
}

/** Rows by `key`; those without a value come last, either way. */
function sorted(rows, key, ascending) {
  const value = (row) => (key === "codec" ? row.codec : meanOf(row[key]));
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  return [...rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return (ascending ? 1 : -1) * (key === "codec" ? compare(a, b) : a - b);
  });
}

/** The table of means; a heading sorts, the better end first, and the other way round when pressed again. */
function showSummary() {
  const body = h("tbody", {}, codecRows(DATA.summary));
  const columns = [{ key: "codec", label: ["codec"] }, { key: "kbps", label: ["kbps"] },
    ...DATA.metrics.map((metric) => ({ key: metric.key, label: heading(metric), falling: metric.higher_is_better }))];
  const heads = columns.map(({ key, label, falling }) => {
    const head = h("th", { scope: "col" }, h("button", { type: "button", onclick: () => {
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : !falling;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.replaceChildren(...codecRows(sorted(DATA.summary, key, ascending)));
    } }, label));
    return head;
  });
  document.getElementById("summary").append(h("thead", {}, h("tr", {}, heads)), body);
  document.getElementById("summary-reasons").textContent = reasons(DATA.summary);
}

/** The rows of one clip, in the order of its versions. */
function clipRows(clip) {
  return DATA.sounds[clip].versions.slice(1).map((codec) => rowOf(clip, codec)).filter(Boolean);
}

/** The values of one clip, as a table. */
function clipTable(clip) {
  const heads = [["codec"], ["kbps"], ...DATA.metrics.map(heading)].map((label) => h("th", { scope: "col" }, label));
  return [h("thead", {}, h("tr", {}, heads)), h("tbody", {}, codecRows(clipRows(clip)))];
}
