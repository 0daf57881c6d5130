import pytest

from eegviz import _wording, scorecard, verdict

ROW = {
    "metric": "retrieval", "score": 0.72, "low": 0.70, "high": 0.74, "unit": "6 listeners", "n": 1200, "chance": 0.5,
    "p": 0.001, "p_unit": "blocks of 5 s", "better": "high", "baselines": {"mean picture": 0.5, "random second": 0.503},
    "oracle": {"ceiling": 1.0}, "beside": {"fingerprint": 0.51, "linear decoder": 0.9}, "controls": {"shuffled": 0.49},
    "definition": "which second", "note": "",
}  # fmt: skip
SHUFFLED = {"name": "shuffled", "score": 0.49, "low": 0.47, "high": 0.51, "n": 1200, "note": ""}
SILENCE = {"name": "silence", "score": None, "low": None, "high": None, "n": 0, "note": "the store has none"}


def shifted(far, near=0.72):
    scores = {-10: 0.9, -5: far, -1: far, 0: near, 1: far, 5: None, 10: 0.9}
    return [
        {"seconds": s, "score": score, "low": None, "high": None, "n": 10, "note": ""} for s, score in scores.items()
    ]


def decided(row=None, control=None, separate=True, shifts=()):
    label = "separates song from recording" if separate else "cannot separate song from recording"
    controls = [SHUFFLED | (control or {}), SILENCE]
    return verdict.decide(ROW | (row or {}), controls, shifts=shifts, can_separate=separate, label=label)


def test_all_conditions_hold():
    made = decided()
    assert made["sentence"] == "The EEG contributed"
    assert [r["holds"] for r in made["reasons"]] == [True] * 4


@pytest.mark.parametrize(
    ("row", "control", "failing"),
    [
        ({"p": 0.05}, {}, "permutation p = .050"),
        ({"p": None, "p_unit": "nothing can be permuted"}, {}, "no permutation p: nothing can be permuted"),
        ({"low": 0.5}, {}, "interval [0.500, 0.740]"),
        ({"baselines": {"random second": 0.71}}, {}, "best answer without EEG: random second, 0.710"),
        ({}, {"low": 0.52, "score": 0.55}, "not gone"),
        ({}, {"score": None, "low": None, "note": "a recording has one test window only"}, "no control with shuffled EEG"),
        ({"low": None}, {}, "no interval"),
        ({"score": None, "low": None, "note": "one second only"}, {}, "not defined here: one second only"),
    ],
)  # fmt: skip
def test_one_condition_that_fails_is_no_evidence_and_is_named(row, control, failing):
    made = decided(row, control)
    assert made["sentence"] == "No evidence that the EEG contributed"
    assert failing in " ".join(r["text"] for r in made["reasons"] if not r["holds"])


def test_a_slow_change_keeps_its_score_seconds_away_and_is_no_evidence():
    """More than half of what lies above chance (.22) is still there seconds away; 5 s later was not in the test."""
    sharp, broad = decided(shifts=shifted(0.5)), decided(shifts=shifted(0.62))
    assert sharp["sentence"] == "The EEG contributed"
    assert sharp["reasons"][-1] == {"holds": True, "text": "EEG from 1 and 5 s away: 0.500, gone"}
    assert broad["sentence"] == "No evidence that the EEG contributed"
    assert broad["reasons"][-1]["text"] == (
        "EEG from 1 and 5 s away: 0.620, not gone, as after a slow change of all recordings"
    )
    undefined = decided(shifts=shifted(None))
    assert len(undefined["reasons"]) == 4


@pytest.mark.parametrize("row", [{}, {"p": 0.9, "low": 0.4}, {"score": None, "low": None}])
def test_a_split_that_cannot_separate_cannot_tell_whatever_the_score(row):
    made = decided(row, separate=False)
    assert made["sentence"] == "This split cannot tell"
    assert "cannot separate song from recording" in made["reasons"][0]["text"]


