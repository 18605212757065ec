"""The page of `ecdc serve` in a browser: files are heard, made, compared and refused; keys work; it needs no network."""

import base64
import io
import shutil
import threading
import time

import numpy as np
import pytest
import soundfile
from ecdc.cli.web_server import Server, Site
from ecdc.codec.bundled import BUNDLED, bundled_names, read_config
from ecdc.codec.decoding import decode_blocks
from ecdc.codec.default_model import DEFAULT_MODEL
from ecdc.codec.encoding import encode_file
from ecdc.codec.runtime import shared_bundled
from ecdc.format import Reader
from ecdc.format.crc import crc32c

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (extra: test)")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs a browser and its driver: Debian packages chromium and chromium-driver"
)
FLAGS = (
    "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
    "disable-sync disable-dev-shm-usage autoplay-policy=no-user-gesture-required hide-scrollbars "
    "use-fake-device-for-media-stream"
)
MODELS = bundled_names()
RATES = {name: read_config(BUNDLED / name).sample_rate for name in MODELS}
MODEL = MODELS[0]  # of the files where any model does
# Whatever is connected to a loudspeaker is also connected to an analyser of ours.
TAP = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode && to.context instanceof AudioContext) {
    to.tap ??= new AnalyserNode(to.context, { fftSize: 2048, smoothingTimeConstant: 0 });
    // Not that of the recorder; the player opens the sound card again for another sample rate.
    if (!window.tap || window.tap.context.state === "closed") window.tap = to.tap;
    connect.call(this, to.tap);
  }
  return connect.call(this, to, ...rest);
};
"""
HEARD = """
if (!window.tap) return [0, -1000];
const levels = new Float32Array(tap.frequencyBinCount);
tap.getFloatFrequencyData(levels);
const loudest = levels.reduce((best, level, at) => (level > levels[best] ? at : best), 0);
return [loudest * tap.context.sampleRate / tap.fftSize, levels[loudest]];
"""
LOW, HIGH = 440.0, 660.0  # Hz, in the first and the second half of the tones


class Page:
    """A browser with the page in it."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url

    def open(self, url=None):
        self.driver.get("about:blank")
        self.driver.get(url or self.url)
        self.until("return document.getElementById('state').textContent === 'Ready'", 120)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, *arguments):
        """The result of an async function's body."""
        body = (
            f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, (e) => done(String(e)))"
        )
        return self.driver.execute_async_script(body, *arguments)

    def until(self, script, seconds=40.0):
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"never came true: {script}; the page says {self.text('message')!r}"
            time.sleep(0.05)
        return found

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def click(self, name):
        self.run("document.getElementById(arguments[0]).click()", name)

    def give(self, path):
        """Choose a file, as if with the button."""
        self.driver.find_element("id", "file").send_keys(str(path))

    def choose_model(self, name):
        self.run("document.getElementById('model').value = arguments[0]", name)

    def press(self, key):
        self.run("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))", key)

    def seconds(self):
        minutes, rest = self.text("time").split(" / ")[0].split(":")
        return 60 * int(minutes) + int(rest)

    def hears(self, frequency, seconds=20.0):
        """Wait until this tone is the loudest."""
        end = time.monotonic() + seconds
        while True:
            loudest, level = self.run(HEARD)
            if abs(loudest - frequency) < 30 and level > -60:
                return
            assert time.monotonic() < end, f"heard {loudest} Hz at {level} dB instead of {frequency} Hz"
            time.sleep(0.05)

    def sentence(self):
        """The one sentence about a fault."""
        text = self.until("const m = document.getElementById('message'); return m.hidden ? '' : m.textContent")
        assert text.endswith((".", ")")) and len(text) < 400 and "\n" not in text, text
        self.until("return document.getElementById('work').hidden")
        return text


def tones(rate, seconds=12.0):
    """LOW, then HIGH, each with a little noise [n]."""
    time_ = np.arange(int(seconds * rate)) / rate
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(time_))
    return (noise + 0.4 * np.sin(2 * np.pi * np.where(time_ < seconds / 2, LOW, HIGH) * time_)).astype(np.float32)


