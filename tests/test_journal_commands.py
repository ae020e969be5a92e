"""`python -m journal`, as somebody types it: what it says, what it writes, how it ends."""

import json
import math
import os
import re
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from journal import export as exporting
from journal import ids, reading, store
from journal.__main__ import main
from journal.events import Answered, Unanswered
from tests.journal_support import (
    INTO_FORM_0003,
    MODEL,
    changed,
    id_of,
    journal_at,
    receipt_of,
    receipts,
    reviewed,
    rows,
    typed,
    write,
    writer,
    written_keys,
)

ROOT = Path(__file__).resolve().parents[1]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return journal_at(tmp_path, monkeypatch)


# ---- How it begins and ends


def test_the_help_comes_without_a_journal_and_names_the_exit_codes() -> None:
    environment = os.environ | {"JOURNAL_URL": "sqlite:////nowhere/journal.db"}
    command = [sys.executable, "-m", "journal", "--help"]

    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert said.returncode == 0
    assert "3 verify, replay, show or list found" in said.stdout
    for name in (
        "init",
        "checkpoint",
        "verify",
        "prove",
        "erase",
        "retain",
        "hold",
        "list",
        "show",
        "export",
        "replay",
    ):
        assert re.search(rf"^    {name}\b", said.stdout, re.MULTILINE)


def test_a_journal_that_is_absent_is_one_sentence_in_a_real_process(tmp_path: Path) -> None:
    environment = os.environ | {"JOURNAL_URL": f"sqlite:///{tmp_path}/journal.db"}
    command = [sys.executable, "-m", "journal", "verify"]

    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert (said.returncode, said.stdout) == (2, "")
    file = tmp_path / "journal.db"
    assert said.stderr == f"Refused: there is no journal {file}: python -m journal init makes one\n"


def test_init_makes_a_journal_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path}/journal.db")

    assert (main(["init"]), main(["init"])) == (0, 0)

    assert capsys.readouterr().err == "The journal is ready\nThe journal was ready already\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["show", "7"], "an ID is that of the header X-Decision-Id, such as 01a21cae-259b-"),
        (["list", "--since", "hier"], "a time is 2026-11-26 or 2026-11-26T17:30:00, not 'hier'"),
        (["list", "--limit", "0"], "must be a whole number from 1 to 10,000"),
        (
            ["erase", "--client-reference", "x" * 65, "--why", "w"],
            "a reference is 1 to 64 printable ASCII characters",
        ),
        (
            ["show", "--client-reference", "\N{GRINNING FACE}" * 64],
            "a reference is 1 to 64 printable ASCII characters",
        ),
        (["erase", "--decision", str(ids.written(bytes(16)))], "the following arguments are required: --why"),
        (["erase", "--client-reference", "x", "--why", " "], "a reason must not be empty"),
        (["checkpoint", "--key", "k.pem", "--out", ""], "--out: name a file: this is empty"),
        (["retain", "--days", "-1"], "must be a whole number from 1 to 36,500"),
    ],
)
def test_a_wrong_option_is_one_sentence(arguments: list[str], sentence: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    said = capsys.readouterr().err
    assert said.startswith("Refused: ")
    assert sentence in said
    assert "x" * 65 not in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["erase", "--why", "w"], "erase --decision ID, or all of one --client-reference"),
        (
            ["erase", "--client-reference", "none", "--why", "w"],
            "no decision that is not erased has this reference",
        ),
        (["prove", "--out", "p.json"], "prove one thing: an ID, or --since CHECKPOINT"),
        (["verify", "--checkpoint", "n.txt"], "--checkpoint needs --public-key"),
        (["verify", "--public-key", "absent.pem"], "absent.pem is not there"),
        (["checkpoint", "--key", "absent.pem", "--out", "n.txt"], "absent.pem is no readable private key"),
        (["show", ids.written(bytes(16))], "no decision of the journal has this ID"),
        (
            ["hold", "--decision", ids.written(bytes(16)), "--why", "w"],
            "no decision of the journal has the id",
        ),
        (
            ["release", "--decision", ids.written(bytes(16)), "--why", "w"],
            "no decision of the journal has the id",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    journal: Path, arguments: list[str], sentence: str, capsys: Capture
) -> None:
    assert main(arguments) == 2

    said = capsys.readouterr().err
    assert said.startswith(f"Refused: {sentence}")
    assert said.count("\n") == 1


