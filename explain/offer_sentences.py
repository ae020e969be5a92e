"""Says in French what a change of a loan would bring, so that a loan officer can read it aloud."""

from collections.abc import Callable, Mapping

from explain import wording
from explain.loans import ANNUITY, CREDIT, INCOME, PRICE, Loan
from explain.search import Change, Extreme
from explain.wording import NO_BREAK

_NOUNS = {
    CREDIT: "un crédit",
    ANNUITY: "une échéance",
    PRICE: "un prix du bien",
    INCOME: "un revenu",
}
_TERM = "CREDIT_TERM"
CONTRADICTORY = (
    f"Les valeurs se contredisent, comme le disent les avertissements{NO_BREAK}: "
    "aucun changement n’est proposé avant qu’elles soient corrigées."
)
NO_LEVERS = "Ce modèle ne dépend d’aucun montant que le client pourrait changer."
NOTHING_KNOWN = "Aucun des montants que le client pourrait changer n’est connu."
NOT_SEARCHED = (
    "Les changements possibles n’ont pas pu être examinés tous avec cette version du modèle, "
    "et aucun n’est donc proposé."
)


def found(label: str, offers: int) -> str:
    if offers == 1:
        return f"Un changement donnerait la décision {label}."
    return f"{offers} changements donneraient la décision {label}{NO_BREAK}: chacun suffit."


def impossible(label: str, points: int, lowest: Extreme | None, loan: Loan) -> str:
    """That no change gives this decision, and how near to it one comes."""
    if lowest is None:
        return f"Impossible dans ces limites{NO_BREAK}: aucun autre prêt n’est proposé."
    said = f"Impossible dans ces limites{NO_BREAK}: aucun des {wording.number(points)} changements examinés"
    probability = f"{wording.number(100 * lowest.probability, 1)}{NO_BREAK}%"
    return (
        f"{said} ne donnerait la décision {label}. La probabilité de défaut la plus basse serait de "
        f"{probability}, avec {_all(lowest.amounts, loan)}."
    )


def reliable(label: str, points: int, cost: float) -> str:
    """How far the nearest change for the worse is."""
    examined = f"Des {wording.number(points)} changements d’un seul montant qui ont été examinés"
    return f"La décision est {label}. {examined}, le plus proche qui la changerait est de {_percent(cost)}."


def no_worse(label: str, points: int) -> str:
    examined = f"Aucun des {wording.number(points)} changements d’un seul montant qui ont été examinés"
    return f"La décision est {label}. {examined} ne la changerait."


def changed(change: Change, loan: Loan, label: str) -> str:
    """What the change is, and the decision that it would give."""
    if change.reach is None:
        return f"Avec {_all(change.amounts, loan)}{_term(loan, change.amounts)}, {_would_be(label)}"
    [column] = change.amounts
    what = f"{_NOUNS[column]} de {_range(change.reach, wording.amount, is_open=change.is_open)}"
    ends = [{column: amount} for amount in change.reach]
    term = _term(loan, *ends, is_open=change.is_open)
    return f"Avec {what} au lieu de {wording.amount(loan.amount(column))}{term}, {_would_be(label)}"


def _would_be(label: str) -> str:
    return f"la décision serait{NO_BREAK}: {label}."


def _all(amounts: Mapping[str, float], loan: Loan) -> str:
    return " et ".join(
        f"{_NOUNS[column]} de {wording.amount(amount)} au lieu de {wording.amount(loan.amount(column))}"
        for column, amount in amounts.items()
    )


def _term(loan: Loan, *ends: Mapping[str, float], is_open: bool = False) -> str:
    """How these amounts, or those from the first to the last, change the term."""
    after = [float(term) for amounts in ends if (term := loan.moved(amounts).get(_TERM)) is not None]
    if not after:
        return ""
    said = _range((after[0], after[-1]), _decimal, f"{NO_BREAK}échéances", is_open=is_open)
    return f" (durée de {said} au lieu de {_decimal(loan.values[_TERM])})"


def _range(reach: tuple[float, float], said: Callable[[float], str], unit: str = "", *, is_open: bool) -> str:
    """From the nearest value to the farthest."""
    nearest, farthest = map(said, reach)
    if nearest == farthest:
        return f"{nearest}{unit}"
    if is_open:
        return f"{nearest}{unit} ou {'moins' if reach[1] < reach[0] else 'plus'}"
    return f"{' à '.join(map(said, sorted(reach)))}{unit}"


def _decimal(value: float) -> str:
    return wording.number(value, 1).removesuffix(",0")


def _percent(share: float) -> str:
    return f"{wording.number(100 * share, 1).removesuffix(',0')}{NO_BREAK}%"
