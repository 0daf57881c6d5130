"""What the sections *Models* and *Is it the brain* show: runs beside each other, and every doubt about one of them."""

from __future__ import annotations

import pandas as pd
import param

from eegviz import evaluation, plots, runs, verdict
from eegviz._state_listen import first_choice
from eegviz.catalogue import Shelf
from eegviz.errors import DataError

MAX_COMPARED = 4
ALL = "all"
_pictures = Shelf(64)
_tables = Shelf(32)
# columns of `eegviz.runs.compare` that the table of runs shows, and what they are called there
LISTED = {
    "model": "Model", "verdict": "Verdict", "split": "Split", "eeg": "EEG", "audio": "Sound", "settings": "Settings",
    "seed": "Seed", "store": "Store", "run": "Run",
}  # fmt: skip


class ModelsState(param.Parameterized):
    """Which runs are listed, and which stand beside each other."""

    model = param.Selector(objects=[ALL], default=ALL, label="Model")
    split = param.Selector(objects=[ALL], default=ALL, label="Split")
    compared = param.ListSelector(objects=[], default=[], label=f"Compare (at most {MAX_COMPARED})")
    SHARED = ("model", "split", "compared")

    def __init__(self, catalogue, **values):
        super().__init__(**values)
        self.catalogue = catalogue
        rows = catalogue.table
        self.param.model.objects = [ALL, *sorted({row["model"] for row in rows})]
        self.param.split.objects = [ALL, *sorted({row["split"] for row in rows})]
        self.param.compared.objects = [row["run"] for row in rows]
        self.compared = _telling(catalogue)

    def listed(self):
        """The runs that fit the filters: dicts with the keys of `LISTED`."""
        return [
            {key: row[key] for key in LISTED}
            for row in self.catalogue.table
            if self.model in (ALL, row["model"]) and self.split in (ALL, row["split"])
        ]

    @property
    def found(self):
        """The compared runs."""
        return [self.catalogue.run(name) for name in self.compared[:MAX_COMPARED]]

    def parameters(self):
        """Settings of the compared runs, a row each, those that differ first: a pandas.DataFrame."""
        key = tuple(self.compared)
        return _tables.get(("parameters", key), lambda: _parameters(self.found))

    def scores(self):
        """Scores, chance and the best answer without EEG of the compared runs: a pandas.DataFrame."""
        return _tables.get(("scores", tuple(self.compared)), lambda: _scores(self.found))

    def called(self):
        """What the compared runs are called in tables and pictures: a dict by their hash."""
        return {run.path.name: _called(run) for run in self.found}

    def verdicts(self):
        """Name, verdict and the sentence with its numbers of each compared run."""
        made = []
        for run in self.found:
            if (run.path / "metrics.json").exists():
                made.append((_called(run), run.metrics["verdict"], verdict.sentence(run.metrics)))
            else:
                made.append((_called(run), "not scored", "Score it with eegviz evaluate."))
        return made

    def beside(self):
        """The main score of the compared runs beside chance as a `Picture`; None where they have no such score in common."""
        return _pictures.get(("beside", tuple(self.compared)), lambda: _beside(self.found))

    def curves(self):
        """Training and validation loss of the compared runs as a `Picture`; None where none was trained in epochs."""
        return _pictures.get(("curves", tuple(self.compared)), lambda: _curves(self.found))


