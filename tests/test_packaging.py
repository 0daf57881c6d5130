"""One lock, honest ranges, README's two commands, Binder, and notebooks that carry no output."""

import ast
import importlib.metadata
import os
import re
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEST_COMMAND = 'python -m pip install -c binder/constraints.txt -e ".[all,test]" && pytest'
DEMO_COMMAND = 'python -m pip install -c binder/constraints.txt -e ".[all]" && eegviz demo'


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def lines_of(path):
    """The lines of a requirements file without comments and empty lines."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    return [line for line in lines if line]


def pins():
    """Name → pinned version, of the pins that hold on every Python."""
    requirements = [Requirement(line) for line in lines_of("binder/constraints.txt")]
    return {normal(r.name): str(r.specifier).removeprefix("==") for r in requirements if r.marker is None}


def dependencies(*extras):
    """The project's own requirements, those of `extras` (default: all) with them, less references to itself."""
    tables = PROJECT["optional-dependencies"]
    rows = [*PROJECT["dependencies"], *[row for extra in extras or tables for row in tables[extra]]]
    return [requirement for requirement in map(Requirement, rows) if requirement.name != PROJECT["name"]]


def test_constraints_are_exact_pins_and_nothing_else():
    lines = lines_of("binder/constraints.txt")
    exact = re.compile(r'[a-z0-9-]+==[0-9][0-9a-z.]*(; python_version (==|>=) "3\.1[0-9]")?')
    assert [line for line in lines if not exact.fullmatch(line)] == []
    assert "torch==2.13.0" in lines
    names = [line.split("==")[0] for line in lines]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("requirement", dependencies(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_inside_its_range_with_a_floor(requirement):
    version = pins().get(normal(requirement.name))
    assert version is not None, f"{requirement.name} has no pin in binder/constraints.txt"
    assert requirement.specifier.contains(version), f"{requirement} does not admit {version}"
    assert any(part.operator == ">=" for part in requirement.specifier), f"{requirement} has no floor"


def test_what_all_and_test_install_is_pinned():
    """Everything that the installed dependencies need in turn, on this Python and system."""
    pinned, seen, todo = pins(), set(), [(r, ("",)) for r in dependencies()]
    while todo:
        requirement, extras = todo.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        key = (normal(requirement.name), tuple(sorted(requirement.extras)))
        if key in seen:
            continue
        seen.add(key)
        # torch's standard build brings CUDA packages that torch itself pins
        if key[0] != "torch":
            rows = importlib.metadata.requires(requirement.name) or []
            todo += [(Requirement(row), ("", *requirement.extras)) for row in rows]
    everywhere = {line.split("==")[0] for line in lines_of("binder/constraints.txt")}
    assert sorted({name for name, _ in seen} - everywhere) == []
    assert len(pinned) > 100


def imported(folder):
    """Top-level names of the third-party modules that the Python files and notebooks under `folder` import."""
    sources = [path.read_text() for path in (ROOT / folder).rglob("*.py")]
    for path in (ROOT / folder).rglob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        sources += [cell.source for cell in cells if cell.cell_type == "code"]
    names = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"eegviz", "tests"}


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("eegviz", ("train", "notebooks", "app", "cluster", "encoders")), ("notebooks", ("train", "notebooks")),
        ("tests", ("train", "notebooks", "app", "cluster", "encoders", "test")),
    ],
)  # fmt: skip
def test_every_import_is_a_declared_dependency(folder, extras):
    owners = importlib.metadata.packages_distributions()
    declared = {normal(requirement.name) for requirement in dependencies(*extras)}
    missing = {name for name in imported(folder) if not declared & {normal(owner) for owner in owners.get(name, [])}}
    assert sorted(missing) == []


def test_all_holds_every_extra_that_people_use():
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert Requirement(everything).extras == {"train", "notebooks", "app", "cluster", "encoders"}
    named = [
        "jupyterlab", "ipywidgets", "panel", "holoviews", "torch", "librosa", "mne", "scikit-image", "numpy",
        "papermill",
    ]  # fmt: skip
    declared = {requirement.name for requirement in dependencies("train", "notebooks", "app")}
    assert sorted(set(named) - declared) == []


@pytest.mark.parametrize("command", [TEST_COMMAND, DEMO_COMMAND])
@pytest.mark.parametrize("path", ["README.md", ".ci/run"])
def test_the_two_commands_stand_word_for_word(path, command):
    assert command in (ROOT / path).read_text()


def test_scripts_can_be_run():
    scripts = [ROOT / ".ci/run", ROOT / "binder/postBuild"]
    assert [path.name for path in scripts if not os.access(path, os.X_OK)] == []
    assert "run: bash .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text()


def test_binder_takes_the_same_versions_on_the_same_python():
    assert (ROOT / "binder/runtime.txt").read_text().strip() == "python-3.11"
    assert lines_of("binder/requirements.txt")[:2] == ["-c constraints.txt", "-e .[all]"]


def test_binder_makes_the_stores_that_notebooks_open():
    made = (ROOT / "binder/postBuild").read_text()
    named = {
        m
        for path in NOTEBOOKS
        for m in re.findall(r'"\.\./(reports/demo/[a-z]+)"', path.read_text().replace('\\"', '"'))
    }
    assert {name for name in named - {"reports/demo/runs"} if f'"{name}"' not in made} == set()
    assert len(named) > 2


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stripped_and_its_parameters_are_literals(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert "papermill" not in notebook.metadata
    assert "widgets" not in notebook.metadata

    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    names = []
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.Assign), f"not a parameter: {ast.unparse(statement)}"
        (target,) = statement.targets
        ast.literal_eval(statement.value)
        names.append(target.id)
    assert {"store", "out", "seed", "fast"} <= set(names)
    assert len(set(names)) == len(names)