def result(**changes):
    made = decided()
    return {
        "run": "0123456789ab", "name": "cnn (preset fast) · periodogram → mel-db · repeat · seed 0", "simulated": True,
        "verdict": made["sentence"], "reasons": made["reasons"],
        "split": {"spec": "repeat", "label": "separates song from recording: another hearing", "can_separate": True, "n_listeners": 6,
                  "n_train": 870, "n_validation": 150, "n_test": 1200},
        "metrics": [ROW, ROW | {"metric": "cosine", "score": 0.8, "low": 0.7, "high": 0.9, "chance": None,
                                "baselines": {"song mean": 0.85}},
                    ROW | {"metric": "MSE", "score": 0.03, "low": 0.02, "high": 0.04, "chance": None, "better": "low",
                           "baselines": {"song mean": 0.04, "mean picture": 0.05}},
                    ROW | {"metric": "top-5", "score": None, "low": None, "high": None, "p": None, "unit": "",
                           "note": "a song has 4 test seconds only, fewer than 5"}],
        "controls": [SHUFFLED, SILENCE],
        "shifts": [{"seconds": s, "score": 0.5 + 0.2 * (s == 0), "low": 0.4, "high": 0.8, "n": 10, "note": ""}
                   for s in (-1, 0, 1)],
        "no_linear_decoder": "", "n_beside": 1200, "audit": {"text": ["by design: the same seconds"]},
    } | changes  # fmt: skip


def test_the_table_says_all_and_fits_the_page():
    text = verdict.describe(result())
    assert max(map(len, text.splitlines())) <= _wording.WIDTH
    for part in (
        "VERDICT: The EEG contributed.", "[simulated data]", "[x] permutation p = .001", "95 % interval", "no EEG", "shuffled",
        "ceiling", "fingerprint", "linear", "silence is n/a: the store has none", "seconds", "+1",
        "by design: the same seconds", "which second", "top-5 is n/a: a song has 4 test seconds only",
    ):  # fmt: skip
        assert part in text, part
    brief = verdict.describe(result(), brief=True)
    assert text.startswith(brief)
    assert "fingerprint" not in brief


def test_the_best_answer_without_eeg_is_the_smallest_error_for_mse_with_four_decimals():
    line = next(row for row in verdict.describe(result(), brief=True).splitlines() if row.startswith("MSE"))
    assert line.split() == ["MSE", "0.0300", "0.0200–0.0400", "n/a", "0.0400", "0.4900", "1.0000", ".001", "1200"]


def printed(**changes):
    """The table with its wrapped lines joined."""
    return verdict.describe(result(**changes)).replace("\n    ", " ").splitlines()


def test_what_the_rule_asks_stands_below_the_reasons():
    lines = printed()
    asked = lines.index("[x] shuffled EEG: 0.490 [0.470, 0.510], gone") + 1
    assert lines[asked : asked + 4] == [
        "all must hold: p < .05; the interval above chance and above the best answer without EEG; shuffled EEG gone; EEG from "
        "1 s away gone",
        "gone, shuffled EEG: its interval reaches down to chance, and its score is below the run's interval",
        "gone, EEG from 1 s away: below the run's interval, and more than half of what lay above chance is lost",
        "",
    ]
    assert not any("away" in line for line in printed(shifts=[]))
    leaky = decided(separate=False)
    split = result()["split"] | {"can_separate": False}
    assert (
        "the rule asks for a split that separates song from recording: repeat, condition, subject, song or subject_song"
        in printed(split=split, verdict=leaky["sentence"], reasons=leaky["reasons"])[6]
    )


@pytest.mark.parametrize("spread", [None, scorecard.COLLAPSE, 1.1])
def test_predictions_that_vary_are_not_called_collapsed(spread):
    assert scorecard.collapse(spread) == ""
    for found in (result(), result(collapsed="")):
        assert "collapsed" not in verdict.describe(found)


