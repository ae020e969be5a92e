"""Says in French what a change of a loan would bring, so that a loan officer can read it aloud."""

from collections.abc import Iterator, Mapping

from explain import wording
from explain.loans import ANNUITY, CREDIT, INCOME, PRICE, Loan
from explain.search import Change, Extreme
from explain.wording import NO_BREAK

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
_NOUNS = {
    CREDIT: "un crédit",
    ANNUITY: "une échéance",
    PRICE: "un prix du bien",
    INCOME: "un revenu",
}
_DEFINITE = {CREDIT: "le crédit", ANNUITY: "l’échéance", PRICE: "le prix du bien", INCOME: "le revenu"}
_TERM = "CREDIT_TERM"


def found(label: str, offers: int) -> str:
    if offers == 1:
        return f"Un changement suffit pour la décision {_quoted(label)}."
    return f"{offers} changements, dont chacun suffit, donnent la décision {_quoted(label)}."


def impossible(label: str, examined: int, possible: int, lowest: Extreme | None, loan: Loan) -> str:
    """That no change gives this decision, how near to it one comes, and what could not be looked at."""
    return " ".join([_nearest(label, examined, possible, lowest, loan), *_not_examined(loan)])


def _nearest(label: str, examined: int, possible: int, lowest: Extreme | None, loan: Loan) -> str:
    head = f"Impossible dans ces limites{NO_BREAK}:"
    if lowest is None:
        return f"{head} aucun des {wording.number(examined)} changements examinés n’est un prêt possible."
    said = f"aucun des {wording.number(possible)} changements possibles ne donnerait"
    if possible == 1:
        said = "le seul changement possible ne donnerait pas"
    probability = f"{wording.number(100 * lowest.probability, 2)}{NO_BREAK}%"
    return (
        f"{head} {said} la décision {_quoted(label)}. La probabilité de défaut la plus basse serait de "
        f"{probability}, avec {_all(lowest.amounts, loan)}."
    )


def _not_examined(loan: Loan) -> Iterator[str]:
    if unknown := [_DEFINITE[column] for column in loan.unknown()]:
        *others, last = unknown
        amounts = f"{', '.join(others)} et {last}" if others else last
        yield f"Sans connaître {amounts}, d’autres changements n’ont pas pu être examinés."


def reliable(label: str, possible: int, cost: float | None) -> str:
    """How far the nearest change for the worse is; None if no change is."""
    head = f"La décision est {_quoted(label)}."
    if not possible:
        return f"{head} Aucun changement d’un seul montant n’est possible."
    among = f"{wording.number(possible)} possible{'s' if possible > 1 else ''}"
    if cost is None:
        return f"{head} Aucun changement d’un seul montant ne la ferait perdre, sur {among}."
    size = f"{wording.digits(100 * cost, 1 if cost >= 0.01 else 2)}{NO_BREAK}%"
    if cost < 0.0001:
        size = f"moins de 0,01{NO_BREAK}%"
    smallest = "Le plus petit changement d’un seul montant qui la ferait perdre"
    return f"{head} {smallest} est de {size}, sur {among}."


def changed(change: Change, loan: Loan, label: str) -> str:
    """What the change is, and the decision that it would give."""
    ends = [change.amounts]
    if change.up_to is not None:
        [column] = change.amounts
        ends.append({column: change.up_to})
    what = _all(change.amounts, loan) if len(ends) == 1 else _between(change, loan)
    return f"Avec {what}{_term(loan, ends)}, la décision serait {_quoted(label)}."


def _between(change: Change, loan: Loan) -> str:
    """One amount, up to the farthest that gives the decision as well."""
    [(column, amount)] = change.amounts.items()
    if change.up_to in (None, amount):
        return _all(change.amounts, loan)
    low, high = sorted((amount, change.up_to or amount))
    return f"{_NOUNS[column]} de {_said(low)} à {_said(high)} au lieu de {_said(loan.amount(column))}"


def _all(amounts: Mapping[str, float], loan: Loan) -> str:
    return " et ".join(
        f"{_NOUNS[column]} de {_said(amount)} au lieu de {_said(loan.amount(column))}"
        for column, amount in amounts.items()
    )


def _term(loan: Loan, ends: list[Mapping[str, float]]) -> str:
    """How these amounts, or those between them, change the term."""
    after = [float(term) for amounts in ends if (term := loan.moved(amounts).get(_TERM)) is not None]
    if not after:
        return ""
    said, low = wording.of(_TERM).said, wording.digits(min(after), 1)
    then = said(max(after)) if low == wording.digits(max(after), 1) else f"{low} à {said(max(after))}"
    before = said(loan.values[_TERM])
    return "" if then == before else f" (durée de {then} au lieu de {before})"


def _said(amount: float) -> str:
    """With all digits of an amount of money, and of a small one with the three that a lever has."""
    return wording.digits(amount, 2 if amount >= 1 else 5)


def _quoted(label: str) -> str:
    return f"«{NO_BREAK}{label}{NO_BREAK}»"
