"""Valence and arousal from EEG: closed forms, known relations, a null, and what stands beside the scores."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegviz import emotion, store
from eegviz.errors import DataError, ParameterError


def rated(n_subjects=8, n_pieces=12, *, shared=0.0, seed=0):
    """A table of ratings: a part that all listeners share about a piece, and their own."""
    rng = np.random.default_rng(seed)
    piece, rows = rng.normal(size=(n_pieces, 2)), []
    for subject in range(n_subjects):
        for i in range(n_pieces):
            own = np.sqrt(shared) * piece[i] + np.sqrt(1 - shared) * rng.normal(size=2)
            valence, arousal = np.clip(5 + 2 * own, 1, 9)
            rows.append((f"S{subject}p{i}", f"S{subject}", f"p{i}", valence, arousal))
    return pd.DataFrame(rows, columns=["recording", "subject", "stimulus", "valence", "arousal"])


def following(table, *, noise=0.5, seed=0):
    """Features of which two follow the ratings, on an offset of each listener's own."""
    rng = np.random.default_rng([seed, 1])
    values = rng.normal(size=(len(table), 6))
    values[:, 0] = table["valence"] + noise * values[:, 0]
    values[:, 1] = -table["arousal"] + noise * values[:, 1]
    return values + 20 * np.unique(table["subject"], return_inverse=True)[1][:, None]


# --- quadrants and ratings --------------------------------------------------------------------------------------------


def test_quadrants_at_the_middle_are_low():
    assert emotion.quadrants([5, 5.1], [5.1, 5]).tolist() == ["LVHA", "HVLA"]
    assert set(emotion.quadrants([1, 1, 9, 9], [1, 9, 1, 9])) == set(emotion.QUADRANTS)


def test_refuses_tables_without_ratings():
    table = rated()
    with pytest.raises(
        DataError, match="the store x has no ratings: its recordings lack the columns valence and arousal"
    ):
        emotion.check_ratings(table[["recording", "subject"]], where="the store x")
    with pytest.raises(DataError, match="lack the column arousal"):
        emotion.check_ratings(table.drop(columns="arousal"))
    with pytest.raises(DataError, match="no recording with both ratings"):
        emotion.check_ratings(table.assign(valence=np.nan))
    with pytest.raises(DataError, match="ratings from .* to 90"):
        emotion.check_ratings(table.assign(valence=90.0))
    assert len(emotion.check_ratings(table.assign(valence=table["valence"].where(table.index > 3)))) == len(table) - 4


# --- fit and score ----------------------------------------------------------------------------------------------------


def test_features_that_follow_ratings_predict_those_of_new_listeners():
    table = rated()
    found = emotion.score(following(table), table, test=["S6", "S7", "S5"])
    for name in emotion.RATINGS:
        row = found.row(f"{name} r")
        assert row["score"] > 0.8
        assert row["low"] > 0.6
        assert row["p"] < 0.01
        assert row["unit"] == "3 listeners (few: covers about 76 %)"
        assert row["gain_low"] > 0
    row = found.row("quadrant accuracy")
    assert row["score"] > 0.5
    assert row["chance"] == 0.25
    assert row["p"] < 0.01
    assert len(found.table) == 36
    assert set(found.predictor.listeners) == {"S0", "S1", "S2", "S3", "S4"}
    assert found.table["predicted_valence"].between(*emotion.SCALE).all()


def test_noise_is_at_chance_and_the_piece_alone_is_not():
    table = rated(shared=0.8)
    values = np.random.default_rng(3).normal(size=(len(table), 10))
    found = emotion.score(values, table, test=["S5", "S6", "S7"])
    row = found.row("valence r")
    assert abs(row["score"]) < 0.4
    assert row["p"] > 0.01
    assert row["no_eeg"] > 0.6
    assert row["gain_high"] < 0
    text = found.describe()
    assert max(map(len, text.splitlines())) <= 76
    assert "no EEG: the mean rating of the same piece by the training listeners" in " ".join(text.split())
    assert "most frequent quadrant" in " ".join(text.split())


def test_the_null_is_uniform():
    p = []
    for seed in range(30):
        table = rated(n_subjects=4, n_pieces=8, shared=0.5, seed=seed)
        values = np.random.default_rng([seed, 9]).normal(size=(len(table), 4))
        found = emotion.score(values, table, test=["S2", "S3"], n_permutations=99)
        p.append(found.row("arousal r")["p"])
    p = np.array(p)
    assert (p <= 0.05).mean() <= 0.2
    assert 0.35 < p.mean() < 0.65


def test_an_offset_or_scale_of_a_listener_changes_nothing():
    table = rated()
    values = following(table)
    test = ["S6", "S7"]
    scale = np.where(table["subject"] == "S6", 7.0, 1.0)[:, None]
    one, other = (emotion.score(v, table, test=test) for v in (values, scale * values + 100 * scale))
    np.testing.assert_allclose(one.table["predicted_valence"], other.table["predicted_valence"], atol=1e-6)
    raw = emotion.score(values, table, test=test, within_listener=False)
    assert not raw.predictor.within_listener


