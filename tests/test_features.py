import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from eegviz import features
from eegviz.errors import ParameterError


def test_papers_settings_are_pinned():
    assert (features.SR, features.N_FFT, features.HOP_LENGTH, features.N_MELS) == (22050, 2048, 512, 128)
    assert (features.N_FRAMES, features.N_LINEAR, features.AMIN) == (44, 1025, 1e-5)
    assert (features.MAX_DB, features.REF_DB) == (100, 46)


@pytest.mark.parametrize("n_times", [125, 128])
@pytest.mark.parametrize("offset", [0, 500])
def test_periodogram_is_scipys(n_times, offset):
    eeg = np.random.default_rng(0).standard_normal((9, 5, n_times)) * 10 + offset
    _, expected = scipy.signal.periodogram(eeg, fs=125)
    found = features.periodogram(eeg.astype(np.float32), sfreq=125)
    assert found.shape == (9, n_times // 2 + 1, 5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.swapaxes(1, 2), rtol=1e-5, atol=1e-5 * np.median(expected))


def test_welch_is_scipys():
    eeg = np.random.default_rng(0).standard_normal((9, 5, 125)) * 10
    _, expected = scipy.signal.welch(eeg, fs=125, nperseg=62, noverlap=31, nfft=125)
    found = features.welch(eeg, sfreq=125)
    assert found.shape == (9, 63, 5)
    np.testing.assert_allclose(found, expected.swapaxes(1, 2), rtol=1e-5, atol=1e-5 * np.median(expected))
    with pytest.raises(ParameterError, match="nperseg=200"):
        features.welch(eeg, sfreq=125, nperseg=200)


def test_raw_is_time_by_channel():
    eeg = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    assert features.raw(eeg)[1, 3, 2] == eeg[1, 2, 3]


def test_parseval():
    eeg = np.random.default_rng(1).standard_normal((4, 3, 125))
    power = features.periodogram(eeg, sfreq=125).sum(1)
    np.testing.assert_allclose(power, eeg.var(-1), rtol=1e-5)


def test_eeg_scales_with_the_square():
    eeg = np.random.default_rng(1).standard_normal((4, 3, 125))
    np.testing.assert_allclose(
        features.welch(3 * eeg, sfreq=125), 9 * features.welch(eeg, sfreq=125), rtol=1e-4, atol=1e-9
    )


def test_eeg_of_a_wrong_shape_says_what_to_do():
    with pytest.raises(ParameterError, match=r"eeg\[None\]"):
        features.periodogram(np.zeros((3, 125)), sfreq=125)


@pytest.fixture(scope="module")
def seconds():
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((3, 22050))).astype(np.float32)