# ---- Evidence


def test_a_checkpoint_is_made_and_the_journal_verified_by_it(
    journal: Path, tmp_path: Path, capsys: Capture
) -> None:
    private, public = written_keys(tmp_path)
    note = tmp_path / "note.txt"
    write(receipts(3))

    assert main(["checkpoint", "--key", str(private), "--out", str(note)]) == 0
    write(receipts(4))
    assert main(["verify", "--checkpoint", str(note), "--public-key", str(public)]) == 0

    said = capsys.readouterr()
    assert f"{note} holds the checkpoint of 6 records: keep it where the journal is not" in said.err
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert ": 14 records by 3 writers: 7 receipts and 7 events." in said.out
    assert "with 1 checkpoint inside the journal and with 1 checkpoint kept elsewhere, with their" in said.out
    assert re.search(
        r"The first 6 records are as they were at .+\. 8 records that came after it, .+, are vouched",
        said.out,
    )


def test_without_a_checkpoint_a_verification_says_what_it_does_not_exclude(
    journal: Path, capsys: Capture
) -> None:
    assert main(["verify"]) == 0

    assert (
        "It does not\nexclude that somebody who may write to the database changed, removed"
        in capsys.readouterr().out
    )


def test_what_a_verification_finds_is_named_and_ends_with_3(journal: Path, capsys: Capture) -> None:
    write(receipts(30))
    changed(journal, "UPDATE record SET time = time + 1")

    assert main(["verify"]) == 3

    said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"Found: record 0 \([0-9a-f-]{36}\) was changed", said[0])
    assert said[-1] == "Found: 12 more"


def test_a_killed_writer_is_told_by_the_verification(journal: Path, capsys: Capture) -> None:
    with closing(store.opened()) as opened:
        from journal.writer import Writer

        Writer(opened, "killed", "0").append(receipts(1))

    assert main(["verify"]) == 0

    assert (
        "1 writer has not said that the writing ended (number 0): still at work, or killed."
        in capsys.readouterr().out
    )


def test_a_decision_and_a_growth_are_proved_into_new_files(
    journal: Path, tmp_path: Path, capsys: Capture
) -> None:
    private, _ = written_keys(tmp_path)
    one = receipt_of()
    write([one])
    main(["checkpoint", "--key", str(private), "--out", str(tmp_path / "first.txt")])
    main(["checkpoint", "--key", str(private), "--out", str(tmp_path / "second.txt")])

    assert main(["prove", id_of(one), "--out", str(tmp_path / "receipt.json")]) == 0
    assert (
        main(["prove", "--since", str(tmp_path / "first.txt"), "--out", str(tmp_path / "growth.json")]) == 0
    )
    assert main(["prove", id_of(one), "--out", str(tmp_path / "receipt.json")]) == 2

    assert "receipt.json exists: name another file" in capsys.readouterr().err
    assert json.loads((tmp_path / "receipt.json").read_text())["proof"] == "scoring-client inclusion 1"
    assert json.loads((tmp_path / "growth.json").read_text())["proof"] == "scoring-client growth 1"


# ---- Erasing