def test_collapsed_predictions_are_named_below_the_reasons_and_change_no_verdict():
    told = scorecard.collapse(0.0123)
    lines = printed(collapsed=told)
    assert lines.index("VERDICT: The EEG contributed.") < lines.index(told) < lines.index("", lines.index(told))
    assert told.startswith("collapsed: the predictions vary 1.2 % as much")
    assert max(map(len, verdict.describe(result(collapsed=told)).splitlines())) <= _wording.WIDTH


def test_p_is_grouped_by_what_was_permuted():
    other = ROW | {"metric": "cosine", "chance": None, "p_unit": "blocks of 5 s, on 640 windows"}
    lines = printed(
        metrics=[ROW, ROW | {"metric": "top-1"}, other, other | {"metric": "SSI", "p": None, "p_unit": "why"}]
    )
    assert "p of retrieval, top-1: permutation of blocks of 5 s" in lines
    assert "p of cosine: permutation of blocks of 5 s, on 640 windows" in lines
    assert "p of SSI is n/a: why" in lines


def test_columns_that_are_shown_are_defined_and_others_left_out_with_the_reason():
    lines = printed()
    for line in (
        "mean picture: the mean of all training pictures",
        "song mean: the mean of the true song's training pictures",
        "random second: another second of the true song, drawn from training",
        "ceiling: true pictures to sound and back, on up to 8 seconds of each song",
        "linear: the linear decoder, a ridge regression of the same windows and split",
        "shuffled: EEG of other seconds of the same recording",
        "song told is n/a: no test song is in the training side",
        "top-5 is n/a: a song has 4 test seconds only, fewer than 5",
        "chance of cosine and MSE is n/a: how like pictures are has no chance level; read it beside the answers without EEG",
    ):
        assert line in lines, line
    assert not any(line.startswith(("zero:", "silence:", "song told:")) for line in lines)
    brief = verdict.describe(result(), brief=True)
    assert "the mean of all training pictures" not in brief


def test_the_song_under_eeg_of_the_same_song_is_na_by_construction():
    song = ROW | {"metric": "song accuracy", "controls": {"shuffled": 0.7, "other listener": 0.7, "zero EEG": 0.2},
                  "oracle": {}}  # fmt: skip
    row = ROW | {"controls": {"shuffled": 0.49, "other listener": 0.7, "zero EEG": 0.5}}
    lines = printed(metrics=[row, song])
    assert (
        "song accuracy under shuffled and other is n/a: that EEG is of the same song, so the songs named are the same by "
        "construction"
    ) in lines
    assert [line.split()[-3:] for line in lines if line.startswith("song accuracy ")][-2] == ["0.200", "n/a", "n/a"]
    assert "song accuracy under ceiling is n/a: the true music names its song by itself" in lines
    noisy = row | {"controls": {"noise EEG": 0.5}}
    assert "song accuracy under noise is n/a: asked of 240 of the windows only, fewer than half" in printed(
        metrics=[noisy, song], n_beside=240
    )


def test_a_network_that_names_songs_says_why_the_rest_is_missing():
    row = ROW | {
        "metric": "accuracy", "baselines": {"mean picture": 0.2}, "oracle": {}, "beside": {"fingerprint": 0.4},
        "controls": {"noise EEG": 0.3, "shuffled": 0.7},
    }  # fmt: skip
    noise = SHUFFLED | {"name": "noise EEG"}
    lines = printed(
        name="classifier (preset eegviz) · raw → mel-db · repeat · seed 0", metrics=[row], controls=[noise], shifts=[]
    )
    for line in (
        "all must hold: p < .05; the interval above chance and above the best answer without EEG; noise EEG gone",
        "prev second, ceiling and song told are n/a: the true music names its song by itself",
        "linear is n/a: it predicts pictures, not songs",
        "song mean, song spectrum and random second are n/a: without EEG the best answer is the most frequent song, as under "
        "mean picture",
    ):
        assert line in lines, line
    assert "nothing here predicts pictures" in verdict.beside_baselines(result(metrics=[row]))


