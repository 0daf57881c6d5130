"""Uploads through the app, in a real browser: heard and gone, or refused in words with nothing left on the disk."""

import time
import urllib.request

import numpy as np
import pytest

from eegviz import _upload_folders, evaluation, store, training, uploads

from . import app_data
from . import eeg_files as files
from .app_pages import ERRORS, TEXT, Seen
from .conftest import make_tiny_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECORDING = "S01_song21_r1"
LABEL = "Your EEG file"
MEGABYTES = 3
# a file dropped from elsewhere, by the name that its machine gave it
DROP = """([name, base64]) => { const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const data = new DataTransfer(); data.items.add(new File([bytes], name));
  const walk = (root) => { for (const node of root.querySelectorAll('*')) { if (node.shadowRoot) walk(node.shadowRoot);
    if (node.matches('.drop')) node.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); } };
  walk(document); return data.files[0].name; }"""
PLAYED = """async () => { const found = []; const walk = (root) => { for (const node of root.querySelectorAll('*')) {
  if (node.shadowRoot) walk(node.shadowRoot); if (node.matches('.body audio')) found.push(node); } }; walk(document);
  const [sound] = found; sound.muted = true; await sound.play(); await new Promise((done) => setTimeout(done, 500));
  sound.pause(); return [found.length, sound.currentTime > 0.1, Math.round(sound.duration)]; }"""

SLOW = """
from eegviz import uploads
waits, read = [30], uploads.read
def slow(upload, *, stop):
    stop.wait(waits.pop() if waits else 0)
    return read(upload, stop=stop)
uploads.read = slow
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A store of the whole net, and a scored run on unknown listeners."""
    folder = tmp_path_factory.mktemp("uploads")
    made = store.open(
        make_tiny_store(folder / "store", n_subjects=4, n_songs=1, n_hearings=2, seconds=12, n_channels=125)
    )
    config = training.configure(made, model="ridge", preset="fast", split="subject:50", precision="float32")
    evaluation.evaluate(training.train(made, config, out=folder / "runs", progress=False), store=made)
    return made


@pytest.fixture(scope="module")
def app(opened, tmp_path_factory):
    """Address, folder of all uploads, log."""
    temporary = tmp_path_factory.mktemp("temporary")
    log, folder = temporary / "log.txt", opened.path.parent
    options = ("--max-upload-mb", str(MEGABYTES))
    with app_data.served(folder, options=options, log=log, temporary=temporary, unused=8) as (address, child):
        yield address, temporary / _upload_folders.default_root().name, log
        assert child.poll() is None
    assert "unexpected error" not in log.read_text()
    assert "Traceback" not in log.read_text()


def send(seen, name, data):
    """Choose a file, and wait for what becomes of it: the words of the content, of the errors."""
    seen.page.get_by_label(LABEL).set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    )
    return answer(seen)


def answer(seen):
    seen.page.wait_for_timeout(300)
    return seen.until(lambda: not seen.page.get_by_role("button", name="Cancel").is_visible() and _words(seen), 60)


def _words(seen):
    text, errors = seen.page.evaluate(TEXT), " ".join(seen.page.evaluate(ERRORS))
    return (text, errors) if errors or "What was read" in text else None


def clear(seen):
    seen.page.get_by_role("button", name="Remove the file").click()
    seen.until(lambda: "There is no file yet" in seen.page.evaluate(TEXT))


def gone(root, seconds=60):
    """Seconds until no upload is left on the disk."""
    begin = time.monotonic()
    while any(root.iterdir()):
        assert time.monotonic() - begin < seconds, sorted(map(str, root.rglob("*")))
        time.sleep(0.25)
    return time.monotonic() - begin


def test_a_file_is_dropped_heard_and_gone_when_the_page_is_closed(chromium, app, opened):
    address, root, _ = app
    name = f"<img src=x onerror={app_data.PAYLOAD}>.edf"
    data = files.export(opened, RECORDING, "edf")
    with Seen(chromium) as seen:
        seen.open(address, "section=upload")
        seen.page.evaluate(DROP, [name, files.base64(data)])
        text, errors = answer(seen)
        assert errors == ""
        assert "For listeners it never met, this run was judged: " in text
        assert "chance" in text
        assert "125 of the model's 125 channels found by name" in text
        assert name[:40] in text
        assert seen.page.evaluate(PLAYED) == [1, True, 5]
        assert "as the run tiny · ridge" in text
        assert "Of your own file nothing was judged." in text
        assert uploads.usage(root) == (len(data), 1)
        seen.page.get_by_label("From second").fill("3000")
        seen.page.keyboard.press("Tab")
        seen.page.get_by_role("button", name="Listen", exact=True).last.click()
        text, errors = answer(seen)
        assert "5 s from second 3000 are not all there. Choose another start or duration." in errors
        assert "What was read" not in text  # nothing of before stands below the error
        assert seen.page.evaluate("window.hacked") is None
        assert (seen.problems, seen.outside) == ([], [])
    gone(root)


