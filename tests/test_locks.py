"""requirements*.in, the hashed locks, conda.yaml and the Python version agree."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from mlflow_model import machine
from tests.rooms import OURS
from tests.test_architecture import packages

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements", "requirements-serve", "requirements-dev", "requirements-spark")
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return {package.lower(): version for package, version in PIN.findall((ROOT / name).read_text())}


def conda() -> dict[str, list]:
    return dict(yaml.safe_load((ROOT / "conda.yaml").read_text()))


@pytest.mark.parametrize("name", LOCKS)
def test_every_direct_dependency_is_pinned_and_locked_at_that_version(name: str) -> None:
    wanted = [line for line in (ROOT / f"{name}.in").read_text().splitlines() if line and line[0] not in "#-"]

    assert len(pins(f"{name}.in")) == len(wanted)
    assert pins(f"{name}.in").items() <= pins(f"{name}.txt").items()


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_carries_a_hash(name: str) -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / f"{name}.txt").read_text().strip())

    assert [block for block in blocks if block[0] != "#" and "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", LOCKS)
def test_no_package_is_for_one_python_alone(name: str) -> None:
    """A marker would be: the locks are made for the oldest Python, and hold for the newest too."""
    assert "python_version" not in (ROOT / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_names_a_package_index(name: str) -> None:
    assert "://" not in (ROOT / f"{name}.txt").read_text()


def test_the_serving_lock_holds_nothing_but_pins_of_the_whole_lock() -> None:
    assert pins("requirements-serve.txt").items() <= pins("requirements.txt").items()


_OF_COMMANDS_ALONE = ("pyfunc.py", "registration.py")


def test_the_serving_set_names_what_api_and_journal_import_and_the_package_with_lightgbms_library() -> None:
    """Except what registering imports, types, and Flask's own Werkzeug."""
    rooms = ("api", "journal", "mlflow_model")
    files = [path for folder in rooms for path in (ROOT / folder).rglob("*.py")]
    imported = {name for path in files if path.name not in _OF_COMMANDS_ALONE for name in packages(path)}
    theirs = imported - sys.stdlib_module_names - {*OURS, "_typeshed", "werkzeug"}
    called = {"mlflow": "mlflow-skinny", "prometheus_client": "prometheus-client", "yaml": "pyyaml"}

    assert {called.get(name, name) for name in theirs} | {"lightgbm"} == set(pins("requirements-serve.in"))


def test_the_lock_for_development_does_not_contradict_that_for_running() -> None:
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")

    assert {
        name: development[name] for name in runtime.keys() & development.keys()
    }.items() <= runtime.items()


def test_conda_yaml_holds_the_same_pins_as_the_lock_for_the_pythons_that_a_command_runs_on() -> None:
    *base, pip = conda()["dependencies"]

    (_, oldest), (major, newest) = machine.OLDEST, machine.NEWEST
    assert f"python>=3.{oldest},<{major}.{newest + 1}" in base
    assert {tuple(pin.lower().split("==")) for pin in pip["pip"]} == {
        (name, version) for name, version in pins("requirements.txt").items()
    }
