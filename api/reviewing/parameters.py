"""Reads what is asked of the journal: the number of a decision, the parameters of a page, a review's body."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.deciding import content_headers, strict_json
from api.paths import AUDIT, REVIEWED
from api.reviewing.errors import BadQuestion, NotInTheGreyZone
from api.tokens import Token
from journal.events import OUTCOMES
from journal.models import GREY, LABELS
from journal.record import moment
from mlflow_model.errors import BadData, BodyTooLarge

USUAL_LIMIT, MOST = 50, 500  # decisions on a page
LONGEST_REASON, LONGEST_REVIEWER = 1_000, 64
PARAMETERS = ("label", "open", "reviewed", "model_version", "since", "until", "order", "after", "limit")
ORDERS = NEWEST, OLDEST = ("newest", "oldest")  # which decision comes first

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_VERSION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_KEYS = ("outcome", "reason", "reviewer")


@dataclass(frozen=True)
class Page:
    """`since`, `until`: microseconds since 1970. `after`: the last decision of the page before."""

    label: str | None = None
    is_open: bool = False
    is_reviewed: bool = False
    order: str = NEWEST
    version: str | None = None
    since: int | None = None
    until: int | None = None
    after: str | None = None
    limit: int = USUAL_LIMIT


@dataclass(frozen=True)
class Reviewed:
    outcome: str
    reason: str
    reviewer: str


def sees_all(token: Token) -> bool:
    """Whether it may see all decisions, and not those in the grey zone alone."""
    return token.role == AUDIT


def decision_id(text: str) -> str:
    """Raises BadQuestion."""
    if not _ID.fullmatch(text):
        raise BadQuestion("un numéro de décision a la forme de l’en-tête X-Decision-Id")
    return text.lower()


def page(given: Mapping[str, Sequence[str]], token: Token) -> Page:
    """`given`: the values of each parameter. Raises BadQuestion or NotInTheGreyZone."""
    if any(name not in PARAMETERS or len(values) > 1 for name, values in given.items()):
        raise BadQuestion(
            f"les paramètres sont {', '.join(PARAMETERS[:-1])} et {PARAMETERS[-1]}, chacun une fois"
        )
    one = {name: values[0] for name, values in given.items()}
    for flag in ("open", "reviewed"):
        if one.get(flag, "true") != "true":
            raise BadQuestion(f"{flag} ne peut être que true")
    if one.get("order", NEWEST) not in ORDERS:
        raise BadQuestion("order doit être newest ou oldest")
    return Page(
        label=_label(one.get("label"), token),
        is_open="open" in one,
        is_reviewed="reviewed" in one,
        order=one.get("order", NEWEST),
        version=_version(one.get("model_version")),
        since=_moment(one.get("since")),
        until=_moment(one.get("until")),
        after=_after(one.get("after")),
        limit=_limit(one.get("limit")),
    )


def _label(text: str | None, token: Token) -> str | None:
    if text is not None and text not in LABELS:
        raise BadQuestion("label doit être reliable, grey ou risky")
    if sees_all(token):
        return text
    if text not in (None, GREY):
        raise NotInTheGreyZone
    return GREY


def _version(text: str | None) -> str | None:
    if text is not None and not _VERSION.fullmatch(text):
        raise BadQuestion("model_version doit être le numéro d’une version")
    return text


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else moment(text)
    except (ValueError, OverflowError):
        raise BadQuestion(
            "since et until sont des dates ISO 8601, en UTC : 2026-11-26 ou 2026-11-26T17:30:00Z"
        ) from None


def _after(text: str | None) -> str | None:
    if text is not None and not _ID.fullmatch(text):
        raise bad_cursor()
    return text


def bad_cursor() -> BadQuestion:
    return BadQuestion("after doit être le next de la page précédente")


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL_LIMIT
    if not (_NUMBER.fullmatch(text) and 1 <= int(text) <= MOST):
        raise BadQuestion(f"limit doit être un nombre entier de 1 à {MOST}")
    return int(text)


def review(
    content_type: str | None,
    content_encoding: str | None,
    body: bytes,
    token: Token,
    *,
    asks_for_tokens: bool,
) -> Reviewed:
    """`asks_for_tokens`: then the reviewer is whose token it is. Raises BadData."""
    content_headers.check_json(content_type, content_encoding)
    if len(body) > REVIEWED.body_limit:
        raise BodyTooLarge(REVIEWED.body_limit)
    told = strict_json.parse(body, _KEYS)
    if not told.keys() <= {*_KEYS}:
        raise BadData("les clés d’une revue sont outcome, reason et reviewer")
    if told.get("outcome") not in OUTCOMES:
        raise BadData("outcome doit être accept ou refuse")
    reason = _line(told.get("reason"), LONGEST_REASON)
    if reason is None:
        raise BadData(f"reason doit être un texte imprimable de 1 à {LONGEST_REASON} caractères")
    if asks_for_tokens and "reviewer" in told:
        raise BadData("reviewer ne se donne pas ici : c’est le nom du jeton d’accès")
    reviewer = token.name if asks_for_tokens else _line(told.get("reviewer"), LONGEST_REVIEWER)
    if reviewer is None:
        raise BadData(f"reviewer doit être un nom imprimable de 1 à {LONGEST_REVIEWER} caractères")
    return Reviewed(told["outcome"], reason, reviewer)


def _line(value: object, longest: int) -> str | None:
    """A text on one line; None if it is none, empty, too long or not printable."""
    line = " ".join(value.split()) if isinstance(value, str) else ""
    return line if 0 < len(line) <= longest and line.isprintable() else None
