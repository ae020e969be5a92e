"""Who may import which library. Who may import whom of ours stands in pyproject.toml, for `lint-imports`.

And which fixtures the tests share.
"""

import ast
import functools
import re
import sys
from pathlib import Path

import pytest

from tests.rooms import OURS

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for folder in OURS for path in sorted((ROOT / folder).rglob("*.py"))]


@functools.cache
def packages(path: Path) -> frozenset[str]:
    """The top-level packages that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return frozenset(name.partition(".")[0] for name in names)


def importers_of(package: str) -> set[str]:
    everything = [*FILES, ROOT / "register.py"]
    return {str(path.relative_to(ROOT)) for path in everything if package in packages(path)}


def test_every_folder_with_code_is_looked_at() -> None:
    folders = {path.parent for path in ROOT.glob("*/*.py")} - {
        ROOT / name for name in ("tests", ".venv", ".ci")
    }

    assert {folder.name for folder in folders} == set(OURS)


@pytest.mark.parametrize("name", ["scoring.py", "leaf_masks.py"])
def test_the_sealed_code_needs_the_standard_library_and_numpy_alone(name: str) -> None:
    assert packages(ROOT / "mlflow_model/bundle" / name) - sys.stdlib_module_names == {"numpy"}


def test_the_pyfunc_needs_mlflow_and_pandas_alone() -> None:
    assert packages(ROOT / "mlflow_model/bundle/pyfunc.py") - sys.stdlib_module_names == {"mlflow", "pandas"}


def test_mlflow_is_imported_by_the_registry_the_pyfunc_the_gate_and_the_training_alone() -> None:
    allowed = ("mlflow_model/registry/", "mlflow_model/bundle/pyfunc.py", "promotion/", "training/")

    assert {name for name in importers_of("mlflow") if not name.startswith(allowed)} == set()


def test_only_the_registry_sets_a_tracking_uri() -> None:
    setters = {str(path.relative_to(ROOT)) for path in FILES if "set_tracking_uri" in path.read_text()}

    assert setters == {"mlflow_model/registry/connection.py"}


def test_nothing_reads_pickles_by_pickle_and_only_training_writes_one() -> None:
    others_do = {"benchmarks/contenders/plain_flask.py"}  # the speed of unpickling is compared with ours
    assert importers_of("pickle") - others_do == {"training/__main__.py"}
    assert importers_of("joblib") | importers_of("cloudpickle") | importers_of("dill") == set()


def test_no_group_of_a_pattern_has_a_possessive_quantifier() -> None:
    """Before Python 3.11.5 it matches too much (CPython issue 106052); `csv_dialect.POSSESSIVE` looks."""
    possessive = re.compile(r"\)(?:[?*+]|\{[0-9,]+\})\+|\(\?>")
    found = {
        str(path.relative_to(ROOT)): possessive.findall(path.read_text())
        for path in [*FILES, ROOT / "register.py", ROOT / "install.py"]
    }

    assert {path: groups for path, groups in found.items() if groups} == {"features/csv_dialect.py": [")?+"]}


def test_a_fixture_that_modules_share_has_a_name_of_its_own() -> None:
    """What one module names in pytest_plugins every module gets: of two of one name the last one wins."""
    modules = ROOT.glob("tests/test_*.py")
    lists = re.compile(r"^pytest_plugins = \[.*\]$", re.MULTILINE)
    named = " ".join(line for path in modules for line in lists.findall(path.read_text()))
    plugins = set(re.findall(r"tests\.(\w+)", named))
    names = [
        name for plugin in sorted({*plugins, "conftest"}) for name in fixtures(ROOT / f"tests/{plugin}.py")
    ]

    assert len(names) > len(plugins)
    assert sorted(names) == sorted(set(names))


def fixtures(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
        and any("fixture" in ast.unparse(one) for one in node.decorator_list)
    }
