import numpy as np
import pytest

from eegviz import features, windowing
from eegviz.errors import DataError, ParameterError


def test_unknown_kinds_list_the_known(tiny_store):
    with pytest.raises(ParameterError, match="raw, periodogram, welch"):
        windowing.windows(tiny_store, eeg="psd")
    with pytest.raises(ParameterError, match="mel, mel-db, linear, linear-db"):
        windowing.windows(tiny_store, audio="cqt")
    with pytest.raises(ParameterError, match="it has listening"):
        windowing.windows(tiny_store, condition="imagery")
    with pytest.raises(ParameterError, match="tmin=30"):
        windowing.windows(tiny_store, tmin=30)


@pytest.mark.parametrize(("eeg", "rows"), [("raw", 125), ("periodogram", 63), ("welch", 63), ("de", 5)])
def test_windows_are_the_stores_seconds(tiny_store, eeg, rows):
    windows = windowing.windows(tiny_store, eeg=eeg)
    assert len(windows) == 3 * 2 * 2 * 20
    assert windows.in_shape == (rows, 8)
    assert windows.out_shape == (44, 128)
    i = 47
    row = windows.table.iloc[i]
    second = int(row["second"])
    signal = tiny_store.eeg(row["recording"])[None, :, second * 125 : (second + 1) * 125] * np.float32(1e6)
    np.testing.assert_allclose(windows.eeg[i : i + 1], features.eeg_picture(signal, kind=eeg, sfreq=125.0), rtol=1e-5)
    sound, sr = tiny_store.audio(row["stimulus"])
    power = features.spectrogram(sound[None, second * sr : (second + 1) * sr])
    np.testing.assert_allclose(windows.target([i]), features.normalise(features.to_db(power)), atol=1e-5)


def test_windows_share_one_sound_per_stimulus(tiny_store):
    windows = windowing.windows(tiny_store)
    assert set(windows.sounds) == {"song21", "song22"}
    assert all(s.shape == (20, 44, 128) for s in windows.sounds.values())
    first = np.flatnonzero((windows.table["stimulus"] == "song21") & (windows.table["second"] == 3))
    targets = windows.target(first)
    assert len(first) == 6
    assert np.array_equal(targets, np.broadcast_to(targets[:1], targets.shape))


def test_windows_are_cached_and_repeatable(tiny_store):
    first = windowing.windows(tiny_store)
    files = {p: p.stat().st_mtime_ns for p in (tiny_store.path / "cache").iterdir()}
    again = windowing.windows(tiny_store)
    assert {p: p.stat().st_mtime_ns for p in files} == files
    assert np.array_equal(first.eeg, again.eeg)


def test_ref_db_is_looked_up_per_stimulus(tiny_store):
    plain = windowing.windows(tiny_store, ref_db=46)
    tuned = windowing.windows(tiny_store, ref_db={"song21": 56, "song22": 46})
    i = int(np.flatnonzero(plain.table["stimulus"] == "song21")[0])
    j = int(np.flatnonzero(plain.table["stimulus"] == "song22")[0])
    inside = (plain.target([i]) > 0.11) & (plain.target([i]) < 1)
    np.testing.assert_allclose(tuned.target([i])[inside], plain.target([i])[inside] - 0.1, atol=1e-5)
    assert np.array_equal(tuned.target([j]), plain.target([j]))
    with pytest.raises(ParameterError, match="song22"):
        windowing.windows(tiny_store, ref_db={"song21": 50})


def _store_with(path, **recording):
    from eegviz import store

    rng = np.random.default_rng(0)
    values = {"start": 0.0, "sfreq": 125.0, "bads": ()} | recording
    with store.create(path, dataset="own", title="", licence="", citation="", montage="GSN-HydroCel-129") as writer:
        writer.add_stimulus("a", 0.1 * rng.standard_normal(10 * 22050), sr=22050)
        signal = 1e-5 * rng.standard_normal((4, int(8 * values["sfreq"])))
        names = ["E1", "E20", "E60", "Cz"]
        writer.add_recording("r1", signal, subject="S1", stimulus="a", ch_names=names, **values)
        writer.add_recording(
            "r2", 1e-5 * rng.standard_normal((4, 1000)), subject="S2", stimulus="a", sfreq=125.0, ch_names=names
        )
    return store.open(path)


