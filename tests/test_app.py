"""The page in a real browser: upload, playback, microphone, what is refused, and what is left behind."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tagging import Tagger
from tests.saved_models import TAGS, save_random
from tests.sounds import write_melody

ROOT = Path(__file__).resolve().parents[1]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("gradio") is None, reason="gradio is not installed (requirements-app.txt)"
    ),
    pytest.mark.skipif(importlib.util.find_spec("selenium") is None, reason="selenium is not installed"),
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="Chromium and chromedriver are not installed"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saved_models")
    save_random(root / "makam" / "musicnn.pth", "musicnn")
    save_random(root / "fma" / "vgg_ish.pth", "vgg_ish", dataset="fma", tags=("Rock", "<b>Folk & co</b>"), seed=1)
    return root


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address; at the end the server is told to stop, and must leave nothing."""
    temporary = tmp_path_factory.mktemp("tmp")
    command = [
        sys.executable,
        str(ROOT / "app.py"),
        "--models_dir",
        str(models),
        "--device",
        "cpu",
        "--max_minutes",
        "1",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found, "the page did not start"
        yield found.group()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert not [path for path in temporary.rglob("*") if path.suffix in (".wav", ".csv", ".mp3")]
    assert not list(temporary.glob("music-tagging-*"))


@pytest.fixture
def browser(server: str):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--window-size=1250,1600",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(server)
        yield driver
    finally:
        driver.quit()


def wait(browser, css: str, timeout: float = 60):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, timeout).until(lambda driver: driver.find_elements("css selector", css))[0]


def upload(browser, path: Path) -> None:
    wait(browser, "#recording input[type=file]").send_keys(str(path))
    wait(browser, "#recording #waveform, #recording audio, #recording .waveform-container")


def choose(browser, *labels: str) -> None:
    """Tick exactly these models."""
    wait(browser, "#models label")
    for label in browser.find_elements("css selector", "#models label"):
        box = label.find_element("css selector", "input")
        if box.is_selected() != (label.text.strip() in labels):
            label.click()


def toast(browser) -> str:
    """The text of an error message, once it has faded in."""
    from selenium.webdriver.support.ui import WebDriverWait

    def read(driver) -> str:
        return "".join(found.text for found in driver.find_elements("css selector", ".toast-message-text"))

    return WebDriverWait(browser, 60).until(read)


def requested_hosts(browser) -> set[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return {url.split("/")[2] for url in urls if url.startswith("http")}


def fetch(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return answer.read().decode("utf-8")


def test_an_upload_is_tagged_by_two_cultures_and_the_taggram_follows_the_player(
    server: str, browser, models: Path, tmp_path: Path
) -> None:
    song = write_melody(tmp_path / "a <i>song</i>.wav", 20, 44_100, 2)
    upload(browser, song)
    choose(browser, "makam/musicnn", "fma/vgg_ish")
    wait(browser, "#tag").click()
    wait(browser, ".taggram")
    assert len(browser.find_elements("css selector", ".taggram")) == 2  # fma's two tags, then makam's

    expected = {
        label: Tagger.load(models / f"{label}.pth", device="cpu").tag(song)
        for label in ("makam/musicnn", "fma/vgg_ish")
    }
    links = wait(browser, "#files a") and browser.find_elements("css selector", "#files a")
    tables = {link.get_attribute("href").rsplit("/", 1)[1]: fetch(link.get_attribute("href")) for link in links}
    assert set(tables) == {"scores.csv", "over_time.makam-musicnn.csv", "over_time.fma-vgg_ish.csv"}
    (row,) = csv.DictReader(io.StringIO(tables["scores.csv"]))
    found = [float(row[f"makam/musicnn: {tag}"]) for tag in TAGS]
    np.testing.assert_allclose(found, expected["makam/musicnn"].scores, rtol=0, atol=1e-5)
    assert len(list(csv.DictReader(io.StringIO(tables["over_time.fma-vgg_ish.csv"])))) == 5  # 20 s of 3.68 s

    text = browser.find_element("css selector", "#result").text  # names are text, not markup
    assert "<b>Folk & co</b>" in text
    assert not browser.find_elements("css selector", "#result b b, #result h3 i")

    play = """
        const done = arguments[0], audio = document.querySelector("audio.listen");
        const left = () => [...document.querySelectorAll(".cursor")].map((cursor) => parseFloat(cursor.style.left));
        const now = () => [...document.querySelectorAll(".taggram .now")].map((cell) => cell.textContent);
        const before = left();
        audio.play().then(() => setTimeout(() => {
            audio.pause();
            const played = [audio.currentTime, left()];
            audio.currentTime = 15;
            setTimeout(() => done([audio.duration, before, ...played, left(), now()]), 500);
        }, 1500)).catch((error) => done(String(error)));
    """
    duration, before, position, during, after, now = browser.execute_async_script(play)
    assert duration == pytest.approx(20, abs=0.1)
    assert before == [0, 0]
    assert position > 0.3
    assert during == pytest.approx([100 * position / 20] * 2, abs=2)
    assert after == pytest.approx([75, 75], abs=0.5)
    analysis = expected["makam/musicnn"]
    chunk = int(15 / analysis.hop_seconds)
    np.testing.assert_allclose(sorted(map(float, now[2:])), sorted(analysis.chunk_scores[chunk]), rtol=0, atol=0.0051)
    plot = browser.find_element("css selector", ".taggram .plot")
    plot.click()  # in its middle
    time.sleep(0.3)
    assert browser.execute_script("return document.querySelector('audio.listen').currentTime") == pytest.approx(
        10, abs=0.3
    )
    assert requested_hosts(browser) == {server.removeprefix("http://")}  # nothing is asked of anyone else


def test_what_cannot_be_tagged_is_told(browser, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("no audio in here " * 100)
    long = write_melody(tmp_path / "long.wav", 61, 8_000)
    for path, words in ((tmp_path / "text.mp3", "text.mp3"), (long, "1:01 min long; this page takes up to 1:00")):
        browser.refresh()
        wait(browser, "#recording input[type=file]").send_keys(str(path))
        time.sleep(1.5)  # there is no waveform to wait for
        wait(browser, "#tag").click()
        message = toast(browser)
        assert words in message
        assert str(tmp_path) not in message
        assert not browser.find_elements("css selector", ".taggram")
    browser.refresh()
    wait(browser, "#tag").click()
    assert "Choose a recording" in toast(browser)


def test_a_recording_from_the_microphone_is_tagged(browser) -> None:
    wait(browser, "#recording [aria-label='Record audio']").click()
    wait(browser, "#recording .record-button").click()
    time.sleep(3)
    stop = [b for b in browser.find_elements("css selector", "#recording .stop-button") if b.is_displayed()]
    stop[0].click()
    time.sleep(2)
    choose(browser, "makam/musicnn")
    wait(browser, "#tag").click()
    wait(browser, ".taggram")


def test_missing_checkpoints_and_ports_in_use_are_told_in_one_line(server: str, models: Path, tmp_path: Path) -> None:
    for arguments, words in (
        (("--models_dir", tmp_path), "no checkpoint"),
        (("--models_dir", models, "--port", server.rsplit(":", 1)[1]), "cannot serve"),
    ):
        command = [sys.executable, str(ROOT / "app.py"), *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert result.returncode in (1, 2)
        assert words in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr
