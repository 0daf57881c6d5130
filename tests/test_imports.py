"""What an import loads: nothing heavy by itself, torch only where it computes, and one direction between modules."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "librosa",
    "mne",
    "panel",
    "matplotlib",
    "holoviews",
    "pandas",
    "numpy",
    "scipy",
    "sklearn",
    "IPython",
)
COMMANDS = (
    "demo", "ingest", "info", "train", "sweep", "evaluate", "reconstruct", "report", "page", "listening-test", "app",
)  # fmt: skip

# Modules that never need torch, in the order of the layers.
WITHOUT_TORCH = (
    "errors", "store", "sound", "music", "features", "exploration", "splits", "metrics", "stats", "simulate",
    "datasets", "inversion",
)  # fmt: skip


def python(code, *, cwd=ROOT):
    """Standard output of a fresh interpreter that runs `code`."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def best_seconds(code, *, runs=3):
    """Processor seconds that `code` takes in a fresh interpreter, its start included: the best of some runs.

    Loading is computation, so these are the seconds of an idle machine, whatever else this one is doing.
    """
    measured = f"import sys, time\ntry:\n    {code}\nfinally:\n    print(time.process_time(), file=sys.stderr)"
    times = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", measured], capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert done.returncode == 0, done.stderr
        times.append(float(done.stderr.split()[-1]))
    return min(times)


def loaded_after(code, names):
    """Which of `names` are in sys.modules after `code`."""
    return python(f"{code}\nimport sys\nprint(*[name for name in {tuple(names)} if name in sys.modules])").split()


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    assert loaded_after("import eegviz", HEAVY) == []
    assert best_seconds("import eegviz") <= 0.3


def test_help_is_quick_and_loads_nothing_heavy():
    assert loaded_after("import eegviz.cli", HEAVY) == []
    assert best_seconds("sys.argv = ['eegviz', '--help']; from eegviz.cli import main; main()") <= 0.5


def test_help_of_the_installed_command_lists_the_commands():
    program = Path(sys.executable).with_name("eegviz")
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert listed >= set(COMMANDS)


def test_only_models_and_training_need_torch():
    lines = "\n".join(
        f"import eegviz.{module}\nassert 'torch' not in sys.modules, 'eegviz.{module} loads torch'"
        for module in WITHOUT_TORCH
    )
    python(f"import sys\n{lines}")


@pytest.mark.parametrize("module", ["store", "features", "datasets", "training", "evaluation"])
def test_what_computes_draws_nothing(module):
    assert loaded_after(f"import eegviz.{module}", ("matplotlib", "holoviews", "panel", "ipywidgets", "bokeh")) == []


def test_imports_go_one_way():
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_its_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer for contract in contracts for layer in contract.get("layers", [])]
    placed = {name.strip() for layer in layers for part in layer.split("|") for name in part.split(":")}
    package = ROOT / "eegviz"
    modules = {f"eegviz.{path.stem}" for path in package.glob("*.py") if path.stem != "__init__"}
    modules |= {f"eegviz.{path.parent.name}" for path in package.glob("*/__init__.py")}
    assert sorted(modules - placed) == [], "modules that no layer of [tool.importlinter] holds"
    assert sorted(placed - modules) == [], "layers without a module"
