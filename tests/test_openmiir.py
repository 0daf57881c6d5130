"""Tests of the OpenMIIR reader on small files in the exact layout, whole and damaged."""

import mne
import numpy as np
import pytest
import soundfile

from eegviz import datasets, store
from eegviz.datasets import openmiir
from eegviz.errors import DataError, ParameterError

SFREQ, SECONDS = 512, 5.0
MUSIC_AT, CLICKS = 1.65, 1.9  # of stimulus 1, v1: the last click dies away behind the beginning of the music
NAMES = store.make_montage("biosemi64").ch_names
EVENTS = [  # second, code
    (1.0, 11), (1.25, 1000), (7.0, 12), (7.25, 1000), (13.0, 13), (18.0, 14), (22.0, 2001), (23.0, 1111), (25.0, 11),
    (31.0, 13), (36.0, 241), (36.25, 1000), (42.0, 90),
]  # fmt: skip
LENGTH = 44  # seconds


def eeg(participant):
    return np.random.default_rng(participant).normal(0, 12e-6, (64, LENGTH * SFREQ)).astype(np.float32)


def write_fif(folder, participant=1, *, events=EVENTS, stim="STI 014", bads=(), first=0, scale=1.0):
    """64 EEG channels, two of the eyes, and the events as steps of a few samples."""
    data = np.zeros((67, LENGTH * SFREQ))
    data[:64] = eeg(participant) * scale
    data[64:66] = 1e-4
    for second, code in events:
        at = round(second * SFREQ)
        data[66, at : at + 8] = code
    info = mne.create_info([*NAMES, "EXG1", "EXG2", stim], SFREQ, ["eeg"] * 64 + ["eog"] * 2 + ["stim"])
    raw = mne.io.RawArray(data, info, first_samp=first, verbose="error")
    raw.info["bads"] = list(bads)
    folder.mkdir(parents=True, exist_ok=True)
    raw.save(folder / f"P{participant:02d}-raw.fif", fmt="single", overwrite=True, verbose="error")


def write_sound(path, seconds, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).normal(size=round(seconds * 22050)).clip(-4, 4), 22050)


def write_sounds(folder, version="v1", cue=CLICKS):
    for name in ("S01_Chim Chim Cheree_lyrics", "S24_Eine kleine Nachtmusic"):
        write_sound(folder / f"full.{version}" / f"{name}.wav", SECONDS, seed=int(version[1:]))
        if cue:
            write_sound(folder / f"cues.{version}" / f"{name}_cue.wav", cue)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openmiir")
    write_fif(folder / "eeg", 1, bads=["P8"], first=1000)
    write_sounds(folder / "audio")
    return folder


@pytest.fixture(scope="module")
def read(made, tmp_path_factory):
    report = datasets.ingest("openmiir", made, tmp_path_factory.mktemp("store") / "s")
    return report, store.open(report.store)


def test_recordings_tasks_and_repeats(read):
    report, opened = read
    assert report.problems == []
    assert store.verify(opened.path) == []
    table = opened.recordings.set_index("recording")
    assert table["condition"].to_dict() == {
        "P01_stim01_c1_r1": "listening", "P01_stim01_c2_r1": "imagery", "P01_stim01_c3_r1": "imagery",
        "P01_stim01_c4_r1": "imagery", "P01_stim01_c1_r2": "listening", "P01_stim01_c3_r2": "imagery",
        "P01_stim24_c1_r1": "listening",
    }  # fmt: skip
    assert table["repeat"].tolist() == [1, 1, 2, 3, 2, 4, 1]
    assert table.loc["P01_stim01_c4_r1", "task"] == "imagery with feedback"
    assert set(table["stimulus"]) == {"stim01_v1", "stim24"}  # the sound of 24 is the same in both versions
    assert set(table["sfreq"]) == {512.0}
    assert opened.manifest["licence"] == "PDDL-1.0"
    assert any("1 events of unknown code ([90])" in line for line in report.warnings)