def test_a_late_recording_starts_at_the_next_whole_second(tmp_path):
    opened = _store_with(tmp_path / "s", start=1.4)
    windows = windowing.windows(opened, eeg="raw")
    mine = windows.table[windows.table["recording"] == "r1"]
    assert mine["second"].tolist() == [2, 3, 4, 5, 6, 7, 8]
    signal = opened.eeg("r1")[:, 75 : 75 + 125].T * np.float32(1e6)  # 0.6 s × 125 Hz
    np.testing.assert_allclose(windows.eeg[mine.index[0]], signal, rtol=1e-6)


def test_bad_channels_are_interpolated(tmp_path):
    opened = _store_with(tmp_path / "s", bads=("E20",))
    windows = windowing.windows(opened, eeg="raw")
    shown = windows.eeg[0][:, 1]
    assert not np.allclose(shown, opened.eeg("r1")[1, :125] * 1e6, rtol=1e-3)
    assert 0 < shown.std() < 20


def test_mixed_rates_are_refused(tmp_path):
    opened = _store_with(tmp_path / "s", sfreq=250.0)
    with pytest.raises(DataError, match="125 Hz, 250 Hz"):
        windowing.windows(opened)


def in_order(path, tiny_store, order):
    """The recordings of the tiny store, ingested in another order, with a second listener's names before the first's."""
    from eegviz import store

    rows = tiny_store.recordings.set_index("recording")
    with store.create(path, dataset="own", title="", licence="", citation="") as writer:
        for recording in order:
            row = rows.loc[recording]
            if not writer.has_stimulus(row["stimulus"]):
                writer.add_stimulus(row["stimulus"], tiny_store.audio(row["stimulus"])[0], sr=22050)
            writer.add_recording(
                recording, tiny_store.eeg(recording), subject=row["subject"], stimulus=row["stimulus"], sfreq=125.0,
                repeat=int(row["repeat"]), session=row["session"], ch_names=tiny_store.ch_names(recording),
            )  # fmt: skip
    return store.open(path)


@pytest.fixture(scope="module")
def orders(tiny_store, tmp_path_factory):
    names = tiny_store.recordings["recording"].tolist()
    folder = tmp_path_factory.mktemp("orders")
    return [in_order(folder / str(i), tiny_store, o) for i, o in enumerate((names, names[5:] + names[:5][::-1]))]


@pytest.mark.parametrize(("model", "options"), [("ridge", {}), ("cnn", {"settings": {"epochs": 1, "width": 1}})])
def test_nothing_depends_on_the_order_of_recordings(orders, model, options, tmp_path):
    from eegviz import training

    made = []
    for opened in orders:
        config = training.configure(opened, model=model, preset="fast", split="repeat", precision="float32", **options)
        run = training.train(opened, config, out=tmp_path, progress=False)
        windows = run.windows(opened)
        made.append((windows, run.split(windows), run.predictions))
    (one, split, predictions), (other, split_too, predictions_too) = made
    assert orders[0].recordings["recording"].tolist() != orders[1].recordings["recording"].tolist()
    assert one.table.equals(other.table)
    assert np.array_equal(one.eeg, other.eeg)
    assert all(np.array_equal(getattr(split, p), getattr(split_too, p)) for p in ("train", "validation", "test"))
    assert np.array_equal(predictions, predictions_too)


