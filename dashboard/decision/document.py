"""What a client is given on paper: the decision and its reasons, without a word of the bank's inside."""

from collections.abc import Sequence
from html import escape

_STYLE = (
    "body{font:16px/1.5 Georgia,serif;max-width:42em;margin:2em auto;color:#111;background:#fff}"
    "h1{font-size:1.5em}h2{font-size:1.15em;break-after:avoid}li{break-inside:avoid}"
    "@page{size:A4;margin:20mm}@media print{body{margin:0}}"
)
_RIGHT = (
    "Cette décision a été préparée par un calcul automatique. Vous pouvez demander qu’une personne "
    "la revoie, donner votre point de vue et la contester. Adressez-vous au conseiller qui vous a "
    "remis ce document."
)


def document(decision: str, day: str, receipt: str | None, parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A page of HTML that prints on A4. `parts`: a heading and its sentences; empty ones are left out."""
    body = "".join(
        f"<h2>{escape(heading)}</h2><ul>{''.join(f'<li>{escape(one)}</li>' for one in sentences)}</ul>"
        for heading, sentences in parts
        if sentences
    )
    number = f"<p>Numéro du reçu\u00a0: {escape(receipt)}</p>" if receipt else ""
    return (
        '<!doctype html><html lang="fr"><head><meta charset="utf-8"><title>Votre demande de crédit</title>'
        f"<style>{_STYLE}</style></head><body><h1>Votre demande de crédit</h1><p>Le {escape(day)}</p>"
        f"<p><strong>Résultat\u00a0: {escape(decision)}</strong></p>{number}{body}"
        f"<h2>Vos droits</h2><p>{_RIGHT}</p></body></html>"
    )