def test_a_client_is_erased_by_the_reference_and_no_word_of_it_is_said(
    journal: Path, capsys: Capture
) -> None:
    own, other = receipt_of(client_reference="dossier-41"), receipt_of(client_reference="dossier-42")
    write([own, other])

    assert main(["erase", "--client-reference", "dossier-41", "--why", "RGPD 17"]) == 0

    said = capsys.readouterr()
    assert said.err.startswith("1 decision erased. Backups, replicas and exports may still hold")
    assert "dossier" not in said.out + said.err
    assert rows(journal, "SELECT is_erased FROM record WHERE kind = 1 ORDER BY position") == [(1,), (0,)]


def test_a_held_decision_is_not_erased_and_says_why(journal: Path, capsys: Capture) -> None:
    one = receipt_of()
    write([one])

    assert main(["hold", "--decision", id_of(one), "--why", "litige"]) == 0
    assert main(["erase", "--decision", id_of(one), "--why", "RGPD 17"]) == 2
    assert main(["release", "--decision", id_of(one), "--why", "jugé"]) == 0
    assert main(["erase", "--decision", id_of(one), "--why", "RGPD 17"]) == 0

    assert "is held and nothing was erased" in capsys.readouterr().err


def test_old_decisions_are_erased_by_their_age(journal: Path, capsys: Capture) -> None:
    write([receipt_of(time=1_000), receipt_of()])

    assert main(["retain", "--days", "3650"]) == 0

    assert "1 decision older than 3,650 days erased" in capsys.readouterr().err
    assert rows(journal, "SELECT is_erased FROM record WHERE kind = 1 ORDER BY position") == [(1,), (0,)]


# ---- Reading