def test_mel_is_librosas(seconds):
    found = features.spectrogram(seconds)
    assert found.shape == (3, 44, 128)
    expected = librosa.feature.melspectrogram(
        y=seconds, sr=22050, n_fft=2048, hop_length=512, n_mels=128, power=2.0
    ).swapaxes(1, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_linear_is_librosas(seconds):
    found = features.spectrogram(seconds, kind="linear")
    expected = np.abs(librosa.stft(seconds, n_fft=2048, hop_length=512)).swapaxes(1, 2) ** 2
    assert found.shape == (3, 44, 1025)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_db_is_the_published_code():
    power = np.array([0, 1e-9, 1e-5, 1, 200.0])
    np.testing.assert_allclose(features.to_db(power), 20 * np.log10(np.maximum(1e-5, power)))
    np.testing.assert_allclose(features.from_db(features.to_db(power[2:])), power[2:], rtol=1e-12)


@given(
    db=st.floats(-54, 46),
    ref_db=st.floats(40, 60),
    max_db=st.floats(80, 120),
)
def test_normalising_inverts_inside_its_range(db, ref_db, max_db):
    inside = min(max(db, ref_db - max_db), ref_db)
    back = features.denormalise(
        features.normalise(np.array([inside]), ref_db=ref_db, max_db=max_db), ref_db=ref_db, max_db=max_db
    )
    assert abs(float(back[0]) - inside) < 1e-4


def test_equation_1_of_the_paper():
    mel = np.array([0.0, 0.25, 1.0])
    np.testing.assert_allclose(features.denormalise(mel, ref_db=52), mel * 100 - 100 + 52)


@given(st.floats(0, 1e6))
def test_power_kinds_invert_without_a_ceiling(power):
    back = features.denormalise(features.normalise(np.array([power]), kind="mel"), kind="mel")
    assert float(back[0]) == pytest.approx(power, rel=1e-5, abs=1e-9)


def gaussian_noise(n=200, n_times=125, sd=3.0):
    return sd * np.random.default_rng(0).standard_normal((n, 2, n_times))


@pytest.mark.parametrize(("sfreq", "n_times"), [(125, 125), (128, 512), (250, 250)])
def test_differential_entropy_of_white_noise_is_the_formula(sfreq, n_times):
    # of the variance 9 µV² each frequency between 0 and half the rate has its share
    found = features.differential_entropy(gaussian_noise(400, n_times), sfreq=sfreq)
    assert found.shape == (400, 2, 5)
    assert found.dtype == np.float32
    variance = np.exp(2 * found.astype(float)).mean((0, 1)) / (2 * np.pi * np.e)  # the mean of variances is unbiased
    widths = np.array([high - low for low, high in features.BANDS.values()])
    np.testing.assert_allclose(variance, 9 * widths / (sfreq / 2), rtol=0.1)  # delta lacks part of the mean


def test_differential_entropy_is_that_of_the_filtered_signal():
    eeg = gaussian_noise(60, 1250)
    alpha = features.bandpass(eeg, band=(8, 13), sfreq=125).astype(float)
    expected = 0.5 * np.log(2 * np.pi * np.e * alpha[..., 100:-100].var(-1).mean())
    found = features.differential_entropy(eeg, sfreq=125, bands={"alpha": (8, 13)})
    assert 0.5 * np.log(np.exp(2 * found.astype(float)).mean()) == pytest.approx(
        expected, abs=0.1
    )  # the filter passes 87 % of the band


def test_differential_entropy_of_a_doubled_signal_is_log_2_more():
    eeg = gaussian_noise(20)
    one, two = (features.differential_entropy(gain * eeg, sfreq=125) for gain in (1, 2))
    np.testing.assert_allclose(two - one, np.log(2), atol=1e-4)


def test_differential_entropy_of_silence_is_finite():
    silence = features.differential_entropy(np.zeros((3, 2, 125)), sfreq=125)
    np.testing.assert_allclose(silence, 0.5 * np.log(2 * np.pi * np.e * features.DE_FLOOR), rtol=1e-6)
    drift = np.linspace(-50, 50, 125)[None, None]  # µV: too slow for any band
    assert features.differential_entropy(drift, sfreq=125)[0, 0, 4] < 0


def test_bands_are_named_and_share_no_frequency():
    assert list(features.BANDS) == ["delta", "theta", "alpha", "beta", "gamma"]
    assert (features.BANDS["delta"][0], features.BANDS["gamma"]) == (1, (30, 45))
    _, weights = features.band_weights(128, sfreq=128)
    assert ((weights > 0).sum(0) <= 1).all()
    assert np.flatnonzero((weights > 0).any(0)).tolist() == list(range(1, 45))


def test_bands_that_cannot_be():
    with pytest.raises(ParameterError, match="30–45 Hz: expected 0 < low < high < 32 Hz"):
        features.differential_entropy(gaussian_noise(), sfreq=64)
    with pytest.raises(ParameterError, match=r"band delta \(1 to 4 Hz\) has no frequency in a window of 0.2 s"):
        features.differential_entropy(gaussian_noise(n_times=25), sfreq=125)
    with pytest.raises(ParameterError, match=r"eeg\[None\]"):
        features.differential_entropy(np.zeros((3, 125)), sfreq=125)


def test_the_picture_has_a_row_a_band():
    eeg = gaussian_noise(7)
    picture = features.eeg_picture(eeg, kind="de", sfreq=125)
    assert picture.shape == (7, 5, 2)
    np.testing.assert_array_equal(picture, features.differential_entropy(eeg, sfreq=125).swapaxes(1, 2))
