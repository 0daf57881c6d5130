"""The command line, end to end: what a user types, what it prints, and how it ends."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eegviz import cli


def eegviz(*args, ok=True):
    """What a command prints and how it ends, in this process: starting Python and torch anew costs two seconds each."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["eegviz", *map(str, args)])
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    found = subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())
    assert "Traceback" not in found.stderr, found.stderr
    assert (code == 0) == ok, found.stderr + found.stdout
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
    assert eegviz("evaluate", trained, "--json").stdout.strip() == (Path(trained) / "metrics.json").read_text()
    file = tmp_path / "x.flac"
    said = eegviz("reconstruct", trained, "--recording", "S01_song21_r2", "--duration", 3, "--out", file).stdout
    assert "3 test" in said
    assert "SIMULATED EEG." in said
    assert f"{result['verdict']}: retrieval" in said
    assert soundfile.info(file).frames == 3 * 22050


def test_info(tiny_store):
    printed = eegviz("info", tiny_store.path, "--verify").stdout
    assert "SIMULATED" in printed
    assert "verified" in printed


def test_info_lists_the_runs_of_a_folder(trained):
    folder = Path(trained)
    for path in (folder, folder.parent):
        lines = eegviz("info", path).stdout.splitlines()
        assert any(
            line.split()[:6] == [folder.name, "tiny", "cnn", "periodogram", "mel-db", "repeat"] for line in lines
        )
    assert "--verify checks a store" in eegviz("info", folder.parent, "--verify", ok=False).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("train", "{store}", "--out", "{tmp}", "--model", "vae"),
            "known are ridge, cnn, rcnn, encoder-decoder, transformer, gan, alignment, diffusion, tokens, classifier",
        ),
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
        (("reconstruct", "{run}", "--out", "{tmp}/no/x.wav", "--recording", "S01_song21_r2"), "Make it first"),
        (
            ("reconstruct", "{run}", "--out", "{tmp}/x.wav", "--recording", "S01_song21_r2", "--listener", "S09"),
            "--listener and --unit are of --eeg",
        ),
        (
            ("reconstruct", "{run}", "--out", "{tmp}/x.wav", "--recording", "S01_song21_r2", "--overlap", "0.95"),
            "from 0.1 to 0.9 of a window; found 0.95",
        ),
        (
            ("reconstruct", "{run}", "--out", "{tmp}/x.wav", "--recording", "S01_song21_r2", "--sr", "4000"),
            "from 8000 to 48000; found 4000",
        ),
        (
            ("reconstruct", "{run}", "--out", "{tmp}/x.wav", "--recording", "S01_song21_r2", "--duration", "30"),
            "no 30 held-out seconds in a row",
        ),
        (("train", "{store}", "--out", "{tmp}", "--audio", "mel-64"), "linear-db, mel-80, mel-80-db"),
        (("reconstruct", "{run}", "--out", "{tmp}/x.wav", "--recording", "S77"), "it has S01_song21_r1"),
        (("train", "{store}", "--out", "{store}/manifest.json", "--preset", "fast"), "cannot read or write"),
        (("train", "{store}", "--out", "{tmp}", "--split", "blocked", "--folds"), "For blocked leave out --folds"),
        (("reconstruct", "{run}", "--recording", "S01_song21_r2", "--out", "{store}/manifest.json/x.wav"), "cannot"),
        (("info", "{tmp}"), "is not a store"),
        (("ingest", "nmed-x", "{tmp}", "{tmp}/s"), "nmed-t"),
        (("report", "99", "--store", "{store}", "--out", "{tmp}"), "99"),
        (("report", "--store", "{tmp}/nothing", "--out", "{tmp}"), "is not a store"),
        (
            ("report", "01", "--store", "{store}", "--out", "{tmp}", "--set", "fast=maybe"),
            "--set fast=maybe: notebook 01_data_tour expects true or false.",
        ),
        (
            ("report", "02", "--store", "{store}", "--out", "{tmp}", "--set", "seed=true"),
            "--set seed=true: notebook 02_psd_vs_raw expects a whole number.",
        ),
        (("report", "--store", "{store}", "--out", "{tmp}", "--set", "real=3"), "11_is_it_the_brain expects text"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(arguments, message, tiny_store, trained, tmp_path):
    filled = [a.format(store=tiny_store.path, run=trained, tmp=tmp_path) for a in arguments]
    found = eegviz(*filled, ok=False)
    assert found.returncode == 2
    assert message in found.stderr
    assert found.stderr.count("eegviz: ") == 1


def test_a_store_that_has_moved_is_named_with_store(tiny_store, trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "metrics.json").unlink(missing_ok=True)
    made = json.loads((copy / "provenance.json").read_text())
    gone = str(tmp_path / "gone")
    (copy / "provenance.json").write_text(json.dumps(made | {"store": gone}))
    sound = ("--recording", "S01_song21_r2", "--duration", 3, "--out", tmp_path / "x.wav")
    for command in (("evaluate", copy), ("reconstruct", copy, *sound)):
        said = eegviz(*command, ok=False).stderr
        assert f"was trained on the store {gone}, which is not there any more." in said
        assert "If it has moved, give its new folder: --store FOLDER." in said
    assert "VERDICT" in eegviz("evaluate", copy, "--store", tiny_store.path).stdout
    assert "3 test" in eegviz("reconstruct", copy, *sound, "--store", tiny_store.path).stdout


def test_debug_shows_the_traceback():
    found = subprocess.run(
        [sys.executable, "-m", "eegviz.cli", "--debug", "info", "nowhere"], capture_output=True, text=True, check=False
    )
    assert "Traceback" in found.stderr
    assert found.returncode != 0


def test_from_original_files_to_sound(tmp_path):
    """NMED-T's own layout → store → run → scores → sound, by command line only."""
    import soundfile

    from eegviz.datasets import demo

    demo.write_nmed(tmp_path / "nmed", layout="nmed-t", n_subjects=2, n_pieces=2, duration=24.0)
    store, runs, sound = tmp_path / "store", tmp_path / "runs", tmp_path / "x.ogg"
    said = eegviz("ingest", "nmed-t", tmp_path / "nmed", store, "--audio", tmp_path / "nmed" / "audio").stdout
    assert "4 recordings" in said
    assert "SIMULATED" in eegviz("info", store, "--verify").stdout
    arguments = ("--preset", "fast", "--epochs", 2, "--out", runs)
    run = eegviz("train", store, "--split", "interleaved", *arguments).stdout.strip().splitlines()[-1]
    assert "cannot separate song from recording" in eegviz("evaluate", run).stdout
    said = eegviz("reconstruct", run, "--recording", "S02_song21", "--out", sound).stdout
    assert "5 test" in said
    assert soundfile.info(sound).frames == 5 * 22050


def test_one_damaged_file_is_named_and_the_rest_kept(tmp_path):
    from eegviz.datasets import demo

    demo.write_nmed(tmp_path / "nmed", layout="nmed-t", n_subjects=1, n_pieces=2, duration=6.0)
    broken = sorted((tmp_path / "nmed").glob("*.mat"))[0]
    broken.write_bytes(broken.read_bytes()[:5000])
    arguments = (tmp_path / "nmed", tmp_path / "store", "--audio", tmp_path / "nmed" / "audio")
    found = eegviz("ingest", "nmed-t", *arguments, ok=False)
    assert found.returncode == 2
    said = found.stdout + found.stderr
    assert broken.name in said
    assert "1 recordings" in said or "1 recording" in said
    assert "verified" in eegviz("info", tmp_path / "store", "--verify").stdout


def test_real_eeg_through_own(shared_data, tmp_path):
    """One real listener with a sound that has the published envelope: whatever the score is, it prints."""
    import mne
    import numpy as np
    import soundfile

    data = np.load(shared_data / "speech_eeg" / "listener01.npz")
    envelope = data["envelope"][:, 0] - data["envelope"].min()
    loud = np.interp(np.arange(50 * 22050) / 22050, np.arange(3200) / 64, envelope / envelope.max())
    soundfile.write(tmp_path / "s.wav", 0.2 * np.random.default_rng(0).standard_normal(len(loud)) * loud, 22050)
    info = mne.create_info(mne.channels.make_standard_montage("biosemi64").ch_names, 64, "eeg")
    rows = ["recording,eeg,audio,subject,start"]
    for trial in range(4):
        raw = mne.io.RawArray(data["eeg"][trial].T * 1e-6, info, verbose="error")
        raw.save(tmp_path / f"t{trial}_raw.fif", verbose="error")
        rows.append(f"t{trial},t{trial}_raw.fif,s.wav,L01,0")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    eegviz("ingest", "own", tmp_path / "table.csv", tmp_path / "store")
    arguments = ("--split", "blocked", "--preset", "fast", "--epochs", 3, "--out", tmp_path / "runs")
    run = eegviz("train", tmp_path / "store", *arguments).stdout.strip().splitlines()[-1]
    printed = " ".join(eegviz("evaluate", run).stdout.split())
    assert "retrieval" in printed
    assert "one listener: no interval over listeners" in printed
    assert "simulated" not in printed
