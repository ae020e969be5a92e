"""Decisions that are made again by the versions that made them, and compared bit by bit."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from journal import erasing, models, store
from journal import replay as replaying
from journal.__main__ import main
from journal.listing import Wanted
from journal.models import Model
from journal.receipt import Receipt
from journal.replay import CannotLoad
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer
from tests import processors, servers
from tests.journal_support import changed, erased, id_of, journal_at, receipt_of, write

Capture = pytest.CaptureFixture[str]
HAS_FMA = " fma " in Path("/proc/cpuinfo").read_text()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return journal_at(tmp_path, monkeypatch)


@pytest.fixture
def scorer(bundle: Bundle) -> Scorer:
    return bundle.scorer()


def clients(scorer: Scorer, count: int) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(3)
    table = {name: chance.normal(size=count) for name in scorer.features}
    for name in scorer.nullable:
        table[name][chance.random(count) < 0.3] = np.nan
    return table


def answers(scorer: Scorer, table: Mapping[str, np.ndarray]) -> list[list[str | float]]:
    """The seven outputs of each client."""
    columns = [column.tolist() for column in scorer.decide_table(table).values()]
    return [list(outputs) for outputs in zip(*columns, strict=True)]


def decided(scorer: Scorer, model: Model, count: int) -> list[Receipt]:
    table = clients(scorer, count)
    inputs = np.column_stack(list(table.values())).tolist()
    return [
        receipt_of(model=model, inputs=row, outputs=outputs)
        for row, outputs in zip(inputs, answers(scorer, table), strict=True)
    ]


def replayed(scorer: Scorer, sample: int | None = None) -> replaying.Replayed:
    with closing(store.opened()) as opened, opened.reading() as connection:
        return replaying.replay(connection, Wanted(), sample, lambda model: scorer, lambda receipts: None)


def test_every_decision_is_replayed_to_the_last_bit(journal: Path, scorer: Scorer) -> None:
    made = decided(scorer, models.of_scorer(scorer, "scoring-client", "1", "ab", "0"), 300)
    write(made)
    with closing(store.opened()) as opened:
        erasing.erase(opened, [made[0].id], "test", "a test", "test")

    assert replayed(scorer) == replaying.Replayed(same=299, erased=1)


def test_a_sample_is_of_so_many_decisions(journal: Path, scorer: Scorer) -> None:
    write(decided(scorer, models.of_scorer(scorer, "scoring-client", "1", "ab", "0"), 300))

    assert replayed(scorer, 40).same == 40
    assert replayed(scorer, 1_000).same == 300


def test_a_sample_is_of_decisions_that_are_not_erased(journal: Path, scorer: Scorer) -> None:
    made = decided(scorer, models.of_scorer(scorer, "scoring-client", "1", "ab", "0"), 300)
    write(made)
    erased(*[one.id for one in made[:250]])

    assert replayed(scorer, 40) == replaying.Replayed(same=40, erased=250)


def test_a_sample_takes_early_and_late_decisions_alike() -> None:
    chosen = [place for _ in range(200) for place in replaying._chosen(iter(range(100)), 10)]

    assert len(chosen) == 2_000
    assert 40 < sum(chosen) / len(chosen) < 60


def _with(one: Receipt, place: int, value: object) -> Receipt:
    outputs = list(one.outputs)
    outputs[place] = value  # type: ignore[call-overload]
    return replace(one, outputs=outputs)


def test_a_probability_in_the_last_two_places_is_told_from_another_answer(
    journal: Path, scorer: Scorer
) -> None:
    model = models.of_scorer(scorer, "scoring-client", "1", "ab", "0")
    made = decided(scorer, model, 40)
    p = [float(one.outputs[1]) for one in made]
    label = next(one for one in model.labels if one != made[3].outputs[0])
    made[0] = _with(made[0], 1, p[0] + 2 * math.ulp(p[0]))
    made[1] = _with(made[1], 1, p[1] + 3 * math.ulp(p[1]))
    made[2] = _with(made[2], 3, 0.123)
    made[3] = _with(made[3], 0, label)
    write(made)

    done = replayed(scorer)

    assert (done.same, done.last_places.total(), done.different) == (36, 1, 3)
    assert done.differing == [id_of(one) for one in made[1:4]]


def test_a_version_that_cannot_be_loaded_is_told_with_the_number_of_its_receipts(
    journal: Path, scorer: Scorer
) -> None:
    write(decided(scorer, models.of_scorer(scorer, "scoring-client", "1", "ab", "0"), 5))

    def gone(model: Model) -> Scorer:
        raise CannotLoad("it is gone")

    with closing(store.opened()) as opened, opened.reading() as connection:
        done = replaying.replay(connection, Wanted(), None, gone, lambda receipts: None)
    assert done == replaying.Replayed(unloaded=Counter({"it is gone": 5}))


def test_decisions_are_replayed_by_the_registrys_versions(
    journal: Path, registered: Path, capsys: Capture
) -> None:
    from mlflow_model.registry import fetching, versions

    bundle = fetching.download(versions.resolve("models:/scoring-client@champion"))
    scorer = bundle.scorer()
    same = models.of_scorer(scorer, "scoring-client", "1", bundle.digest, "0")
    write(decided(scorer, same, 20))
    assert main(["replay"]) == 0
    assert capsys.readouterr().out == "20 decisions are the same in every bit, 0 differ\n"

    write(decided(scorer, replace(same, digest="cd" * 32), 3))
    write(decided(scorer, replace(same, version="9"), 3))
    write(decided(scorer, replace(same, version=None), 3))
    assert main(["replay"]) == 3

    said = capsys.readouterr().err
    assert "3 receipts, because scoring-client version 1 of this registry is another bundle" in said
    assert "3 receipts, because scoring-client was served from a file and has no version" in said
    assert "3 receipts, because scoring-client version 9: " in said


# ---- At the command line


@pytest.fixture
def champion(journal: Path, registered: Path) -> tuple[Scorer, Model]:
    """The version that the registry holds, and how receipts of it name it."""
    from mlflow_model.registry import fetching, versions

    bundle = fetching.download(versions.resolve("models:/scoring-client@champion"))
    return bundle.scorer(), models.of_scorer(bundle.scorer(), "scoring-client", "1", bundle.digest, "0")


def replayed_as_typed(capsys: Capture, *options: str) -> tuple[int, str, str]:
    code = main(["replay", *options])
    said = capsys.readouterr()
    return code, said.out, said.err


DAMAGES = {
    "an answer that is cut": "lasting = CAST(substr(lasting, 1, 9) AS BLOB)",
    "inputs that are cut": "erasable = CAST(substr(erasable, 1, 60) AS BLOB)",
    "inputs that are text": "erasable = 'text'",
    "an unknown model": "model = 77",
    "no model": "model = NULL",
    "a model that is text": "model = 'one'",
    "an unknown label": "label = 100",
    "no label": "label = NULL",
    "an infinite input": f"erasable = CAST(substr(erasable, 1, 32) || x'{'7ff0000000000000' * 17}' AS BLOB)",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_receipt_is_named_and_counted_and_all_others_are_replayed(
    journal: Path, champion: tuple[Scorer, Model], damage: str, capsys: Capture
) -> None:
    made = decided(*champion, 20)
    write(made)
    changed(journal, f"UPDATE record SET {damage} WHERE position = 8")  # noqa: S608

    code, out, err = replayed_as_typed(capsys)

    assert code == 3
    assert out.splitlines() == [
        "19 decisions are the same in every bit, 0 differ",
        "1 receipt is damaged: python -m journal verify says more",
    ]
    assert err == f"Damaged: {id_of(made[7])}\n"


def test_a_damaged_description_of_a_model_damages_its_receipts_alone(
    journal: Path, champion: tuple[Scorer, Model], capsys: Capture
) -> None:
    scorer, model = champion
    write(decided(scorer, model, 20), decided(scorer, replace(model, code="1"), 3))
    changed(journal, "UPDATE model SET description = x'7b' WHERE number = 1")

    code, out, _ = replayed_as_typed(capsys)

    assert code == 3
    assert out.startswith("20 decisions are the same in every bit, 0 differ\n3 receipts are damaged")


def test_a_last_place_is_told_with_both_c_libraries_and_is_no_finding(
    journal: Path, champion: tuple[Scorer, Model], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    made = decided(*champion, 3)
    made[1] = _with(made[1], 1, math.nextafter(float(made[1].outputs[1]), 1))
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    write(made)
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "9.9"))

    code, out, err = replayed_as_typed(capsys)

    assert (code, err) == (0, "")
    assert out.splitlines()[1] == (
        "1 differs in the last two places of the probability at most, which the C library computes: "
        "here glibc 9.9, there musl 1.2 (1)"
    )


ELSEWHERE = """
import json, sys
from pathlib import Path
import numpy
from mlflow_model.bundle import bundles
from tests.test_journal_replay import answers
folder = Path(sys.argv[1])
json.dump(answers(bundles.read(folder / "sealed").scorer(), numpy.load(folder / "clients.npz")), sys.stdout)
"""


def test_what_an_older_processor_decided_is_no_other_decision(
    journal: Path, bundle: Bundle, scorer: Scorer, tmp_path: Path
) -> None:
    """Without FMA the C library gives other last bits of some values: also by two places of a probability."""
    table = clients(scorer, 20_000)
    bundle.write(tmp_path / "sealed")
    np.savez(tmp_path / "clients.npz", allow_pickle=False, **table)
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path)]
    elsewhere = os.environ | processors.OLDER["with none of AVX"]
    said = subprocess.run(command, env=elsewhere, cwd=servers.ROOT, stdout=subprocess.PIPE, check=True).stdout
    here, there = answers(scorer, table), json.loads(said)
    others = [place for place, answer in enumerate(here) if answer != there[place]]
    model = models.of_scorer(scorer, "scoring-client", "1", "ab", "0")
    rows = np.column_stack(list(table.values())).tolist()
    write([receipt_of(model=model, inputs=rows[place], outputs=there[place]) for place in [*others, 0]])

    done = replayed(scorer)

    assert (done.different, done.last_places.total()) == (0, len(others))
    assert others or not HAS_FMA


def test_the_last_place_of_a_threshold_is_another_threshold(
    journal: Path, champion: tuple[Scorer, Model], capsys: Capture
) -> None:
    made = decided(*champion, 3)
    made[1] = _with(made[1], 3, math.nextafter(float(made[1].outputs[3]), 1))
    write(made)

    code, out, err = replayed_as_typed(capsys)

    assert (code, out) == (3, "2 decisions are the same in every bit, 1 differs\n")
    assert err == f"Different: {id_of(made[1])}\n"


def test_the_wanted_decisions_alone_are_replayed(
    journal: Path, champion: tuple[Scorer, Model], capsys: Capture
) -> None:
    scorer, model = champion
    old = [replace(one, time=1_000) for one in decided(scorer, model, 5)]
    write(old, decided(scorer, model, 10), decided(scorer, replace(model, version="9"), 3))

    assert replayed_as_typed(capsys, "--version", "1", "--since", "2026-01-01")[:2] == (
        0,
        "10 decisions are the same in every bit, 0 differ\n",
    )
    assert replayed_as_typed(capsys, "--version", "1", "--sample", "1")[:2] == (
        0,
        "1 decision is the same in every bit, 0 differ\n",
    )
    assert replayed_as_typed(capsys, "--until", "1960-01-01")[:2] == (0, "There was nothing to replay\n")
    assert replayed_as_typed(capsys, "--version", "9")[:2] == (3, "Nothing was replayed\n")


def test_pages_in_many_threads_are_added_up_as_one(
    journal: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = decided(scorer, models.of_scorer(scorer, "scoring-client", "1", "ab", "0"), 300)
    for place in range(0, 300, 10):
        made[place] = _with(made[place], 4, 0.9)
    write(made)
    monkeypatch.setattr("journal.reading.pages.__kwdefaults__", {"size": 7})

    done = replayed(scorer)

    assert (done.same, done.different) == (270, 30)
    assert done.differing == [id_of(one) for one in made[:200:10]]
