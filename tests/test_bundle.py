"""A bundle reads back as it was written, or is refused; each version decides by its own code."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import MANIFEST, SCORING_SOURCE, Bundle
from mlflow_model.bundle.scoring import DecisionPolicy
from mlflow_model.errors import LoadingFailed
from tests.conftest import FEATURES

NAMES = sorted([*bundles.FILES, MANIFEST])


def built(bundle: Bundle, threshold: float, margin: float, code: bytes | None = None) -> Bundle:
    """The same trees under another policy, or with other rules."""
    text = bundle.files["model.txt"].decode()
    policy = DecisionPolicy(threshold, margin)
    return bundles.build(text, FEATURES, policy, source=bundle.source, scoring_source=code)


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    bundle.write(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_writing_then_reading_gives_the_same(bundle: Bundle, folder: Path) -> None:
    assert bundles.read(folder) == bundle


def test_the_same_parts_give_the_same_bytes(bundle: Bundle) -> None:
    first, second = built(bundle, 0.25, 0.02), built(bundle, 0.25, 0.02)

    assert first == second
    assert first.digest == second.digest


def test_another_margin_is_another_bundle(bundle: Bundle) -> None:
    assert built(bundle, 0.25, 0.02).digest != built(bundle, 0.25, 0.03).digest


def test_the_golden_rows_hold_missing_values_and_every_decision(bundle: Bundle) -> None:
    golden = json.loads(bundle.files["golden.json"])

    assert len(golden["rows"]) >= 50
    assert any(None in row for row in golden["rows"])
    assert set(golden["predictions"]) == {"Classe_0 (fiable)", "Classe_1 (risqué)", "Zone grise (incertain)"}


def few_splits() -> str:
    """A model of one tree with one split."""
    from lightgbm import LGBMClassifier

    values = np.array([[0.0], [1.0]] * 50)
    model = LGBMClassifier(n_estimators=1, num_leaves=2, n_jobs=1, random_state=0, verbosity=-1)
    return str(model.fit(values, values[:, 0]).booster_.model_to_string())


@pytest.mark.parametrize("margin", [0.0, 0.02, 0.25])
@pytest.mark.parametrize("trees", ["ordinary", "few splits"])
def test_any_model_and_margin_have_64_different_golden_rows(
    bundle: Bundle, margin: float, trees: str
) -> None:
    few = trees == "few splits"
    text, features = (few_splits(), ["Column_0"]) if few else (bundle.files["model.txt"].decode(), FEATURES)

    made = bundles.build(text, features, DecisionPolicy(0.25, margin), source=bundle.source)

    rows = json.loads(made.files["golden.json"])["rows"]
    assert len({tuple(row) for row in rows}) == len(rows) >= 64
    made.scorer()


def test_a_probability_equal_to_the_threshold_is_a_golden_row_even_without_a_margin(bundle: Bundle) -> None:
    reachable = json.loads(bundle.files["golden.json"])["probabilities"][20]

    golden = json.loads(built(bundle, reachable, 0.0).files["golden.json"])

    assert "Zone grise (incertain)" in golden["predictions"]


def test_the_manifest_holds_the_digest_of_every_other_file(bundle: Bundle) -> None:
    declared = json.loads(bundle.manifest)["files"]

    assert declared == {name: hashlib.sha256(content).hexdigest() for name, content in bundle.files.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [0, 0.3, 0.7, 0.999])
def test_one_changed_byte_anywhere_is_refused(folder: Path, name: str, place: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(len(content) * place)] ^= 1
    (folder / name).write_bytes(content)

    assert_refused(folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["truncated", "emptied", "removed", "a folder"])
def test_a_damaged_file_is_refused(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "removed":
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])

    assert_refused(folder)


def test_a_file_too_many_is_refused(folder: Path) -> None:
    (folder / "extra.py").write_text("print()")

    assert_refused(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere")


MANIFESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": lambda manifest: manifest | {"format": 4},
    "the format of before": lambda manifest: manifest | {"format": 2},
    "a format in words": lambda manifest: manifest | {"format": "3"},
    "a format that is true": lambda manifest: manifest | {"format": True},
    "no format": lambda manifest: {"files": manifest["files"]},
    "no files": lambda manifest: {"format": 3},
    "files as a number": lambda manifest: manifest | {"files": 3},
    "a list": lambda manifest: [manifest],
    "a file less": lambda manifest: manifest | {"files": dict(list(manifest["files"].items())[1:])},
    "a path outside": lambda manifest: manifest | {"files": manifest["files"] | {"../x": "0"}},
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_says_something_else_is_refused(folder: Path, name: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(MANIFESTS[name](manifest)))

    assert_refused(folder)


def assert_refused(folder: Path) -> None:
    with pytest.raises(
        LoadingFailed, match=r"^Erreur lors du chargement du modèle : .*register\.py"
    ) as refusal:
        bundles.read(folder)
    assert str(folder.parent) not in str(refusal.value)


def resealed(bundle: Bundle, folder: Path, **changed: bytes) -> Path:
    """A bundle that somebody changed, with digests that match the change."""
    files = {**bundle.files, **{name.replace("_", "."): content for name, content in changed.items()}}
    manifest = json.loads(bundle.manifest)
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    Bundle(files, json.dumps(manifest).encode()).write(folder / "resealed")
    return folder / "resealed"


def test_a_damaged_model_text_with_fitting_digests_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    text = bundle.files["model.txt"].replace(b"end of trees", b"")

    assert_refused(resealed(bundle, tmp_path, model_txt=text))


@pytest.mark.parametrize(
    ("key", "change", "complaint"),
    [
        ("raw_scores", lambda values: [values[0] + 1e-15, *values[1:]], "les scores"),
        ("probabilities", lambda values: [values[0] * (1 + 1e-12), *values[1:]], "les probabilités"),
        ("predictions", lambda values: [*values[:-1], "Classe_2"], "les décisions"),
        ("rows", lambda values: values[:3], "les scores"),
    ],
)
def test_a_model_that_does_not_give_its_known_answers_is_refused(
    bundle: Bundle, tmp_path: Path, key: str, change: Callable[[Any], Any], complaint: str
) -> None:
    golden = json.loads(bundle.files["golden.json"])
    golden[key] = change(golden[key])
    folder = resealed(bundle, tmp_path, golden_json=json.dumps(golden).encode())

    with pytest.raises(LoadingFailed, match=f"{complaint} .*ne sont pas reproduit"):
        bundles.read(folder).scorer()


def test_fewer_than_50_known_answers_are_not_enough(bundle: Bundle, tmp_path: Path) -> None:
    golden = json.loads(bundle.files["golden.json"])
    few = {key: values[:49] for key, values in golden.items()}
    folder = resealed(bundle, tmp_path, golden_json=json.dumps(few).encode())

    with pytest.raises(LoadingFailed, match=r"les scores .*ne sont pas reproduits"):
        bundles.read(folder).scorer()


def test_a_library_whose_exp_differs_in_the_last_bits_is_accepted(bundle: Bundle, tmp_path: Path) -> None:
    golden = json.loads(bundle.files["golden.json"])
    golden["probabilities"][0] *= 1 + 2**-52
    folder = resealed(bundle, tmp_path, golden_json=json.dumps(golden).encode())

    bundles.read(folder).scorer()


def test_an_interrupted_write_leaves_no_bundle(bundle: Bundle, folder: Path) -> None:
    (folder / MANIFEST).unlink()

    assert_refused(folder)


def test_two_versions_with_other_policies_and_other_rules_live_in_one_process(
    bundle: Bundle, documented_request: dict[str, float]
) -> None:
    shouting = SCORING_SOURCE.read_bytes().replace(b"return self.risky", b"return self.risky.upper()")
    mild, strict = built(bundle, 0.9, 0.05), built(bundle, 0.01, 0.0, shouting)

    first, second, again = mild.scorer(), strict.scorer(), mild.scorer()

    assert first.decide(documented_request)["prediction"] == "Classe_0 (fiable)"
    assert second.decide(documented_request)["prediction"] == "CLASSE_1 (RISQUÉ)"
    assert again.decide(documented_request) == first.decide(documented_request)


def test_the_same_bundle_can_be_moved(bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")

    assert bundles.read(tmp_path / "elsewhere") == bundle
