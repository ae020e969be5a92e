"""What a client is given on paper: the result and its reasons, without a word of the bank's inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TITLE = "Votre demande de crédit"
RESULTS = (
    "Selon un calcul automatique, votre demande présente un risque de non-remboursement faible.",
    "Un calcul automatique ne permet pas de conclure\u00a0: une personne doit examiner votre demande.",
    "Selon un calcul automatique, votre demande présente un risque de non-remboursement élevé.",
)
"""In the order of the labels."""
WORDS = ("risque faible", "à examiner", "risque élevé")
"""What a sentence calls the labels."""

NO_AGREEMENT = "Ce résultat n’est ni un accord ni un refus de crédit."
FICTITIOUS = "Client fictif\u00a0: ce document est un exemple, et ne concerne aucune personne."
_RIGHTS = (
    "Vous pouvez demander qu’une personne revoie ce résultat, donner votre point de vue et le contester. "
    "Adressez-vous au conseiller qui vous a remis ce document."
)


@dataclass(frozen=True)
class Request:
    """What was asked for. `reference`, `receipt`: None where there is none."""

    day: str
    amount: str
    reference: str | None
    receipt: str | None
    is_fictitious: bool


@dataclass(frozen=True)
class Document:
    """`facts`: by their names. `lists`: a heading and its sentences. `rights`: a heading and what it says."""

    facts: Mapping[str, str]
    is_fictitious: bool
    result: str
    lists: Sequence[tuple[str, Sequence[str]]]
    rights: tuple[str, str] = ("Vos droits", _RIGHTS)


def document(zone: int, request: Request, lists: Sequence[tuple[str, Sequence[str]]]) -> Document:
    """Empty lists are left out."""
    facts = {
        "Date": request.day,
        "Montant demandé": request.amount,
        "Référence": request.reference,
        "Numéro du reçu": request.receipt,
    }
    return Document(
        {name: fact for name, fact in facts.items() if fact},
        request.is_fictitious,
        RESULTS[zone],
        [(heading, sentences) for heading, sentences in lists if sentences],
    )
