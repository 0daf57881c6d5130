"""Speed of the lagged decoder against mTRFpy's cross-validated training, on real EEG: at least 5 times, same r.

Both train on the first 25 s of a listener's trials with eight lambdas and leave-one-trial-out, on one thread::

    OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_ridge.py -s
"""

import time

import pytest

from eegviz.datasets import trials
from eegviz.models import lagged
from tests.test_lagged import SFREQ, halves

RATIO, DIFFERENCE = 5, 0.001  # DESIGN: the numbers it must hold


def test_cross_validated_training_beats_mtrfpy(shared_data):
    model = pytest.importorskip("mtrf.model")
    (eeg, target), test = halves(trials.open_trials(shared_data / "speech_eeg")[0])
    lagged.fit(eeg[:2], target[:2], sfreq=SFREQ, tmax=0.1, alphas=1.0)  # imports and caches
    fast = []
    for _ in range(2):
        start = time.perf_counter()
        ours = lagged.fit(eeg, target, sfreq=SFREQ)
        fast.append(time.perf_counter() - start)
    r = ours.score(*test).mean()
    theirs = model.TRF(direction=-1)
    start = time.perf_counter()
    theirs.train(
        [y[:, None].copy() for y in target],
        [x.T.copy() for x in eeg],
        SFREQ,
        0,
        0.4,
        list(lagged.ALPHAS),
        verbose=False,
    )
    slow = time.perf_counter() - start
    _, reference = theirs.predict([y[:, None].copy() for y in test[1]], [x.T.copy() for x in test[0]])
    print(f"\ncross-validated training on one listener: mTRFpy {slow:.1f} s, ours {min(fast):.1f} s: {slow / min(fast):.1f} × "
          f"(bar {RATIO}); r {r:.4f} and {reference:.4f} at lambda {ours.alpha:g} and {theirs.regularization:g}")  # fmt: skip
    assert r == pytest.approx(float(reference), abs=DIFFERENCE)
    assert slow >= RATIO * min(fast)