def test_the_order_of_rows_and_test_ratings_do_not_matter_to_the_fit():
    table = rated()
    values, order = following(table), np.random.default_rng(0).permutation(len(table))
    one = emotion.score(values, table, test=["S7"])
    other = emotion.score(values[order], table.iloc[order].reset_index(drop=True), test=["S7"])
    pd.testing.assert_frame_equal(one.table, other.table)
    pd.testing.assert_frame_equal(one.rows, other.rows)
    moved = table.assign(valence=np.where(table["subject"] == "S7", 9 - (table["valence"] - 1), table["valence"]))
    blind = emotion.score(values, moved, test=["S7"])
    np.testing.assert_array_equal(one.table["predicted_valence"], blind.table["predicted_valence"])


def test_rows_of_a_recording_are_averaged():
    table = rated()
    values = following(table)
    twice = pd.concat([table, table], ignore_index=True)
    noise = np.random.default_rng(0).normal(size=values.shape)
    one = emotion.score(values, table, test=["S7"])
    other = emotion.score(np.concatenate([values + noise, values - noise]), twice, test=["S7"])
    np.testing.assert_allclose(one.table["predicted_valence"], other.table["predicted_valence"], atol=1e-8)


def test_few_listeners_and_constant_ratings_have_reasons():
    table = rated(n_subjects=3)
    found = emotion.score(following(table), table, test="S2")
    assert found.row("valence r")["low"] is None
    assert "no interval over 1 listener" in " ".join(found.describe().split())
    flat = table.assign(valence=np.where(table["subject"] == "S2", 5.0, table["valence"]))
    found = emotion.score(following(flat), flat, test="S2")
    assert found.row("valence r")["note"] == "no test listener has 3 recordings with different ratings"
    assert "valence r: n/a" in found.describe()
    constant = emotion.score(np.ones((len(table), 3)), table, test="S2")
    assert constant.row("valence r")["score"] == 0


def test_refuses_what_does_not_fit():
    table = rated(n_subjects=3)
    values = following(table)
    with pytest.raises(ParameterError, match="unknown test listener"):
        emotion.score(values, table, test=["S9"])
    with pytest.raises(ParameterError, match="all 3 listeners are test listeners"):
        emotion.score(values, table, test=["S0", "S1", "S2"])
    with pytest.raises(ParameterError, match=r"expected \(n, n_features\)"):
        emotion.score(values[:5], table, test="S0")
    broken = values.copy()
    broken[0, 0] = np.nan
    with pytest.raises(DataError, match="hold NaN or infinity"):
        emotion.score(broken, table, test="S1")
    with pytest.raises(DataError, match="rows have no rating"):
        emotion.score(values, table.assign(valence=table["valence"].where(table.index > 0)), test="S1")
    with pytest.raises(DataError, match="has several ratings"):
        emotion.score(values, table.assign(recording="same" + table["subject"]), test="S1")
    with pytest.raises(ParameterError, match=r"alphas=\[0.0\]: expected numbers above 0"):
        emotion.fit(values, table, alphas=[0])


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_predictions_lie_on_the_scale(seed):
    table = rated(n_subjects=3, n_pieces=5, seed=seed)
    fitted = emotion.fit(following(table, seed=seed), table)
    found = fitted.predict(100 * np.random.default_rng(seed).normal(size=(7, 6)), ["X"] * 7)
    assert found.shape == (7, 2)
    assert found.min() >= 1
    assert found.max() <= 9
    assert set(fitted.name(following(table, seed=seed), table["subject"])) <= set(emotion.QUADRANTS)


# --- a store ----------------------------------------------------------------------------------------------------------


def make_rated_store(path, *, ratings=True, n_subjects=5, n_pieces=6, seconds=12):
    """Simulated EEG whose alpha falls with arousal and whose beta rises with valence."""
    time, table = np.arange(seconds * 128) / 128, rated(n_subjects, n_pieces)
    with store.create(path, dataset="rated", title="Rated", licence="CC0", citation="none", simulated=True) as writer:
        for piece in table["stimulus"].unique():
            writer.add_stimulus(piece, np.zeros(seconds * 22050, np.float32), sr=22050, title=piece)
        for i, row in enumerate(table.to_dict("records")):
            rng = np.random.default_rng(i)
            eeg = 2 * rng.standard_normal((4, len(time)))
            eeg += 10 ** (-0.1 * row["arousal"]) * 20 * np.sin(2 * np.pi * 10 * time)
            eeg += 10 ** (0.1 * row["valence"]) * np.sin(2 * np.pi * 20 * time)
            extra = {name: row[name] for name in emotion.RATINGS} if ratings else {}
            writer.add_recording(
                row["recording"], (eeg * 1e-6).astype(np.float32), subject=row["subject"], stimulus=row["stimulus"],
                sfreq=128.0, ch_names=["Fz", "Cz", "Pz", "Oz"], **extra,
            )  # fmt: skip
    return path


def test_a_store_with_ratings(tmp_path):
    opened = store.open(make_rated_store(tmp_path / "store"))
    values, table = emotion.entropies(opened)
    assert values.shape == (30, 20)
    assert list(table) == ["recording", "subject", "stimulus", "valence", "arousal"]
    found = emotion.of_store(opened, test=["S3", "S4"])
    assert found.row("arousal r")["score"] > 0.9
    assert found.row("valence r")["score"] > 0.8
    assert "30" not in found.describe().splitlines()[0]
    with pytest.raises(ParameterError, match="shorter than a segment of 60 s"):
        emotion.entropies(opened, segment=60)


def test_a_store_without_ratings_is_refused(tmp_path):
    opened = store.open(make_rated_store(tmp_path / "store", ratings=False))
    with pytest.raises(DataError, match="has no ratings.*such as one made from DEAP"):
        emotion.of_store(opened, test=["S3"])
