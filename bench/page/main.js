// Everything that names a codec leaves the document first: the page shows it again, a blind test never does.

/** A block of data in the page, taken out of it. */
function take(selector) {
  return [...document.querySelectorAll(selector)].map((element) => (element.remove(), element));
}

const DATA = JSON.parse(take("#data")[0].textContent);
const AUDIO = DATA.sounds.map((_, clip) => take(`script[data-clip="${clip}"]`)); // of each clip: its versions, in order

const listening = new Listening();

function openListening() {
  onKey = (key) => listening.key(key);
  listening.show(listening.clip);
}

function showSetup() {
  const listener = h("input", { type: "text", maxlength: 100, autocomplete: "off" });
  const begin = (make) => {
    listening.release();
    make(listener.value.trim(), openListening).enter();
  };
  document.getElementById("setup").append(h("label", { class: "listener" }, "Your name or a nickname, if you like ", listener),
    h("div", { class: "forms" }, Mushra.form(begin), Abx.form(begin)));
}

showFacts();
showSummary();
document.getElementById("listening").append(listening.element);
openListening();
showSetup();
new IntersectionObserver(([seen], observer) => {
  if (!seen.isIntersecting) return;
  observer.disconnect();
  listening.see();
}, { rootMargin: "200px" }).observe(document.getElementById("listen"));