@pytest.mark.parametrize(
    ("name", "begin", "start", "seconds"),
    [
        ("P01_stim01_c1_r1", 1.25, 0, SECONDS),  # from the moment the sound began, with its clicks
        ("P01_stim01_c2_r1", 7.25 + CLICKS, CLICKS, SECONDS - CLICKS),  # the clicks were heard: from their end on
        ("P01_stim01_c3_r1", 13.0, MUSIC_AT, SECONDS - MUSIC_AT),  # no clicks: the music begins in mind with the event
        ("P01_stim01_c4_r1", 18.0, MUSIC_AT, SECONDS - MUSIC_AT),
        ("P01_stim01_c1_r2", 25.0, 0, SECONDS),  # no event 1000 behind it: the trial's own
    ],
)
def test_where_a_recording_begins_in_the_file_and_in_the_sound(read, name, begin, start, seconds):
    opened = read[1]
    row = opened.row(name)
    assert row["start"] == pytest.approx(start)
    n = int(seconds * SFREQ + 1e-6)
    assert row["n_times"] == n
    first = round(begin * SFREQ)
    np.testing.assert_allclose(opened.eeg(name), eeg(1)[:, first : first + n], rtol=1e-5, atol=1e-12)  # volts


def test_channels_bads_and_montage(read):
    opened = read[1]
    assert opened.ch_names("P01_stim01_c1_r1") == NAMES  # without eyes and events
    assert opened.bads("P01_stim01_c1_r1") == ["P8"]
    assert opened.montage == "biosemi64"


def test_sounds(read):
    opened = read[1]
    row = opened.stimuli.set_index("stimulus").loc["stim01_v1"]
    assert (row["title"], row["music_at"]) == ("Chim Chim Cheree (lyrics)", MUSIC_AT)
    assert row["piece"] == "Chim Chim Cheree"  # with lyrics or without, in both versions
    assert row["duration"] == pytest.approx(SECONDS)


def test_each_half_of_the_listeners_has_its_version_of_the_sounds(tmp_path):
    write_fif(tmp_path, 8, events=EVENTS[:2])
    write_fif(tmp_path, 9, events=EVENTS[:2])
    write_sounds(tmp_path, "v1")
    write_sounds(tmp_path, "v2", cue=1.0)
    report = datasets.ingest("openmiir", tmp_path, tmp_path / "s")
    assert report.problems == []
    table = store.open(report.store).recordings.set_index("subject")
    assert table["stimulus"].to_dict() == {"P08": "stim01_v1", "P09": "stim01_v2"}
    (tmp_path / "full.v2" / "S01_Chim Chim Cheree_lyrics.wav").unlink()
    report = datasets.ingest("openmiir", tmp_path, tmp_path / "t")
    assert report.n_recordings == 1
    (line,) = report.problems
    assert "expected a sound file named S01_Chim Chim Cheree (lyrics) (v2).wav" in line
    assert "the sounds are in https://github.com/sstober/openmiir, folder audio" in line


def test_without_click_files_imagery_behind_clicks_cannot_be_placed(made, tmp_path):
    write_sounds(tmp_path / "a", cue=None)
    report = datasets.ingest("openmiir", made / "eeg", tmp_path / "s", audio=tmp_path / "a")
    table = store.open(report.store).recordings.set_index("recording")
    assert "P01_stim01_c2_r1" not in table.index
    assert table.loc["P01_stim01_c3_r1", "start"] == MUSIC_AT
    (line,) = report.problems
    assert "P01_stim01_c2_r1: expected the cue clicks as a sound file S01_Chim Chim Cheree_lyrics_cue.wav" in line


def test_offsets_say_where_the_music_begins(made, tmp_path):
    report = datasets.ingest("openmiir", made, tmp_path / "s", offsets={"stim01": 2.25})
    assert report.problems == []
    table = store.open(report.store).recordings.set_index("recording")
    assert table.loc["P01_stim01_c3_r1", "start"] == 2.25
    assert table.loc["P01_stim01_c2_r1", "start"] == 2.25  # never before the music


