"""Reads which page of reference clients is asked for."""

import re
from collections.abc import Mapping, Sequence

from api.reference.errors import BadEnquiry

USUAL_LIMIT, MOST = 50, 500  # clients on a page

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


def page(given: Mapping[str, Sequence[str]]) -> tuple[int, int]:
    """`after` and `limit`. `given`: the values of each parameter. Raises BadEnquiry."""
    if any(name not in ("after", "limit") or len(values) > 1 for name, values in given.items()):
        raise BadEnquiry("les paramètres sont after et limit, chacun une fois")
    after = given.get("after", ["0"])[0]
    limit = given.get("limit", [str(USUAL_LIMIT)])[0]
    if not _NUMBER.fullmatch(after):
        raise BadEnquiry("after doit être le numéro d’un client")
    if not (_NUMBER.fullmatch(limit) and 1 <= int(limit) <= MOST):
        raise BadEnquiry(f"limit doit être un nombre entier de 1 à {MOST}")
    return int(after), int(limit)
