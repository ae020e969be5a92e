"""Numbers as a French loan officer types and reads them."""

import time

import pytest

from dashboard import values
from dashboard.moments import moment
from dashboard.numbers import NotANumber, in_percents, read_french, write_french
from tests.dashboard_support import plain


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1234,5", 1234.5),
        (" 1\u202f234 567 ", 1234567.0),
        ("\u221212,5", -12.5),
        ("0.1", 0.1),
        ("0.125", 0.125),
        ("-0.125", -0.125),
        ("200.5", 200.5),
        ("200.0005", 200.0005),
        ("2000.125", 2000.125),
        ("200\u202f000", 200_000.0),
        ("200,000", 200.0),
        ("1e-3", 0.001),
        ("-0", 0.0),
        ("12 345,5", 12345.5),
        ("", None),
    ],
)
def test_numbers_are_read_as_they_are_typed_in_french(text: str, number: float | None) -> None:
    assert read_french(text, "x") == number


@pytest.mark.parametrize(
    ("text", "both"),
    [
        ("200.000", "200\u202f000 ou 200,000"),
        (" 1.100 ", "1\u202f100 ou 1,100"),
        ("\u221212.500", "-12\u202f500 ou -12,500"),
    ],
)
def test_a_point_before_three_digits_is_asked_about_and_both_answers_are_read(text: str, both: str) -> None:
    with pytest.raises(NotANumber, match=f"voulez-vous dire {both}\u00a0\\?"):
        read_french(text, "x")

    thousands, decimals = both.split(" ou ")
    assert read_french(thousands, "x") == 1000 * float(decimals.replace(",", "."))


NO_NUMBERS = [
    "1.234.567",
    "1.234,5",
    "1,234.5",
    "+200.000",
    "0200.000",
    "007",
    "２００.000",
    "٣",
    "1_000",
    "0x10",
]
NO_NUMBERS += ["1 2", "2 00 000", "1234 567", ",5", "5,", "inf", "nan", "1e", "--1", "1 000 00"]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_may_be_read_otherwise_than_it_is_meant_is_no_number(text: str) -> None:
    with pytest.raises(NotANumber, match="écrivez un nombre"):
        read_french(text, "x")


@pytest.mark.parametrize("text", ["1e12", "1e308", "1e999", "-" + "9" * 400])
def test_a_number_that_nobody_has_is_too_large(text: str) -> None:
    with pytest.raises(NotANumber, match="«\u00a0Revenu\u00a0»\u00a0: ce nombre est trop grand"):
        read_french(text, "Revenu")


def test_a_text_is_no_number() -> None:
    with pytest.raises(NotANumber, match="«\u00a0Échéance\u00a0»\u00a0: écrivez un nombre"):
        read_french("12 euros", "Échéance")


@pytest.mark.parametrize("number", [15000, 0.02, -12000.0, 0.1 + 0.2, 1e-7, 123456789.123])
def test_a_number_reads_back_as_it_was_written(number: float) -> None:
    assert read_french(write_french(number), "x") == number


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (-73.0, "jours négatifs", "0,2 an"),
        (-12_000.0, "jours négatifs", "32,9 ans"),
        (1.3, "échéances", "1,3 échéance"),
        (0.0, "échéances", "0 échéance"),
        (1.9996, "échéances", "2 échéances"),
        (1.0158, "rapport", "102 %"),
        (0.004, "rapport", "0,4 %"),
        (9544.5, "unité monétaire", "9 544,5"),
        (-5.0, "unité monétaire", "\u22125"),
        (0.3380111830003753, "de 0 à 1", "0,338"),
        (None, "échéances", "inconnu"),
    ],
)
def test_a_value_is_shown_as_a_person_says_it(value: float | None, unit: str, text: str) -> None:
    assert plain(values.shown(value, unit)) == text


@pytest.mark.parametrize(
    ("counts", "decimals", "texts"),
    [
        ([1, 1, 1], 0, ["34 %", "33 %", "33 %"]),
        ([33_360, 33_360, 33_280], 1, ["33,4 %", "33,3 %", "33,3 %"]),  # alone: 33,4 + 33,4 + 33,3
        ([9, 82, 7, 2], 0, ["9 %", "82 %", "7 %", "2 %"]),
        ([0, 0, 0], 1, ["0,0 %", "0,0 %", "0,0 %"]),
    ],
)
def test_parts_sum_to_a_hundred_as_they_are_written(
    counts: list[int], decimals: int, texts: list[str]
) -> None:
    assert [plain(one) for one in in_percents(counts, decimals)] == texts


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "27/11/2026 à 07 h 06 (UTC)"),
        ("Europe/Paris", "27/11/2026 à 08 h 06 (UTC+1)"),
        ("America/St_Johns", "27/11/2026 à 03 h 36 (UTC\u22123:30)"),
    ],
)
def test_a_moment_says_its_zone(zone: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert plain(moment("2026-11-27T07:06:31.000000Z")) == text
    finally:
        monkeypatch.undo()
        time.tzset()
