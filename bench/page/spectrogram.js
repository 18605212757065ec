// Spectrograms: short-time power in dB, drawn once on a small canvas that CSS scales; axes are text.

const COLUMNS = 640, ROWS = 256, RANGE_DB = 80;
const MAGMA = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]]; // as in matplotlib, coarsely

/** In place: the discrete Fourier transform of re + i im, of a power of two samples (Cooley and Tukey). */
function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
  }
  for (let half = 1; half < n; half *= 2) {
    for (let k = 0; k < half; k++) {
      const cos = Math.cos((Math.PI * k) / half), sin = -Math.sin((Math.PI * k) / half);
      for (let a = k, b = k + half; a < n; a += 2 * half, b += 2 * half) {
        const x = re[b] * cos - im[b] * sin, y = re[b] * sin + im[b] * cos;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

/** Level in dB of a full-scale sine, Float32Array [columns * ROWS], lowest frequency first; windows of about 40 ms. */
function levels(samples, sampleRate) {
  const size = Math.max(2 * ROWS, 2 ** Math.round(Math.log2(sampleRate * 0.04)));
  const columns = Math.max(1, Math.min(COLUMNS, Math.ceil(samples.length / (size / 8))));
  const window = Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
  const out = new Float32Array(columns * ROWS), per = size / 2 / ROWS;
  const re = new Float64Array(size), im = new Float64Array(size);
  for (let column = 0; column < columns; column++) {
    const first = Math.round(((column + 0.5) * samples.length) / columns - size / 2);
    for (let i = 0; i < size; i++) re[i] = window[i] * (samples[first + i] ?? 0);
    im.fill(0);
    fft(re, im);
    for (let row = 0; row < ROWS; row++) {
      let power = 0;
      for (let bin = row * per; bin < (row + 1) * per; bin++) power = Math.max(power, re[bin] ** 2 + im[bin] ** 2);
      out[column * ROWS + row] = 10 * Math.log10(power + 1e-20) - 20 * Math.log10(size / 4);
    }
  }
  return out;
}

const PALETTE = Uint32Array.from({ length: 256 }, (_, level) => { // as ImageData holds them: red lowest
  const at = (level / 255) * (MAGMA.length - 1), low = Math.min(Math.floor(at), MAGMA.length - 2);
  const [red, green, blue] = MAGMA[low].map((value, i) => Math.round(value + (MAGMA[low + 1][i] - value) * (at - low)));
  return red | (green << 8) | (blue << 16) | (255 << 24);
});

/** Paint levels; `top` dB and above are brightest. */
function paint(canvas, found, top) {
  [canvas.width, canvas.height] = [found.length / ROWS, ROWS];
  const image = new ImageData(canvas.width, ROWS), pixels = new Uint32Array(image.data.buffer);
  for (let column = 0, i = 0; column < canvas.width; column++) {
    for (let row = ROWS - 1; row >= 0; row--, i++) {
      const level = Math.round(255 * ((found[i] - top) / RANGE_DB + 1));
      pixels[row * canvas.width + column] = PALETTE[Math.max(0, Math.min(255, level))];
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Round steps for an axis from 0 to `end`, at most `most` of them. */
function ticks(end, most) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600].find((size) => end / size <= most) ?? end / most;
  return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => Number((i * step).toFixed(3)));
}

/** Labels of an axis from 0 to `end`, placed along `edge`; the last one has the unit. */
function axis(side, edge, end, most, unit) {
  const at = ticks(end, most);
  return h("div", { class: side, "aria-hidden": "true" }, at.map((value, index) => {
    const label = h("span", {}, value, index === at.length - 1 ? ` ${unit}` : null);
    label.style[edge] = `${(100 * value) / end}%`;
    return label;
  }));
}

/** A labelled picture of one version, still empty; its playhead, and a click on it, belong to the player. */
function picture(title, sound, player) {
  const canvas = h("canvas", { role: "img", "aria-label": `Spectrogram: ${title}`, width: 1, height: 1 });
  const head = h("span", { class: "head" });
  const nyquist = sound.sample_rate / 2;
  const plot = h("div", { class: "plot-area" }, canvas, head);
  if (sound.bandwidth_hz < 0.95 * nyquist) {
    const band = h("span", { class: "band", title: `bandwidth of the original: ${kilohertz(sound.bandwidth_hz)}` });
    band.style.bottom = `${(100 * sound.bandwidth_hz) / nyquist}%`;
    plot.append(band);
  }
  plot.addEventListener("click", (event) => {
    const box = plot.getBoundingClientRect();
    player.seek(((event.clientX - box.left) / box.width) * player.seconds);
  });
  const element = h("figure", { class: "spectrogram" }, h("figcaption", {}, title),
    axis("y-axis", "bottom", nyquist / 1000, 6, "kHz"), plot,
    axis("x-axis", "left", sound.n_samples / sound.sample_rate, 8, "s"));
  return { element, canvas, head };
}