def test_decisions_are_listed_newest_first_without_their_values(journal: Path, capsys: Capture) -> None:
    first, second = (
        receipt_of(0.3, inputs=(41_414.0, 1.0, 2.0)),
        receipt_of(0.9, client_reference="dossier-41"),
    )
    write([first, second])

    assert main(["list"]) == 0

    said = capsys.readouterr()
    head, *lines = [line.split("\t") for line in said.out.splitlines()]
    assert head == ["id", "time (UTC)", "version", "label", "door", "state", "review"]
    assert [line[0] for line in lines] == [id_of(second), id_of(first)]
    assert lines[0][2:] == ["3", "Classe_1 (risqué)", "/predict", "-", "-"]
    assert "41" not in re.sub(r"[0-9a-f-]{36}|\d\d:\d\d:\d\d", "", said.out)
    assert said.err == "2 decisions\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--label", "grey"], [1, 2]),
        (["--label", "risky"], [3]),
        (["--open"], [2]),
        (["--version", "4"], [0]),
        (["--version", "5"], []),
        (["--since", "2026-01-03"], [2, 3]),
        (["--until", "2026-01-02T12:00:00"], [0]),
        (["--since", "2026-01-02", "--until", "2026-01-04", "--label", "grey"], [1, 2]),
    ],
)
def test_decisions_are_found_by_label_version_and_time(
    journal: Path, options: list[str], expected: list[int], capsys: Capture
) -> None:
    times = [round(datetime(2026, 1, day, 12, tzinfo=UTC).timestamp() * 1e6) for day in (1, 2, 3, 4)]
    other = replace(receipt_of().model, version="4")
    made = [
        receipt_of(0.1, time=times[0], model=other),
        receipt_of(0.25, time=times[1]),
        receipt_of(0.3, time=times[2]),
        receipt_of(0.9, time=times[3]),
    ]
    write(made)
    reviewed(made[1])

    main(["list", *options])

    found = [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert found == [id_of(made[place]) for place in reversed(expected)]


def test_init_says_what_may_take_long_before_it_says_that_the_journal_is_ready(
    journal: Path, capsys: Capture
) -> None:
    changed(journal, *INTO_FORM_0003, "DROP INDEX record_by_time")

    code, _, err = typed("init", capsys)

    assert code == 0
    assert [line.partition(",")[0] for line in err.splitlines()] == [
        "Bringing the journal from the form 0003 to 0004",
        "Making the index record_by_time",
        "The journal is ready",
        "1 index was made again",
    ]


def test_a_receipt_is_shown_in_french_with_every_digit(journal: Path, capsys: Capture) -> None:
    one = receipt_of(
        0.1 + 0.2,
        inputs=(200_000.0, math.nan, -12_000.25),
        client_reference="dossier 7",
        time=round(datetime(2026, 11, 26, 17, 30, tzinfo=UTC).timestamp() * 1e6),
    )
    write([one])
    reviewed(one)

    assert main(["show", id_of(one)]) == 0

    said = capsys.readouterr().out
    for line in (
        f"Décision {id_of(one)}",
        "  Rendue le 26/11/2026 à 17:30:00 (UTC) par /predict",
        "  Référence du client : dossier 7",
        f"  Modèle : scoring-client, version 3, empreinte {'ab' * 32}, code 0.2.0",
        "Réponse : Classe_1 (risqué)",
        "  probability_class_1 : 0,30000000000000004",
        "  Montant du crédit (AMT_CREDIT, unité monétaire) : 200000",
        "  Âge (DAYS_BIRTH, jours négatifs) : −12000,25, soit 32 ans",
    ):
        assert f"{line}\n" in said
    assert "(EXT_SOURCE_1, de 0 à 1) : non renseigné" in said
    assert ": revue par léa, accordé, « revenus vérifiés »" in said
    assert said.endswith("Enregistrement 1 du journal, numéro 1 de l’écrivain 0, conforme à son empreinte\n")


def test_a_decision_that_was_refused_late_counts_as_unanswered_and_waits_for_no_review(
    journal: Path, capsys: Capture
) -> None:
    refused, given = receipt_of(0.25), receipt_of(0.25)
    write([refused, given])
    with writer() as one:
        one.append([Unanswered(subject=refused.id)])

    listed = typed("list", capsys)[1].splitlines()[1:]
    assert {line.partition("\t")[0] for line in listed if "unanswered" in line} == {id_of(refused)}
    waiting = typed("list --open", capsys)[1].splitlines()[1:]
    assert [line.partition("\t")[0] for line in waiting] == [id_of(given)]
    said = typed(f"show {id_of(refused)}", capsys)[1]
    assert "Jamais rendue\u00a0: un refus est parti à sa place\n" in said
    assert ": inscrit qu’un refus est parti à la place de la réponse\n" in said
    assert "Rendue le" in typed(f"show {id_of(given)}", capsys)[1]
    assert typed("verify", capsys)[0] == 0


def test_a_batch_that_was_refused_late_counts_as_unanswered_though_all_of_it_is_there(
    journal: Path, tmp_path: Path, capsys: Capture
) -> None:
    refused, given = ([receipt_of(0.25, call_id=call) for _ in range(2)] for call in (ids.new(), ids.new()))
    with writer() as one:
        one.append([Unanswered(subject=refused[0].call_id, is_of_a_call=True)])  # before the last receipts
        for call in (refused, given):
            one.append([*call, Answered(call=call[0].call_id, receipts=2)])

    listed = typed("list", capsys)[1].splitlines()[1:]
    assert {line.partition("\t")[0] for line in listed if "unanswered" in line} == {*map(id_of, refused)}
    waiting = typed("list --open", capsys)[1].splitlines()[1:]
    assert {line.partition("\t")[0] for line in waiting} == {*map(id_of, given)}
    assert "Jamais rendue" in typed(f"show {id_of(refused[0])}", capsys)[1]
    typed(f"export --output {tmp_path}/all.parquet", capsys)
    assert parquet.read_table(tmp_path / "all.parquet").column("is_answered").to_pylist() == [
        False,
        False,
        True,
        True,
    ]
    assert typed("verify", capsys)[0] == 0


def test_an_erased_receipt_is_shown_without_what_was_erased(journal: Path, capsys: Capture) -> None:
    one = receipt_of(client_reference="dossier 7")
    write([one])
    reviewed(one)
    main(["erase", "--decision", id_of(one), "--why", "RGPD 17"])

    main(["show", id_of(one)])

    said = capsys.readouterr().out
    assert "Données : effacées" in said
    assert "motif effacé" in said
    assert "« RGPD 17 »" in said
    assert "dossier" not in said


@pytest.mark.parametrize(
    "arguments",
    [["show", "--client-reference", "R"], pytest.param(["list"], marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_a_full_standard_output_is_not_called_a_full_journal(journal: Path, arguments: list[str]) -> None:
    write([receipt_of(client_reference="R") for _ in range(40)])

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "journal", *arguments],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr == "Refused: standard output cannot be written: the disk is full: free some space\n"


def test_receipts_are_exported_with_every_bit(journal: Path, tmp_path: Path, capsys: Capture) -> None:
    gone, one = (
        receipt_of(),
        receipt_of(0.1 + 0.2, inputs=(0.1, math.nan, -0.0), client_reference="dossier 7"),
    )
    other = replace(one.model, features=("AMT_CREDIT", "NEW"))
    write([gone, one, receipt_of(model=other, inputs=(1.0, 2.0))])
    main(["erase", "--decision", id_of(gone), "--why", "RGPD 17"])
    output = tmp_path / "receipts.parquet"

    assert main(["export", "--output", str(output)]) == 0

    table = pd.read_parquet(output)
    assert list(table["decision_id"])[:2] == [id_of(gone), id_of(one)]
    assert {"AMT_CREDIT", "EXT_SOURCE_1", "DAYS_BIRTH", "NEW", *one.model.columns} <= {*table.columns}
    row = table.iloc[1]
    assert (row["AMT_CREDIT"], math.copysign(1, row["DAYS_BIRTH"])) == (0.1, -1.0)
    assert (row["probability_class_1"], row["prediction"]) == (0.1 + 0.2, "Classe_1 (risqué)")
    assert (row["client_reference"], row["model_version"]) == ("dossier 7", "3")
    assert row["time"].timestamp() == pytest.approx(one.time / 1e6, abs=1e-6)
    assert table["AMT_CREDIT"].isna().tolist() == [True, False, False]
    assert table["NEW"].isna().tolist() == [True, True, False]
    assert table["is_erased"].tolist() == [True, False, False]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir() if "parquet" in file.name) == ["receipts.parquet"]
    assert main(["export", "--output", str(output)]) == 2


def test_a_feature_that_is_called_as_another_column_has_its_own(
    journal: Path, tmp_path: Path, capsys: Capture
) -> None:
    model = replace(MODEL, features=("time", "margin", "DAYS_BIRTH"))
    write([receipt_of(model=model, inputs=(1.5, 2.5, 3.5)), receipt_of()])

    typed(f"export --output {tmp_path}/all.parquet", capsys)

    found = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [one["feature time"] for one in found] == [1.5, None]
    assert [one["feature margin"] for one in found] == [2.5, None]
    assert [(one["margin"], one["time"].year > 2000) for one in found] == [(0.05, True)] * 2


def test_an_export_that_cannot_be_written_leaves_nothing(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write(receipts(3))
    (tmp_path / "full").mkdir()
    monkeypatch.setattr(exporting.ids, "written", _no_room)

    assert main(["export", "--output", str(tmp_path / "full" / "x.parquet")]) == 2

    assert "Refused: x.parquet cannot be written: the disk is full" in capsys.readouterr().err
    assert list((tmp_path / "full").iterdir()) == []


def _no_room(one: bytes) -> str:
    raise OSError(28, "no room")


def test_all_records_of_a_page_are_held_and_no_more(journal: Path) -> None:
    write(receipts(25))

    with closing(store.opened()) as opened, opened.reading() as connection:
        sizes = [len(page) for page in reading.records(connection, size=10)]
    assert sizes == [10, 10, 7]
