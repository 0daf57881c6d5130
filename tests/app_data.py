"""What the tests of the app look at: a small store with strings that would like to be script, and a run trained on it."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

from eegviz import evaluation, store, training

SR = 22050
SECONDS = 16
PAYLOAD = "window.hacked=(window.hacked||0)+1;alert(1)"
# 40 strings as a file, a listener, a song, a channel or a label might be called
HOSTILE = [
    shape.format(PAYLOAD)
    for shape in (
        "<script>{}</script>", "</script><script>{}</script>", "<img src=x onerror={}>", "<svg onload={}>", '"><script>{}</script>',
        "'><img src=x onerror='{}'>", "javascript:{}", "<iframe srcdoc='<script>parent.{}</script>'>", "<details open ontoggle={}>",
        "<body onload={}>", "<a href='javascript:{}'>x</a>", "<style onload={}></style>", "<math><mi href='javascript:{}'>",
        "<video><source onerror={}></video>", "<audio src=x onerror={}>", "<input autofocus onfocus={}>", "<marquee onstart={}>",
        "</textarea><script>{}</script>", "</title><script>{}</script>", "</style><script>{}</script>", "--><script>{}</script>",
        "]]><script>{}</script>", "&lt;script&gt;{}&lt;/script&gt;", "&#60;script&#62;{}&#60;/script&#62;", "<scr<script>ipt>{}</script>",
        "<SCRIPT>{}</SCRIPT>", "<script\n>{}</script\n>", "<img src=`x` onerror=`{}`>", "` onmouseover=`{}", '" onfocus="{}" autofocus="',
        "' onfocus='{}' autofocus='", "${{{}}}", "{{{{constructor.constructor('{}')()}}}}", "$$\\href{{javascript:{}}}{{x}}$$",
        "[x](javascript:{})", "![x](x\" onerror=\"{})", "<eegviz-grid onclick={}>", "<script data-once=x>{}</script>",
        "\u202e<script>{}</script>", "<object data='javascript:{}'>",
    )
]  # fmt: skip


def small_store(path):
    """A store of simulated EEG: two listeners, two songs, two hearings, 8 channels whose strength follows the sound's."""
    rng = np.random.default_rng(0)
    seconds = np.arange(SECONDS * 125) / 125
    with store.create(path, dataset="tiny", title="Tiny", licence="CC0", citation="none", simulated=True) as writer:
        for song in range(2):
            level = rng.uniform(0.05, 0.5, SECONDS)
            sound = (level.repeat(SR) * rng.standard_normal(SECONDS * SR) / 4).astype(np.float32)
            writer.add_stimulus(f"song{21 + song}", sound, sr=SR, title=f"Song {song}", mood="calm")
            strength = np.interp(seconds, np.arange(SECONDS) + 0.5, level)
            for listener in range(2):
                for hearing in range(2):
                    eeg = rng.standard_normal((8, len(seconds))) * strength
                    writer.add_recording(
                        f"R{song}{listener}{hearing}", (eeg * 1e-5).astype(np.float32), subject=f"S{listener}",
                        stimulus=f"song{21 + song}", repeat=hearing + 1, session="a", sfreq=125.0,
                        ch_names=[f"E{i}" for i in range(8)], remark="none",
                    )  # fmt: skip
    return path


def make_hostile(path, run=None):
    """Put `HOSTILE` into the texts of a store and of a run on it, as somebody who edits files could: a writer refuses them.

    Without a run, into the store alone: a run that is trained on it later has them from there.

    Every string is in the tables of recordings or stimuli; some are channels, listeners, the title, licence and citation, and
    what stands in the run's verdict.
    """
    take = iter(HOSTILE * 3)
    channels = (path / "channels.json").read_text()
    for i in range(8):
        channels = channels.replace(json.dumps(f"E{i}"), json.dumps(next(take)))
    (path / "channels.json").write_text(channels)
    listeners = dict(zip(("S0", "S1"), sorted((next(take), next(take))), strict=True))  # in the same order as before
    recordings = pd.read_csv(path / "recordings.csv", dtype=str, keep_default_na=False)
    recordings["subject"] = recordings["subject"].map(listeners)
    for column in ("session", "remark"):
        recordings[column] = [next(take) for _ in range(len(recordings))]
    recordings.to_csv(path / "recordings.csv", index=False)
    stimuli = pd.read_csv(path / "stimuli.csv", dtype=str, keep_default_na=False)
    for column in ("title", "mood"):
        stimuli[column] = [next(take) for _ in range(len(stimuli))]
    stimuli.to_csv(path / "stimuli.csv", index=False)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= {key: next(take) for key in ("title", "licence", "citation")}
    for name in ("channels.json", "recordings.csv", "stimuli.csv"):
        manifest["files"][name]["sha256"] = hashlib.sha256((path / name).read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(path / "cache", ignore_errors=True)
    if run is None:
        return
    config = json.loads((run.path / "config.json").read_text())
    config["data"]["fingerprint"] = store.open(path).fingerprint
    (run.path / "config.json").write_text(json.dumps(config))
    scores = pd.read_csv(run.path / "scores.csv", dtype=str, keep_default_na=False)
    scores["subject"] = scores["subject"].map(listeners)
    scores.to_csv(run.path / "scores.csv", index=False)
    metrics = json.loads((run.path / "metrics.json").read_text())
    metrics["verdict"] = next(take)
    metrics["reasons"] = [{"holds": True, "text": text} for text in HOSTILE]
    metrics["audit"]["text"] = list(HOSTILE)
    (run.path / "metrics.json").write_text(json.dumps(metrics))


def trained(path, *, out, split="repeat"):
    """A scored run of the linear decoder on a store."""
    opened = store.open(path)
    config = training.configure(opened, model="ridge", preset="eegviz", eeg="raw", audio="mel-db", split=split)
    run = training.train(opened, config, out=out, progress=False)
    evaluation.evaluate(run, store=opened)
    return run


@contextlib.contextmanager
def served(*paths, options=(), log=None, temporary=None, prefix="", seconds=180, unused=None, before=""):
    """The app in a process of its own; yields its address and the process.

    `options` go to ``eegviz app``; its temporary files lie in `temporary`; `prefix` is what its options say; `unused` are
    the seconds until a session that nobody looks at is given up; `before` is Python that runs first.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    environment |= {"TMPDIR": str(temporary)} if temporary else {}
    first = [f"from eegviz.app import server; server.UNUSED_S = {unused}"] if unused is not None else []
    program = ["-c", "\n".join([*first, before, "from eegviz import cli; cli.main()"])]
    command = [sys.executable, *program, "app", *map(str, paths), "--port", str(port), *options]
    with open(log or os.devnull, "w") as file:
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        address = f"http://127.0.0.1:{port}{prefix}"
        try:
            wait(address, child, seconds)
            yield address, child
        finally:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


def wait(address, child, seconds):
    """Until the server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=30).read()
            return
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the app does not answer at {address} (exit code {child.poll()})") from None
            time.sleep(0.2)
