"""`eegviz demo` as a person meets it: it ends in time and memory, and every page opens from disk, shows and sounds.

With EEGVIZ_DEMO=FOLDER a demonstration that is there already is looked at (.ci/run measures its own).
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from eegviz import demonstration, report

from . import page_content
from .browser import offline_page, serious_findings, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SECONDS, BYTES = 300, 2e9
PAGES = (
    "01_data_tour", "02_psd_vs_raw", "03_training", "04_mel_bin_scores", "05_ref_db_tuning", "06_playback_grids",
    "07_architectures", "08_imagined_music", "09_latent_diffusion", "10_emotion_tokens",
    "11_is_it_the_brain", "12_listening_test",
)  # fmt: skip
BLANK_IMAGES = """async () => {
  const blank = [];
  for (const i of document.querySelectorAll('img')) {
    await i.decode();
    const c = document.createElement('canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight;
    const g = c.getContext('2d'); g.drawImage(i, 0, 0);
    const d = g.getImageData(0, 0, c.width, c.height).data; let low = 255, high = 0;
    for (let k = 0; k < d.length; k += 4) { low = Math.min(low, d[k]); high = Math.max(high, d[k]); }
    if (!i.naturalWidth || high - low < 50 || !i.alt) blank.push(i.alt || 'an image without alt text');
  }
  return [document.querySelectorAll('img').length, blank];
}"""
SILENT_PLAYERS = """async () => {
  const silent = [], players = [...document.querySelectorAll('audio')];
  for (const a of players) {
    a.muted = true; a.load();
    await a.play();
    const end = Date.now() + 5000;
    while (a.currentTime < 0.05 && Date.now() < end) await new Promise(r => setTimeout(r, 20));
    if (!(a.currentTime >= 0.05) || !isFinite(a.duration) || a.duration < 1) silent.push(a.getAttribute('aria-label') || '?');
    a.pause();
  }
  return [players.length, silent];
}"""


def tree_bytes(process):
    """Memory of a process and its children, shared pages divided among their users."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            info = one.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(info, "pss", info.uss)
    return total


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    if made := os.environ.get("EEGVIZ_DEMO"):
        return {"out": Path(made), "seconds": None}
    out = tmp_path_factory.mktemp("demo")
    began, peak = time.monotonic(), 0
    running = subprocess.Popen(
        [sys.executable, "-m", "eegviz.cli", "demo", "--out", out], stdout=subprocess.PIPE, text=True
    )
    while running.poll() is None:
        try:
            peak = max(peak, tree_bytes(psutil.Process(running.pid)))
        except psutil.Error:
            break
        time.sleep(0.5)
    printed = running.communicate()[0]
    return {
        "out": out,
        "printed": printed,
        "rc": running.returncode,
        "seconds": time.monotonic() - began,
        "bytes": peak,
    }


def test_it_ends_in_time_and_memory_and_says_where(demo):
    if demo["seconds"] is None:
        pytest.skip("EEGVIZ_DEMO names a demonstration that was made and measured elsewhere")
    print(
        f"\neegviz demo: {demo['seconds']:.0f} s (bar {SECONDS}), peak {demo['bytes'] / 1e9:.2f} GB (bar {BYTES / 1e9:g})"
    )
    assert demo["rc"] == 0
    assert Path(demo["printed"].strip().splitlines()[-1]) == demo["out"].resolve() / "index.html"
    assert demo["seconds"] <= SECONDS
    assert demo["bytes"] < BYTES


def test_again_it_reuses_what_is_there(demo, monkeypatch):
    """Stores and runs stay as they are; the notebooks are left out, they ran above."""
    runs = {p: p.stat().st_mtime_ns for p in (demo["out"] / "runs").glob("*/weights.safetensors")}
    assert (
        len(runs) == 30 + 4 + 24 + 18
    )  # networks of songs, melodies, rated pieces; linear decoders of splits, conditions …
    began = time.monotonic()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # so that it is taken back
    monkeypatch.setattr(report, "report", lambda *_, out, **__: out / "index.html")
    assert demonstration.run(demo["out"]) == demo["out"] / "index.html"
    assert {p: p.stat().st_mtime_ns for p in (demo["out"] / "runs").glob("*/weights.safetensors")} == runs
    print(f"\nagain: {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize("name", [*PAGES, "index"])
def test_every_figure_shows_and_every_sound_plays(demo, chromium, name):
    path = demo["out"] / f"{name}.html"
    assert path.stat().st_size < 10e6
    with offline_page(chromium, path) as (page, requests, problems):
        images, blank = page.evaluate(BLANK_IMAGES)
        players, silent = page.evaluate(SILENT_PLAYERS)
        assert images >= 2
        assert blank == []
        assert silent == []
        if name[:2] in ("01", "05", "06", "12"):
            assert players >= 1
        assert [r[:100] for r in requests if not r.startswith(("file:", "data:", "blob:"))] == []
        assert problems == []
        assert "SIMULATED" in page.inner_text("body").upper()
        assert serious_findings(page) == []


@pytest.mark.parametrize("name", [*PAGES, "index"])
def test_no_link_is_dead_and_everything_embedded_is_what_it_says(demo, name):
    path = demo["out"] / f"{name}.html"
    assert page_content.dead_links(path) == []
    held = list(page_content.media(path))
    assert [(stated, found) for stated, found, _ in held if stated != found] == []
    assert {stated for stated, _, _ in held} <= {"image/png", "audio/ogg"}
    assert all(rate in (16_000, 22_050) and n >= rate for _, rate, n in page_content.sounds(path))


@pytest.mark.parametrize("name", [*PAGES, "index"])
def test_it_reads_on_a_phone(demo, chromium, name):
    with offline_page(chromium, demo["out"] / f"{name}.html", width=375, height=800, dark=True) as (page, _, problems):
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert problems == []


GRIDS = {"music": "store", "imagined": "melodies", "segments": "store"}


@pytest.mark.parametrize("kind", GRIDS)
def test_a_demo_page_comes_from_its_runs(demo, chromium, tmp_path, kind):
    out = tmp_path / f"{kind}.html"
    command = ["page", kind, demo["out"] / "runs", "--store", demo["out"] / GRIDS[kind], "--out", out]
    subprocess.run([sys.executable, "-m", "eegviz.cli", *command], check=True)
    assert out.stat().st_size < 10e6
    assert page_content.dead_links(out) == []
    assert {(stated, found) for stated, found, _ in page_content.media(out)} == {("audio/ogg",) * 2, ("image/png",) * 2}
    assert len(set(page_content.sounds(out))) == 1  # one format, one rate, one length
    with offline_page(chromium, out) as (page, requests, problems):
        images, blank = page.evaluate(BLANK_IMAGES)
        players, silent = page.evaluate(SILENT_PLAYERS)
        assert images == players >= 12
        assert (blank, silent) == ([], [])
        assert len(page.evaluate("[...new Set([...document.querySelectorAll('audio')].map(a => a.duration))]")) == 1
        downloads = "document.querySelectorAll('a[download]')"
        assert page.evaluate(f"{downloads}.length") == players
        assert page.evaluate(
            f"[...{downloads}].every(a => a.href.startsWith('data:audio/ogg') && /\\.ogg$/.test(a.download))"
        )
        assert [r[:100] for r in requests if not r.startswith(("file:", "data:", "blob:"))] == []
        assert problems == []
        assert serious_findings(page) == []
    with offline_page(chromium, out, width=375, height=800, dark=True) as (page, _, _):
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert serious_findings(page) == []


def test_the_offline_slider_changes_the_level(demo, chromium):
    with offline_page(chromium, demo["out"] / "05_ref_db_tuning.html") as (page, _, _):
        wait_until(page, "document.querySelector('.eegviz-tuner input') !== null")
        volumes = []
        for value in ("41", "47"):
            page.evaluate(
                "v => { const r = document.querySelector('.eegviz-tuner input'); r.value = v;"
                " r.dispatchEvent(new Event('input')); }", value
            )  # fmt: skip
            volumes.append(page.evaluate("document.querySelector('.eegviz-tuner audio').volume"))
        assert volumes[1] / volumes[0] == pytest.approx(10 ** (6 / 40), rel=1e-3)
