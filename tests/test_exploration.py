import numpy as np
import pytest

from eegviz import exploration, store
from eegviz.errors import ParameterError

NAMES = ["E1", "E20", "Cz"]


@pytest.fixture(scope="module")
def beating(tmp_path_factory):
    """Three simulated listeners whose EEG beats at 2 Hz (120 BPM) under noise, and a 10 Hz rhythm in E20."""
    path = tmp_path_factory.mktemp("beat") / "s"
    time = np.arange(40 * 125) / 125
    with store.create(
        path, dataset="x", title="Beating", licence="CC0", citation="none", montage="GSN-HydroCel-129", simulated=True
    ) as writer:
        writer.add_stimulus("a", np.zeros(40 * 22050), sr=22050, title="A", bpm=120.0)
        for i in range(3):
            eeg = np.random.default_rng(i).standard_normal((3, len(time))) * 5
            eeg += np.sin(2 * np.pi * 2 * time)
            eeg[1] += 10 * np.sin(2 * np.pi * 10 * time)
            writer.add_recording(
                f"S{i}", eeg * 1e-6, subject=f"S{i}", stimulus="a", sfreq=125.0, ch_names=NAMES
            )  # fmt: skip
    return store.open(path)


def test_the_beat_is_found(beating):
    spectra = exploration.tempo_spectra(beating)
    freqs, ratio = spectra["a"]
    assert freqs[ratio.argmax()] in (pytest.approx(2, abs=0.03), pytest.approx(10, abs=0.03))
    row = exploration.tempo_table(beating, spectra).iloc[0]
    assert row["ratio at 1 × tempo"] > 5
    assert row["ratio at 2 × tempo"] < 5
    assert row["other frequencies as high (%)"] < 5


def test_without_a_tempo_there_is_no_table(tiny_store):
    assert exploration.tempo_spectra(tiny_store) == {}
    assert exploration.tempo_table(tiny_store, {}).empty


def test_band_power_finds_the_rhythm_where_it_is(beating):
    freqs, density = exploration.mean_spectrum(beating, "S0")
    power = exploration.band_power(freqs, density)
    assert list(power) == ["delta", "theta", "alpha", "beta", "gamma"]
    assert power["alpha"].argmax() == 1
    assert power["alpha"][1] > power["beta"][1] + 10


def test_an_excerpt_is_in_microvolts(beating):
    names, signal, sfreq = exploration.excerpt(beating, "S1", tmin=1, tmax=2, n_channels=2)
    assert names == ["E1", "Cz"]
    np.testing.assert_allclose(signal, beating.eeg("S1")[[0, 2], 125:250] * 1e6)
    assert sfreq == 125
    with pytest.raises(ParameterError, match=r"S1 has 40.0 s"):
        exploration.excerpt(beating, "S1", tmin=50, tmax=60)


def test_what_is_simulated_says_so(beating):
    assert exploration.overview(beating).startswith("SIMULATED EEG")
    text = exploration.describe(beating)
    assert "Beating" in text
    assert "CC0" in text
    assert "S2" in text
