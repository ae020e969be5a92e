"""`python -m journal show --explain`: why a decision was made, by the version that made it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explain import explanation
from journal import models
from journal.models import Model
from journal.receipt import Receipt
from mlflow_model.bundle.scoring import Scorer
from tests.journal_support import changed, erased, id_of, journal_at, receipt_of, typed, write
from tests.servers import ROOT

Capture = pytest.CaptureFixture[str]
Client = dict[str, float | None]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return journal_at(tmp_path, monkeypatch)


@pytest.fixture
def champion(journal: Path, registered: Path) -> tuple[Scorer, Model]:
    from mlflow_model.registry import fetching, versions

    bundle = fetching.download(versions.resolve("models:/scoring-client@champion"))
    return bundle.scorer(), models.of_scorer(bundle.scorer(), "scoring-client", "1", bundle.digest, "0")


@pytest.fixture
def decided(champion: tuple[Scorer, Model], documented_request: Client) -> Receipt:
    """The documented client's receipt, who has told no first external score."""
    scorer, model = champion
    row = [documented_request[name] for name in scorer.features]
    row[scorer.features.index("EXT_SOURCE_1")] = np.nan
    table = {name: np.array([value]) for name, value in zip(scorer.features, row, strict=True)}
    outputs = [column.tolist()[0] for column in scorer.decide_table(table).values()]
    return receipt_of(model=model, inputs=tuple(row), outputs=tuple(outputs), client_reference="dossier 7")


def test_a_decision_is_explained_in_the_sentences_of_the_api(
    decided: Receipt, champion: tuple[Scorer, Model], capsys: Capture
) -> None:
    write([decided])
    scorer = champion[0]
    client = dict(zip(scorer.features, decided.inputs, strict=True)) | {"EXT_SOURCE_1": None}
    answer = dict(zip(champion[1].columns, decided.outputs, strict=True))
    of_api = explanation.of(scorer, client, answer)

    code, said, errors = typed(f"show {id_of(decided)} --explain", capsys)

    assert (code, errors) == (0, "")
    receipt, _, reasons = said.partition("Raisons pour le crédit")
    assert receipt == typed(f"show {id_of(decided)}", capsys)[1]
    told = [*of_api["reasons"]["for"], *of_api["reasons"]["against"], *of_api["warnings"]]
    expected = [*(one["sentence"] for one in told), of_api["offers"]["sentence"]]
    assert len(told) > 4
    assert [line[2:] for line in reasons.splitlines() if line.startswith("  ")][: len(expected)] == expected
    for title in ("Raisons contre le crédit", "Avertissements", "Changements possibles"):
        assert f"\n{title}" in reasons


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"digest": "cd" * 32}, "scoring-client version 1 of this registry is another bundle"),
        ({"version": None}, "scoring-client was served from a file and has no version in the registry"),
        ({"version": "9"}, "scoring-client version 9: "),
    ],
    ids=["another bundle", "from a file", "gone"],
)
def test_a_version_that_is_gone_is_one_sentence_and_the_receipts_are_shown(
    decided: Receipt, change: dict[str, Any], reason: str, capsys: Capture
) -> None:
    other = receipt_of(
        model=replace(decided.model, **change),
        inputs=decided.inputs,
        outputs=decided.outputs,
        client_reference="dossier 7",
    )
    write([decided, other])

    code, said, errors = typed("show --client-reference 'dossier 7' --explain", capsys)

    assert code == 2
    assert f"Décision {id_of(other)}" in said
    assert said.count("Raisons pour le crédit") == 1
    (sentence,) = errors.splitlines()
    assert sentence.startswith(f"decision {id_of(other)} cannot be explained: {reason}")


def test_what_was_erased_or_changed_is_not_explained(
    decided: Receipt, journal: Path, capsys: Capture
) -> None:
    second = replace(decided, id=receipt_of().id)
    write([decided, second])
    erased(decided.id)
    changed(journal, "UPDATE record SET time = time + 1 WHERE position = 2")

    code, said, errors = typed(f"show {id_of(decided)} --explain", capsys)
    assert (code, errors) == (2, f"decision {id_of(decided)} cannot be explained: its inputs were erased\n")
    assert "Données : effacées" in said

    code, said, errors = typed(f"show {id_of(second)} --explain", capsys)
    assert (code, errors) == (3, f"decision {id_of(second)} cannot be explained: its record was changed\n")
    assert "Raisons" not in said


def test_a_file_of_no_tariff_is_one_sentence(
    decided: Receipt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write([decided])
    (tmp_path / "tariff.json").write_text("[]")
    monkeypatch.setenv("TARIFF_FILE", str(tmp_path / "tariff.json"))

    code, said, errors = typed(f"show {id_of(decided)} --explain", capsys)

    assert (code, said) == (2, "")
    assert errors == "Refused: TARIFF_FILE holds no tariff: it is not a list of products\n"


def test_a_receipt_alone_needs_neither_mlflow_nor_the_explanations(journal: Path) -> None:
    one = receipt_of()
    write([one])
    seen = "print(sorted({'mlflow', 'explain.explanation'} & sys.modules.keys()), file=sys.stderr)"
    code = f"import sys; from journal.__main__ import main; main(['show', '{id_of(one)}']); {seen}"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    )

    assert done.stderr == "[]\n"
