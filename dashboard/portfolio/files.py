"""What every file of clients offers, whatever its form, and what it must have."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

import pyarrow as pa

MOST_CLIENTS = 100_000


class BadFile(ValueError):
    """No client of the file can be decided on. The message is a sentence for the officer."""


class BadAnswer(ValueError):
    """What the API answered is no table of decisions."""


class ClientsFile(Protocol):
    """`rows`: how many clients. `others`: columns that are no features of the model, and may be kept."""

    media_type: str
    rows: int
    others: list[str]

    def spans(self) -> list[tuple[int, int]]:
        """The parts to send: from which client, counted from 0, to before which."""

    def body(self, start: int, stop: int, keep: Sequence[str]) -> bytes:
        """A part as the body of a request. Raises BadFile."""

    def decisions(self, answer: bytes, numbers: Collection[str]) -> pa.Table:
        """What the API answered. `numbers`: which columns hold numbers, if the answer does not say it.

        Raises BadAnswer.
        """

    def cells(self, row: int, names: Sequence[str]) -> list[str]:
        """What stands in these columns of a row; "" where nothing does, or where it cannot be told."""

    def line(self, row: int) -> int:
        """Where a person finds a client: its line in a spreadsheet, its number in a Parquet file."""

    def empty_rows(self) -> list[int]:
        """Lines without any value, which are no clients."""


def check_columns(names: Sequence[str], features: Sequence[str]) -> None:
    """Raises BadFile where the model's columns are not there once."""
    times = Counter(names)
    missing = [name for name in features if not times[name]]
    doubled = [name for name in features if times[name] > 1]
    if len(missing) == len(features):
        raise BadFile(
            "Aucune colonne du modèle n’est dans ce fichier. Sa première ligne doit nommer les colonnes."
        )
    if missing:
        raise BadFile(f"Dans ce fichier, il manque {_listed(missing)}{_alike(missing, names)}.")
    if doubled:
        raise BadFile(f"Dans ce fichier, plusieurs fois {_listed(doubled)} : gardez-en une.")


def _alike(missing: Sequence[str], names: Sequence[str]) -> str:
    """Columns that differ from the missing ones by case or blanks alone. No other name is shown: a misplaced
    value may be among them."""
    by_letters = {_letters(name): re.sub(r"\s", "␣", name) for name in names}
    found = [
        f"{one} trouvé comme {by_letters[_letters(one)]}" for one in missing if _letters(one) in by_letters
    ]
    return f" ({', '.join(found)})" if found else ""


def _letters(name: str) -> str:
    return "".join(name.split()).casefold()


def _listed(names: Sequence[str]) -> str:
    return ("la colonne " if len(names) == 1 else "les colonnes ") + ", ".join(names)


def check_rows(rows: int) -> None:
    """Raises BadFile."""
    if not rows:
        raise BadFile("Ce fichier nomme des colonnes, mais n’a aucun client.")
    if rows > MOST_CLIENTS:
        raise BadFile("Ce fichier a plus de 100\u202f000 clients. Partagez-le en plusieurs fichiers.")


def others(names: Sequence[str], features: Sequence[str]) -> list[str]:
    times = Counter(names)
    return [name for name in names if name.strip() and name not in features and times[name] == 1]