def test_every_format_is_heard(chromium, app, opened):
    address, root, _ = app
    with Seen(chromium) as seen:
        seen.open(address, "section=upload")
        for kind, title in (("fif", "FIF"), ("brainvision", "BrainVision"), ("mat", "MATLAB")):
            text, errors = send(seen, files.FORMATS[kind], files.export(opened, RECORDING, kind))
            assert (errors, f"{title}, " in text) == ("", True)
            assert seen.page.evaluate(PLAYED) == [1, True, 5]
            clear(seen)
            assert not any(root.iterdir())
        assert seen.problems == []


def test_few_missing_channels_are_interpolated_and_more_are_listed(chromium, app, opened):
    address, _, _ = app
    raw = opened.raw(RECORDING)
    eeg, names = np.array(opened.eeg(RECORDING)), raw.ch_names
    with Seen(chromium) as seen:
        seen.open(address, "section=upload")
        for n in (12, 13):
            lost = names[5 : 5 + 9 * n : 9]
            kept = [i for i, name in enumerate(names) if name not in lost]
            text, errors = send(seen, "P01.edf", files.edf(eeg[kept], raw.info["sfreq"], [names[i] for i in kept]))
            if n == 12:
                assert "12 of 125 channels interpolated from the others" in text
            else:
                listed = f"lacks 13 of the 125 channels that the run was trained on ({', '.join(lost)}); at most 12"
                assert listed in errors
            clear(seen)
        assert seen.problems == []


def test_hostile_names_of_channels_are_told_as_text(chromium, app):
    address, _, _ = app
    import mne

    rng = np.random.default_rng(0)
    names = [f"{i}{string}" for i, string in enumerate(app_data.HOSTILE[:20])]
    raw = mne.io.RawArray(
        rng.normal(0, 5e-6, (len(names), 1000)), mne.create_info(names, 125.0, "eeg"), verbose="error"
    )
    with Seen(chromium) as seen:
        seen.open(address, "section=upload")
        for name, data in (
            ("a_raw.fif", files.fif(raw)),
            ("a.edf", files.edf(raw.get_data(), 125.0, [f"<b id=x{i}>" for i in range(20)])),
        ):
            _, errors = send(seen, name, data)
            assert "channels that the run was trained on" in errors
            assert "<" in errors.partition("It has ")[2]
            assert seen.page.evaluate("window.hacked") is None
            clear(seen)
        for string in app_data.HOSTILE[::4]:
            _, errors = send(seen, f"{string}.edf", b"Dear diary")
            assert "expected FIF, EDF" in errors
            assert seen.page.evaluate("window.hacked") is None
        assert seen.problems == []


def test_what_must_be_refused_is_refused_and_the_server_lives_on(chromium, app, opened):
    address, root, _ = app
    whole = files.export(opened, RECORDING, "edf")
    escape = files.zipped({"../../P01.vhdr": b"x", "../P01.eeg": b"y"})
    refusals = [
        (
            "large.edf",
            whole + bytes(MEGABYTES * 2**20),
            f"at most {MEGABYTES} MB a file are accepted",
            "--max-upload-mb",
        ),
        (
            "P01.edf",
            b"RIFF\0\0\0\0WAVEfmt " * 1000,
            "a sound or video (RIFF), although its name says EDF",
            "The EEG is",
        ),
        ("crash.mat", files.bad_crash(), "crash.mat is damaged or incomplete", "download or copy it again"),
        ("bomb.zip", files.bad_bomb(2**28), "the zip would unpack to", "MB are accepted"),
        ("P01.zip", escape, "a file whose name leads elsewhere", ""),
        ("../../../../tmp/P01.edf", b"Dear diary", "P01.edf: expected FIF", "Export the recording again"),
    ]
    with Seen(chromium) as seen:
        seen.open(address, "section=upload")
        for name, data, what, advice in refusals:
            if "/" in name:
                seen.page.evaluate(DROP, [name, files.base64(data)])
                _, errors = answer(seen)
            else:
                _, errors = send(seen, name, data)
            assert what in errors
            assert advice in errors
            assert "Something went wrong" not in errors
            assert uploads.usage(root) == (0, 0)
            seen.page.get_by_role("button", name="Listen", exact=True).last.click()  # the reason stays
            seen.page.wait_for_timeout(300)
            assert what in " ".join(seen.page.evaluate(ERRORS))
            with urllib.request.urlopen(address, timeout=30) as reply:
                assert reply.status == 200
        text, errors = send(seen, "P01.edf", whole)  # and what is right is still heard
        assert errors == ""
        assert seen.problems == []
        clear(seen)


def test_slow_work_is_cancelled_within_two_seconds(chromium, opened):
    """A file whose reading takes half a minute: its reader is told to stop as that of a real one is."""
    with app_data.served(opened.path.parent, before=SLOW) as (address, _), Seen(chromium) as seen:
        seen.open(address, "section=upload")
        data = files.export(opened, RECORDING, "fif")
        seen.page.get_by_label(LABEL).set_input_files({"name": "P01_raw.fif", "mimeType": "", "buffer": data})
        seen.page.get_by_role("button", name="Cancel").wait_for(timeout=10_000)
        begin = time.monotonic()
        seen.page.get_by_role("button", name="Cancel").click()
        seen.page.get_by_text("Cancelled. Nothing was kept.").wait_for(timeout=5000)
        assert time.monotonic() - begin < 2
        seen.page.get_by_role("button", name="Listen", exact=True).last.click()  # the file is there still
        _, errors = answer(seen)
        assert errors == ""
        clear(seen)