class BrainState(param.Parameterized):
    """The run whose verdict is shown."""

    run = param.Selector(objects=[None], label="Run")
    SHARED = ("run",)

    def __init__(self, catalogue, **values):
        super().__init__(**values)
        self.catalogue = catalogue
        scored = [row["run"] for row in catalogue.table if row["scored"]]
        if scored:
            self.param.run.objects = scored
            self.run = first_choice(catalogue, scored)

    @property
    def result(self):
        """What ``metrics.json`` of the run holds."""
        if self.run is None:
            raise DataError("No run here is scored: score one with eegviz evaluate RUN, or run eegviz demo.")
        return self.catalogue.run(self.run).metrics

    def verdict(self):
        """The verdict, the sentence with its numbers, and the reasons ``{"holds": bool, "text": str}``."""
        result = self.result
        return result["verdict"], verdict.sentence(result), result["reasons"]

    def likeness(self):
        """Whether the predictions are more like the true pictures than a mean picture is, in words."""
        return verdict.beside_baselines(self.result)

    def printed(self):
        """The whole table as text, as ``eegviz evaluate`` prints it."""
        return verdict.describe(self.result)

    def shared_sides(self):
        """What the two sides of the split share: lines of text."""
        return list(self.result["audit"]["text"])

    def ladder(self):
        """The score beside baselines, controls and oracle as a `Picture`."""
        return _pictures.get(("ladder", self.run), self._ladder)

    def shifts(self):
        """The score with EEG from earlier or later as a `Picture`; None where it is not defined."""
        return _pictures.get(("shifts", self.run), self._shifts)

    def splits(self):
        """Every scored run of the same model and store, a row a split: a pandas.DataFrame."""
        rows = {row["run"]: row for row in self.catalogue.table}
        mine = rows[self.run]
        same = [
            n for n, r in rows.items() if r["scored"] and (r["model"], r["store"]) == (mine["model"], mine["store"])
        ]
        return _tables.get(("splits", *same), lambda: _overview([self.catalogue.run(name) for name in same]))

    def _ladder(self):
        result = self.result
        row, rows, n = evaluation.primary(result), verdict.ladder(result), result["split"]["n_test"]
        title = f"{row['metric'].capitalize()}, split {result['split']['spec']}\nn = {n} windows, chance {row['chance']:.3g} (dashed)"
        said = "; ".join(f"{name} {score:.3f}" for name, score, _, _ in rows)
        shown = plots.intervals(rows, title=title, xlabel=row["metric"], chance=row["chance"])
        alt = f"{row['metric']} of the run and all that stands beside it, chance {row['chance']:.3g}, n = {n} windows: {said}."
        return plots.picture(shown, alt=alt, width=6.4, height=0.3 * len(rows) + 1.1)

    def _shifts(self):
        table = (
            pd.DataFrame(self.result["shifts"]).dropna(subset=["score"]) if self.result["shifts"] else pd.DataFrame()
        )
        if table.empty:
            return None
        row = evaluation.primary(self.result)
        shown = plots.shift_curve(
            table, title=f"EEG taken later (+) or earlier (−), chance {row['chance']:.3g}", chance=row["chance"],
            ylabel=row["metric"].capitalize(),
        )  # fmt: skip
        said = ", ".join(f"{s:+d} s {v:.3f}" for s, v in zip(table["seconds"], table["score"], strict=True))
        alt = f"{row['metric']} against a time shift of the EEG: {said}; chance {row['chance']:.3g}."
        return plots.picture(shown, alt=alt, width=6.4, height=2.8)


def _telling(catalogue):
    """Two runs to begin with: one that tells most, and the same model on a split that came to another verdict."""
    rows = {row["run"]: row for row in catalogue.table if row["scored"]}
    if not rows:
        return []
    first = rows[first_choice(catalogue, list(rows))]
    alike = ("model", "eeg", "audio", "store")

    def distance(name):
        row = rows[name]
        return (
            row["verdict"] == first["verdict"],
            *(row[key] != first[key] for key in alike),
            row["split"] == first["split"],
            name,
        )

    others = [name for name in rows if name != first["run"]]
    return [first["run"], *([min(others, key=distance)] if others else [])]


def _called(run):
    return f"{run.config['model']['name']}, {run.config['split']['spec']}, {run.path.name}"


