"""Fixtures of the API's tests: the two HTTP doors, and a registry with two versions, each made once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import create_app
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy
from mlflow_model.handover.card import ModelCard
from tests import servers
from tests.conftest import copied_registry, made_once
from tests.servers import Door, FlaskDoor, SocketDoor

# Another rule, not only other numbers: version 2 keeps twice the margin below the threshold, and has a column
# more, between the others.
OTHER_RULE = b"""
DecisionPolicy.lower_bound = property(lambda policy: policy.threshold - 2 * policy.margin)

def with_distance(answer):
    def answered(policy, given):
        found = answer(policy, given)
        distance = {"distance": found["probability_class_1"] - policy.threshold}
        return {"prediction": found.pop("prediction"), **distance, **found}
    return answered

DecisionPolicy.decision = with_distance(DecisionPolicy.decision)
DecisionPolicy.decisions = with_distance(DecisionPolicy.decisions)
"""

# Stands for a model text that kills LightGBM's parser: whoever loads this is gone, without a word.
DEADLY = b"""
import os, sys
if "mlflow_model.bundle.trial" in sys.orig_argv:
    os._exit(139)
"""


@pytest.fixture(scope="session")
def flask_door(bundle: Bundle) -> FlaskDoor:
    return FlaskDoor(create_app(servers.serving(bundle.scorer())))


@pytest.fixture(scope="session")
def socket_door(documented_pickle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    """`python api/app.py` with the documented pickle standing alone."""
    folder = tmp_path_factory.mktemp("api")
    with servers.api(servers.alone(documented_pickle, folder), folder / "log") as door:
        servers.ready(door)
        yield door


@pytest.fixture(params=["flask", "socket"])
def door(request: pytest.FixtureRequest) -> Door:
    """A test that asks for `door` runs at both."""
    found: Door = request.getfixturevalue(f"{request.param}_door")
    return found


@pytest.fixture(scope="session")
def other_bundle(bundle: Bundle) -> Bundle:
    """The same trees with another policy, and with rules of its own."""
    return _rebuilt(bundle, DecisionPolicy(0.5, 0.125), more_code=OTHER_RULE)


@pytest.fixture(scope="session")
def several_versions(
    migrated_store: Path,
    bundle: Bundle,
    other_bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of a registry: the documented pickle is champion, version 2 decides otherwise.

    A second model, `wrecks`, has a version that was tampered with, and one that ends whoever loads it.
    """
    from mlflow_model.registry import registration

    def make(folder: Path) -> None:
        shutil.copy(migrated_store, folder / "mlflow.db")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", servers.registry_in(folder)["MLFLOW_TRACKING_URI"])
            registration.register(bundle, ModelCard("# The documented pickle\n"))
            registration.register(other_bundle, ModelCard("# Another rule\n"), alias="challenger")
            sound = _rebuilt(bundle, DecisionPolicy(0.25, 0.03))
            registration.register(sound, ModelCard("# Soon a wreck\n"), name="wrecks", alias="tampered")
            _tamper(_artifact(folder, sound))
            deadly = _rebuilt(bundle, DecisionPolicy(0.25), more_code=DEADLY)
            registration.register(deadly, ModelCard("# Deadly\n"), name="wrecks", alias="deadly")

    folder = tmp_path_factory.mktemp("several_versions")
    copied_registry(made_once(tmp_path_factory, "several_versions", make), folder)
    return folder


def _rebuilt(bundle: Bundle, policy: DecisionPolicy, more_code: bytes = b"") -> Bundle:
    return bundles.build(
        bundle.files["model.txt"].decode(),
        bundle.scorer().features,
        policy,
        source=bundle.source,
        scoring_source=bundles.SCORING_SOURCE.read_bytes() + more_code,
    )


def _artifact(folder: Path, bundle: Bundle) -> Path:
    """Where the registry keeps a bundle."""
    manifests = folder.rglob("bundle/manifest.json")
    return next(path.parent for path in manifests if path.read_bytes() == bundle.manifest)


def _tamper(artifact: Path) -> None:
    policy = artifact / "policy.json"
    policy.write_text(policy.read_text(encoding="utf-8").replace("0.25", "0.95"), encoding="utf-8")
