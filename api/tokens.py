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
from dataclasses import dataclass
from pathlib import Path

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
_LOOK_SECONDS = 1.0
_LINE = re.compile(r"(?P<role>\w+)[ \t]+(?P<digest>[0-9a-f]{64})[ \t]+(?P<name>\S+)")

_log = logging.getLogger("scoring_client")


class BadTokensFile(ValueError):
    """The file cannot be read, or a line of it is none of ours."""


@dataclass(frozen=True)
class Token:
    role: str
    digest: bytes


class Guard:
    """Lets everybody pass where there is no file. A file that changes is read again within a second."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._tokens = read(file) if file is not None else ()
        self._seen = self._state()
        self._look_at = time.monotonic() + _LOOK_SECONDS

    @classmethod
    def from_environment(cls) -> "Guard":
        """Raises BadTokensFile."""
        name = os.environ.get(FILE)
        return cls(Path(name) if name else None)

    @property
    def asks_for_tokens(self) -> bool:
        return self._file is not None

    def check(self, path: str, authorization: str | None) -> None:
        """Raises Unauthorized without a known token, Forbidden where its role is not enough."""
        if not self.asks_for_tokens or path in _OPEN:
            return
        if time.monotonic() > self._look_at:
            self._read_again()
        role = self._role(authorization)
        if role is None:
            raise Unauthorized
        if role not in _ALLOWED.get(path, ROLES):
            raise Forbidden

    def _role(self, authorization: str | None) -> str | None:
        """Every token is compared, in constant time, so that the time tells nothing."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest = hashlib.sha256(token.strip().encode()).digest()
        found = None
        for known in self._tokens:
            if hmac.compare_digest(known.digest, digest):
                found = known.role
        return found

    def _read_again(self) -> None:
        self._look_at = time.monotonic() + _LOOK_SECONDS
        state = self._state()
        if state == self._seen or self._file is None:
            return
        self._seen = state
        try:
            self._tokens = read(self._file)
            _log.info("%s has changed: %s tokens", FILE, len(self._tokens))
        except BadTokensFile as error:
            _log.error("%s; the former tokens stay", error)

    def _state(self) -> tuple[int, ...]:
        try:
            status = self._file.stat() if self._file is not None else None
        except OSError:
            return ()
        return (status.st_mtime_ns, status.st_size, status.st_ino) if status else ()


def read(file: Path) -> tuple[Token, ...]:
    """The tokens of a file; empty lines and those that begin with # say nothing. Raises BadTokensFile."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTokensFile(f"{FILE} cannot be read") from error
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
