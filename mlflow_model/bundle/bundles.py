"""A bundle holds everything that decides: trees, policy, features, code, golden rows, and the digest of each.

Format 3 is one folder: model.txt, policy.json, features.json, population.json, golden.json, scoring.py,
leaf_masks.py, and manifest.json with the format number, the source and the SHA-256 of every other file. The
digest of the manifest names the bundle. Two earlier formats are read, too: 2 has no leaf_masks.py, and has
LightGBM score many clients; 1 has no population.json either, and its code does not explain.
Increase FORMAT for any change that an older reader could misread: a reader refuses formats it does not know.
"""

import hashlib
import itertools
import json
import logging
import math
import os
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlflow_model import files
from mlflow_model.bundle.limits import MOST_BYTES
from mlflow_model.bundle.scoring import LEAF_MASKS, DecisionPolicy, Doubles, Scorer
from mlflow_model.errors import REGISTER_AGAIN, LoadingFailed

FORMAT = 3
MANIFEST = "manifest.json"
_OF_1 = frozenset({"model.txt", "policy.json", "features.json", "golden.json", "scoring.py"})
_OF_2 = _OF_1 | {"population.json"}
FILES = _OF_2 | {LEAF_MASKS}
FILES_OF = {1: _OF_1, 2: _OF_2, FORMAT: FILES}
GOLDEN_ROWS = 64
FEWEST_GOLDEN_ROWS = 50
SCORING_SOURCE = Path(__file__).with_name("scoring.py")
LEAF_MASKS_SOURCE = Path(__file__).with_name(LEAF_MASKS)

_CANDIDATE_ROWS = 4_000
_PROBABILITY_ULPS = 4
_log = logging.getLogger("scoring_client")


@dataclass(frozen=True)
class Bundle:
    """The bytes of a verified or newly built bundle. They never change, so what was checked is what runs."""

    files: Mapping[str, bytes]
    manifest: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds the digest of everything else."""
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def source(self) -> dict[str, str]:
        """What the bundle was made from: its `kind` and `sha256`."""
        return dict(json.loads(self.manifest)["source"])

    @property
    def policy(self) -> dict[str, Any]:
        """policy.json: threshold, margin, labels and provenance."""
        return dict(json.loads(self.files["policy.json"]))

    def golden_rows(self) -> Doubles:
        """The made-up clients whose answers every load reproduces: one a row, NaN for a missing value."""
        rows = json.loads(self.files["golden.json"])["rows"]
        return np.array([[math.nan if value is None else value for value in row] for row in rows])

    def write(self, folder: Path) -> None:
        """Write the bundle into a new folder of this user alone.

        The manifest is written last, because a folder without one is not a bundle.
        """
        folder.mkdir(mode=0o700, parents=True)
        for name, content in {**self.files, MANIFEST: self.manifest}.items():
            files.write(folder / name, content)

    def scorer(self) -> Scorer:
        """Run the bundle's own scoring.py and check its answers to the golden rows. Raises LoadingFailed."""
        scorer = _run(self.files["scoring.py"], self.digest).Scorer(self.files)
        _check_golden(scorer, self.golden_rows(), json.loads(self.files["golden.json"]))
        if differing := getattr(scorer, "differing_rows", 0):  # code of the former formats has no such number
            _log.warning("%d hard rows differ by leaf masks: LightGBM scores all clients", differing)
        return scorer


def columns(scorer: Scorer) -> list[str]:
    """The names of a decision's columns, of the version's own code."""
    return [*scorer.decide_table({name: () for name in scorer.features})]


def build(
    text: str,
    features: Sequence[str],
    policy: DecisionPolicy,
    *,
    source: Mapping[str, str],
    provenance: Mapping[str, Any] | None = None,
    population: Mapping[str, Any] | None = None,
    scoring_source: bytes | None = None,
) -> Bundle:
    """Assemble a bundle and record its own code's answers to its golden rows.

    The same arguments give the same bytes. `source`: what the bundle is made from (`kind`, `sha256`).
    `provenance`: how the policy was chosen. `population`: what the clients of the training were like, if that
    is known.
    """
    labels = {name: label for name, label in asdict(policy).items() if name not in ("threshold", "margin")}
    files = {
        "model.txt": text.encode(),
        "features.json": _canonical(list(features)),
        "policy.json": _canonical(
            {
                "threshold": float(policy.threshold),
                "margin": float(policy.margin),
                "labels": labels,
                "provenance": dict(provenance or {}),
            }
        ),
        "population.json": _canonical(dict(population or {})),
        "scoring.py": SCORING_SOURCE.read_bytes() if scoring_source is None else scoring_source,
        LEAF_MASKS: LEAF_MASKS_SOURCE.read_bytes(),
    }
    files["golden.json"] = _canonical(_golden(_run(files["scoring.py"], "new").Scorer(files), text))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = _canonical({"format": FORMAT, "source": dict(source), "files": digests})
    return Bundle(types.MappingProxyType(files), manifest)


