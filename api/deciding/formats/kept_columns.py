"""The columns of a body that its sender wants back in front of the decisions: `?keep=SK_ID_CURR`."""

from collections.abc import Collection, Sequence

from mlflow_model.bundle.scoring import OUTPUT_COLUMNS
from mlflow_model.errors import BadData, BadRow

MOST = 20
DECISION_ID = "decision_id"  # of a receipt, behind the decision
LONGEST_VALUE = 1_000  # characters of a text, or of a JSON number
ANSWER_LIMIT = 16 * 1024 * 1024

_LONGEST_SHOWN = 100


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """The names that a query asks for, each once. Raises BadData."""
    once = tuple(dict.fromkeys(names))
    if len(once) > MOST:
        raise BadData(f"keep nomme plus de {MOST} colonnes")
    check_free(once, OUTPUT_COLUMNS)
    return once


def check_free(names: Sequence[str], decided: Collection[str]) -> None:
    """Raises BadData for the name of a column of the decision."""
    for name in names:
        if name in decided:
            raise _refusal(name, "fait déjà partie de la réponse")


def absent(name: str, row: int | None = None) -> BadData:
    return _refusal(name, "est absente", row)


def of_another_kind(name: str, row: int | None = None) -> BadData:
    return _refusal(name, "doit contenir des nombres, des textes ou des booléens", row)


def check_length(name: str, row: int, value: str) -> None:
    """Raises BadData."""
    if len(value) > LONGEST_VALUE:
        raise _refusal(name, f"contient une valeur de plus de {LONGEST_VALUE} caractères", row)


def shown(name: str) -> str:
    """The name for a sentence, or nothing if it cannot be printed there."""
    return f" '{name}'" if name.isprintable() and len(name) <= _LONGEST_SHOWN else ""


def _refusal(name: str, fault: str, row: int | None = None) -> BadData:
    detail = f"la colonne{shown(name)} demandée par keep {fault}"
    return BadData(detail) if row is None else BadRow(row, detail)
