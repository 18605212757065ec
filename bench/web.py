"""Measure the browser's decoder and encoder: speed in Node and Chromium, start to first sound, bytes of a page, memory.

    ecdc bench web                      # or --model nano-24k

Needs the page that `make web` builds, Node, and Chromium with chromedriver and selenium. Both run on one thread.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click

from ..codec.bundled import bundled_names
from ..codec.default_model import DEFAULT_MODEL
from ..codec.pipeline import encode_file
from ..format.errors import EcdcError
from .corpus import CLIPS
from .processor_name import processor_name
from .seek import long_file

WEB = Path(__file__).parents[1] / "web"
PARTS = "prior", "decoder", "both", "encoder"
FLAGS = "headless=new no-sandbox disable-gpu disable-dev-shm-usage autoplay-policy=no-user-gesture-required"
FIRST_SOUND = """
const done = arguments[arguments.length - 1];
(async () => {
  const { Ecdc, Engine } = await import("/lib/index.js");
  const engine = new Engine({ threads: 1 });
  await engine.call("warm", [arguments[2]]);
  const times = [];
  for (let i = 0; i < 5; i++) {
    const blob = await (await fetch(arguments[0])).blob();
    const start = performance.now();
    const file = await Ecdc.open(blob, { engine });
    await file.play();
    while (!file.position) await new Promise((resolve) => setTimeout(resolve, 2));
    times.push((performance.now() - start) / 1000);
    await file.close();
  }
  const own = performance.getEntriesByType("resource").map((entry) => [entry.name, entry.transferSize]);
  const others = await engine.call("transferred", []);
  const speed = await engine.call("measure", [new URL(arguments[0], location.href).href, arguments[1]]);
  return { times, loaded: [...own, ...others], speed };
})().then(done, (error) => done({ error: String(error) }));
"""


class WebError(EcdcError):
    """Something that the measurement needs is missing; one line."""


def need(condition: Any, text: str) -> None:
    """Raise WebError unless a condition holds."""
    if not condition:
        raise WebError(text)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `ecdc serve` on a folder; yield its address."""
    command = [sys.executable, "-m", "ecdc.cli", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            need(line.startswith("http"), line.strip() or "ecdc serve did not start")
            yield line.split()[0]
        finally:
            process.terminate()


def in_node(*arguments: Any) -> Any:
    """Run the measurement in Node and return what it prints."""
    need(shutil.which("node") and (WEB / "node_modules").is_dir(), "this needs Node 20, and the packages of `make web`")
    done = subprocess.run(["node", str(WEB / "test" / "measure.mjs"), *map(str, arguments)], capture_output=True, text=True)
    need(done.returncode == 0, f"Node failed: {' '.join(done.stderr.split())[:300]}")
    return json.loads(done.stdout)


def in_chromium(url: str, file: str, repeats: int, model: str) -> dict[str, Any]:
    """Measure in headless Chromium, in a page of the server."""
    from selenium import webdriver

    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    need(browser and driver, "this needs Chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(browser)
    for flag in FLAGS.split():
        options.add_argument(f"--{flag}")
    page = webdriver.Chrome(options, webdriver.ChromeService(str(driver)))
    try:
        page.set_script_timeout(1200)
        page.get(url + "catalog.json")  # a page of the server that loads nothing itself
        found: dict[str, Any] = page.execute_async_script(FIRST_SOUND, file, repeats, model)
    finally:
        page.quit()
    need("error" not in found, f"Chromium failed: {found.get('error')}")
    return found


def speeds(times: dict[str, Any]) -> dict[str, float]:
    """Return times real time of each part: the best of the repeats, which other work disturbs least."""
    return {name: round(times["seconds"] / min(times[name]), 1) for name in PARTS}


def measure_node(url: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Return speed and memory in Node, and what the encoder needs."""
    node = in_node(url, folder / "minute.ecdc", repeats)
    memory = {name: round(in_node(url, folder / f"{name}.ecdc", "decode") / 1e6) for name in ("minute", "hour")}
    encoder = in_node(url, folder / "clip.ecdc", "encode")
    return {
        "node": speeds(node),
        "node_peak_mb": memory,
        "encoder_ready_seconds": round(node["ready"], 2),
        "encoder_loaded_mb": round(encoder["loaded"] / 1e6, 1),
        "encoder_node_peak_mb": round(encoder["peak"] / 1e6),
    }


def measure_page(url: str, repeats: int, model: str) -> dict[str, Any]:
    """Return speed in Chromium, seconds to the first sound, and the bytes of a page."""
    page = in_chromium(url, "/files/minute.ecdc", repeats, model)
    loaded: dict[str, int] = {}
    for address, size in page["loaded"]:
        if "/files/" not in address:
            kind = "runtime" if "/ort/" in address else "models" if "/models/" in address else "page"
            loaded[kind] = loaded.get(kind, 0) + size
    return {
        "chromium": speeds(page["speed"]),
        "first_sound_seconds": [round(value, 2) for value in page["times"]],
        "loaded_mb": {kind: round(size / 1e6, 2) for kind, size in sorted(loaded.items())},
    }


def measure(repeats: int, folder: Path, model: str, is_node_only: bool) -> dict[str, Any]:
    """Measure everything and return it as JSON-compatible values."""
    encode_file(CLIPS / "speech_it.flac", folder / "clip.ecdc", model, kbps=6)
    long_file(folder / "clip.ecdc", folder / "minute.ecdc", 1 / 60)
    long_file(folder / "clip.ecdc", folder / "hour.ecdc", 1)
    with served(folder) as url:
        page = {} if is_node_only else measure_page(url, repeats, model)
        return {"processor": processor_name(), **measure_node(url, folder, repeats), **page}


@click.command("web")
@click.option("--repeats", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--model", type=click.Choice(bundled_names()), default=DEFAULT_MODEL, show_default=True)
@click.option("--node-only", is_flag=True, help="Skip the parts that need Chromium.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(repeats: int, model: str, node_only: bool, as_json: bool) -> None:
    """Measure the browser's decoder and encoder: speed, start to first sound, bytes of a page, memory."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(repeats, Path(folder), model, node_only)
    if as_json:
        return click.echo(json.dumps(found))
    click.echo(f"{found['processor']}, {model}, one thread, mono at 6 kbps, times real time (best of {repeats};")
    click.echo("Node in processor time, Chromium by the clock):")
    click.echo(f"{'':10} " + " ".join(f"{name:>8}" for name in PARTS))
    for where in [where for where in ("node", "chromium") if where in found]:
        click.echo(f"{where:10} " + " ".join(f"{found[where][name]:8g}" for name in PARTS))
    if not node_only:
        click.echo(f"start to first sound, a minute, decoder loaded: {median(found['first_sound_seconds']):g} s (median of 5)")
        total = sum(found["loaded_mb"].values())
        click.echo(f"loaded: {total:.1f} MB ({', '.join(f'{kind} {size:g}' for kind, size in found['loaded_mb'].items())})")
    peaks = found["node_peak_mb"]
    click.echo(f"peak memory in Node: {peaks['minute']} MB for a minute, {peaks['hour']} MB for an hour")
    click.echo(f"encoder: {found['encoder_loaded_mb']:g} MB loaded, peak memory in Node {found['encoder_node_peak_mb']} MB,")
    click.echo(f"ready after {found['encoder_ready_seconds']:g} s of processor time")