def test_a_p_beside_an_interval_that_includes_chance_is_explained():
    note = (
        "p < .05 beside an interval that includes chance (top-1): the permutation takes these listeners as they are and asks "
        "whether the order of the seconds matters; the interval asks about other listeners"
    )
    unsure = ROW | {"metric": "top-1", "score": 0.51, "low": 0.49, "high": 0.53}
    assert note in printed(metrics=[ROW, unsure])
    assert not any("beside an interval" in line for line in printed(metrics=[ROW, unsure | {"p": 0.05}]))


def test_folds_are_said_to_be_pooled():
    split = result()["split"] | {"spec": "repeat, 2 folds pooled"}
    lines = printed(run=["a", "b"], split=split, shifts=shifted(0.5),
                    metrics=[ROW, ROW | {"metric": "cosine", "p": None, "p_unit": "not tested", "chance": None}])  # fmt: skip
    text = " ".join(lines)
    assert text.startswith("cnn (preset fast) · periodogram → mel-db · seed 0  [simulated data]")
    assert "train 870, validation 150 (mean of 2 folds), test 1200 windows of 6 listeners" in text
    assert "p of cosine is n/a: not permuted again over the folds" in lines
    assert "+5 s is n/a: fewer than half of the test windows have a test second so far away" in lines
    assert "Shared between the sides, first fold:" in lines


def test_the_sentence_says_verdict_score_and_chance():
    said = verdict.sentence(result())
    for part in ("The EEG contributed: retrieval 0.720", "lies above chance (0.500)", "p = .001", "simulated data"):
        assert part in said
    few = ROW | {"low": None, "high": None, "unit": "1 block of 5 s, one listener: no interval over listeners"}
    assert "0.720, no interval over 1 block of 5 s, one listener; chance (0.500)" in verdict.sentence(
        result(metrics=[few])
    )
    undefined = result(metrics=[ROW | {"score": None, "note": "one second only"}], verdict=verdict.NO_EVIDENCE)
    assert "is not defined on split repeat: one second only" in verdict.sentence(undefined)


def test_a_small_p_alone_is_explained():
    found = result(
        metrics=[ROW | {"score": 0.515, "low": 0.482, "high": 0.551, "p": 0.036}], verdict=verdict.NO_EVIDENCE
    )
    said = verdict.sentence(found)
    assert "p = .036 alone is not enough: the interval over 6 listeners must lie above chance too; n = 1200" in said


def test_what_a_picture_without_eeg_scores_is_said():
    said = verdict.beside_baselines(result())
    better, worse = said.split("not better")
    assert "MSE" in better
    assert "cosine" in worse
    assert said.startswith(
        "The verdict is about which second it is. Another question is how like the true picture a prediction is, where a mean "
        "picture, which knows no EEG, is hard to beat. Better than the song mean (in brackets): MSE 0.0300 (0.0400); not "
        "better: cosine 0.800 (0.850)."
    )


def test_the_ladder_and_the_overview():
    rows = verdict.ladder(result())
    assert rows[0] == ("this run", 0.72, 0.70, 0.74)
    assert ("shuffled EEG", 0.49, 0.47, 0.51) in rows
    assert ("random second (no EEG)", 0.503, None, None) in rows
    assert ("ceiling", 1.0, None, None) in rows
    assert not any("silence" in name for name, *_ in rows)
    (row,) = verdict.overview([result()])
    assert row["model"] == "cnn"
    assert row["verdict"] == "The EEG contributed"
    assert row["song mean's"] == 0.85


@pytest.mark.parametrize(("p", "text"), [(0.0001, "<.001"), (0.05, ".050"), (1.0, "1.000"), (None, "n/a")])
def test_p_values_are_printed_short(p, text):
    assert verdict.p_value(p) == text
