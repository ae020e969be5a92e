"""The loans that may be offered: a bank's own products, or any that are plausible."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api import app
from api.app import create_app
from explain import explanation
from explain.tariff import PLAUSIBLE, BadTariff, Tariff
from mlflow_model.bundle.scoring import Scorer
from tests import servers
from tests.explain_support import Client, ask, reference_clients
from tests.servers import FlaskDoor

pytest_plugins = ["tests.explain_fixtures"]

OVER_TWO_YEARS = {"instalments": 24, "lowest_rate": 0.06, "highest_rate": 0.12}


@pytest.fixture(scope="module")
def scorer(shipped_scorer: Scorer) -> Scorer:
    return shipped_scorer


def of(*products: Any) -> Tariff:
    return Tariff.of_json(json.dumps(products).encode())


def sells(tariff: Tariff, *terms: float) -> list[bool]:
    """Whether credits of so many instalments of 1 000 are sold: these are 995 to 1 005 in truth."""
    credit = 1_000 * np.array([terms])
    return list(tariff.sells(credit, np.array(1_000.0))[0])


@pytest.mark.parametrize(
    ("term", "is_sold"),
    [
        (21.1371, False),
        (21.1373, True),  # at 1 % a month an instalment of 995 repays 21.24339 × 995 over 24 months
        (22.0, True),
        (22.6756, True),  # at 0.5 % an instalment of 1 005 repays 22.56287 × 1 005
        (22.6758, False),
        (24.0, False),
    ],
)
def test_a_loan_is_sold_if_a_product_has_a_rate_for_its_instalment(term: float, is_sold: bool) -> None:
    assert sells(of(OVER_TWO_YEARS), term) == [is_sold]


def test_without_interest_the_instalments_repay_their_sum() -> None:
    free = {"instalments": 10, "lowest_rate": 0, "highest_rate": 0}

    assert sells(of(free), 9.94, 10.0, 10.06) == [False, True, False]


def test_products_stand_side_by_side() -> None:
    both = of(OVER_TWO_YEARS, OVER_TWO_YEARS | {"instalments": 36})

    assert sells(both, 22.0, 25.0, 32.0) == [True, False, True]


@pytest.mark.parametrize(
    ("term", "is_plausible"),
    [(2.5, False), (2.8, True), (3.4, False), (13.3333, True), (60.0, True), (119.9, True), (121.0, False)],
)
def test_without_a_tariff_a_loan_has_3_to_120_instalments_at_50_percent_at_most(
    term: float, is_plausible: bool
) -> None:
    assert sells(PLAUSIBLE, term) == [is_plausible]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"{}", "it is not a list of products"),
        (b"[]", "it is not a list of products"),
        (b"[1]", "product 1 has not just the keys instalments, lowest_rate, highest_rate"),
        (b'[{"instalments": 12}]', "product 1 has not just the keys"),
        (
            json.dumps([OVER_TWO_YEARS, OVER_TWO_YEARS | {"more": 1}]).encode(),
            "product 2 has not just the keys",
        ),
        (json.dumps([OVER_TWO_YEARS | {"instalments": 0}]).encode(), "no whole number from 1 to 1,200"),
        (json.dumps([OVER_TWO_YEARS | {"instalments": 12.5}]).encode(), "no whole number from 1 to 1,200"),
        (json.dumps([OVER_TWO_YEARS | {"instalments": True}]).encode(), "no whole number from 1 to 1,200"),
        (json.dumps([OVER_TWO_YEARS | {"lowest_rate": 0.2}]).encode(), "the lowest first"),
        (json.dumps([OVER_TWO_YEARS | {"highest_rate": 12}]).encode(), "no yearly shares from 0 to 10"),
        (json.dumps([OVER_TWO_YEARS | {"highest_rate": float("nan")}]).encode(), "no yearly shares"),
        (json.dumps([OVER_TWO_YEARS | {"highest_rate": "0.1"}]).encode(), "no yearly shares"),
    ],
)
def test_what_is_no_tariff_is_refused_with_the_reason(content: bytes, why: str) -> None:
    with pytest.raises(BadTariff, match=why):
        Tariff.of_json(content)


@pytest.mark.parametrize(("count", "few"), [(120, 3), pytest.param(400, 10, marks=pytest.mark.slow)])
def test_offers_are_loans_that_the_bank_sells(scorer: Scorer, count: int, few: int) -> None:
    sold = of(*(OVER_TWO_YEARS | {"instalments": instalments} for instalments in (12, 24, 36)))
    offered = 0
    for client in reference_clients(scorer, count):
        found = explanation.of(scorer, client, scorer.decide(client), sold)
        for offer in found["offers"]["found"]:
            credit, annuity = offer["client"]["AMT_CREDIT"], offer["client"]["AMT_ANNUITY"]
            assert any(is_repaid(credit, annuity, instalments) for instalments in (12, 24, 36))
            offered += 1
    assert offered > few


@pytest.mark.parametrize(("count", "few"), [(120, 1), pytest.param(400, 3, marks=pytest.mark.endurance)])
def test_a_bank_of_one_rate_sells_loans_of_round_amounts(scorer: Scorer, count: int, few: int) -> None:
    one_rate = {"lowest_rate": 0.08, "highest_rate": 0.08}
    sold = of(*(one_rate | {"instalments": instalments} for instalments in (12, 24, 36, 48, 60)))
    clients = reference_clients(scorer, count)

    found = [explanation.of(scorer, one, scorer.decide(one), sold)["offers"]["found"] for one in clients]

    assert sum(map(bool, found)) > few


def test_the_service_offers_what_its_tariff_file_says_now(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = FlaskDoor(create_app(servers.serving(scorer)))
    client = next(one for one in reference_clients(scorer, 400) if offered_loans(door, one))
    file = tmp_path / "tariff.json"
    monkeypatch.setenv("TARIFF_FILE", str(file))
    file.write_text(json.dumps([OVER_TWO_YEARS | {"instalments": 1}]))

    under_one_instalment = offered_loans(door, client)
    file.write_text(
        json.dumps([{"instalments": number, "lowest_rate": 0, "highest_rate": 1} for number in range(1, 99)])
    )

    assert under_one_instalment == []
    servers.eventually(lambda: offered_loans(door, client) or None, "the new tariff")


def offered_loans(door: FlaskDoor, client: Client) -> list[Any]:
    """The offers that change credit or annuity."""
    found = ask(door, "/explain", json.dumps(client).encode()).content["offers"]["found"]
    return [one for one in found if {"AMT_CREDIT", "AMT_ANNUITY"} & one["change"].keys()]


@pytest.mark.parametrize("content", ["", "[]", "nonsense"])
def test_a_service_does_not_start_with_what_is_no_tariff(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tariff.json"
    file.write_text(content)
    monkeypatch.setenv("TARIFF_FILE", str(file))

    with pytest.raises(SystemExit) as ended:
        app.main(["--port", "0"])

    assert ended.value.code == 2
    assert "TARIFF_FILE holds no tariff: it is not" in capfd.readouterr().err


def is_repaid(credit: float, annuity: float, instalments: int) -> bool:
    """Month by month: with half a unit of the third digit more, too much is paid at 6 % a year; with as much
    less, something is left at 12 %.
    """
    at_the_lowest, at_the_highest, half_a_unit = credit, credit, float(f"5e{len(str(int(annuity))) - 4}")
    for _ in range(instalments):
        at_the_lowest = at_the_lowest * (1 + 0.06 / 12) - (annuity + half_a_unit)
        at_the_highest = at_the_highest * (1 + 0.12 / 12) - (annuity - half_a_unit)
    return at_the_lowest <= 1e-6 * credit and at_the_highest >= -1e-6 * credit
