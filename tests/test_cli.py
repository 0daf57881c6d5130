"""The command line, end to end: what a user types, what it prints, and how it ends."""

import json
import subprocess
import sys

import pytest


def eegviz(*args, ok=True):
    found = subprocess.run([sys.executable, "-m", "eegviz.cli", *map(str, args)], capture_output=True, text=True, check=False)
    assert "Traceback" not in found.stderr, found.stderr
    assert (found.returncode == 0) == ok, found.stderr + found.stdout
    return found


@pytest.fixture(scope="module")
def trained(tiny_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    arguments = ("--split", "repeat", "--preset", "fast", "--set", "width=1", "--epochs", 2, "--out", out)
    return eegviz("train", tiny_store.path, *arguments).stdout.strip().splitlines()[-1]


def test_train_evaluate_reconstruct(trained, tmp_path):
    import soundfile

    printed = eegviz("evaluate", trained).stdout
    assert "retrieval" in printed
    assert "chance" in printed
    result = json.loads(eegviz("evaluate", trained, "--json").stdout)
    assert result["split"]["spec"] == "repeat"
    file = tmp_path / "x.flac"
    said = eegviz("reconstruct", trained, "--recording", "S01_song21_r2", "--duration", 3, "--out", file).stdout
    assert "3 test" in said
    assert soundfile.info(file).frames == 3 * 22050


def test_info(tiny_store):
    printed = eegviz("info", tiny_store.path, "--verify").stdout
    assert "SIMULATED" in printed
    assert "verified" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "{store}", "--out", "{tmp}", "--model", "vae"), "known are cnn, classifier"),
        (("train", "{store}", "--out", "{tmp}", "--eeg", "psd"), "known are raw, periodogram, welch"),
        (("train", "{store}", "--out", "{tmp}", "--split", "thirds"), "interleaved"),
        (("train", "{store}", "--out", "{tmp}", "--set", "width"), "KEY=VALUE"),
        (("train", "{store}", "--out", "{tmp}", "--set", "width=wide"), "width"),
        (("train", "{store}", "--out", "{tmp}", "--device", "cuda"), "no GPU here"),
        (("train", "{tmp}/nothing", "--out", "{tmp}"), "is not a store"),
        (("evaluate", "{tmp}"), "is not a run"),
        (("evaluate", "{run}", "--store", "{tmp}"), "is not a store"),
        (("reconstruct", "{run}", "--out", "{tmp}/x.mp4", "--recording", "S01_song21_r2"), ".wav, .flac, .ogg"),
        (("reconstruct", "{run}", "--out", "{tmp}/x.wav"), "either --recording"),
        (("reconstruct", "{run}", "--out", "{tmp}/x.wav", "--recording", "S77"), "it has S01_song21_r1"),
        (("info", "{tmp}"), "is not a store"),
        (("ingest", "nmed-x", "{tmp}", "{tmp}/s"), "nmed-t"),
        (("report", "99", "--store", "{store}", "--out", "{tmp}"), "99"),
        (("report", "--store", "{tmp}/nothing", "--out", "{tmp}"), "is not a store"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(arguments, message, tiny_store, trained, tmp_path):
    filled = [a.format(store=tiny_store.path, run=trained, tmp=tmp_path) for a in arguments]
    found = eegviz(*filled, ok=False)
    assert found.returncode == 2
    assert message in found.stderr
    assert found.stderr.count("eegviz: ") == 1


def test_debug_shows_the_traceback():
    found = subprocess.run(
        [sys.executable, "-m", "eegviz.cli", "--debug", "info", "nowhere"], capture_output=True, text=True, check=False
    )
    assert "Traceback" in found.stderr
    assert found.returncode != 0
