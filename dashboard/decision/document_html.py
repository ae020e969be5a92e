"""The client's document as a page of HTML that prints on A4."""

from html import escape

from dashboard.decision.document import FICTITIOUS, NO_AGREEMENT, TITLE, Document

_STYLE = (
    "body{font:16px/1.5 Georgia,serif;max-width:42em;margin:2em auto;padding:0 1em}"
    "body{color:#111;background:#fff}"
    "h1{font-size:1.5em}h2{font-size:1.15em;break-after:avoid}li{break-inside:avoid}"
    ".result{font-weight:bold;font-size:1.1em}.fictitious{border:2px solid #111;padding:.5em 1em}"
    "@page{size:A4;margin:20mm}@media print{body{margin:0;padding:0}}"
)


def as_html(document: Document) -> str:
    facts = "<br>".join(f"{name}\u00a0: {escape(fact)}" for name, fact in document.facts.items())
    mark = f'<p class="fictitious">{FICTITIOUS}</p>' if document.is_fictitious else ""
    lists = "".join(
        f"<h2>{escape(heading)}</h2><ul>{''.join(f'<li>{escape(one)}</li>' for one in sentences)}</ul>"
        for heading, sentences in document.lists
    )
    heading, rights = document.rights
    return (
        '<!doctype html><html lang="fr"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{TITLE}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{TITLE}</h1>{mark}<p>{facts}</p>"
        f'<p class="result">{document.result}</p><p>{NO_AGREEMENT}</p>{lists}'
        f"<h2>{heading}</h2><p>{rights}</p></body></html>"
    )
