"""`python -m batch score`: the decisions and refusals of POST /predict for whole files, or no output."""

import contextlib
import gzip
import hashlib
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import clients, outputs
from batch.arriving import ArrivingFile
from features import aggregate, raw_tables
from journal import reading, store, verification
from journal.events import Scored
from journal.record import Kind
from mlflow_model.bundle.bundles import Bundle
from tests import batch_support
from tests.batch_support import ID, TABLE, WRITERS, batch, command, files_in, read
from tests.conftest import FEATURES
from tests.servers import ROOT, FlaskDoor
from training.synthetic import writing

pytest_plugins = ["tests.api_support", "tests.batch_fixtures"]

CREDIT = "AMT_CREDIT"
FULL = "a file may not become larger (ulimit -f): raise this limit"


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file has several, and several are at work at the same time."""
    monkeypatch.setattr(clients, "rows_at_once", lambda columns: 40)


def in_and_out(folder: Path, model: Path) -> tuple[str | Path, ...]:
    """The options of a run from Parquet to Parquet."""
    return ("--input", folder / "in.parquet", "--output", folder / "o.parquet", "--model", model)


def expected(predicted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = TABLE.select([ID, "AGENCE"]).to_pylist()
    return [{**row, **answer} for row, answer in zip(kept, predicted, strict=True)]


# ---- The decisions of POST /predict


@pytest.mark.parametrize("form", WRITERS)
def test_every_input_gets_the_doubles_and_labels_of_predict(
    form: str, bundle_folder: Path, predicted: list[dict[str, Any]], tmp_path: Path
) -> None:
    name, write = WRITERS[form]
    write(TABLE, tmp_path / name)

    done = batch("--input", tmp_path / name, "--output", tmp_path / "out.parquet", "--model", bundle_folder)

    assert (done.returncode, files_in(tmp_path)) == (0, sorted([name, "out.parquet"]))
    found = read(tmp_path / "out.parquet")
    wanted = expected(predicted)
    if "CSV" in form:
        wanted = [{**row, ID: str(row[ID])} for row in wanted]
    assert list(map(repr, found)) == list(map(repr, wanted))


@pytest.mark.parametrize("name", ["out.csv", "out.arrow", "out.arrows"])
def test_every_output_holds_them_to_the_last_bit(
    name: str, bundle_folder: Path, predicted: list[dict[str, Any]], tmp_path: Path
) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    done = batch("--input", tmp_path / "in.parquet", "--output", tmp_path / name, "--model", bundle_folder)

    assert done.returncode == 0
    wanted = expected(predicted)
    if name == "out.csv":
        wanted = [{**row, ID: str(row[ID])} for row in wanted]
    assert list(map(repr, read(tmp_path / name))) == list(map(repr, wanted))


def test_a_version_s_own_rule_and_column_come_out(
    other_bundle: Bundle, bundle_folder: Path, tmp_path: Path
) -> None:
    other_bundle.write(tmp_path / "other")
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    batch("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.csv", "--model", tmp_path / "other")

    found = read(tmp_path / "o.csv")
    row = TABLE.slice(7, 1).to_pylist()[0]
    answer = other_bundle.scorer().decide({name: row[name] for name in FEATURES})
    assert {name: found[7][name] for name in answer} == answer
    assert list(found[7]) == [ID, "AGENCE", *answer]


def test_blocks_and_rows_of_a_csv_give_the_same(bundle_folder: Path, tmp_path: Path) -> None:
    """A quote has all that follows read row by row. Numbers here are written in every way that JSON has."""
    ways = ["0", "-0", "1e5", "-1.5E-3", "123456789012345", "0.1", "1e-400", "5e-324", "2.5e+02", ""]
    rows = [
        row | {"EXT_SOURCE_1": way} for row, way in zip(batch_support.cells(TABLE), 30 * ways, strict=True)
    ]
    text = batch_support.as_csv(rows, end="\n")
    (tmp_path / "plain.csv").write_text(text, encoding="utf-8")
    (tmp_path / "quoted.csv").write_text(text.replace("Évry 0", '"Évry 0"'), encoding="utf-8")

    for name in ("plain", "quoted"):
        batch(
            "--input",
            tmp_path / f"{name}.csv",
            "--output",
            tmp_path / f"{name}.arrow",
            "--model",
            bundle_folder,
        )

    assert (tmp_path / "plain.arrow").read_bytes() == (tmp_path / "quoted.arrow").read_bytes()


def test_several_files_are_one_input_in_the_order_of_their_names(
    bundle_folder: Path, predicted: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, start in (("b", 100), ("a", 0), ("c", 200)):
        batch_support.write_parquet(TABLE.slice(start, 100), folder / f"{name}.parquet")
    (folder / "_SUCCESS").touch()

    by_folder = batch("--input", folder, "--output", tmp_path / "1.parquet", "--model", bundle_folder)
    by_pattern = batch(
        "--input", folder / "*.parquet", "--output", tmp_path / "2.parquet", "--model", bundle_folder
    )

    assert by_folder.returncode == by_pattern.returncode == 0
    assert read(tmp_path / "1.parquet") == read(tmp_path / "2.parquet") == expected(predicted)


@pytest.mark.parametrize("form", ["csv", "arrows"])
def test_clients_come_through_standard_input_and_leave_through_standard_output(
    form: str, bundle_folder: Path, predicted: list[dict[str, Any]], tmp_path: Path
) -> None:
    write = batch_support.write_csv if form == "csv" else batch_support.write_stream
    write(TABLE, tmp_path / "in")
    asked = command("--input", "-", "--input-format", form, "--output", "-", "--model", bundle_folder)

    done = subprocess.run(
        asked, input=(tmp_path / "in").read_bytes(), capture_output=True, cwd=ROOT, check=True
    )

    (tmp_path / f"out.{form}").write_bytes(done.stdout)
    found = read(tmp_path / f"out.{form}")
    assert [row["probability_class_1"] for row in found] == [one["probability_class_1"] for one in predicted]
    assert b"300 clients scored" in done.stderr


def test_neither_pandas_nor_lightgbm_s_package_nor_mlflow_is_imported(
    bundle_folder: Path, tmp_path: Path
) -> None:
    for form, (name, write) in WRITERS.items():
        write(TABLE, tmp_path / f"{form} {name}")
    code = (
        "import sys\nfrom batch.__main__ import main\n"
        "for path in sys.argv[2:]:\n"
        "    for out in ('o.parquet', 'o.csv', 'o.arrow'):\n"
        "        more = ['--explain', '1'] if out == 'o.csv' else []\n"
        "        asked = ['--input', path, '--output', out, '--model', sys.argv[1], *more]\n"
        "        assert main(['score', *asked]) == 0\n"
        "print(sorted({'pandas', 'lightgbm', 'mlflow', 'pyspark', 'sqlalchemy', 'scipy'} & set(sys.modules)))"
    )
    asked = [sys.executable, "-c", code, str(bundle_folder), *map(str, sorted(tmp_path.iterdir()))]

    done = subprocess.run(
        asked,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.slow
def test_a_registered_version_is_fetched_by_its_uri(registered: Path, tmp_path: Path) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    done = batch(
        "--input", tmp_path / "in.parquet", "--output", tmp_path / "o.parquet", "--summary", tmp_path / "s"
    )

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "s").read_text())["model"]["version"] == "1"


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("models:/scoring-client@nobody", "introuvable"),
        ("absent.pkl", "Le fichier Pickle 'absent.pkl' est introuvable."),
    ],
)
def test_a_model_that_is_not_there_is_named(
    model: str, sentence: str, registered: Path, tmp_path: Path
) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    done = batch("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.parquet", "--model", model)

    assert (done.returncode, (tmp_path / "o.parquet").exists()) == (2, False)
    assert sentence in done.stderr


@pytest.mark.slow
def test_raw_tables_become_decisions_in_one_command(
    bundle_folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    writing.write_portfolio(300, 0, tmp_path / "raw", progress=False)

    done = batch(
        "--features-from", tmp_path / "raw", "--output", tmp_path / "o.parquet", "--model", bundle_folder
    )

    assert done.returncode == 0, done.stderr
    assert f"(the features of {tmp_path / 'raw'}, row " in done.stderr
    features = aggregate.client_features(raw_tables.read(tmp_path / "raw").by_name).to_pyarrow().to_pandas()
    decided = pq.read_table(tmp_path / "o.parquet").to_pandas()
    assert decided[ID].tolist() == features[ID].tolist()
    wanted = bundle.scorer().decide_table(features)["probability_class_1"]
    assert np.array_equal(decided["probability_class_1"].to_numpy(), wanted)


@pytest.mark.slow
def test_raw_tables_that_are_wrong_are_refused_in_the_words_of_the_feature_step(
    bundle_folder: Path, tmp_path: Path
) -> None:
    done = batch("--features-from", tmp_path, "--output", tmp_path / "o.parquet", "--model", bundle_folder)

    assert done.returncode == 2
    assert "Refused: application_train.csv: the data folder holds neither this file" in done.stderr


# ---- The documentation


def test_the_documentation_shows_what_the_command_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    session = re.search(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert session is not None
    _, *steps = re.split(r"^\$ ", session[1], flags=re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "clients.csv").write_text(steps[0].partition("\n")[2], encoding="utf-8")

    for step in steps[1:]:
        line, _, shown = step.partition("\n")
        name = line.removeprefix("cat ")
        if name == line:
            answer = batch(*shlex.split(line.removeprefix("python -m batch score "))).stderr
        else:
            answer = (tmp_path / name).read_text(encoding="utf-8")
        assert re.sub(r"in \d+\.\d s", "in 0.6 s", answer) == shown


# ---- Bad rows


def spoilt(place: int, name: str, cell: str) -> str:
    rows = batch_support.cells(TABLE)
    rows[place] = rows[place] | {name: cell}
    return batch_support.as_csv(rows)


@pytest.mark.parametrize(
    "cell",
    ["abc", "", "1e999", "NA", "inf", "1 000", "12345678901234567891", " 5", "1_0", "0x1p3", "+5", "1."],
)
def test_a_refused_value_is_refused_in_the_words_of_the_batch_door(
    cell: str, bundle_folder: Path, flask_door: FlaskDoor, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text(spoilt(122, CREDIT, cell), encoding="utf-8")
    body = (tmp_path / "in.csv").read_bytes()
    answer = flask_door.send("POST", "/predict/batch", body, {"Content-Type": "text/csv"})

    done = batch("--input", tmp_path / "in.csv", "--output", tmp_path / "o.csv", "--model", bundle_folder)

    said = answer.error.removeprefix("Erreur lors du traitement des données : ligne 123 : ")
    assert CREDIT in said
    assert (done.returncode, files_in(tmp_path)) == (2, ["in.csv"])
    assert done.stderr.startswith(f"Refused: {tmp_path / 'in.csv'}, row 123: {said} (--bad-rows")


def test_bad_rows_are_set_aside_as_they_came_and_all_others_decided_on(
    bundle_folder: Path, predicted: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = batch_support.cells(TABLE)
    rows[0] = rows[0] | {CREDIT: "secret"}
    rows[150] = rows[150] | {"DAYS_BIRTH": "", CREDIT: ""}
    lines = batch_support.as_csv(rows).splitlines(keepends=True)
    lines[300] = '7,"torn, and\r\nshort"\r\n'
    (tmp_path / "in.csv").write_text("".join(lines), encoding="utf-8", newline="")
    places = ("--input", tmp_path / "in.csv", "--output", tmp_path / "o.csv", "--model", bundle_folder)

    done = batch(*places, "--bad-rows", f"quarantine={tmp_path / 'bad.csv'}", "--summary", tmp_path / "s")

    assert (done.returncode, "secret" in done.stderr) == (0, False)
    found = [row["probability_class_1"] for row in read(tmp_path / "o.csv")]
    wanted = [one["probability_class_1"] for n, one in enumerate(predicted) if n not in (0, 150, 299)]
    assert found == wanted
    header, *bad = (tmp_path / "bad.csv").read_bytes().decode().split("\r\n")
    assert header == f"file,row,reason,{lines[0].strip()}"
    assert [line.split(",")[1] for line in (bad[0], bad[1], bad[2])] == ["1", "151", "300"]
    assert bad[0].endswith(lines[1].strip())
    assert "\r\n".join(bad[2:]).endswith(',7,"torn, and\r\nshort"\r\n')
    summary = json.loads((tmp_path / "s").read_text())
    assert (summary["counts"]["clients"], summary["counts"]["set_aside"]) == (297, 3)


def test_a_null_that_the_model_has_not_learnt_is_set_aside_from_parquet_too(
    bundle_folder: Path, tmp_path: Path
) -> None:
    credit = pa.array([None if n in (3, 77) else 1e5 for n in range(len(TABLE))], pa.float64())
    rows = TABLE.set_column(TABLE.schema.get_field_index(CREDIT), CREDIT, credit)
    batch_support.write_parquet(rows, tmp_path / "in.parquet")
    places = in_and_out(tmp_path, bundle_folder)

    refused = batch(*places)
    done = batch(*places, "--bad-rows", f"quarantine={tmp_path / 'bad.csv'}")

    assert f"row 4: la feature '{CREDIT}' ne peut pas être null" in refused.stderr
    assert (done.returncode, len(read(tmp_path / "o.parquet"))) == (0, 298)
    (_, first, _) = (tmp_path / "bad.csv").read_text(encoding="utf-8").splitlines()
    assert first.endswith("," + ",".join(batch_support.cells(rows)[3].values()))
    assert [row[ID] for row in read(tmp_path / "o.parquet")][2:5] == [100_003, 100_005, 100_006]


# ---- Files that are not what they should be


def truncated(path: Path) -> None:
    batch_support.write_parquet(TABLE, path)
    path.write_bytes(path.read_bytes()[:-9])


def damaged(path: Path) -> None:
    batch_support.write_parquet(TABLE, path)
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(content)


def with_column(name: str, values: pa.Array) -> pa.Table:
    return TABLE.set_column(TABLE.schema.get_field_index(CREDIT), name, values)


TEXTS = pa.array(["5"] * len(TABLE))
STREAM_CUT = "cut.arrows"
HOSTILE: dict[str, tuple[str, Any, str]] = {
    "truncated": ("in.parquet", truncated, "damaged, cut off, or no Parquet"),
    "damaged": ("in.parquet", damaged, "damaged, cut off, or no Parquet"),
    "empty": ("in.parquet", lambda path: path.touch(), "is empty"),
    "no rows": (
        "in.parquet",
        lambda path: batch_support.write_parquet(TABLE.slice(0, 0), path),
        "holds no client",
    ),
    "texts": (
        "in.parquet",
        lambda path: batch_support.write_parquet(with_column(CREDIT, TEXTS), path),
        f"column {CREDIT} holds no numbers, but string",
    ),
    "absent": (
        "in.parquet",
        lambda path: batch_support.write_parquet(TABLE.drop_columns([CREDIT]), path),
        f"Features manquantes : ['{CREDIT}']",
    ),
    "twice": (
        "in.arrow",
        lambda path: batch_support.write_arrow(
            with_column("DAYS_BIRTH", TABLE[CREDIT]).append_column(CREDIT, TABLE[CREDIT]), path
        ),
        "column 'DAYS_BIRTH' is there more than once",
    ),
    "clash": (
        "in.parquet",
        lambda path: batch_support.write_parquet(TABLE.append_column("margin", TABLE[CREDIT]), path),
        "column margin of the input is one that the decision adds",
    ),
    "gzip": ("in.csv", lambda path: path.write_bytes(gzip.compress(bytes(10_000_000))), "is packed by gzip"),
    "latin-1": (
        "in.csv",
        lambda path: path.write_bytes(spoilt(0, "AGENCE", "Évry").encode("latin-1")),
        "is not encoded in UTF-8",
    ),
    "endless line": ("in.csv", lambda path: path.write_bytes(b"1" * 5_000_000), "longer than 64 KiB"),
    "no end of a quote": (
        "in.csv",
        lambda path: path.write_text(spoilt(0, "AGENCE", "A").replace(",A\r", ',"A\r'), encoding="utf-8"),
        "longer than 64 KiB",
    ),
    "no file": ("in.csv", lambda path: None, "is not there"),
    "a device": ("in.csv", lambda path: path.symlink_to("/dev/zero"), "is no file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_cannot_be_used_is_refused_with_its_reason(
    case: str, bundle_folder: Path, tmp_path: Path
) -> None:
    name, make, sentence = HOSTILE[case]
    make(tmp_path / name)
    before = files_in(tmp_path)

    done = batch("--input", tmp_path / name, "--output", tmp_path / "o.parquet", "--model", bundle_folder)

    assert (done.returncode, files_in(tmp_path)) == (2, before)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_arrow_stream_cut_anywhere_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    batch_support.write_stream(TABLE, tmp_path / "in.arrows")
    content = (tmp_path / "in.arrows").read_bytes()
    for end in range(100, len(content) - 1, len(content) // 23):
        (tmp_path / "cut.arrows").write_bytes(content[:end])

        done = batch(
            "--input", tmp_path / "cut.arrows", "--output", tmp_path / "o.csv", "--model", bundle_folder
        )

        assert (done.returncode, (tmp_path / "o.csv").exists()) == (2, False), end


def test_a_file_that_changes_while_it_is_read_gives_no_output(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    written = outputs.FileOutput.write

    def meanwhile(output: outputs.FileOutput, *given: Any) -> None:
        os.utime(tmp_path / "in.parquet", (1, 1))
        written(output, *given)

    monkeypatch.setattr(outputs.FileOutput, "write", meanwhile)

    done = batch("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert "was changed while it was read" in done.stderr
    assert files_in(tmp_path) == ["in.parquet"]


@pytest.mark.parametrize("name", ["in.csv", "./in.csv"])
def test_the_input_is_not_written_over(name: str, bundle_folder: Path, tmp_path: Path) -> None:
    batch_support.write_csv(TABLE, tmp_path / "in.csv")
    before = (tmp_path / "in.csv").read_bytes()

    done = batch("--input", tmp_path / "in.csv", "--output", f"{tmp_path}/{name}", "--model", bundle_folder)

    assert (done.returncode, (tmp_path / "in.csv").read_bytes()) == (2, before)
    assert "would be written over the input" in done.stderr


# ---- Full disks, kills, interruptions


def test_a_full_disk_leaves_the_former_output_and_nothing_half(bundle_folder: Path, tmp_path: Path) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    (tmp_path / "o.parquet").write_text("of yesterday")
    asked = command(
        "--input", tmp_path / "in.parquet", "--output", tmp_path / "o.parquet", "--model", bundle_folder
    )

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    done = subprocess.run(
        asked,
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=little_room,
        check=False,
    )

    assert (done.returncode, (tmp_path / "o.parquet").read_text()) == (2, "of yesterday")
    assert done.stderr == f"Refused: {tmp_path / 'o.parquet'} cannot be written: {FULL}\n"
    assert files_in(tmp_path) == ["in.parquet", "o.parquet"]


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_an_interruption_leaves_nothing_half(
    sign: int, code: int, bundle_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.csv"
    asked = command("--input", "-", "--input-format", "csv", "--output", out, "--model", bundle_folder)
    with subprocess.Popen(
        asked, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as running:
        assert running.stdin is not None
        header, _, rows = batch_support.as_csv(batch_support.cells(TABLE)).partition("\r\n")
        running.stdin.write(f"{header}\r\n{60 * rows}")  # several blocks, and more might come
        running.stdin.flush()
        deadline = time.monotonic() + 60
        while not (tmp_path / "o.csv.part").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(sign)
        assert running.stderr is not None
        said = running.stderr.read()

    assert running.returncode == code
    assert said == "Interrupted: nothing is left of o.csv\n"
    assert files_in(tmp_path) == []


KILLED = """
import os, signal, sys
from batch import clients, outputs
clients.rows_at_once = lambda columns: 40
outputs.ROWS_OF_A_PART = 80
finish = outputs.FolderOutput._finish_part
def finish_and_die(output, state):
    finish(output, state)
    if len(output._parts) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
