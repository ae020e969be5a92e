"""The drawn portfolio: the promises about its files, rows and labels."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from benchmarks import portfolio_quality, quality
from quality.portfolio import Portfolio
from tests import processors
from training import reference
from training.synthetic import chunks
from training.synthetic.__main__ import main
from training.synthetic.calibration import Calibration, normals
from training.synthetic.rows import Rows, spread
from training.synthetic.writing import FolderTaken, write_portfolio

ROOT = Path(__file__).parents[1]
CALIBRATION = json.loads((ROOT / "training" / "synthetic" / "calibration.json").read_text())
CLIENTS, SEED = 15_000, 11  # two chunks
FORMATS = ["parquet", "csv"]

APPLICATION = {
    "NAME_CONTRACT_TYPE": "str",
    "CODE_GENDER": "str",
    "AMT_INCOME_TOTAL": "float64",
    "AMT_CREDIT": "float64",
    "AMT_ANNUITY": "float64",
    "AMT_GOODS_PRICE": "float64",
    "DAYS_BIRTH": "int64",
    "DAYS_REGISTRATION": "float64",
    "DAYS_ID_PUBLISH": "int64",
    "EXT_SOURCE_1": "float64",
    "EXT_SOURCE_2": "float64",
    "EXT_SOURCE_3": "float64",
}
EXPECTED = {
    "application_train": {"SK_ID_CURR": "int64", "TARGET": "int64", **APPLICATION},
    "application_test": {"SK_ID_CURR": "int64", **APPLICATION},
    "bureau": {
        "SK_ID_CURR": "int64",
        "SK_ID_BUREAU": "int64",
        "AMT_CREDIT_SUM": "float64",
        "AMT_CREDIT_SUM_DEBT": "float64",
    },
    "previous_application": {"SK_ID_PREV": "int64", "SK_ID_CURR": "int64", "CNT_PAYMENT": "float64"},
    "POS_CASH_balance": {"SK_ID_PREV": "int64", "SK_ID_CURR": "int64", "CNT_INSTALMENT_FUTURE": "float64"},
    "installments_payments": {
        "SK_ID_PREV": "int64",
        "SK_ID_CURR": "int64",
        "NUM_INSTALMENT_VERSION": "float64",
        "AMT_PAYMENT": "float64",
    },
    "true_probabilities": {"SK_ID_CURR": "int64", "TRUE_PROBABILITY": "float64"},
}
HISTORIES = ["bureau", "previous_application", "POS_CASH_balance", "installments_payments"]

Tables = dict[str, pd.DataFrame]


def written(folder: Path, file_format: str, clients: int = CLIENTS, seed: int = SEED) -> Path:
    out = folder / f"{file_format}-{seed}"
    write_portfolio(clients, seed, out, file_format)
    return out


def read(folder: Path, file_format: str) -> Tables:
    read_table = pd.read_csv if file_format == "csv" else pd.read_parquet
    return {table: read_table(folder / f"{table}.{file_format}") for table in EXPECTED}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.synthetic", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("portfolio"), "parquet")


@pytest.fixture(scope="module")
def csv_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("portfolio"), "csv")


@pytest.fixture(scope="module")
def tables(folder: Path) -> Tables:
    return read(folder, "parquet")


@pytest.fixture(scope="module")
def applications(tables: Tables) -> pd.DataFrame:
    return pd.concat([tables["application_train"], tables["application_test"]]).set_index("SK_ID_CURR")


# ---- Files -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["parquet", pytest.param("csv", marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_bytes_in_another_process(
    file_format: str, folder: Path, csv_folder: Path, tmp_path: Path
) -> None:
    before = folder if file_format == "parquet" else csv_folder
    arguments = ("--clients", CLIENTS, "--seed", SEED, "--format", file_format, "--out", tmp_path / "again")

    again = run(*arguments, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONHASHSEED="1")

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert contents(tmp_path / "again") == contents(before)


@pytest.mark.slow
@pytest.mark.parametrize("processor", processors.OLDER)
def test_an_older_processor_draws_the_same_bytes(processor: str, folder: Path, tmp_path: Path) -> None:
    arguments = ("--clients", CLIENTS, "--seed", SEED, "--out", tmp_path / "again")

    again = run(*arguments, **processors.OLDER[processor])

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert contents(tmp_path / "again") == contents(folder)


def test_a_reference_says_how_it_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "made.parquet"
    monkeypatch.setattr(sys, "argv", ["reference", "--clients", "300", "--seed", "7", "--out", str(file)])

    reference.main()

    origin = "drawn by python -m training.reference --clients 300 --seed 7"
    assert Portfolio.read(file).origin == origin


@pytest.mark.slow
@pytest.mark.parametrize(
    "processor", ["this one", *(pytest.param(name, marks=pytest.mark.slow) for name in processors.OLDER)]
)
def test_the_shipped_reference_can_be_made_again_on_any_processor(processor: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.reference", "--out", str(tmp_path / "made.parquet")]

    subprocess.run(command, cwd=ROOT, env=os.environ | processors.OLDER.get(processor, {}), check=True)

    assert parquet.read_table(tmp_path / "made.parquet").equals(parquet.read_table(reference.FILE))


def possible_values() -> dict[str, tuple[np.ndarray, int]]:
    """All values that get rounded, constants and results of exp, with the decimals that they keep."""
    latent, label = CALIBRATION["latent"], CALIBRATION["label_model"]
    root = np.linalg.cholesky(np.array(latent["correlation"]))
    parts = (CALIBRATION["application"], CALIBRATION["application"]["revolving"], CALIBRATION["history"])
    events = (1 - probability for probability in latent["probability"].values())
    levels = chain(*(part["quantile_levels"] for part in parts), events)
    effects = [[*feature["effects"], feature["effect_missing"]] for feature in label["features"]]
    least, most = (label["intercept"] + sum(map(extreme, effects)) for extreme in (min, max))
    least, most = least - 0.2656, most + 0.466  # corrected
    log_odds = np.arange(np.floor(least * 1e4), most * 1e4 + 1) / 1e4  # all summands have 4 decimals
    payments = CALIBRATION["history"]["installments_payments"]["AMT_PAYMENT"]
    return {
        "root": (root[np.tril_indices(len(root))], 12),
        "scores": (np.array([NormalDist().inv_cdf(level) for level in levels]), 12),
        "probabilities": (1 / (1 + np.exp(-log_odds)), 9),
        "sizes": (np.exp(payments["log_sd_within_client"] * np.arange(-9000, 9001) / 1000), 6),
    }


@pytest.mark.parametrize("name", possible_values())
def test_nothing_is_so_near_a_tie_that_the_last_bits_decide_how_it_is_rounded(name: str) -> None:
    values, decimals = possible_values()[name]

    from_tie = np.abs(np.abs(values) * 10.0**decimals % 1 - 0.5) / 10.0**decimals

    assert (from_tie > 8 * np.spacing(np.maximum(np.abs(values), 1))).all()


def test_a_normal_from_the_tails_where_numpy_takes_a_logarithm_is_rounded() -> None:
    as_drawn = np.random.default_rng(0).standard_normal(100_000)

    drawn = normals(np.random.default_rng(0), 100_000)

    tails = np.abs(as_drawn) > 3.654152885361009  # ziggurat_nor_r
    assert tails.sum() > 10
    assert drawn[tails].tolist() == as_drawn[tails].round(9).tolist()
    assert drawn[~tails].tolist() == as_drawn[~tails].tolist()


def test_another_seed_gives_other_tables(folder: Path, tmp_path: Path) -> None:
    other = contents(written(tmp_path, "parquet", seed=SEED + 1))

    assert [name for name, content in contents(folder).items() if other[name] == content] == []


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_columns_and_their_types_are_those_of_the_competition(
    file_format: str, folder: Path, csv_folder: Path
) -> None:
    tables = read(folder if file_format == "parquet" else csv_folder, file_format)

    assert {name: table.dtypes.astype(str).to_dict() for name, table in tables.items()} == EXPECTED


def test_a_type_does_not_depend_on_which_values_were_drawn(tmp_path: Path) -> None:
    tables = read(written(tmp_path, "csv", clients=3), "csv")

    assert {name: table.dtypes.astype(str).to_dict() for name, table in tables.items()} == EXPECTED


@pytest.mark.parametrize("table", EXPECTED)
def test_whoever_reads_by_row_groups_meets_no_empty_one(folder: Path, table: str) -> None:
    metadata = parquet.read_metadata(folder / f"{table}.parquet")

    assert all(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))


def test_both_formats_hold_the_same_values(folder: Path, csv_folder: Path) -> None:
    of_parquet, of_csv = read(folder, "parquet"), read(csv_folder, "csv")

    for table in EXPECTED:
        pd.testing.assert_frame_equal(of_csv[table], of_parquet[table], rtol=1e-15)


def test_the_portfolio_says_what_it_is_and_how_to_make_it_again(folder: Path, tables: Tables) -> None:
    description = json.loads((folder / "portfolio.json").read_text())

    assert (description["clients"], description["seed"], description["format"]) == (CLIENTS, SEED, "parquet")
    assert description["rows"] == {name: len(table) for name, table in tables.items()}
    assert description["command"] == (
        f"python -m training.synthetic --clients {CLIENTS} --seed {SEED} --format parquet --out DIR"
    )


# ---- Clients -----------------------------------------------------------------------------------------------


def test_each_client_applies_once_and_the_test_clients_have_the_proportion_of_the_competition(
    tables: Tables, applications: pd.DataFrame
) -> None:
    assert len(tables["application_train"]) == CLIENTS
    assert len(tables["application_test"]) == round(CLIENTS * 48744 / 307511)
    assert applications.index.is_unique
    assert tables["true_probabilities"]["SK_ID_CURR"].tolist() == applications.index.tolist()


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("EXT_SOURCE_1", 0.5638),
        ("EXT_SOURCE_2", 0.0021),
        ("EXT_SOURCE_3", 0.1983),
        ("AMT_GOODS_PRICE", 0.0009),
        ("AMT_CREDIT", 0.0),
        ("DAYS_BIRTH", 0.0),
    ],
)
def test_values_are_missing_as_often_as_among_real_clients(
    applications: pd.DataFrame, name: str, share: float
) -> None:
    assert applications[name].isna().mean() == pytest.approx(
        share, abs=4 * np.sqrt(share / len(applications))
    )


def test_whoever_has_no_bureau_rows_mostly_lacks_the_third_external_score(
    tables: Tables, applications: pd.DataFrame
) -> None:
    unknown = applications.loc[~applications.index.isin(tables["bureau"]["SK_ID_CURR"])]

    assert unknown["EXT_SOURCE_3"].isna().mean() == pytest.approx(0.9767, abs=0.015)


@pytest.mark.parametrize("table", HISTORIES)
def test_some_clients_have_no_history_and_most_have_several_rows(
    tables: Tables, applications: pd.DataFrame, table: str
) -> None:
    rows = tables[table]["SK_ID_CURR"].value_counts().reindex(applications.index, fill_value=0)

    assert 0.02 < (rows == 0).mean() < 0.2
    assert (rows > 1).mean() > 0.5
    assert rows.sum() == len(tables[table])


@pytest.mark.parametrize("table", HISTORIES)
def test_a_credit_belongs_to_one_client(tables: Tables, table: str) -> None:
    key = "SK_ID_BUREAU" if table == "bureau" else "SK_ID_PREV"
    credits = pd.concat(tables[table] for table in HISTORIES if key in tables[table])

    assert credits.groupby(key)["SK_ID_CURR"].nunique().max() == 1


def test_a_previous_application_is_there_once(tables: Tables) -> None:
    assert tables["previous_application"]["SK_ID_PREV"].is_unique
    assert tables["bureau"]["SK_ID_BUREAU"].is_unique


# ---- Labels ------------------------------------------------------------------------------------------------


def ratios(client: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "CREDIT_TERM": client["AMT_CREDIT"] / client["AMT_ANNUITY"],
            "ANNUITY_INCOME_PERCENT": client["AMT_ANNUITY"] / client["AMT_INCOME_TOTAL"],
            "CREDIT_GOODS_RATIO": client["AMT_CREDIT"] / (client["AMT_GOODS_PRICE"] + 1e-5),
            "ANNUITY_BIRTH_RATIO": client["AMT_ANNUITY"] / (client["DAYS_BIRTH"].abs() / 365),
        }
    )


def means(tables: Tables) -> pd.DataFrame:
    bureau = tables["bureau"]
    debt = bureau["AMT_CREDIT_SUM_DEBT"] / bureau["AMT_CREDIT_SUM"]
    payments = tables["installments_payments"].groupby("SK_ID_CURR").mean()
    return pd.DataFrame(
        {
            "DEBT_CREDIT_RATIO": debt.replace(np.inf, 0).fillna(0).groupby(bureau["SK_ID_CURR"]).mean(),
            "INSTA_AMT_PAYMENT": payments["AMT_PAYMENT"],
            "INSTA_NUM_INSTALMENT_VERSION": payments["NUM_INSTALMENT_VERSION"],
            "POS_CNT_INSTALMENT_FUTURE": tables["POS_CASH_balance"]
            .groupby("SK_ID_CURR")["CNT_INSTALMENT_FUTURE"]
            .mean(),
        }
    )


def log_odds(client: pd.Series) -> float:
    """Of calibration.json intercept + effects[number of edges <= value], or effect_missing; and corrected."""
    model = CALIBRATION["label_model"]
    effects = [
        feature["effect_missing"]
        if np.isnan(client[feature["name"]])
        else feature["effects"][sum(edge <= client[feature["name"]] for edge in feature["edges"])]
        for feature in model["features"]
    ]
    return model["intercept"] - 0.2656 + sum(effects) + 0.466 * np.isnan(client["EXT_SOURCE_1"])


@pytest.mark.slow
def test_the_true_probability_is_that_of_the_features_which_the_rows_aggregate_to(
    tables: Tables, applications: pd.DataFrame
) -> None:
    features = applications.join([ratios(applications), means(tables)]).select_dtypes("number").head(1000)

    expected = 1 / (1 + np.exp(-features.apply(log_odds, axis="columns")))

    true = tables["true_probabilities"].set_index("SK_ID_CURR")["TRUE_PROBABILITY"]
    np.testing.assert_allclose(true.loc[features.index], expected, atol=1e-6)


def test_clients_default_as_often_as_their_true_probabilities_say(tables: Tables) -> None:
    clients = tables["application_train"].merge(tables["true_probabilities"])
    riskier = clients["TRUE_PROBABILITY"] > clients["TRUE_PROBABILITY"].median()

    for half in (clients[riskier], clients[~riskier]):
        assert half["TARGET"].mean() == pytest.approx(half["TRUE_PROBABILITY"].mean(), abs=0.015)
    assert clients["TARGET"].mean() == pytest.approx(0.0807, abs=0.01)


def test_a_missing_ext_source_1_is_a_risk_as_among_real_clients() -> None:
    """Of the public sample 8.2 % without it defaulted and 7.0 % with it; of the population 8.07 %."""
    drawn = list(chunks.draw_chunks(Calibration.read(), 60_000, 5))
    probabilities = np.concatenate([chunk.probabilities for chunk in drawn])
    is_missing = np.isnan(np.concatenate([chunk.features["EXT_SOURCE_1"] for chunk in drawn]))

    assert probabilities.mean() == pytest.approx(0.0807, abs=0.001)
    assert probabilities[is_missing].mean() == pytest.approx(0.087, abs=0.002)
    assert probabilities[~is_missing].mean() == pytest.approx(0.072, abs=0.002)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**9),
            st.lists(st.floats(0, 1000), max_size=6).map(lambda weights: [1.0, *weights]),
        ),
        min_size=1,
    )
)
def test_spread_rows_sum_to_the_total_of_their_client(clients: list[tuple[int, list[float]]]) -> None:
    totals = np.array([total for total, _ in clients], dtype=float)
    rows = Rows(np.array([len(weights) for _, weights in clients]))
    weights = np.concatenate([weights for _, weights in clients])

    values = spread(totals, weights, rows)

    assert (values >= 0).all()
    assert rows.sum(values).tolist() == totals.tolist()


# ---- Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--clients", "0"], "argument --clients: must be a whole number from 1 to 100000000"),
        (["--clients", "9" * 9999], "argument --clients: must be a whole number from 1 to 100000000"),
        pytest.param(
            ["--clients", "1e5"],
            "argument --clients: must be a whole number from 1 to 100000000",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--clients", "9" * 26],
            "argument --clients: must be a whole number from 1 to 100000000",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--seed", "x"], "argument --seed: must be a whole number from 0 on", marks=pytest.mark.slow
        ),
        pytest.param(
            ["--format", "xml"],
            "argument --format: invalid choice: 'xml' (choose from 'parquet', 'csv')",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_bad_argument_is_refused_with_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    refused = run("--out", tmp_path / "portfolio", *arguments)

    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"Refused: {sentence}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_folder_with_something_else_in_it_is_refused_even_by_force(tmp_path: Path) -> None:
    out = written(tmp_path, "csv", clients=10)
    (out / "thesis.txt").write_text("mine")
    before = contents(out)

    refused = run("--clients", 10, "--out", out, "--force")

    assert refused.returncode == 2
    assert refused.stderr == f"Refused: {out} is not an empty folder: choose another --out\n"
    assert contents(out) == before


def test_a_portfolio_is_replaced_by_force_only(tmp_path: Path) -> None:
    out = written(tmp_path, "csv", clients=10)

    with pytest.raises(FolderTaken, match="replace the portfolio in it with --force"):
        write_portfolio(20, SEED, out)
    write_portfolio(20, SEED, out, force=True)

    assert len(pd.read_parquet(out / "application_train.parquet")) == 20
    assert list(out.glob("*.csv")) == []
    assert list(tmp_path.iterdir()) == [out]


def test_an_interrupted_portfolio_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_chunks = chunks.draw_chunks

    def interrupted(calibration: Calibration, labelled: int, seed: int) -> Iterator[chunks.Chunk]:
        yield next(draw_chunks(calibration, labelled, seed))
        raise KeyboardInterrupt

    monkeypatch.setattr(chunks, "draw_chunks", interrupted)

    assert main(["--clients", "10", "--out", str(tmp_path / "portfolio"), "--quiet"]) == 130
    assert capsys.readouterr().err == "Interrupted: nothing was written.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_portfolio_that_is_terminated_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.synthetic", "--clients", "1000000", "--out", "portfolio"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    ) as drawing:
        while not list(tmp_path.rglob("bureau.parquet")):
            assert drawing.poll() is None
            time.sleep(0.05)
        drawing.terminate()
        _, said = drawing.communicate()

    assert drawing.returncode == 130
    assert said.splitlines()[-1] == "Interrupted: nothing was written."
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named_as_it_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")

    for out, cause in ((file / "sub", "Not a directory"), (Path("/proc/x"), "No such file or directory")):
        assert main(["--clients", "10", "--out", str(out)]) == 2
        assert capsys.readouterr().err == f"Refused: {out} cannot be written to: {cause}\n"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("command", [portfolio_quality.main, quality.main])
def test_what_is_no_portfolio_is_not_measured(
    command: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), str(tmp_path)] if command is portfolio_quality.main else [str(tmp_path)]

    with pytest.raises(SystemExit, match="2"):
        command(arguments)

    sentence = f"error: {tmp_path} is not a folder that python -m training.synthetic wrote\n"
    assert capsys.readouterr().err.endswith(sentence)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -f 16; exec "$0" "$@"', sys.executable, "-m", "training.synthetic"]

    stopped = subprocess.run(
        [*limited, "--clients", "3000", "--out", tmp_path / "portfolio"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert stopped.returncode == 2
    assert "File too large" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert list(tmp_path.iterdir()) == []
