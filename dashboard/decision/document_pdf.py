"""The client's document as a PDF on A4."""

import io
from collections.abc import Iterator
from html import escape

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph, SimpleDocTemplate

from dashboard.decision.document import FICTITIOUS, NO_AGREEMENT, TITLE, Document

_MARGIN = 20 * mm
_PLAIN, _BOLD = "Vera", "VeraBd"  # they come with ReportLab
_TEXT = ParagraphStyle("text", fontName=_PLAIN, fontSize=10.5, leading=16, spaceAfter=8)
_STRONG = ParagraphStyle("strong", _TEXT, fontName=_BOLD)
_FRAMED = ParagraphStyle("framed", _TEXT, borderWidth=1, borderPadding=6, borderColor="black", spaceAfter=16)
_TITLE = ParagraphStyle("title", _STRONG, fontSize=17, leading=22, spaceAfter=14)
_HEADING = ParagraphStyle("heading", _STRONG, fontSize=12, spaceBefore=6, spaceAfter=4, keepWithNext=True)
_ITEM = ParagraphStyle("item", _TEXT, leftIndent=14, bulletIndent=2, bulletFontName=_PLAIN, spaceAfter=4)


def as_pdf(document: Document) -> bytes:
    for name in (_PLAIN, _BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    content = io.BytesIO()
    margins = dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), _MARGIN)
    about = {"title": TITLE, "author": "", "subject": "", "creator": "", "lang": "fr"}
    SimpleDocTemplate(content, pagesize=A4, **about, **margins).build([*_paragraphs(document)])
    return content.getvalue()


def _paragraphs(document: Document) -> Iterator[Paragraph]:
    yield _paragraph(TITLE, _TITLE)
    if document.is_fictitious:
        yield _paragraph(FICTITIOUS, _FRAMED)
    yield Paragraph(
        "<br/>".join(_text(f"{name}\u00a0: {fact}") for name, fact in document.facts.items()), _TEXT
    )
    yield _paragraph(document.result, _STRONG)
    yield _paragraph(NO_AGREEMENT, _TEXT)
    for heading, sentences in document.lists:
        yield _paragraph(heading, _HEADING)
        for sentence in sentences:
            yield Paragraph(_text(sentence), _ITEM, bulletText="•")
    heading, rights = document.rights
    yield _paragraph(heading, _HEADING)
    yield _paragraph(rights, _TEXT)


def _paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(_text(text), style)


def _text(text: str) -> str:
    """As ReportLab's markup. It would break a line at a narrow no-break space."""
    return escape(text.replace("\u202f", "\u00a0"), quote=False)
