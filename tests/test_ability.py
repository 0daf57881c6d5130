"""What answers show: exact binomials, pooled estimate and intervals, who is left out; and pretend listeners who check all of it."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from eegviz._cli_listening import _options_named
from eegviz.errors import DataError, ParameterError
from eegviz.listening import ability, abx, answers, charts, pretend, session
from tests.test_cli import eegviz

# Right answers needed at 5 % and 1 % of n trials with chance 1/2, from tables of the binomial distribution (Siegel &
# Castellan 1988, table D: smallest k with P(X ≥ k) ≤ alpha).
NEEDED = {
    5: (5, 6),
    6: (6, 7),
    8: (7, 8),
    10: (9, 10),
    12: (10, 11),
    16: (12, 14),
    20: (15, 16),
    24: (17, 19),
    25: (18, 19),
}


@pytest.fixture(scope="module")
def design():
    return pretend.paper_design()


@pytest.fixture(scope="module")
def played(design):
    kinds = {abx.OTHER_SONG: 0.95, abx.SAME_SONG: 0.6}
    return pretend.play(design, 16, ability=kinds, no_answer=0.02, seed=2)


@pytest.mark.parametrize("n", NEEDED)
def test_needed_is_the_table_of_the_binomial(n):
    assert (ability.needed(n), ability.needed(n, alpha=0.01)) == NEEDED[n]


@given(n=st.integers(1, 200), alpha=st.sampled_from([0.001, 0.01, 0.05, 0.1]))
@settings(max_examples=60, deadline=None)
def test_needed_is_the_smallest_number_that_scipys_exact_test_rejects(n, alpha):
    k = ability.needed(n, alpha=alpha)
    if k <= n:
        assert scipy_stats.binomtest(k, n, 0.5, alternative="greater").pvalue <= alpha
    if k > 0:
        assert scipy_stats.binomtest(k - 1, n, 0.5, alternative="greater").pvalue > alpha
    assert ability.power(0.5, n=n, alpha=alpha) <= alpha


def test_power_in_closed_form():
    assert ability.power(1.0, n=5) == 1.0
    assert ability.power(0.7, n=5) == pytest.approx(0.7**5)  # all five are needed
    assert ability.power(0.9, n=4) == 0.0  # four are never enough
    assert ability.power(0.5) == pytest.approx(
        sum(np.prod(range(25 - k, 25)) / np.prod(range(1, k + 1)) for k in range(8)) / 2**24
    )
    assert (np.diff(ability.power(np.linspace(0.5, 1, 20))) >= 0).all()
    table = ability.table_of_needed((24, 48))
    assert table["needed"].tolist() == [17, 31]
    assert table["by luck"].tolist() == pytest.approx([0.0320, 0.0297], abs=1e-4)
    with pytest.raises(ParameterError, match="expected probabilities from 0 to 1"):
        ability.power(1.2)


def made_up(right, *, n=24, checks=2, passed=2, finished=True):
    """Answers of one design by hand: `right` holds the number of right answers of each listener."""
    rows, people = [], []
    for i, hits in enumerate(right):
        for k in range(n):
            rows.append(
                {"participant": f"L{i}", "version": 1, "number": k, "trial": f"1-{k}", "block": "main", "choice": "A",
                 "right_side": "AB"[k % 2], "correct": k < hits, "song": f"s{k % 4}", "recording": f"r{k}", "start": k,
                 "position": abx.POSITIONS[k % 3], "foil_kind": abx.OTHER_SONG if k % 2 else abx.SAME_SONG, "eeg_listener": "E1"}
            )  # fmt: skip
        for k in range(checks):
            rows.append({"participant": f"L{i}", "block": "attention", "choice": "A", "correct": k < passed})
        people.append(
            {
                "participant": f"L{i}",
                "version": 1,
                "begun": "",
                "answered": n,
                "total": n,
                "n_main": n,
                "finished": finished,
                "simulated": False,
            }
        )
    return answers.Answers(pd.DataFrame(rows, columns=list(answers.COLUMNS), dtype=object), pd.DataFrame(people), {})


@given(hits=st.integers(0, 24))
@settings(max_examples=25, deadline=None)
def test_a_listener_is_scipys_exact_test(hits):
    row = ability.listeners(made_up([hits])).iloc[0]
    exact = scipy_stats.binomtest(hits, 24, 0.5, alternative="greater")
    low, high = scipy_stats.binomtest(hits, 24, 0.5).proportion_ci(0.95)
    assert row["p"] == pytest.approx(exact.pvalue, rel=1e-9)
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-9)
    assert row["able"] == (hits >= 17)
    assert row["q"] == pytest.approx(row["p"])  # one test needs no correction


def test_many_listeners_are_corrected():
    table = ability.listeners(made_up([17] + [12] * 19))
    assert table["able"].sum() == 1
    assert table["q"].min() > 0.05  # one of twenty at p = .032 is what luck does
    summary = ability.summarise(made_up([17] + [12] * 19))
    assert (summary.n_able, summary.n_able_corrected) == (1, 0)
    assert summary.expected_able == pytest.approx(20 * 0.0320, abs=1e-3)
    assert summary.verdict == "No evidence that the listeners could tell."


def test_the_pooled_estimate_is_the_mean_over_listeners_with_the_projects_bootstrap():
    right = [20, 18, 22, 16, 21, 19]
    summary = ability.summarise(made_up(right))
    assert summary.share == pytest.approx(np.mean(right) / 24)
    assert summary.p == pytest.approx(scipy_stats.binomtest(sum(right), 6 * 24, 0.5, alternative="greater").pvalue)
    assert summary.low < summary.share < summary.high
    assert summary.verdict == "The listeners could tell."
    for name, table in summary.groups.items():
        assert table["n"].sum() == 6 * 24, name
        assert np.average(table["share"].astype(float), weights=table["n"]) == pytest.approx(summary.share)
        assert set(table["chance"]) == {0.5}
    text = str(summary)
    for part in (
        "chance 50 %",
        "6 listeners: 80.6 % right",
        "17",
        "rule:",
        "by song (chance .500)",
        "EEG2Mel's AB-X: 85 % (66.67 to 95.83)",
    ):
        assert part in text
    assert "SIMULATED" not in text


def test_one_listener_has_no_interval_and_a_verdict_of_the_exact_test():
    summary = ability.summarise(made_up([20]))
    assert (summary.low, summary.high) == (None, None)
    assert "no interval over listeners: one only" in summary.sentence
    assert summary.verdict == "The listeners could tell."
    assert ability.summarise(made_up([16])).verdict == "No evidence that the listeners could tell."


def test_below_chance_is_not_ability():
    summary = ability.summarise(made_up([4, 5, 6, 3]))
    assert (
        summary.verdict
        == "No evidence that the listeners could tell. They were below chance: check the key of the test."
    )


def test_no_answer_counts_as_not_right_and_is_said():
    held = made_up([20, 20])
    lost = held.table["number"] == 0
    held.table.loc[lost, ["choice", "correct"]] = None
    summary = ability.summarise(held)
    assert summary.listeners["right"].tolist() == [19, 19]
    assert summary.listeners["n"].tolist() == [24, 24]
    assert summary.listeners["no_answer"].tolist() == [1, 1]
    assert "2 of 48 trials had no answer in time; they count as not right" in summary.notes


def test_who_fails_the_checks_or_stops_is_left_out_and_named():
    good, slipped = made_up([20, 20, 20]), made_up([23], passed=1)
    table = pd.concat([good.table, slipped.table.assign(participant="slip")])
    people = pd.concat([good.participants, slipped.participants.assign(participant="slip")], ignore_index=True)
    people.loc[2, ["finished", "answered", "total"]] = [False, 20, 30]
    both = answers.Answers(table, people, {})
    summary = ability.summarise(both)
    assert summary.n_listeners == 2
    assert "left out: slip, attention checks: 1 of 2 right; had 23 of 24 right" in summary.notes
    assert "left out: L2, not finished (20 of 30 trials answered); had 20 of 24 right" in summary.notes
    assert ability.summarise(both, min_attention=0.5).n_listeners == 3
    with pytest.raises(DataError, match=r"no listener's answers count \(L0: attention checks: 0 of 2 right"):
        ability.summarise(made_up([20], passed=0))
    with pytest.raises(ParameterError, match="min_attention 2"):
        ability.summarise(good, min_attention=2)
    with pytest.raises(ParameterError, match="unknown group 'mood'; known are song"):
        ability.by(good, "mood")


# ------------------------------------------------------------------ pretend listeners


def test_guessing_listeners_are_called_able_as_often_as_the_exact_binomial_says(design):
    found = pretend.false_alarms(design, 1000, seed=0)
    assert (found.needed, found.n_trials) == (17, 24)
    assert found.expected == pytest.approx(0.0320, abs=1e-4)
    assert found.margin == pytest.approx(0.0109, abs=1e-4)
    assert abs(found.share - found.expected) <= 0.011
    # and the whole distribution is the binomial's
    counts = np.bincount(np.clip(found.scores, 6, 18), minlength=19)[6:]
    pmf = scipy_stats.binom.pmf(np.arange(25), 24, 0.5)
    expected = 1000 * np.array([pmf[:7].sum(), *pmf[7:18], pmf[18:].sum()])
    assert scipy_stats.chisquare(counts, expected).pvalue > 0.001


def test_most_listeners_of_85_percent_are_called_able(design):
    found = pretend.false_alarms(design, 300, ability=0.85)
    assert found.share > 0.95
    assert abs(found.share - found.expected) <= 1.5 * found.margin
    assert "SIMULATED" in str(found)


def test_false_verdicts_about_groups_are_rare(design):
    """Sixteen guessers at a time: the pooled verdict is wrong in at most about 5 %."""
    wrong = 0
    for seed in range(20):
        summary = ability.summarise(pretend.play(design, 16, seed=seed))
        wrong += summary.verdict.startswith(ability.ABLE)
    assert wrong <= 4  # P(X > 4 | 20, .05) = .003


def test_what_pretend_listeners_know_comes_out_again(played):
    assert played.simulated
    summary = ability.summarise(played)
    assert summary.simulated
    assert summary.sentence.startswith("16 SIMULATED listeners: ")
    foils = summary.groups["foil_kind"].set_index("group")["share"]
    assert foils[abx.OTHER_SONG] == pytest.approx(0.95 * 0.98, abs=0.05)
    assert foils[abx.SAME_SONG] == pytest.approx(0.6 * 0.98, abs=0.1)
    sides = summary.groups["right_side"].set_index("group")["share"]
    assert abs(sides["A"] - sides["B"]) < 0.12
    assert len(summary.groups["song"]) == 4
    assert summary.groups["position"]["group"].tolist() == list(abx.POSITIONS)


def test_pretend_answers_on_disk_are_those_in_memory(design, tmp_path):
    held = pretend.play(design, 3, ability=0.8, folder=tmp_path)
    read = answers.read(tmp_path)
    order = ["participant", "number"]
    pd.testing.assert_frame_equal(
        read.table.sort_values(order, ignore_index=True),
        held.table.sort_values(order, ignore_index=True),
        check_dtype=False,
    )
    assert read.simulated


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ability": 1.2}, r"ability \(other song\) 1.2: expected a probability"),
        ({"ability": {"other song": 1}}, "one for each of 'other song', 'same song'"),
        ({"attention": -1}, "attention -1"),
        ({"n": 0}, "0 pretend listeners"),
    ],
)
def test_pretend_failures(design, options, message):
    with pytest.raises(ParameterError, match=message):
        pretend.play(design, **{"n": 1} | options)


# ------------------------------------------------------------------ pictures and commands


def test_pictures_show_the_counts(design, played):
    from eegviz import plots

    songs, foils, who = ([box for part in one.values() for box in part.data["y1"]] for one in charts.balance(design))
    assert songs == [4.0] * 12  # two trials of each third of four songs in each of two versions
    assert foils == [6.0] * 8
    assert who == [4.0] * 24
    found = pretend.false_alarms(design, 50)
    shown = plots.picture([charts.luck([found]), charts.power_curve()], "alt")
    assert shown.png[:4] == b"\x89PNG"


def test_commands(tmp_path, design):
    said = eegviz("listening-test", "simulate", "--listeners", 60, "--ability", 0.85).stdout
    assert said.startswith("60 SIMULATED listeners who are right with probability 0.85: ")
    assert "17 of 24 right needed" in said
    pretend.play(design, 4, ability=0.9, folder=tmp_path / "answers")
    printed = eegviz("listening-test", "summary", tmp_path, "--csv", tmp_path / "all.csv").stdout
    assert "4 SIMULATED listeners: " in printed
    assert "VERDICT: The listeners could tell." in printed
    assert len(pd.read_csv(tmp_path / "all.csv")) == 4 * 30


def test_a_summary_without_listeners_says_what_would_help(tmp_path, design):
    one = session.begin(design, tmp_path / "answers", participant="anna", consent=True, simulated=True)
    one.current()
    one.answer("A")
    one.close()
    found = eegviz("listening-test", "summary", tmp_path, ok=False)
    assert "(anna: not finished (1 of 30 trials answered)). Wait until one has answered all trials." in found.stderr
    assert "attention" not in found.stderr
    pretend.play(design, 1, attention=0.0, folder=tmp_path / "failed")
    found = eegviz("listening-test", "summary", tmp_path / "failed", ok=False)
    assert "Wait for another listener, or lower --min-attention." in found.stderr


@pytest.mark.parametrize(
    ("n_finished", "why"),
    [
        (2, r"attention checks: 0 of 2 right.*Wait for another listener, or lower --min-attention\."),
        (0, r"not finished \(1 of 30 trials answered\)\)\. Wait until one has answered all trials\."),
    ],
)
def test_the_answers_are_written_even_when_nobody_counts(tmp_path, design, n_finished, why):
    if n_finished:
        pretend.play(design, n_finished, attention=0.0, folder=tmp_path / "answers")
    else:
        one = session.begin(design, tmp_path / "answers", participant="anna", consent=True, simulated=True)
        one.current()
        one.answer("A")
        one.close()
    found = eegviz("listening-test", "summary", tmp_path, "--csv", tmp_path / "all.csv", ok=False)
    assert found.returncode == 2
    assert found.stdout.split() == [str(tmp_path / "all.csv")]
    written = pd.read_csv(tmp_path / "all.csv")
    assert len(written) == (30 * n_finished or 1)
    assert re.search(
        r"^eegviz: the CSV is written, but no statistics follow: no listener's answers count \(.*" + why, found.stderr
    )


def test_messages_of_the_command_name_its_options():
    with (
        pytest.raises(DataError, match=r"^Ask for --same-song 1; the duration of --trials is as asked\.$"),
        _options_named(),
    ):
        raise DataError("Ask for same_song=1; the duration of n_trials is as asked.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("summary", "{tmp}/nothing"), "is not a listening test: expected a folder with design.json"),
        (("summary", "{tmp}"), "is not a listening test: expected a folder with design.json"),
        (("summary", "{tmp}", "--min-attention", "3"), "eegviz: --min-attention 3.0: expected a share from 0 to 1"),
        (("summary", "{tmp}", "--alpha", "2"), "eegviz: --alpha"),
        (("simulate", "{tmp}", "--alpha", "2"), "eegviz: --alpha"),
        (("simulate", "{tmp}"), "is not a listening test: expected a folder with design.json"),
        (("simulate", "--ability", "2"), "eegviz: --ability 2.0: expected a probability from 0 to 1"),
        (("simulate", "--listeners", "0"), "0 pretend listeners: expected a whole number, 1 or more"),
        (("make", "{tmp}", "--out", "{tmp}/x"), "is not a run"),
        (
            ("make", "{tmp}", "--out", "{tmp}/x", "--duration", "0"),
            "eegviz: --duration must be a whole number of seconds",
        ),
        (("make", "{tmp}", "--out", "{tmp}/x", "--trials", "1"), "eegviz: --trials must be a whole number, 2 or more"),
        (("make", "{tmp}", "--out", "{tmp}/x", "--practice", "1"), "eegviz: --practice 1: a foil is another"),
        (("make", "{tmp}", "--out", __file__), "is a file. Choose another folder"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(arguments, message, tmp_path):
    found = eegviz("listening-test", *(one.format(tmp=tmp_path) for one in arguments), ok=False)
    assert found.returncode == 2
    assert message in found.stderr
    assert found.stderr.count("eegviz: ") == 1