def test_band_and_context_make_filtered_longer_pictures(tiny_store):
    windows = windowing.windows(tiny_store, eeg="raw", band=(0.5, 15), context=0.4)
    assert windows.in_shape == (175, 8)
    assert windows.settings["band"] == [0.5, 15.0]
    row = windows.table.iloc[3]
    whole = features.bandpass(tiny_store.eeg(row["recording"]), band=(0.5, 15), sfreq=125.0) * np.float32(1e6)
    np.testing.assert_allclose(windows.eeg[3], whole[:, 375 : 375 + 175].T, rtol=1e-5, atol=1e-6)
    last = int(np.flatnonzero(windows.table["second"] == 19)[0])
    assert (windows.eeg[last][125:] == 0).all()
    assert (windows.eeg[last][:125] != 0).any()
    plain = windowing.windows(tiny_store, eeg="raw")
    assert not {"band", "context"} & set(plain.settings)
    assert plain.in_shape == (125, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eeg": "periodogram", "band": (1, 9)}, "belong to raw EEG; found eeg='periodogram'"),
        ({"eeg": "welch", "context": 0.4}, "belong to raw EEG"),
        ({"band": (0, 9)}, "0 < low < high < 62.5 Hz"),
        ({"band": (9, 1)}, "0 < low < high"),
        ({"band": (1, 70)}, "half the sampling rate of 125 Hz"),
        ({"band": 5}, "two frequencies in hertz"),
        ({"context": -1}, "0 or more; found -1"),
        ({"duration": 1.5}, "duration must be a whole number of seconds, 1 or more; found 1.5"),
        ({"duration": 21}, "no window of 21 s from a multiple of 21 on"),
    ],
)
def test_bands_and_contexts_that_cannot_be(tiny_store, options, message):
    with pytest.raises(ParameterError, match=message):
        windowing.windows(tiny_store, **{"eeg": "raw"} | options)


def test_any_signal_makes_the_pictures_of_its_recording(tiny_store):
    windows = windowing.windows(tiny_store, eeg="raw", band=(1, 12), context=0.2)
    recording = windows.table["recording"].iloc[0]
    row, seconds = tiny_store.row(recording), [4, 2, 19]
    volts = windowing.signal(tiny_store, recording)
    made = windowing.recording_pictures(volts, row, seconds, windows.settings)
    assert np.array_equal(made, windows.pictures([4, 2, 19]))
    silent = windowing.recording_pictures(np.zeros_like(volts), row, seconds, windows.settings)
    assert silent.shape == made.shape
    assert not silent.any()
    with pytest.raises(ParameterError, match="second 20 does not lie in the signal, which holds 20 s from second 0"):
        windowing.recording_pictures(volts, row, [20], windows.settings)


def test_windows_of_several_seconds_hold_those_of_one(tiny_store):
    one, four = (windowing.windows(tiny_store, eeg="raw", duration=d) for d in (1, 4))
    assert (four.duration, four.in_shape, four.out_shape) == (4, (4 * one.in_shape[0], one.in_shape[1]), (176, 128))
    assert sorted(four.table["second"].unique()) == [0, 4, 8, 12, 16]
    row = four.table.iloc[3]
    rows = np.flatnonzero((one.table["recording"] == row["recording"]) & one.table["second"].between(12, 15))
    assert np.array_equal(four.target([3])[0], np.concatenate(one.target(rows)))
    assert np.array_equal(four.pictures([3])[0], np.concatenate(one.pictures(rows)))
    song = row["stimulus"]
    assert np.array_equal(four.picture(song, [12], duration=1)[0], one.picture(song, [12])[0])
    assert windowing.gap(four.settings) == 4
    signal = windowing.signal(tiny_store, row["recording"])
    with pytest.raises(ParameterError, match="second 17 and the 3 after it do not lie in the signal"):
        windowing.recording_pictures(signal, tiny_store.row(row["recording"]), [17], four.settings)


@pytest.mark.parametrize("sfreq", [64.0, 125.0, 512.0])
def test_the_filter_has_settled_within_the_gap(sfreq):
    band = (0.5, 15)
    seconds = features.settling(band, sfreq=sfreq)
    impulse = np.zeros((1, int(20 * sfreq)))
    impulse[0, impulse.size // 2] = 1
    response = np.abs(features.bandpass(impulse, band=band, sfreq=sfreq)[0])
    time = np.abs(np.arange(impulse.size) - impulse.size // 2) / sfreq
    assert response[time > seconds + 1e-9].max() < 0.01 * response.max()
    assert 0.6 < seconds < 0.8
    assert windowing.gap({"sfreq": sfreq, "band": band, "context": 0.4}) == 2.1