@pytest.fixture(scope="session")
def folder(web, tmp_path_factory):
    """Files of a folder that is served: tones, and many that are none."""
    root = tmp_path_factory.mktemp("served")
    for name, rate in RATES.items():
        soundfile.write(root / f"{name}.wav", tones(rate), rate, "PCM_16")
        encode_file(root / f"{name}.wav", root / f"{name}.ecdc", name, kbps=6, effort=0)
    shutil.copy(root / f"{MODEL}.ecdc", root / "tones.ecdc")
    data = (root / "tones.ecdc").read_bytes()
    (root / "cut.ecdc").write_bytes(data[: len(data) // 2])
    (root / "none.ecdc").write_bytes(b"not at all")
    (root / "header.ecdc").write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    return root


def generate(asked, output):
    data = generate.data
    for start in range(0, len(data), 700):
        output.write(data[start : start + 700])
        time.sleep(0.05)


@pytest.fixture(scope="session")
def server(web, folder):
    generate.data = (folder / "tones.ecdc").read_bytes()
    with Server(Site(web / "dist", folder, generate), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def driver(web):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS.split():
        options.add_argument(f"--{flag}")
    made = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    made.set_script_timeout(120)
    made.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": TAP})
    yield made
    made.quit()


@pytest.fixture
def page(driver, server):
    """The page of the server, opened again if another test left it."""
    found = Page(driver, server.url)
    if driver.current_url != server.url:
        found.open()
    return found


@pytest.fixture
def opened(page, folder):
    """The page with the tones in it, at rest at the start."""
    page.give(folder / "tones.ecdc")
    page.until("return document.getElementById('title').textContent === 'tones.ecdc'")
    page.until("return document.getElementById('work').hidden")
    return page


@pytest.mark.parametrize("model", MODELS)
def test_a_file_of_the_folder_is_heard_from_any_place(page, model):
    find = "[...document.querySelectorAll('#list button')].find((b) => b.textContent.startsWith(arguments[0]))"
    page.run(f"{find}.click()", f"{model}.ecdc")
    page.hears(LOW)
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.hears(HIGH)
    page.press("Home")
    page.hears(LOW)
    page.press(" ")
    assert page.text("play") == "Play"
    assert f"{model} · {RATES[model] // 1000} kHz · mono" in page.text("facts") and page.run("return crossOriginIsolated")


def test_it_ends_at_its_end_and_begins_again(opened):
    opened.press("End")
    opened.press("ArrowLeft")
    opened.press(" ")
    opened.until("return document.getElementById('play').textContent === 'Pause'")
    opened.until("return document.getElementById('play').textContent === 'Play'")
    assert opened.seconds() == 12
    opened.press(" ")
    opened.hears(LOW)
    opened.press("k")


@pytest.mark.parametrize("model", MODELS)
def test_samples_in_the_browser_are_those_of_the_light_runtime(page, folder, model):
    found = page.wait(
        """
        const { Ecdc, Engine } = await import("/lib/index.js");
        await caches.delete("ecdc-models-1");
        const engine = new Engine();
        await engine.call("warm", [arguments[0]]);
        const file = await Ecdc.open(`/files/${arguments[0]}.ecdc`, { engine });
        const { sampleRate } = file.facts;
        const whole = (await file.decode()).channels[0];
        const part = (await file.decode(2.5, 1)).channels[0];
        let at = 0, error = 0;
        for await (const { channels } of file) {
          for (const value of channels[0]) error = Math.max(error, Math.abs(value - whole[at++]));
        }
        part.forEach((value, i) => (error = Math.max(error, Math.abs(value - whole[2.5 * sampleRate + i]))));
        let text = "";
        for (const byte of new Uint8Array(whole.buffer)) text += String.fromCharCode(byte);
        const loaded = await engine.call("transferred", []);
        engine.close();
        return [btoa(text), at, part.length / sampleRate, error, loaded.map(([address]) => new URL(address).pathname)];
        """,
        model,
    )
    samples = np.frombuffer(base64.b64decode(found[0]), np.float32)
    reader = Reader(io.BytesIO((folder / f"{model}.ecdc").read_bytes()))
    wanted = np.concatenate(list(decode_blocks(shared_bundled(model), reader)), axis=1)[0]
    assert found[1:3] == [len(wanted), 1] and found[3] < 1e-5
    assert np.abs(samples - wanted).max() < 1e-4
    folders = {path.split("/")[2] for path in found[4] if path.startswith("/models/")}
    assert model in folders and folders <= {model, "priors"}, "of other models, nothing is loaded"


def test_the_page_encodes_with_the_default_model_unless_another_one_is_chosen(page):
    names = page.run("return [...document.getElementById('model').options].map((option) => option.value)")
    assert names[0] == DEFAULT_MODEL == page.run("return document.getElementById('model').value")
    assert sorted(names) == MODELS


@pytest.mark.parametrize("model", MODELS)
def test_a_wav_becomes_a_file_that_python_reads_and_both_are_compared(page, folder, model):
    page.choose_model(model)
    page.give(folder / f"{model}.wav")
    page.until(
        f"return document.getElementById('title').textContent === '{model}.wav' && document.getElementById('work').hidden", 120
    )
    assert "times smaller" in page.text("sizes")
    text = page.wait(
        """
        const link = document.getElementById("download");
        let text = "";
        for (const byte of new Uint8Array(await (await fetch(link.href)).arrayBuffer())) text += String.fromCharCode(byte);
        return [link.download, btoa(text)];
        """
    )
    assert text[0] == f"{model}.ecdc" and text[0].removesuffix(".ecdc") in page.text("facts")
    found = Reader(io.BytesIO(base64.b64decode(text[1]))).codes()
    with (folder / f"{model}.ecdc").open("rb") as stream:
        assert (found == Reader(stream).codes()).mean() >= 0.999
    page.press(" ")
    page.hears(LOW)
    page.press("x")
    assert page.run("return document.getElementById('original').ariaPressed") == "true"
    page.hears(LOW)
    page.press("x")
    page.press(" ")


def test_what_is_generated_is_heard_while_it_arrives(page):
    page.run("document.getElementById('prompt').value = 'tones'; document.getElementById('ask').requestSubmit()")
    page.hears(LOW)
    page.until("return document.getElementById('facts').textContent.includes('0:12')")
    page.until("return !document.getElementById('download').hidden")
    page.press(" ")


@pytest.mark.parametrize("model", MODELS)
def test_the_microphone_is_recorded_or_denied(page, driver, model):
    page.choose_model(model)
    origin = page.url.rstrip("/")
    setting = {"permission": {"name": "microphone"}, "origin": origin}
    driver.execute_cdp_cmd("Browser.setPermission", setting | {"setting": "denied"})
    page.click("record")
    assert "does not allow" in page.sentence()
    driver.execute_cdp_cmd("Browser.setPermission", setting | {"setting": "granted"})
    page.click("record")
    page.until("return /^Recording 0:(0[2-9]|[1-5])/.test(document.getElementById('doing').textContent)", 60)
    page.click("record")
    page.until(
        "return document.getElementById('title').textContent === 'recording' && document.getElementById('work').hidden", 60
    )
    assert f"{model} · " in page.text("facts") and not page.run("return document.getElementById('download').hidden")


def test_bad_files_are_one_sentence_each_and_nothing_hangs(page, folder, tmp_path):
    wanted = {"none.ecdc": "not an .ecdc file", "header.ecdc": "damaged"}
    for name, text in wanted.items():
        page.give(folder / name)
        assert text in page.sentence()
    data = (folder / "tones.ecdc").read_bytes()
    other = bytearray(data)
    other[60] ^= 1  # another token space
    size = int.from_bytes(other[6:8], "little")
    other[size - 4 : size] = crc32c(bytes(other[: size - 4])).to_bytes(4, "little")
    hostile = data[:size] + bytes.fromhex("ecdc936b 0100 00000000 ffffffff") + bytes(40)
    cases = {
        "a.ecdc": (bytes(other), "needs the model"),
        "b.ecdc": (b"ECDC\x01", "too early"),
        "c.ecdc": (b"ECDC\x00" + bytes(40), "version"),
        "d.wav": (b"RIFF0000WAVEdata", "no samples"),
    }
    for name, (content, text) in cases.items():
        (tmp_path / name).write_bytes(content)
        page.give(tmp_path / name)
        assert text in page.sentence()
    (tmp_path / "hostile.ecdc").write_bytes(hostile)
    page.give(tmp_path / "hostile.ecdc")
    page.until("return document.getElementById('title').textContent === 'hostile.ecdc'")
    assert "cut off" in page.text("lost")
    page.give(folder / "tones.ecdc")
    page.until("return document.getElementById('title').textContent === 'tones.ecdc'")
    assert page.run("return document.getElementById('message').hidden")


def test_damage_is_told_and_the_rest_is_heard(page, folder):
    page.give(folder / "cut.ecdc")
    page.until("return document.getElementById('title').textContent === 'cut.ecdc'")
    assert "cut off: it is whole up to 5.00 s" in page.text("lost")
    page.press(" ")
    page.hears(LOW)
    page.press(" ")


def test_everything_can_be_reached_with_the_keyboard(opened):
    reached = []
    opened.run("document.body.focus(); document.activeElement.blur()")
    for _ in range(25):
        webdriver.ActionChains(opened.driver).send_keys("\ue004").perform()
        reached.append(opened.run("const e = document.activeElement; return e.id || e.closest('[id]')?.id"))
    assert {"choose", "record", "model", "kbps", "scene", "play", "back", "ahead", "volume", "list"} <= set(reached)
    slider = opened.run("const s = document.getElementById('scene'); return [s.role, s.ariaValueMax, s.ariaValueText]")
    assert slider == ["slider", "12", "0:00"]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(opened, driver, width):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    )
    try:
        assert opened.run("return document.documentElement.scrollWidth") <= width
        small = opened.run(
            "return [...document.querySelectorAll('button')].map((b) => b.offsetHeight).filter((n) => n && n < 40)"
        )
        assert not small, "a finger needs 40 pixels"
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_works_without_its_server(web, folder, driver):
    with Server(Site(web / "dist", folder), 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page = Page(driver, server.url)
        page.open()
        page.until("return navigator.serviceWorker.controller !== null")
        page.open()  # now through the service worker, which keeps what it sees
        page.give(folder / "tones.ecdc")
        page.until("return document.getElementById('title').textContent === 'tones.ecdc'")
        page.press(" ")
        page.hears(LOW)
        page.press(" ")
        server.shutdown()
    page.open()
    page.give(folder / "tones.ecdc")
    page.until("return document.getElementById('title').textContent === 'tones.ecdc'")
    page.press(" ")
    page.hears(LOW)
    page.press(" ")
