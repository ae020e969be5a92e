"""Who may import what: data flows one way, and what decides stands alone."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"mlflow_model", "training", "api", "dashboard", "batch", "journal", "monitoring", "benchmarks"}
SERVING = {"api", "batch", "dashboard", "journal", "monitoring"}
FILES = [path for folder in sorted(OURS) for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it, by their full names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def of(*folders: str) -> list[Path]:
    return [path for path in FILES if path.relative_to(ROOT).parts[0] in folders]


def importers_of(package: str) -> set[str]:
    everything = [*FILES, ROOT / "register.py"]
    return {str(path.relative_to(ROOT)) for path in everything if package in packages(path)}


@pytest.mark.parametrize("name", ["scoring", "features", "errors"])
def test_what_others_stand_on_imports_nothing_of_ours(name: str) -> None:
    assert packages(ROOT / "mlflow_model" / f"{name}.py") & OURS == set()


def test_the_sealed_code_needs_the_standard_library_and_numpy_alone() -> None:
    assert packages(ROOT / "mlflow_model" / "scoring.py") - sys.stdlib_module_names == {"numpy"}


def test_the_pyfunc_needs_mlflow_and_pandas_alone() -> None:
    assert packages(ROOT / "mlflow_model" / "pyfunc.py") - sys.stdlib_module_names == {"mlflow", "pandas"}


def test_mlflow_model_imports_no_other_folder_of_ours() -> None:
    assert {str(path) for path in of("mlflow_model") if packages(path) & (OURS - {"mlflow_model"})} == set()


def test_what_serves_never_imports_training() -> None:
    assert {str(path) for path in of(*SERVING) if "training" in packages(path)} == set()


def test_training_never_imports_what_serves() -> None:
    assert {str(path) for path in of("training") if packages(path) & SERVING} == set()


def test_the_dashboard_knows_the_api_over_http_only() -> None:
    assert {str(path) for path in of("dashboard") if packages(path) & (OURS - {"dashboard"})} == set()


def test_mlflow_is_imported_by_four_modules_and_the_training_alone() -> None:
    elsewhere = {name for name in importers_of("mlflow") if not name.startswith("training/")}

    modules = ("registry", "registration", "promotion", "pyfunc")
    assert elsewhere == {f"mlflow_model/{module}.py" for module in modules}


def test_only_the_registry_sets_a_tracking_uri() -> None:
    setters = {str(path.relative_to(ROOT)) for path in FILES if "set_tracking_uri" in path.read_text()}

    assert setters == {"mlflow_model/registry.py"}


def test_only_the_border_reads_pickles_and_only_training_writes_one() -> None:
    others_do = {"benchmarks/contenders/plain_flask.py"}  # the speed of unpickling is compared with ours
    assert importers_of("pickle") - others_do <= {"mlflow_model/legacy.py", "training/__main__.py"}
    assert importers_of("joblib") | importers_of("cloudpickle") | importers_of("dill") == set()
