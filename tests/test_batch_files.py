"""`python -m batch score` beside other files and other runs: what it may take, write over, and leave."""

import csv
import datetime
import decimal
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch import csv_source, deciding, outputs
from batch import together as together_module
from mlflow_model.bundle.bundles import Bundle
from tests import batch_support
from tests.batch_support import ID, TABLE, batch, command, files_in, read, version_with
from tests.conftest import FEATURES
from tests.servers import ROOT

pytest_plugins = ["tests.batch_fixtures"]

CREDIT = "AMT_CREDIT"


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    batch_support.write_csv(TABLE, tmp_path / "in.csv")
    return tmp_path / "in.csv"


# ---- What somebody else has put there


def test_a_folder_that_no_run_has_made_is_left_alone(
    bundle_folder: Path, clients: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "mine.txt").write_text("mine")

    done = batch("--input", clients, "--output", f"{tmp_path}/out/", "--model", bundle_folder, "--resume")

    assert done.returncode == 2
    assert f"{tmp_path}/out.part is of no run that can go on: remove it, or name another" in done.stderr
    assert files_in(tmp_path) == ["in.csv", "out.part", "out.part/mine.txt"]


def test_what_somebody_has_put_into_the_folder_of_a_run_stays(
    bundle_folder: Path, clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Visited(outputs.FolderOutput):
        def write(self, batch: pa.RecordBatch, kept: outputs.Kept) -> None:
            (tmp_path / "out.part" / "mine.txt").write_text("mine")
            raise KeyboardInterrupt

    monkeypatch.setattr("batch.score.FolderOutput", Visited)

    done = batch("--input", clients, "--output", f"{tmp_path}/out/", "--model", bundle_folder)

    assert done.returncode == 130
    assert files_in(tmp_path) == ["in.csv", "out.part", "out.part/mine.txt"]


@pytest.mark.parametrize("option", ["--output", "--summary", "--bad-rows"])
def test_an_input_that_is_called_as_a_file_on_its_way_is_not_written_over(
    bundle_folder: Path, clients: Path, tmp_path: Path, option: str
) -> None:
    taken = clients.rename(tmp_path / "x.csv.part")
    before = taken.read_bytes()
    written = {"--output": tmp_path / "o.csv"}
    written[option] = tmp_path / "x.csv"
    options = [*(part for pair in written.items() for part in pair)]
    options = [
        f"quarantine={one}" if options[n - 1] == "--bad-rows" else one for n, one in enumerate(options)
    ]

    done = batch("--input", taken, "--input-format", "csv", *options, "--model", bundle_folder)

    assert done.returncode == 2
    assert "would be written over the input, or twice" in done.stderr
    assert taken.read_bytes() == before
    assert files_in(tmp_path) == ["x.csv.part"]


def test_a_link_in_the_place_of_a_file_on_its_way_is_not_followed(
    bundle_folder: Path, clients: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("somebody else's")
    (tmp_path / "o.csv.part").symlink_to(target)

    done = batch("--input", clients, "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert done.returncode == 2
    assert f"{tmp_path / 'o.csv'} cannot be written" in done.stderr
    assert target.read_text() == "somebody else's"


def test_all_that_is_written_is_for_its_owner_alone(
    bundle_folder: Path, clients: Path, tmp_path: Path
) -> None:
    credit = pa.array([-1e400 if n == 3 else 1e5 for n in range(len(TABLE))], pa.float64())
    rows = TABLE.set_column(TABLE.schema.get_field_index(CREDIT), CREDIT, credit)
    batch_support.write_parquet(rows, tmp_path / "in.parquet")
    before = os.umask(0)
    try:
        done = batch(
            *("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.csv", "--model", bundle_folder),
            *("--bad-rows", f"quarantine={tmp_path / 'bad.csv'}", "--summary", tmp_path / "s.json"),
        )
    finally:
        os.umask(before)

    assert done.returncode == 0
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("o.csv", "bad.csv", "s.json")}
    assert modes == {"o.csv": 0o600, "bad.csv": 0o600, "s.json": 0o600}


# ---- What is refused before any work is done


def test_a_summary_that_cannot_be_written_is_refused_at_once(
    bundle_folder: Path, clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path}/journal.db")

    done = batch(
        *("--input", clients, "--output", tmp_path / "o.csv", "--model", bundle_folder),
        *("--summary", tmp_path / "absent" / "s.json"),
    )

    assert done.returncode == 2
    assert f"{tmp_path / 'absent' / 's.json'} cannot be written: No such file or directory" in done.stderr
    assert sorted(one for one in files_in(tmp_path) if not one.startswith("journal")) == ["in.csv"]
    listed = subprocess.run(
        [sys.executable, "-m", "journal", "verify"], capture_output=True, text=True, check=False
    )
    assert "no records, because nobody has written to it yet" in listed.stdout


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'{"of": [], "parts": {}, "digests": 3, "state": 7}', b"\xff"], ids=repr
)
def test_the_state_of_a_run_that_is_damaged_is_called_that(
    bundle_folder: Path, clients: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / outputs.STATE).write_bytes(content)

    done = batch("--input", clients, "--output", f"{tmp_path}/out/", "--model", bundle_folder, "--resume")

    assert done.returncode == 2
    assert "_run.json is damaged: remove" in done.stderr
    assert files_in(tmp_path / "out.part") == [outputs.STATE]


