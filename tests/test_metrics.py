"""Picture scores: equal to scikit-image and closed forms; a NaN never scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eegviz import metrics
from eegviz.errors import DataError, ParameterError


def pictures(n=3, n_frames=44, n_bins=16, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    target = rng.random((n, n_frames, n_bins)).astype(np.float32)
    prediction = (1 - noise) * target + noise * rng.random(target.shape)
    return prediction.astype(np.float32), target


def hard(n=2, n_frames=44, n_bins=12):
    """Bright steady rows, floors, steps, equal rows: where single precision and cumulative sums lose digits."""
    prediction, target = pictures(n, n_frames, n_bins, seed=5)
    target[:, :, 0], prediction[:, :, 0] = 0, 0
    target[:, :, 1], prediction[:, :, 1] = 1, 1
    target[:, :, 2] = 0.9999 + 1e-4 * target[:, :, 2]
    target[:, :22, 3], target[:, 22:, 3] = 0, 1
    prediction[:, :, 4] = target[:, :, 4]
    prediction[:, :, 5] = 0
    return prediction, target


@pytest.mark.parametrize("make", [pictures, hard])
@pytest.mark.parametrize("window", [3, 7, 11, 43])
def test_per_bin_equals_the_scikit_image_loop(make, window):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    prediction, target = make()
    ssi = metrics.ssi_per_bin(prediction, target, window=window)
    psnr = metrics.psnr_per_bin(prediction, target, cap=None)
    for row in range(len(target)):
        for b in range(target.shape[2]):
            t, p = target[row, :, b].astype(float), prediction[row, :, b].astype(float)
            assert ssi[row, b] == pytest.approx(structural_similarity(t, p, win_size=window, data_range=1), abs=1e-9)
            if (t == p).all():
                assert psnr[row, b] == np.inf
            else:
                assert psnr[row, b] == pytest.approx(peak_signal_noise_ratio(t, p, data_range=1), abs=1e-9)


@pytest.mark.parametrize("window", [3, 7, 11])
def test_whole_image_equals_scikit_image(window):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    prediction, target = pictures(6, 44, 31)
    ssi, psnr = metrics.ssi(prediction, target, window=window), metrics.psnr(prediction, target)
    for row, (p, t) in enumerate(zip(prediction.astype(float), target.astype(float), strict=True)):
        assert ssi[row] == pytest.approx(structural_similarity(t, p, win_size=window, data_range=1), abs=1e-9)
        assert psnr[row] == pytest.approx(peak_signal_noise_ratio(t, p, data_range=1), abs=1e-9)


def test_other_data_ranges_scale():
    prediction, target = pictures()
    for score in (metrics.ssi, metrics.ssi_per_bin, metrics.psnr, metrics.psnr_per_bin):
        np.testing.assert_allclose(
            score(80 * prediction.astype(float), 80 * target.astype(float), data_range=80), score(prediction, target)
        )


def test_equal_pictures_score_one_and_the_cap():
    _, target = pictures()
    assert metrics.ssi(target, target) == pytest.approx(1, abs=1e-12)
    assert metrics.ssi_per_bin(target, target) == pytest.approx(1, abs=1e-12)
    assert (metrics.psnr(target, target) == metrics.PSNR_CAP).all()
    assert (metrics.psnr(target, target, cap=60) == 60).all()
    assert (metrics.psnr(target, target, cap=None) == np.inf).all()


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.float32, (2, 9, 8), elements=st.floats(0, 1, width=32)),
    arrays(np.float32, (2, 9, 8), elements=st.floats(0, 1, width=32)),
    st.sampled_from([3, 5, 7]),
)
def test_properties_of_picture_scores(a, b, window):
    """Symmetry, range, identity; per-bin scores do not depend on the order of bins."""
    for score in (metrics.ssi, metrics.ssi_per_bin):
        np.testing.assert_allclose(score(a, b, window=window), score(b, a, window=window), atol=1e-9)
        assert (np.abs(score(a, b, window=window)) <= 1 + 1e-9).all()
        np.testing.assert_allclose(score(a, a, window=window), 1, atol=1e-9)
    np.testing.assert_allclose(
        metrics.ssi_per_bin(a[:, :, ::-1], b[:, :, ::-1], window=window),
        metrics.ssi_per_bin(a, b, window=window)[:, ::-1],
        atol=1e-12,
    )
    for score in (metrics.cosine, metrics.correlation):
        assert (np.abs(score(a, b)) <= 1 + 1e-9).all()
        np.testing.assert_allclose(score(a, b), score(b, a), atol=1e-9)


def test_batches_do_not_show():
    """Each window is scored alone, wherever a batch ends."""
    prediction, target = pictures(11)
    labels = np.array(["r"] * 11)
    for score in (metrics.ssi, metrics.ssi_per_bin, metrics.psnr, metrics.psnr_per_bin, metrics.mse, metrics.cosine):
        alone = np.concatenate([score(prediction[i : i + 1], target[i : i + 1]) for i in range(11)])
        np.testing.assert_array_equal(score(prediction, target), alone)
    assert metrics.correlation(prediction, target, recordings=labels).shape == (11,)


@pytest.mark.parametrize("score", [metrics.ssi, metrics.ssi_per_bin, metrics.psnr_per_bin, metrics.cosine])
def test_memory_is_flat_in_the_number_of_windows(score):
    import tracemalloc

    prediction, target = pictures(600, 44, 32)
    peaks = []
    for n in (150, 600):
        tracemalloc.start()
        found = score(prediction[:n], target[:n])
        peaks.append(tracemalloc.get_traced_memory()[1] - found.nbytes)
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 10_000


def test_memory_maps_are_scored(tmp_path):
    prediction, target = pictures(5)
    for name, array in (("p", prediction), ("t", target)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "pt"]
    np.testing.assert_array_equal(metrics.ssi_per_bin(*mapped), metrics.ssi_per_bin(prediction, target))


def test_cosine_and_correlation_closed_forms():
    prediction, target = pictures(4)
    flat = prediction.reshape(4, -1).astype(float), target.reshape(4, -1).astype(float)
    expected = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(*flat, strict=True)]
    np.testing.assert_allclose(metrics.cosine(prediction, target), expected)
    np.testing.assert_allclose(
        metrics.correlation(prediction, target), [np.corrcoef(a, b)[0, 1] for a, b in zip(*flat, strict=True)]
    )
    np.testing.assert_allclose(
        metrics.mse(prediction, target), [np.mean((a - b) ** 2) for a, b in zip(*flat, strict=True)]
    )
    assert metrics.cosine(0 * prediction, target).tolist() == [0] * 4
    assert metrics.correlation(0 * prediction + 0.3, target).tolist() == [0] * 4


def test_centred_correlation_takes_the_recordings_mean_away():
    rng = np.random.default_rng(1)
    song = rng.random((1, 6, 5))
    target = song + 0.1 * rng.random((40, 6, 5))
    prediction = song + 0.1 * rng.random((40, 6, 5))  # knows the song, not the second
    labels = np.repeat(["a", "b"], 20)
    assert metrics.correlation(prediction, target).mean() > 0.9
    assert abs(metrics.correlation(prediction, target, recordings=labels).mean()) < 0.15
    centred = [part - part.mean(axis=0) for part in (prediction[:20], target[:20])]
    expected = [np.corrcoef(p.ravel(), t.ravel())[0, 1] for p, t in zip(*centred, strict=True)]
    np.testing.assert_allclose(metrics.correlation(prediction, target, recordings=labels)[:20], expected)


# --- refusals -----------------------------------------------------------------------------------------------

SCORES = [metrics.ssi, metrics.ssi_per_bin, metrics.psnr, metrics.psnr_per_bin, metrics.mse, metrics.cosine]


@pytest.mark.parametrize("score", [*SCORES, metrics.correlation])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nan_never_scores(score, value):
    prediction, target = pictures(6)
    prediction[4, 3, 2] = value
    with pytest.raises(DataError, match="prediction of window 4 holds NaN or infinity"):
        score(prediction, target)
    with pytest.raises(DataError, match="target of window 4"):
        score(target, prediction)


@pytest.mark.parametrize("score", [*SCORES, metrics.correlation])
def test_shape_refusals_guess_the_mistake(score):
    prediction, target = pictures(3, 44, 128)
    with pytest.raises(ParameterError, match=r"Is the prediction \(n, n_bins, n_frames\)"):
        score(prediction.transpose(0, 2, 1), target)
    with pytest.raises(ParameterError, match=r"looks like \(n, n_bins, n_frames\)"):
        score(prediction.transpose(0, 2, 1), target.transpose(0, 2, 1))
    with pytest.raises(ParameterError, match="Add the first axis"):
        score(prediction[0], target[0])
    with pytest.raises(ParameterError, match="of the same windows"):
        score(prediction[:2], target)
    with pytest.raises(ParameterError, match="no windows"):
        score(prediction[:0], target[:0])
    with pytest.raises(ParameterError, match="real numbers"):
        score(prediction.astype(complex), target)


def test_scale_and_window_refusals():
    prediction, target = pictures()
    with pytest.raises(ParameterError, match="are they decibels or power"):
        metrics.ssi(prediction, 100 * target - 80)
    for window in (1, 4, 45, 2.5):
        with pytest.raises(ParameterError, match="odd number from 3"):
            metrics.ssi_per_bin(prediction, target, window=window)
    with pytest.raises(ParameterError, match="smaller side"):
        metrics.ssi(prediction, target, window=17)
    with pytest.raises(ParameterError, match="data_range=0"):
        metrics.psnr(prediction, target, data_range=0)
    with pytest.raises(ParameterError, match="cap=inf"):
        metrics.psnr(prediction, target, cap=np.inf)


def test_inputs_are_not_changed():
    prediction, target = pictures()
    copies = prediction.copy(), target.copy()
    for score in SCORES:
        score(prediction, target)
    np.testing.assert_array_equal(prediction, copies[0])
    np.testing.assert_array_equal(target, copies[1])