def _beside(found):
    """A point and an interval a run, where all have the same main score and chance."""
    rows, kinds = [], set()
    for run in found:
        if not (run.path / "metrics.json").exists():
            continue
        row = evaluation.primary(run.metrics)
        if row["score"] is not None:
            kinds.add((row["metric"], row["chance"]))
            rows.append((f"{_called(run)}\nn = {row['n']} windows", row["score"], row["low"], row["high"]))
    if len(rows) < 2 or len(kinds) != 1 or None in next(iter(kinds)):
        return None
    ((metric, chance),) = kinds
    title = f"{metric.capitalize()} with 95 % intervals, chance {chance:.3g} (dashed)"
    said = "; ".join(
        f"{name.replace(chr(10), ', ')}: {score:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")
        for name, score, low, high in rows
    )
    shown = plots.intervals(rows, title=title, xlabel=metric.capitalize(), chance=chance)
    return plots.picture(shown, alt=f"{title}: {said}.", width=8.0, height=0.45 * len(rows) + 1.1)


def _parameters(found):
    """A row a setting, a column a run."""
    columns = {}
    for run in found:
        config, kept = run.config, run.provenance
        asked = {"model": config["model"]["name"], "preset": config["model"]["preset"]}
        asked |= {f"features: {key}": value for key, value in config["features"].items()}
        asked |= {"split": config["split"]["spec"], "seed": config["seed"], "data": config["data"]["dataset"]}
        asked |= {"parameters": kept["n_parameters"], "training (s)": round(kept["training_s"], 1)}
        made = runs.settings(config)
        asked |= {f"model: {key}": value for key, value in _as_dict(made).items()}
        columns[run.path.name] = {key: _told(value) for key, value in asked.items()}
    table = pd.DataFrame(columns).fillna("—")
    differs = table.nunique(axis=1) > 1
    return pd.concat([table[differs], table[~differs]]), int(differs.sum())


def _scores(found):
    """A row a metric, a column a run, with chance and what is best without EEG."""
    columns = {}
    for run in found:
        if not (run.path / "metrics.json").exists():
            columns[run.path.name] = {"test windows": "not scored"}
            continue
        result = run.metrics
        cells = {"test windows": str(result["split"]["n_test"])}
        for row in result["metrics"]:
            cells[row["metric"]] = _score(row)
        columns[run.path.name] = cells
    return pd.DataFrame(columns).fillna("—")


def _score(row):
    """``.612 [.54, .68], chance .500; song mean .533`` or n/a."""
    if row["score"] is None:
        return "n/a"
    interval = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    blind = {name: score for name, score in row["baselines"].items() if score is not None}
    best = (min if row["better"] == "low" else max)(blind, key=blind.get) if blind else None
    parts = [] if row["chance"] is None else [f"chance {row['chance']:.3f}"]
    parts += [f"{best} {blind[best]:.3f}"] if best else []
    return f"{row['score']:.3f}{interval}" + (f"; {', '.join(parts)}" if parts else "")


def _curves(found):
    panels, said = [], []
    for run in found:
        if not (run.path / "history.csv").exists() or len(run.history) < 2:
            continue
        columns = [name for name in run.history.columns if name.endswith("loss") and run.history[name].notna().any()]
        title = _called(run)
        panels.append(
            plots.curves(
                run.history.rename(columns={"epoch": "Epoch"}),
                "Epoch",
                columns,
                title=title,
                ylabel="Loss",
                labels=[c.replace("_", " ") for c in columns],
            )
        )
        last = run.history.iloc[-1]
        said.append(
            f"{title}, {len(run.history)} epochs, last "
            + ", ".join(f"{c.replace('_', ' ')} {last[c]:.4g}" for c in columns)
        )
    if not panels:
        return None
    rows = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    return plots.picture(rows, alt="Loss over epochs: " + "; ".join(said) + ".", height=2.8)


def _overview(found):
    table = pd.DataFrame(verdict.overview([run.metrics for run in found])).round(3)
    first = ["split", "verdict", "model"]
    table = table[first + [c for c in table if c not in first]]
    return table.assign(run=[run.path.name for run in found]).fillna("n/a")


def _as_dict(settings):
    """Names and values of validated settings (pydantic or a dataclass)."""
    if hasattr(settings, "model_dump"):
        return settings.model_dump()
    return dict(vars(settings))


def _told(value):
    return "—" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