def read(folder: Path, digest: str | None = None) -> Bundle:
    """Read a bundle and verify all of it: the format, exactly its files, every digest, the model text.

    `digest`: the bundle's own, if it is known. Raises LoadingFailed.
    """
    return _checked(_whole(_contents(folder)) if digest is None else read_again(folder, digest))


def verified(contents: Mapping[str, bytes]) -> Bundle:
    """The bundle of these files, manifest included, verified as by `read`. Raises LoadingFailed."""
    return _checked(_whole(contents))


def _checked(bundle: Bundle) -> Bundle:
    # Imported here: the workers read again what was checked, and start sooner without it.
    from mlflow_model.bundle import model_text

    try:
        model_text.check(bundle.files["model.txt"].decode(), json.loads(bundle.files["features.json"]))
    except ValueError as error:
        detail = str(error) if isinstance(error, model_text.BadModelText) else "texte du modèle illisible"
        raise LoadingFailed(f"{detail} ; {REGISTER_AGAIN}") from error
    return bundle


def read_again(folder: Path, digest: str) -> Bundle:
    """Read a bundle that `read` has verified before: the same checks, without that of the model text.

    Raises LoadingFailed.
    """
    bundle = _whole(_contents(folder))
    if bundle.digest != digest:
        raise LoadingFailed("le cache local a été modifié ; supprimez-le (MODEL_CACHE)")
    return bundle