# ---- Streams, versions of their own, and columns that pass through


@pytest.mark.parametrize("more", ["again", "one byte"])
def test_clients_behind_the_end_of_a_stream_are_not_lost_in_silence(
    bundle_folder: Path, tmp_path: Path, more: str
) -> None:
    batch_support.write_stream(TABLE, tmp_path / "in.arrows")
    content = (tmp_path / "in.arrows").read_bytes()
    (tmp_path / "in.arrows").write_bytes(content + (content if more == "again" else b"\0"))

    done = batch("--input", tmp_path / "in.arrows", "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert done.returncode == 2
    assert "in.arrows: something follows the end of the stream" in done.stderr
    assert files_in(tmp_path) == ["in.arrows"]


LATE_TEXT = """
class Scorer(Scorer):
    def decide_table(self, table, margin=None):
        found = super().decide_table(table, margin)
        ids = table["AMT_CREDIT"]
        return {**found, "note": [None if not 1e5 < one < 2e5 else "petit" for one in ids]}
"""
QUOTIENT = """
import numpy
class Scorer(Scorer):
    def decide_table(self, table, margin=None):
        with numpy.errstate(all="ignore"):
            quotient = numpy.asarray(table["AMT_ANNUITY"]) / numpy.asarray(table["AMT_CREDIT"])
        return {**super().decide_table(table, margin), "quotient": numpy.nan_to_num(quotient, posinf=0.0)}
"""


@pytest.mark.parametrize(
    ("code", "column"), [(LATE_TEXT, "note"), (QUOTIENT, "quotient")], ids=["text", "ratio"]
)
@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv"])
def test_columns_of_a_version_s_own_come_out_whatever_the_first_clients_have(
    bundle: Bundle, tmp_path: Path, code: str, column: str, ending: str
) -> None:
    version = version_with(code, bundle, tmp_path / "version")
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    done = batch("--input", tmp_path / "in.parquet", "--output", tmp_path / f"o.{ending}", "--model", version)

    assert done.returncode == 0, done.stderr
    credits, annuities = (TABLE.column(name).to_pylist() for name in (CREDIT, "AMT_ANNUITY"))
    if column == "note":
        wanted: list[Any] = ["petit" if 1e5 < one < 2e5 else None for one in credits]
        if ending == "csv":
            return
    else:
        wanted = [annuity / credit for annuity, credit in zip(annuities, credits, strict=True)]
    assert [row[column] for row in read(tmp_path / f"o.{ending}")] == wanted


REFUSES_ZERO = """
class Scorer(Scorer):
    def matrix(self, table):
        found = super().matrix(table)
        if (found[:, 1] == 0).any():
            raise Refusal("ligne 1 : la variable 'AMT_CREDIT' est nulle")
        return found
"""


def test_a_version_that_refuses_a_zero_decides_on_others(bundle: Bundle, tmp_path: Path) -> None:
    version = version_with(REFUSES_ZERO, bundle, tmp_path / "version")
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    done = batch("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.csv", "--model", version)

    assert done.returncode == 0, done.stderr
    assert len(read(tmp_path / "o.csv")) == len(TABLE)


@pytest.mark.parametrize("ending", ["arrow", "arrows", "parquet"])
def test_columns_of_categories_pass_through_as_texts(
    bundle_folder: Path, tmp_path: Path, ending: str
) -> None:
    """Two batches of a file have two dictionaries."""
    place = TABLE.schema.get_field_index("AGENCE")
    parts = [
        TABLE.slice(start, 150).set_column(
            place, "AGENCE", pa.array([f"{start} {n % 7}" for n in range(150)]).dictionary_encode()
        )
        for start in (0, 150)
    ]
    with pa.ipc.new_stream(tmp_path / "in.arrows", parts[0].schema) as stream:
        for part in parts:
            stream.write_table(part)

    done = batch(
        "--input", tmp_path / "in.arrows", "--output", tmp_path / f"o.{ending}", "--model", bundle_folder
    )

    assert done.returncode == 0, done.stderr
    wanted = [f"{start} {n % 7}" for start in (0, 150) for n in range(150)]
    assert [row["AGENCE"] for row in read(tmp_path / f"o.{ending}")] == wanted


def test_a_row_is_set_aside_below_its_own_names(bundle_folder: Path, tmp_path: Path) -> None:
    """A spreadsheet's empty column has no name, and no cell in the quarantine."""
    names = [*TABLE.schema.names[:3], "", *TABLE.schema.names[3:]]
    rows = [
        [*(cells := list(row.values()))[:3], "", *cells[3:]] for row in batch_support.cells(TABLE.slice(0, 4))
    ]
    rows[2][names.index("EXT_SOURCE_1")] = "beaucoup"
    (tmp_path / "in.csv").write_text("\r\n".join(",".join(one) for one in [names, *rows]) + "\r\n")

    done = batch(
        *("--input", tmp_path / "in.csv", "--output", tmp_path / "o.csv", "--model", bundle_folder),
        *("--bad-rows", f"quarantine={tmp_path / 'bad.csv'}"),
    )

    assert done.returncode == 0, done.stderr
    header, bad = csv.reader((tmp_path / "bad.csv").read_text().splitlines())
    assert dict(zip(header, bad, strict=True))["EXT_SOURCE_1"] == "beaucoup"
    assert header == ["file", "row", "reason", *TABLE.schema.names]


TYPES = {
    "date": pa.array([datetime.date(2020, 1, 2)] * len(TABLE)),
    "decimal": pa.array([decimal.Decimal("1.50")] * len(TABLE)),
    "bytes": pa.array([b"abc"] * len(TABLE)),
    "far moment": pa.array([2**62] * len(TABLE), pa.int64()).cast(pa.timestamp("s"), safe=False),
    "text view": pa.array(["abc"] * len(TABLE)).cast(pa.string_view()),
    "run ends": pc.run_end_encode(pa.array(["abc"] * len(TABLE))),
    "days of a dictionary": pa.array([datetime.date(2020, 1, 2)] * len(TABLE)).dictionary_encode(),
    "no number": pa.array([float("nan")] * len(TABLE)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_row_with_any_kind_of_column_is_set_aside(bundle_folder: Path, tmp_path: Path, kind: str) -> None:
    credit = pa.array([float("inf") if n == 3 else 1e5 for n in range(len(TABLE))], pa.float64())
    rows = TABLE.set_column(TABLE.schema.get_field_index(CREDIT), CREDIT, credit)
    batch_support.write_arrow(rows.append_column("MORE", TYPES[kind]), tmp_path / "in.arrow")

    done = batch(
        *("--input", tmp_path / "in.arrow", "--output", tmp_path / "o.csv", "--model", bundle_folder),
        *("--bad-rows", f"quarantine={tmp_path / 'bad.csv'}"),
    )

    assert done.returncode == 0, done.stderr
    (bad,) = csv.DictReader((tmp_path / "bad.csv").read_text().splitlines())
    shown = {"date": "2020-01-02", "decimal": "1.50", "no number": "", "days of a dictionary": "2020-01-02"}
    assert bad["MORE"] == shown.get(kind, "abc") or kind == "far moment"
    assert bad["row"] == "4"
    assert (tmp_path / "o.csv").read_bytes().count(b"\r\n") == len(TABLE)


def test_a_format_s_own_words_which_quote_a_client_are_not_repeated(
    bundle_folder: Path, tmp_path: Path
) -> None:
    far = pa.array([2**63 - 1] * len(TABLE), pa.int64()).cast(pa.timestamp("s"), safe=False)
    batch_support.write_arrow(TABLE.append_column("T", far), tmp_path / "in.arrow")

    done = batch(
        "--input", tmp_path / "in.arrow", "--output", tmp_path / "o.parquet", "--model", bundle_folder
    )

    assert done.returncode == 2
    assert "922337" not in done.stderr
    assert files_in(tmp_path) == ["in.arrow"]


# ---- What a path may be


@pytest.mark.parametrize(
    "options",
    [
        ["--input", ""],
        ["--input", "x" * 300],
        ["--output", ""],
        ["--output", "."],
        ["--output", "/"],
        ["--output", "loop"],
        ["--output", "x" * 300],
        ["--summary", ""],
        ["--summary", "/"],
        ["--summary", "."],
        ["--summary", "fifo"],
        ["--bad-rows", "quarantine=."],
        ["--bad-rows", "quarantine=fifo"],
        ["--bad-rows", "quarantine=o.csv.part"],
        ["--model", "x" * 300],
    ],
    ids=lambda options: " ".join(options)[:40],
)
@pytest.mark.timeout(120)
def test_an_odd_path_is_refused_in_one_line_and_costs_nothing(
    bundle_folder: Path,
    clients: Path,
    tmp_path: Path,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    before = files_in(tmp_path)
    usual = {"--input": "in.csv", "--output": "o.csv", "--model": str(bundle_folder)}
    given = usual | {options[0]: options[1]}

    done = batch(*(part for pair in given.items() for part in pair))

    told = done.stderr + capfd.readouterr().err  # of a library in C, or of a process
    assert (done.returncode, len(told.splitlines())) == (2, 1), told
    assert files_in(tmp_path) == before


def test_a_fifo_in_the_place_of_a_file_on_its_way_keeps_nobody_waiting(
    bundle_folder: Path, clients: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "o.csv.part")

    done = batch("--input", clients, "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert (done.returncode, "o.csv cannot be written" in done.stderr) == (2, True)


def test_a_name_cannot_move_the_terminal_s_cursor_and_may_be_in_no_encoding(
    bundle_folder: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"no\x1b[31m\n\xe9.csv")
    batch_support.write_csv(TABLE.slice(0, 2), odd)
    odd.write_text(odd.read_text() + odd.read_text().splitlines()[1].replace("Évry", "Évry,") + "\n")

    done = subprocess.run(
        batch_support.command(
            *("--input", odd, "--output", tmp_path / "o.csv", "--model", bundle_folder),
            *("--summary", tmp_path / "s", "--bad-rows", f"quarantine={tmp_path / 'bad.csv'}"),
        ),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    refused = subprocess.run(
        batch_support.command("--input", odd, "--output", tmp_path / "p.csv", "--model", bundle_folder),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "s").read_text())["counts"]["set_aside"] == 1
    assert (refused.returncode, b"\x1b" in refused.stderr, refused.stderr.count(b"\n")) == (2, False, 1)


def test_closed_streams_are_told(bundle_folder: Path, clients: Path, tmp_path: Path) -> None:
    command = " ".join(batch_support.command("--model", bundle_folder, "--input-format", "csv"))
    ways = f"--input {clients} --output - --output-format csv >&-", f"--input - --output {tmp_path}/o.csv <&-"
    said = [
        subprocess.run(
            ["sh", "-c", f"{command} {way}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        for way in ways
    ]

    assert [one.returncode for one in said] == [2, 2]
    assert [one.stderr for one in said] == [
        "Refused: standard output is closed\n",
        "Refused: standard input is closed\n",
    ]


# ---- Blocks of a CSV


def test_a_byte_order_mark_at_the_beginning_of_a_block_is_not_lost(
    bundle_folder: Path, tmp_path: Path
) -> None:
    header, first, *_ = batch_support.as_csv(batch_support.cells(TABLE.select([*FEATURES, ID]))).splitlines()
    (tmp_path / "in.csv").write_bytes(f"{header}\r\n\ufeff{first}\r\n".encode())

    done = batch("--input", tmp_path / "in.csv", "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert done.returncode == 2
    assert "'AMT_ANNUITY' doit être un nombre" in done.stderr


def test_lines_without_a_value_take_no_memory_however_they_differ(
    bundle_folder: Path, tmp_path: Path
) -> None:
    header, *_ = batch_support.as_csv(batch_support.cells(TABLE)).splitlines()
    (tmp_path / "in.csv").write_bytes(f"{header}\r\n".encode() + b",\n,,\n" * 20_000 + b'"')

    done = batch("--input", tmp_path / "in.csv", "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert done.returncode == 2
    assert "thousands of lines without a value differ" in done.stderr


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_across_blocks_of_a_csv_keep_their_numbers_and_values(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    rows = batch_support.cells(TABLE)
    rows[120][CREDIT] = "beaucoup"
    rows[200]["AGENCE"] = 'dite "la grande"'
    rows[280][CREDIT] = "trop"
    (tmp_path / "in.csv").write_text(batch_support.as_csv(rows, end=end), encoding="utf-8", newline="")
    places = ("--input", tmp_path / "in.csv", "--model", bundle_folder)
    whole = batch(
        *places, "--output", tmp_path / "whole.csv", "--bad-rows", f"quarantine={tmp_path / 'a.csv'}"
    )
    monkeypatch.setattr(csv_source, "_BLOCK", 4_096)

    parts = batch(
        *places, "--output", tmp_path / "parts.csv", "--bad-rows", f"quarantine={tmp_path / 'b.csv'}"
    )

    assert (whole.returncode, parts.returncode) == (0, 0)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert [line.split(",")[1] for line in (tmp_path / "b.csv").read_text().splitlines()[1:]] == [
        "121",
        "281",
    ]
    assert len(read(tmp_path / "parts.csv")) == len(TABLE) - 2


# ---- Digests


def test_an_input_that_changes_after_it_was_read_is_told(
    bundle_folder: Path, clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(outputs.FileOutput):
        rows = 0

        def write(self, batch: pa.RecordBatch, kept: outputs.Kept) -> None:
            super().write(batch, kept)
            self.rows += len(batch)
            if self.rows == 2 * len(TABLE):  # of the second file: the first was read to its end long ago
                with clients.open("a") as more:
                    more.write("\r\n")

    monkeypatch.setattr("batch.score.FileOutput", Late)
    batch_support.write_csv(TABLE, tmp_path / "second.csv")

    done = batch("--input", f"{tmp_path}/*.csv", "--output", tmp_path / "o.parquet", "--model", bundle_folder)

    assert done.returncode == 2
    assert f"{clients} was changed while it was read" in done.stderr
    assert files_in(tmp_path) == ["in.csv", "second.csv"]


def test_standard_input_and_output_are_hashed_to_the_last_byte(
    bundle_folder: Path, clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--input", "-", "--input-format", "csv", "--output", "-", "--model", bundle_folder]
    with clients.open("rb") as given:
        done = subprocess.run(
            batch_support.command(*options, "--summary", tmp_path / "s.json"),
            stdin=given,
            capture_output=True,
            check=True,
        )

    told = json.loads((tmp_path / "s.json").read_text())
    assert told["input"]["sha256"] == hashlib.sha256(clients.read_bytes()).hexdigest()
    assert told["output"]["sha256"] == hashlib.sha256(done.stdout).hexdigest()
    assert done.stdout.count(b"\r\n") == len(TABLE) + 1
    assert ID.encode() in done.stdout


# ---- Many small files


def small_files(folder: Path, ending: str, bad: Mapping[int, str] | None = None) -> Path:
    """Thirty of ten clients each. `bad`: by number of a client, from 0, a credit that is none."""
    folder.mkdir()
    rows = batch_support.cells(TABLE)
    for place, cell in (bad or {}).items():
        rows[place] = rows[place] | {CREDIT: cell}
    for number in range(30):
        path = folder / f"{number:02}.{ending}"
        if ending == "csv":
            path.write_text(batch_support.as_csv(rows[number * 10 :][:10]), encoding="utf-8")
        else:
            batch_support.write_parquet(TABLE.slice(number * 10, 10), path)
    return folder


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_small_files_are_decided_on_together_as_one_by_one(
    bundle_folder: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ("--input", small_files(tmp_path / "in", ending), "--model", bundle_folder, "--explain", 1)
    calls: list[int] = []
    decide = deciding.with_decisions

    def counted(others: Any, values: Any, scorer: Any) -> Any:
        calls.append(len(values[CREDIT]))
        return decide(others, values, scorer)

    monkeypatch.setattr(deciding, "with_decisions", counted)

    together = batch(*places, "--output", tmp_path / "1.parquet", "--summary", tmp_path / "1")
    of_groups = calls[1:]  # the first one is for the schema
    calls.clear()
    monkeypatch.setattr(together_module, "MOST_TOGETHER", 1)
    one_by_one = batch(*places, "--output", tmp_path / "2.parquet", "--summary", tmp_path / "2")

    assert (together.returncode, one_by_one.returncode) == (0, 0), together.stderr
    assert read(tmp_path / "1.parquet") == read(tmp_path / "2.parquet")
    assert [row[ID] for row in read(tmp_path / "1.parquet")] == [
        str(one) if ending == "csv" else one for one in TABLE[ID].to_pylist()
    ]
    first, second = (json.loads((tmp_path / name).read_text())["counts"] for name in ("1", "2"))
    assert first["first_warned"] == second["first_warned"] != {}
    assert {name: first[name] for name in ("clients", "labels", "nulls", "warnings")} == {
        name: second[name] for name in ("clients", "labels", "nulls", "warnings")
    }
    assert (sorted(of_groups), calls[1:]) == ([140, 160], [10] * 30)


def test_a_bad_row_in_one_of_many_small_files_is_named_and_set_aside(
    bundle_folder: Path, tmp_path: Path
) -> None:
    folder = small_files(tmp_path / "in", "csv", {47: "beaucoup", 123: "-"})
    places = ("--input", folder, "--output", tmp_path / "o.parquet", "--model", bundle_folder)

    refused = batch(*places)
    done = batch(*places, "--bad-rows", f"quarantine={tmp_path / 'bad.csv'}")

    assert (refused.returncode, done.returncode) == (2, 0)
    assert f"Refused: {folder / '04.csv'}, row 8: la " in refused.stderr
    assert len(read(tmp_path / "o.parquet")) == len(TABLE) - 2
    with (tmp_path / "bad.csv").open(encoding="utf-8", newline="") as bad:
        found = [(Path(row[0]).name, row[1]) for row in csv.reader(bad)][1:]
    assert found == [("04.csv", "8"), ("12.csv", "4")]


# ---- A limit of memory


@pytest.mark.parametrize(("mebibytes", "threads"), [(200, 1), (300, 1), (500, 1), (1_023, 1), (1_200, 8)])
def test_too_few_addresses_are_told_in_one_sentence(
    mebibytes: int, threads: int, bundle_folder: Path, clients: Path, tmp_path: Path
) -> None:
    """OpenBLAS, libgomp and Arrow would end the process, each in its own way and at another limit."""
    asked = command(
        *("--input", clients, "--output", tmp_path / "o.csv", "--model", bundle_folder, "--threads", threads)
    )
    limited = ["sh", "-c", f'ulimit -v {mebibytes * 1024}; exec "$@"', "sh", *asked]

    done = subprocess.run(limited, capture_output=True, text=True, cwd=ROOT, check=False)

    assert (done.returncode, done.stdout, (tmp_path / "o.csv").exists()) == (2, "", False)
    assert done.stderr == (
        "the memory is not enough for this command: "
        f"{'one thread' if threads == 1 else f'--threads {threads}'} needs {768 + 256 * threads:,} MiB "
        f"of addresses, and the limit (ulimit -v) is {mebibytes:,} MiB\n"
    )


def test_as_many_addresses_as_are_asked_for_are_enough(
    bundle_folder: Path, clients: Path, tmp_path: Path
) -> None:
    asked = command(
        "--input", clients, "--output", tmp_path / "o.csv", "--model", bundle_folder, "--threads", 2
    )
    limited = ["sh", "-c", f'ulimit -v {1_280 * 1024}; exec "$@"', "sh", *asked]

    done = subprocess.run(limited, capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 0, done.stderr
