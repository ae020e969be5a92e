"""What a client is given on paper: the result and its reasons, without a word of the bank's inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

RESULTS = (
    "Selon un calcul automatique, votre demande présente un risque de non-remboursement faible.",
    "Un calcul automatique ne permet pas de conclure\u00a0: une personne doit examiner votre demande.",
    "Selon un calcul automatique, votre demande présente un risque de non-remboursement élevé.",
)
"""In the order of the labels."""
WORDS = ("risque faible", "à examiner", "risque élevé")
"""What a sentence calls the labels."""

_STYLE = (
    "body{font:16px/1.5 Georgia,serif;max-width:42em;margin:2em auto;padding:0 1em}"
    "body{color:#111;background:#fff}"
    "h1{font-size:1.5em}h2{font-size:1.15em;break-after:avoid}li{break-inside:avoid}"
    ".result{font-weight:bold;font-size:1.1em}.fictitious{border:2px solid #111;padding:.5em 1em}"
    "@page{size:A4;margin:20mm}@media print{body{margin:0;padding:0}}"
)
_NO_AGREEMENT = "Ce résultat n’est ni un accord ni un refus de crédit."
_FICTITIOUS = "Client fictif\u00a0: ce document est un exemple, et ne concerne aucune personne."
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


def document(zone: int, request: Request, parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A page of HTML that prints on A4. `parts`: a heading and its sentences; empty ones are left out."""
    facts = {
        "Date": request.day,
        "Montant demandé": request.amount,
        "Référence": request.reference,
        "Numéro du reçu": request.receipt,
    }
    known = "<br>".join(f"{name}\u00a0: {escape(fact)}" for name, fact in facts.items() if fact)
    mark = f'<p class="fictitious">{_FICTITIOUS}</p>' if request.is_fictitious else ""
    body = "".join(
        f"<h2>{escape(heading)}</h2><ul>{''.join(f'<li>{escape(one)}</li>' for one in sentences)}</ul>"
        for heading, sentences in parts
        if sentences
    )
    return (
        '<!doctype html><html lang="fr"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Votre demande de crédit</title>'
        f"<style>{_STYLE}</style></head><body><h1>Votre demande de crédit</h1>{mark}<p>{known}</p>"
        f'<p class="result">{RESULTS[zone]}</p><p>{_NO_AGREEMENT}</p>{body}'
        f"<h2>Vos droits</h2><p>{_RIGHTS}</p></body></html>"
    )
