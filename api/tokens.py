"""Who may ask for what: bearer tokens, of which the file API_TOKENS_FILE holds roles and hashes.

`python -m api.tokens NAME ROLE` makes a token, shows it once, and prints the line for that file:
role, SHA-256 of the token in hexadecimal, name. A token is 32 random bytes, so that no slow hash is needed.
"""

import argparse
import hashlib
import hmac
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.followed_file import BadFile, FollowedFile
from mlflow_model.errors import Forbidden, Unauthorized

FILE = "API_TOKENS_FILE"
ROLES = ("score", "review", "audit")

# They tell of the service and decide nothing; a browser that opens a page can send no token.
_OPEN = frozenset({"/", "/docs", "/health", "/openapi.json", "/ready"})
_ALLOWED = {
    "/predict": frozenset({"score", "review"}),
    "/predict/batch": frozenset({"score"}),
    "/metrics": frozenset({"audit"}),
}
_LOOK_SECONDS = 0.5
_LINE = re.compile(r"(?P<role>\w+)[ \t]+(?P<digest>[0-9a-f]{64})[ \t]+(?P<name>\S+)")

_log = logging.getLogger("scoring_client")


class BadTokensFile(BadFile):
    """A line of it is none of ours."""


@dataclass(frozen=True)
class Token:
    role: str
    digest: bytes


class Guard:
    """Lets everybody pass where there is no file. A file that changes is read again within a second.

    Raises BadFile.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = None if file is None else FollowedFile(FILE, file, parse)
        self._look_at = time.monotonic() + _LOOK_SECONDS

    @classmethod
    def from_environment(cls) -> "Guard":
        """Raises BadFile."""
        name = os.environ.get(FILE)
        return cls(Path(name) if name else None)

    @property
    def asks_for_tokens(self) -> bool:
        return self._file is not None

    def check(self, path: str, authorization: str | None) -> None:
        """Raises Unauthorized without a known token, Forbidden where its role is not enough."""
        if self._file is None or path in _OPEN:
            return
        if time.monotonic() > self._look_at:
            self._look_again(self._file)
        role = _role(self._file.held, authorization)
        if role is None:
            raise Unauthorized
        if role not in _ALLOWED.get(path, ROLES):
            raise Forbidden

    def _look_again(self, file: "FollowedFile[tuple[Token, ...]]") -> None:
        self._look_at = time.monotonic() + _LOOK_SECONDS
        if file.look():
            _log.info("%s has changed: %s tokens", FILE, len(file.held))


def _role(tokens: Sequence[Token], authorization: str | None) -> str | None:
    """Every token is compared, in constant time, so that the time tells nothing."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    digest = hashlib.sha256(token.strip().encode()).digest()
    found = None
    for known in tokens:
        if hmac.compare_digest(known.digest, digest):
            found = known.role
    return found


def parse(content: bytes) -> tuple[Token, ...]:
    """The tokens of a file; empty lines and those that begin with # say nothing. Raises BadTokensFile."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise BadTokensFile(f"{FILE} is not encoded in UTF-8") from error
    return tuple(
        _token(number, line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )


def _token(number: int, line: str) -> Token:
    match = _LINE.fullmatch(line.strip())
    if match is None or match["role"] not in ROLES:
        raise BadTokensFile(
            f"{FILE}, line {number}: expected ROLE SHA256 NAME, ROLE one of {', '.join(ROLES)}"
        )
    return Token(match["role"], bytes.fromhex(match["digest"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m api.tokens",
        description=f"Make a token, shown once on standard error; standard output has the line for {FILE}.",
    )
    parser.add_argument("name", help="whose it is, without spaces")
    parser.add_argument("role", choices=ROLES, help="score: decide; review: decide on one; audit: /metrics")
    options = parser.parse_args()
    if not re.fullmatch(r"\S+", options.name):
        parser.error("the name must have no spaces")
    token = secrets.token_urlsafe(32)
    sys.stderr.write(f"Authorization: Bearer {token}\n")
    sys.stdout.write(f"{options.role} {hashlib.sha256(token.encode()).hexdigest()} {options.name}\n")


if __name__ == "__main__":
    main()
