"""The page in a browser, from a file: what is chosen is what is heard, keys work, blind tests are blind and give valid files.

Every version is a sine of its own frequency, and what comes out of the page is measured.
"""

import html
import json
import shutil
import time

import pytest
from ecdc.bench import listen

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (extra: test)")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs a browser and its driver: Debian packages chromium and chromium-driver"
)
FLAGS = (
    "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
    "disable-sync disable-dev-shm-usage autoplay-policy=no-user-gesture-required hide-scrollbars"
)
# Whatever is connected to a loudspeaker is also connected to an analyser of ours.
TAP = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode && to.context instanceof AudioContext) {
    to.tap ??= new AnalyserNode(to.context, { fftSize: 2048, smoothingTimeConstant: 0 });
    window.tap = to.tap;
    connect.call(this, to.tap);
  }
  return connect.call(this, to, ...rest);
};
"""
HEARD = """
const levels = new Float32Array(tap.frequencyBinCount);
tap.getFloatFrequencyData(levels);
const loudest = levels.reduce((best, level, at) => (level > levels[best] ? at : best), 0);
return [loudest * tap.context.sampleRate / tap.fftSize, levels[loudest]];
"""


class Screen:
    """A browser with a page in it, in the words of the tests."""

    def __init__(self, driver, url, downloads):
        self.driver, self.url, self.downloads = driver, url, downloads

    def open(self, width=1280):
        metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get("about:blank")
        self.driver.get(self.url)
        self.run("document.getElementById('listen').scrollIntoView()")
        self.until("return !document.querySelector('.play').disabled")
        return self

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, script, seconds=30.0):
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"never came true: {script}"
            time.sleep(0.03)
        return found

    def click(self, css, place=0):
        self.driver.find_elements("css selector", css)[place].click()

    def press(self, *keys):
        for key in keys:
            self.run("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))", key)

    def pressed(self, css):
        """The place of the button that is on."""
        return self.run("return [...document.querySelectorAll(arguments[0])].findIndex((b) => b.ariaPressed === 'true')", css)

    @property
    def position(self):
        return float(self.run("return document.querySelector('.seek').value"))

    def hears(self, hz):
        """Wait until what comes out is a sine of `hz`."""
        end = time.monotonic() + 30
        while abs((found := self.run(HEARD))[0] - hz) > 60 or found[1] < -40:
            assert time.monotonic() < end, f"wanted {hz} Hz, heard {found}"
            time.sleep(0.03)

    def heard(self, frequencies):
        """Which version comes out, after the last one has faded."""
        self.until(f"return tap.context.currentTime > {self.run('return tap.context.currentTime') + 0.2}")
        hz, level = self.run(HEARD)
        assert level > -40, f"silence: {level} dB"
        return min(frequencies, key=lambda name: abs(frequencies[name] - hz))

    def overflow(self):
        return self.run("return document.documentElement.scrollWidth - innerWidth")

    def names_in_document(self, frequencies):
        text = self.run("return document.documentElement.outerHTML + document.title")
        return [name for name in list(frequencies)[1:] if name in text or html.escape(name) in text]

    def downloaded(self):
        """The result file, after a click on its link."""
        before = set(self.downloads.glob("*.json"))
        self.click("#download")
        end = time.monotonic() + 8
        while not (found := set(self.downloads.glob("*.json")) - before):
            assert time.monotonic() < end, "no file came"
            time.sleep(0.05)
        return found.pop()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS.split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": TAP})
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture
def screen(driver, page_file):
    screen = Screen(driver, f"{page_file.as_uri()}#seed=7", driver.downloads)
    yield screen
    assert screen.driver.get_log("browser") == []


def test_opens_without_a_request_and_shows_the_figures(screen):
    screen.open()
    assert screen.run("return performance.getEntriesByType('resource').map((e) => e.name)") == []
    assert screen.run("return [...document.querySelectorAll('#facts dd')].map((e) => e.textContent)") == ["abc", "<u>"]
    column = "return [...document.querySelectorAll('#summary tbody tr')].map((row) => row.cells[arguments[0]].textContent)"
    assert screen.run(column, 1) == ["6.10", "5.10", "4.10"]
    assert screen.run(column, 2) == ["3.50 ± 0.25", "3.75 ± 0.25", "4.00 ± 0.25"]
    best = "return [...document.querySelectorAll('#summary tbody .best')].map((e) => e.textContent)"
    assert screen.run(best) == ["1.00", "3.75"]  # the anchor's 4.00 is no codec's
    screen.click("#summary thead button", 2)
    assert screen.run(column, 2) == ["4.00 ± 0.25", "3.75 ± 0.25", "3.50 ± 0.25"] and screen.run(best) == ["3.75", "1.00"]
    screen.click("#summary thead button", 1)
    assert screen.run(column, 1) == ["4.10", "5.10", "6.10"]
    dash = "const cell = document.querySelector('.clip-values td.none'); return [cell.textContent, cell.title]"
    assert screen.run(dash) == ["–", "too <short>"]
    assert screen.run("return document.querySelector('#clip').options[0].text") == "1. </script><b>x (tone)"
    assert screen.run("return document.querySelector('.plots img').naturalWidth") > 0


def test_what_is_chosen_is_what_is_heard_at_the_same_position(screen, frequencies):
    screen.open().click(".play")
    screen.until("return Number(document.querySelector('.seek').value) > 0.1")
    for place, hz in enumerate(frequencies.values()):
        state = "return [performance.now() / 1000, Number(document.querySelector('.seek').value)]"
        before = screen.run(state)
        screen.click(".versions button", place)
        screen.hears(hz)
        after = screen.run(state)
        assert abs((after[1] - before[1] - after[0] + before[0] + 1) % 2 - 1) < 0.15  # modulo the 2 s of the loop
        assert screen.pressed(".versions button") == place
    screen.click(".play")
    stopped = screen.position
    time.sleep(0.2)
    assert screen.position == stopped and screen.run("return document.querySelector('.play').textContent") == "Play"


def test_keys(screen, frequencies):
    screen.open().press("2", " ")
    screen.hears(frequencies["<i>Yak</i> 3"])
    screen.press(" ", "ArrowRight", "ArrowRight", "ArrowRight")
    assert screen.position == 2
    screen.press("ArrowLeft", "l")
    assert 0.9 < screen.position < 1.1 and screen.pressed(".transport button") == -1
    screen.press(" ")
    screen.until("return document.querySelector('.play').textContent === 'Play'")  # without loop it ends
    screen.press("n", " ")
    screen.until("return document.querySelector('#clip').value === '1' && !document.querySelector('.play').disabled")
    screen.press("l", "3")
    screen.hears(frequencies["lowpass"])  # of the clip at 48 kHz
    screen.press("p")
    screen.hears(frequencies["lowpass"])  # plays on, with the version that was chosen


def test_spectrograms_have_their_energy_where_the_sine_is(screen, frequencies):
    screen.open().click(".over-pictures input")
    screen.until("return [...document.querySelectorAll('canvas')].every((c) => c.width > 9)")
    brightest = """return [...document.querySelectorAll('canvas')].map((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(canvas.width / 2, 0, 1, canvas.height);
      const sums = Array.from({ length: canvas.height }, (_, y) => data[4 * y] + data[4 * y + 1] + data[4 * y + 2]);
      return [1 - (sums.indexOf(Math.max(...sums)) + 0.5) / canvas.height, Math.max(...sums), Math.min(...sums)];
    })"""
    for (height, high, low), hz in zip(screen.run(brightest), frequencies.values(), strict=True):
        assert abs(height * 12_000 - hz) < 60 and high > 600 and low < 60
    screen.run("document.querySelector('.plot-area').scrollIntoView({ block: 'center' })")
    screen.click(".plot-area")
    assert screen.position == pytest.approx(1, abs=0.05)
    assert screen.run("return document.querySelector('.head').style.left").startswith(("49", "50"))


def test_mushra_by_ear_gives_a_valid_file(screen, frequencies):
    screen.open().driver.find_element("css selector", ".listener input").send_keys(" Ann ")
    screen.click("#mushra .main")
    scores = {name: 100 - place * 30 for place, name in enumerate(frequencies)}
    for number in (1, 2):
        screen.until("return !document.querySelector('.play').disabled")
        assert screen.names_in_document(frequencies) == []
        assert screen.run("return document.querySelector('h1').textContent") == f"Clip {number} of 2"
        if number == 1:
            screen.press(" ")
        screen.press("0")
        assert screen.heard(frequencies) == "reference"
        for version in range(1, 5):
            assert not screen.driver.find_element("css selector", ".steps .main").is_enabled()
            screen.press(str(version))
            slide = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
            slider = screen.driver.find_elements("css selector", ".score")[version - 1]
            screen.run(slide, slider, scores[screen.heard(frequencies)])
        screen.click(".steps .main")
    data = json.loads((path := screen.downloaded()).read_text())
    assert [trial["scores"] for trial in data["trials"]] == [scores, scores]
    assert {trial["clip"] for trial in data["trials"]} == {"</script><b>x", "second"} and data["listener"] == "Ann"
    results = listen.aggregate([path])
    assert {score.codec: score.mean for score in results.scores} == scores and results.n_excluded == 0
    screen.click(".steps button")
    assert screen.names_in_document(frequencies) == list(frequencies)[1:]  # the page is back


def test_abx_by_ear_is_all_correct(screen, frequencies):
    screen.open().run(
        "const [codec, , many] = document.querySelectorAll('#abx select'); codec.value = 'lowpass'; many.value = '8'"
    )
    screen.click("#abx .main")
    for number in range(8):
        screen.until("return !document.querySelector('.play').disabled")
        assert screen.names_in_document(frequencies) == []
        assert not screen.driver.find_element("css selector", "[data-answer]").is_enabled()
        if number == 0:
            screen.press(" ")
        screen.press("b")
        assert screen.heard(frequencies) == "lowpass"
        screen.press("x")
        answer = "A" if screen.heard(frequencies) == "reference" else "B"
        screen.click(f"[data-answer={answer}]")
    assert "8 of 8" in screen.run("return document.body.textContent")
    (verdict,) = listen.aggregate([screen.downloaded()]).verdicts
    assert (verdict.codec, verdict.n_correct, verdict.n_trials, verdict.p_value) == ("lowpass", 8, 8, 1 / 256)
    screen.click(".steps button")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(screen, width):
    screen.open(width)
    assert screen.overflow() <= 0
    for form in ("#mushra", "#abx"):
        screen.run("document.querySelector(arguments[0]).scrollIntoView()", form)
        screen.click(f"{form} .main")
        screen.until("return !document.querySelector('.play').disabled")
        assert screen.overflow() <= 0
        screen.click("header button")
        screen.driver.switch_to.alert.accept()
    assert screen.run("return document.getElementById('page') !== null")