def test_a_folder_without_versions_serves_all(made, tmp_path):
    write_sound(tmp_path / "a" / "1.wav", SECONDS)
    write_sound(tmp_path / "a" / "1_cue.wav", CLICKS)
    report = datasets.ingest("openmiir", made / "eeg", tmp_path / "s", audio=tmp_path / "a")
    opened = store.open(report.store)
    assert set(opened.recordings["stimulus"]) == {"stim01"}
    assert len(report.problems) == 1  # stimulus 24
    assert opened.row("P01_stim01_c3_r1")["start"] == 1.632
    assert any("taken to begin at second 1.632, as in v2 (in v1 it is 1.65)" in line for line in report.warnings)


def test_a_sound_that_both_versions_share_is_one_stimulus(tmp_path):
    for number in (8, 9):
        write_fif(tmp_path / "eeg", number, events=[(1.0, 243)])
    write_sounds(tmp_path / "audio", "v2")
    report = datasets.ingest("openmiir", tmp_path, tmp_path / "s")
    assert report.problems == []  # full.v1 need not hold it
    table = store.open(report.store).recordings
    assert table["stimulus"].tolist() == ["stim24", "stim24"]
    assert table["start"].tolist() == [3.365, 3.365]


def test_an_event_1000_behind_a_trial_without_sound_is_not_its_own():
    found, _ = openmiir.trials([[100, 13], [150, 1000], [900, 12], [950, 1000]], n_times=2000)
    assert [one.onset for one in found] == [100, 950]


def test_windows_of_imagery_begin_behind_the_clicks(read):
    from eegviz import windowing

    windows = windowing.windows(read[1], condition="imagery", eeg="raw", cache=read[1].path.parent / "cache")
    assert windows.in_shape == (512, 64)
    assert windows.table["second"].min() == 2  # the first whole second after 1.65 and 1.9


def test_failures(made, tmp_path):
    audio = made / "audio"
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"expected files named P01-raw.fif \(P01 to P14\), found no file; get them from https"
    ):
        datasets.ingest("openmiir", tmp_path / "empty", tmp_path / "s")
    cases = {
        "stim": ({"stim": "STI 101"}, "expected the channel STI 014 with the events, found STI 101"),
        "codes": (
            {"events": [(1.0, 90), (2.0, 1000)]},
            r"expected events stimulus × 10 \+ condition.*found \[90, 1000\]",
        ),
        "unit": ({"scale": 1e6}, "expected a median channel standard deviation"),
        "short": (
            {"events": [(1.0, 11), (1.5, 11), (2.0, 11), (2.5, 1111)]},
            "at least 1 s of EEG before the next trial",
        ),
    }
    for name, (changes, message) in cases.items():
        write_fif(tmp_path / name, 1, **changes)
        with pytest.raises(DataError, match=message):
            datasets.ingest("openmiir", tmp_path / name, tmp_path / "s", audio=audio)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "P01-raw.fif").write_bytes((made / "eeg" / "P01-raw.fif").read_bytes()[:90000])
    with pytest.raises(DataError, match="P01-raw.fif"):
        datasets.ingest("openmiir", tmp_path / "cut", tmp_path / "s", audio=audio)
    with pytest.raises(ParameterError, match="unknown stimulus 'stim05'"):
        datasets.ingest("openmiir", made, tmp_path / "s", offsets={"stim05": 1})
    with pytest.raises(DataError, match="the music begins at 9 s and the sound has 5 s"):
        datasets.ingest("openmiir", made, tmp_path / "s", offsets={"stim01": 9, "stim24": 9})
    assert not (tmp_path / "s").exists()


def test_titles_cover_the_twelve_stimuli():
    assert list(openmiir.TITLES) == [1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24]


def test_where_the_music_begins_in_the_authors_tables():
    assert set(openmiir.MUSIC_AT) == set(openmiir.TITLES)
    assert openmiir.MUSIC_AT[1] == (1.65, 1.632)  # 1.632: "length of cue (sec)" of Stimuli_Meta; the clicks last 1.8913
    differ = [number for number, seconds in openmiir.MUSIC_AT.items() if len(seconds) == 2]
    assert differ == [1, 2, 11, 12, 22]  # the five sounds that audio/full.v1 holds itself
