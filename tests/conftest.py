"""Fixtures that several test files share: a tiny simulated store, a browser, and where real data lies when it is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

SR = 22050


def tiny_sound(seed, seconds):
    """Noise whose loudness and colour change every second: enough for a second to be recognised."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((seconds, SR))
    level = 10 ** rng.uniform(-1.5, -0.3, (seconds, 1))
    smooth = rng.integers(1, 40, seconds)
    rows = [np.convolve(row, np.ones(k) / k, "same") for row, k in zip(noise, smooth, strict=True)]
    sound = (np.stack(rows) * level).ravel()
    return (0.9 * sound / np.abs(sound).max()).astype(np.float32)


def make_tiny_store(
    path, *, n_subjects=3, n_songs=2, n_hearings=2, seconds=20, coupling=1.0, n_channels=8, sfreq=125.0
):
    """A store of simulated EEG whose band powers follow the sound's loudness, in a second or so."""
    from eegviz import store

    names = [f"E{i + 1}" for i in range(n_channels - 1)] + ["Cz"]
    time = np.arange(seconds * int(sfreq)) / sfreq
    with store.create(
        path, dataset="tiny", title="Tiny", licence="CC0", citation="none", montage="GSN-HydroCel-129", simulated=True
    ) as writer:
        for song in range(n_songs):
            sound = tiny_sound(100 + song, seconds)
            writer.add_stimulus(f"song{21 + song}", sound, sr=SR, title=f"Song {song}")
            loudness = np.log(np.abs(sound.reshape(seconds, SR)).mean(1) + 1e-3)
            loudness = (loudness - loudness.mean()) / loudness.std()
            drive = np.exp(coupling * np.interp(time, np.arange(seconds) + 0.5, loudness))
            for subject in range(n_subjects):
                for hearing in range(n_hearings):
                    rng = np.random.default_rng([song, subject, hearing])
                    eeg = 5 * rng.standard_normal((n_channels, len(time)))
                    eeg += drive * 4 * np.sin(2 * np.pi * 20 * time + rng.uniform(0, 6, (n_channels, 1)))
                    writer.add_recording(
                        f"S{subject + 1:02d}_song{21 + song}_r{hearing + 1}", (eeg * 1e-6).astype(np.float32),
                        subject=f"S{subject + 1:02d}", stimulus=f"song{21 + song}", repeat=hearing + 1,
                        session=str(hearing + 1), sfreq=sfreq, ch_names=names,
                    )  # fmt: skip
    return path


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory):
    """A small simulated store: 3 listeners × 2 songs × 2 hearings × 20 s, 8 channels."""
    from eegviz import store

    return store.open(make_tiny_store(tmp_path_factory.mktemp("tiny") / "store"))


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium."""
    from .browser import browser

    with browser() as running:
        yield running


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data for checks; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("EEGVIZ_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "speech_eeg").is_dir():
        pytest.skip("real EEG for checks is not at hand (set EEGVIZ_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def cluster():
    """Two workers of a Dask scheduler on this machine, one thread each; no dashboard."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs="CRITICAL",
        scheduler_kwargs={"dashboard": False},
    ) as made:  # fmt: skip
        yield made
