"""Numbers as a French loan officer types and reads them."""

import pytest

from dashboard.numbers import NotANumber, read_french, write_french


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


@pytest.mark.parametrize("text", ["1.234.567", "1.234,5", "1,234.5"])
def test_several_separators_are_no_number(text: str) -> None:
    with pytest.raises(NotANumber, match="écrivez un nombre"):
        read_french(text, "x")


def test_a_text_is_no_number() -> None:
    with pytest.raises(NotANumber, match="«\u00a0Échéance\u00a0»\u00a0: écrivez un nombre"):
        read_french("12 euros", "Échéance")


@pytest.mark.parametrize("number", [15000, 0.02, -12000.0, 0.1 + 0.2, 1e-7, 123456789.123])
def test_a_number_reads_back_as_it_was_written(number: float) -> None:
    assert read_french(write_french(number), "x") == number