outputs.FolderOutput._finish_part = finish_and_die
from batch.__main__ import main
main(["score", *sys.argv[1:]])
"""


@pytest.fixture
def killed(bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """The options of a run that was killed after its second part, one bad row among them."""
    monkeypatch.setattr(outputs, "ROWS_OF_A_PART", 80)
    (tmp_path / "in.csv").write_text(spoilt(12, CREDIT, "abc"), encoding="utf-8")
    options = (
        *("--input", tmp_path / "in.csv", "--input-format", "csv", "--output", f"{tmp_path}/out/"),
        *("--model", bundle_folder, "--bad-rows", f"quarantine={tmp_path / 'bad.csv'}"),
    )
    # Row by row, so that chunks are small: a block holds the whole file.
    content = (tmp_path / "in.csv").read_text(encoding="utf-8").replace("Évry 0", '"Évry 0"')
    (tmp_path / "in.csv").write_text(content, encoding="utf-8", newline="")
    monkeypatch.setattr("batch.csv_source._ROWS", 40)
    code = KILLED.replace(
        "outputs.ROWS_OF_A_PART",
        "from batch import csv_source\ncsv_source._ROWS = 40\noutputs.ROWS_OF_A_PART",
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, options)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    return options


def test_a_killed_run_is_gone_on_with_and_gives_what_one_run_gives(
    killed: tuple[object, ...], tmp_path: Path
) -> None:
    whole = [str(one).replace("/out/", "/whole/").replace("bad.csv", "bad whole.csv") for one in killed]

    resumed = batch(*killed, "--resume", "--summary", tmp_path / "s")
    at_once = batch(*whole, "--summary", tmp_path / "t")

    assert resumed.returncode == at_once.returncode == 0
    parts = [f"part-{number:05}.parquet" for number in range(4)]
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole") == ["_run.json", *parts]
    for part in parts:
        assert (tmp_path / "out" / part).read_bytes() == (tmp_path / "whole" / part).read_bytes()
    assert (tmp_path / "bad.csv").read_bytes() == (tmp_path / "bad whole.csv").read_bytes()
    one, other = (json.loads((tmp_path / name).read_text()) for name in "st")
    assert one["counts"] == other["counts"]
    assert one["output"]["sha256"] == other["output"]["sha256"]
    again = batch(*killed, "--resume")
    assert (again.returncode, "is there already, whole" in again.stderr) == (0, True)
    assert files_in(tmp_path / "out") == ["_run.json", *parts]


@pytest.mark.parametrize("what", ["cut off", "another part", "one more", "its name", "the quarantine"])
def test_a_run_goes_on_only_from_what_the_one_before_has_written(
    killed: tuple[object, ...], tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "out.part"
    if what == "cut off":
        os.truncate(folder / "part-00000.parquet", 1_000)
    elif what == "another part":
        (folder / "part-00000.parquet").write_bytes((folder / "part-00001.parquet").read_bytes())
    elif what == "one more":
        (folder / "part-00077.parquet").write_bytes((folder / "part-00001.parquet").read_bytes())
    elif what == "its name":
        state = json.loads((folder / "_run.json").read_text())
        (folder / "_run.json").write_text(json.dumps({**state, "parts": ["../in.csv", *state["parts"][1:]]}))
    else:
        with (tmp_path / "bad.csv.part").open("r+b") as bad:
            bad.write(b"FILE")
    before = files_in(folder)

    resumed = batch(*killed, "--resume")

    said = {"one more": "is not of the run before", "its name": "is damaged"}
    said |= {"the quarantine": "is not there as the run before has left it"}
    assert resumed.returncode == 2
    assert said.get(what, "part-00000.parquet was changed") in resumed.stderr
    assert files_in(folder) == before


def test_a_run_that_was_killed_when_its_quarantine_had_its_name_goes_on(
    killed: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "bad.csv.part").rename(tmp_path / "bad.csv")
    state = json.loads((tmp_path / "out.part" / "_run.json").read_text())["state"]
    os.truncate(tmp_path / "bad.csv", state["quarantine"]["bytes"])

    resumed = batch(*killed, "--resume")

    assert resumed.returncode == 0
    assert (tmp_path / "bad.csv").is_file()


def test_a_run_goes_on_only_where_everything_is_the_same(killed: tuple[object, ...], tmp_path: Path) -> None:
    anew, with_reasons = batch(*killed), batch(*killed, "--resume", "--explain", 1)
    with (tmp_path / "in.csv").open("a", encoding="utf-8") as more:
        more.write("\r\n")
    resumed = batch(*killed, "--resume")

    assert (anew.returncode, with_reasons.returncode, resumed.returncode) == (2, 2, 2)
    assert "was begun with another --explain" in with_reasons.stderr
    assert "is of a run that did not end: --resume goes on with it" in anew.stderr
    assert "was begun with another input" in resumed.stderr
    assert "part-00001.parquet" in files_in(tmp_path / "out.part")


def test_only_one_run_writes_an_output_at_a_time(bundle_folder: Path, tmp_path: Path) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    with contextlib.closing(ArrivingFile(tmp_path / "o.csv").stream):
        done = batch(
            "--input", tmp_path / "in.parquet", "--output", tmp_path / "o.csv", "--model", bundle_folder
        )

        assert f"another run writes {tmp_path / 'o.csv'}" in done.stderr
        assert (tmp_path / "o.csv.part").exists()


# ---- The record in the journal


def test_a_run_has_a_record_with_the_digests_of_what_came_and_went(
    bundle_folder: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path / 'journal.db'}")
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    done = batch("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert done.returncode == 0
    journal = store.opened()
    with journal.reading() as connection:
        (found,) = [one.event for one in reading.of_kind(connection, Kind.SCORED)]
        report = verification.verify(connection, [], [])
    journal.close()
    assert isinstance(found, Scored)
    assert found.input == hashlib.sha256((tmp_path / "in.parquet").read_bytes()).hexdigest()
    assert found.output == hashlib.sha256((tmp_path / "o.csv").read_bytes()).hexdigest()
    assert found.model.digest == bundle.digest
    assert (sum(found.labels.values()), found.set_aside, report.count) == (len(TABLE), 0, 0)


def test_without_a_record_there_is_no_output(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journal.db").write_text(
        "no database, and longer than its header is, which has 100 bytes" * 3
    )
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path / 'journal.db'}")
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    done = batch("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert (done.returncode, files_in(tmp_path)) == (2, ["in.parquet", "journal.db"])
    assert done.stderr == (
        "Refused: the file is no database, or its beginning is damaged: check JOURNAL_URL, "
        "or restore a backup\n"
    )


# ---- The summary


def test_the_summary_counts_labels_and_missing_values(
    bundle_folder: Path, predicted: list[dict[str, Any]], tmp_path: Path
) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    places = in_and_out(tmp_path, bundle_folder)

    done = batch(*places, "--summary", tmp_path / "s")

    counts = json.loads((tmp_path / "s").read_text())["counts"]
    labels = [one["prediction"] for one in predicted]
    assert counts["labels"] == {label: labels.count(label) for label in counts["labels"]}
    assert sum(counts["labels"].values()) == len(TABLE)
    assert counts["nulls"] == {name: n for name in FEATURES if (n := TABLE[name].null_count)}
    assert f"{labels.count('Classe_1 (risqué)')}" in done.stderr
    assert pq.read_schema(tmp_path / "o.parquet").field("prediction").type == pa.dictionary(
        pa.int32(), pa.utf8()
    )