def _contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, each of which only this user may be able to write. Raises LoadingFailed."""
    name = MANIFEST
    try:
        contents = {name: files.read(folder / name, MOST_BYTES[name])}
        with os.scandir(folder) as entries:
            others = {entry.name for entry in itertools.islice(entries, len(FILES) + 2)} - {MANIFEST}
        for name in sorted(others & FILES):
            contents[name] = files.read(folder / name, MOST_BYTES[name])
    except files.NotTrusted as error:
        raise LoadingFailed(
            f"'{name}' n’est pas un fichier de ce service seul ; supprimez le cache local (MODEL_CACHE)"
        ) from error
    except files.TooLarge as error:
        raise LoadingFailed(too_large(name)) from error
    except OSError as error:
        raise LoadingFailed(f"bundle incomplet ou illisible ; {REGISTER_AGAIN}") from error
    return contents | dict.fromkeys(others - FILES, b"")


def too_large(name: str) -> str:
    """The sentence about a file that is too large."""
    return f"'{name}' dépasse la limite de {MOST_BYTES[name] // 1024} Kio ; {REGISTER_AGAIN}"


def _whole(contents: Mapping[str, bytes]) -> Bundle:
    """The bundle of these files, manifest included. Compares every digest. Raises LoadingFailed."""
    manifest = contents[MANIFEST]
    found = {name: content for name, content in contents.items() if name != MANIFEST}
    expected, declared = _declared(manifest)
    if set(found) != expected or set(declared) != expected:
        raise LoadingFailed(f"le bundle n’a pas exactement les fichiers attendus ; {REGISTER_AGAIN}")
    for name in sorted(found):
        if hashlib.sha256(found[name]).hexdigest() != declared[name]:
            raise LoadingFailed(f"l’empreinte de '{name}' ne correspond pas au manifeste ; {REGISTER_AGAIN}")
    return Bundle(types.MappingProxyType(found), manifest)


def file_names(manifest: bytes) -> frozenset[str]:
    """The files that a bundle with this manifest has beside it. Raises LoadingFailed."""
    return _declared(manifest)[0]


def _declared(manifest: bytes) -> tuple[frozenset[str], dict[str, str]]:
    """The files of the bundle's format, and the digests that the manifest declares. Raises LoadingFailed."""
    try:
        content = json.loads(manifest)
        found, digests = content["format"], dict(content["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LoadingFailed(f"le manifeste du bundle est illisible ; {REGISTER_AGAIN}") from error
    if type(found) is not int or found not in FILES_OF:
        raise LoadingFailed(
            f"le format de bundle n’est pas pris en charge (attendu : {FORMAT}) ; {REGISTER_AGAIN}"
        )
    return FILES_OF[found], digests


def _canonical(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def _run(source: bytes, digest: str) -> Any:
    """Execute a bundle's scoring.py as a module of its own, so that versions never share code."""
    module = types.ModuleType(f"scoring_{digest[:12]}")
    code = compile(source, f"<scoring.py of bundle {digest[:12]}>", "exec")
    exec(code, vars(module))  # noqa: S102 - its digest was verified, or it was just built
    return module


# ---- Golden rows: made-up clients, with the answers that every later load must reproduce


def _golden(scorer: Scorer, text: str) -> dict[str, Any]:
    """At least GOLDEN_ROWS different rows at and around the model's splits, with their answers."""
    candidates = _candidate_rows(scorer, text)
    rows = candidates[_telling(candidates, scorer)]
    return {
        "rows": [[None if math.isnan(value) else value for value in row] for row in rows.tolist()],
        "raw_scores": scorer.raw_scores(rows).tolist(),
        "probabilities": scorer.probabilities(rows).tolist(),
        "predictions": _labels(scorer, rows),
    }


def _telling(candidates: Doubles, scorer: Scorer) -> np.ndarray[Any, np.dtype[np.intp]]:
    """The row numbers of the candidates that tell most about a model.

    They are spread over the scores, nearest to the bounds, or have missing values; others fill up to
    GOLDEN_ROWS. With a margin of 0 the grey zone is a single probability, which few models ever give. If a
    candidate row has it, that row is the nearest to the threshold, and is chosen.
    """
    probabilities = scorer.probabilities(candidates)
    spread = np.argsort(probabilities, kind="stable")[:: len(candidates) // (GOLDEN_ROWS // 2)]
    bounds = (scorer.policy.lower_bound, scorer.policy.threshold, scorer.policy.upper_bound)
    nearest = [
        np.argsort(np.abs(probabilities - bound), kind="stable")[: GOLDEN_ROWS // 4] for bound in bounds
    ]
    missing = np.flatnonzero(np.isnan(candidates).any(axis=1))[: GOLDEN_ROWS // 4]
    chosen = np.unique(np.concatenate([spread, *nearest, missing]))
    others = np.setdiff1d(np.arange(len(candidates)), chosen)
    return np.sort(np.concatenate([chosen, others[: max(0, GOLDEN_ROWS - len(chosen))]]))


def _candidate_rows(scorer: Scorer, text: str) -> Doubles:
    """Rows with values on, just below and just above each feature's splits.

    A quarter of the values are missing, for features whose missing values the model has learnt. Rows of one
    small integer are added, because a model of few splits would not have GOLDEN_ROWS different rows. Infinite
    thresholds are left out: LightGBM writes one where a split separates only missing values.
    """
    generator = np.random.default_rng(0)
    split_values = _split_values(text)
    columns = []
    for index, name in enumerate(scorer.features):
        values = np.array(split_values.get(index, [0.0]))
        values = np.concatenate([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf)])
        column = generator.choice(values[np.isfinite(values)], _CANDIDATE_ROWS)
        if name in scorer.nullable:
            column[generator.random(_CANDIDATE_ROWS) < 0.25] = np.nan
        columns.append(column)
    integers = np.repeat(np.arange(float(GOLDEN_ROWS))[:, np.newaxis], len(columns), axis=1)
    return _distinct(np.concatenate([np.column_stack(columns), integers]))


def _distinct(rows: Doubles) -> Doubles:
    """The different rows. By their bytes: np.unique treats two NaN as different."""
    return np.array(list({row.tobytes(): row for row in rows}.values()))


def _split_values(text: str) -> dict[int, list[float]]:
    features = " ".join(re.findall(r"^split_feature=(.*)$", text, re.MULTILINE)).split()
    thresholds = " ".join(re.findall(r"^threshold=(.*)$", text, re.MULTILINE)).split()
    values: dict[int, list[float]] = {}
    for feature, threshold in zip(features, thresholds, strict=True):
        values.setdefault(int(feature), []).append(float(threshold))
    return values


def _labels(scorer: Scorer, rows: Doubles) -> list[str]:
    table = dict(zip(scorer.features, rows.T, strict=True))
    return [str(label) for label in scorer.decide_table(table)["prediction"]]


def _check_golden(scorer: Scorer, rows: Doubles, golden: Mapping[str, Any]) -> None:
    """Require the same raw scores bit for bit, the same labels, and probabilities within 4 ulp.

    `exp` differs between C libraries by that much. Raises LoadingFailed.
    """
    if len(rows) < FEWEST_GOLDEN_ROWS or not np.array_equal(scorer.raw_scores(rows), golden["raw_scores"]):
        raise LoadingFailed(f"les scores des lignes de référence ne sont pas reproduits ; {REGISTER_AGAIN}")
    expected = np.array(golden["probabilities"])
    ulps = np.max(np.abs(scorer.probabilities(rows) - expected) / np.spacing(expected))
    if not ulps <= _PROBABILITY_ULPS:
        raise LoadingFailed(
            f"les probabilités des lignes de référence ne sont pas reproduites ; {REGISTER_AGAIN}"
        )
    if ulps:
        _log.warning("golden rows: probabilities differ by %d ulp from those recorded (another exp)", ulps)
    if _labels(scorer, rows) != golden["predictions"]:
        raise LoadingFailed(
            f"les décisions des lignes de référence ne sont pas reproduites ; {REGISTER_AGAIN}"
        )
