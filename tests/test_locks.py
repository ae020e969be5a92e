"""requirements.in, the hashed locks, conda.yaml and the Python version agree."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return {package.lower(): version for package, version in PIN.findall((ROOT / name).read_text())}


def conda() -> dict[str, list]:
    return dict(yaml.safe_load((ROOT / "conda.yaml").read_text()))


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_every_direct_dependency_is_pinned_and_locked_at_that_version(name: str) -> None:
    wanted = [line for line in (ROOT / f"{name}.in").read_text().splitlines() if line and line[0] not in "#-"]

    assert len(pins(f"{name}.in")) == len(wanted)
    assert pins(f"{name}.in").items() <= pins(f"{name}.txt").items()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_locked_package_carries_a_hash(name: str) -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())

    assert [block for block in blocks if block[0] != "#" and "--hash=sha256:" not in block] == []


def test_the_two_locks_do_not_contradict_each_other() -> None:
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")

    assert {
        name: development[name] for name in runtime.keys() & development.keys()
    }.items() <= runtime.items()


def test_conda_yaml_holds_the_same_pins_as_the_lock_for_python_3_11() -> None:
    *base, pip = conda()["dependencies"]

    assert "python=3.11" in base
    assert {tuple(pin.lower().split("==")) for pin in pip["pip"]} == {
        (name, version) for name, version in pins("requirements.txt").items()
    }
