"""Who may ask for what, by bearer tokens. The file API_TOKENS_FILE holds their roles and hashes.

`python -m api.tokens NAME ROLE` makes a token, shows it once, and prints the line for that file:
role, SHA-256 of the token in hexadecimal, name. A token is 32 random bytes, so that no slow hash is needed.
"""

import hashlib
import hmac
import logging
import re
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api import paths
from api.followed_file import BadFile, FollowedFile
from api.paths import AUDIT, ROLES
from api.settings import TOKENS_FILE
from mlflow_model.errors import Forbidden, Unauthorized

_LOOK_SECONDS = 0.5
_LINE = re.compile(r"(?P<role>\w+)[ \t]+(?P<digest>[0-9a-f]{64})[ \t]+(?P<name>\S+)")

LONGEST_NAME = 60  # characters of 4 bytes at most: a receipt has room for 255
_BAD_NAME = f"a name has 1 to {LONGEST_NAME} printable characters"

_log = logging.getLogger("scoring_client")


class BadTokensFile(BadFile):
    """A line of the file does not have the form ROLE SHA256 NAME."""


@dataclass(frozen=True)
class Token:
    role: str
    digest: bytes
    name: str


ANYBODY = Token(AUDIT, b"", "")  # where no token is asked for


class Guard:
    """Checks tokens against a file, which is read again within a second of a change.

    Without a file everybody may ask for everything. The constructor raises BadFile.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = None if file is None else FollowedFile(TOKENS_FILE, file, parse)
        self._look_at = time.monotonic() + _LOOK_SECONDS
        if self._file is not None and not self._file.held:
            _log.warning("%s holds no token: nobody may ask for anything", TOKENS_FILE)

    @property
    def asks_for_tokens(self) -> bool:
        return self._file is not None

    def check(self, path: str, authorization: str | None) -> Token:
        """Whose token asks; ANYBODY where everybody may.

        Raises Unauthorized without a known token, Forbidden if its role may not ask for this path.
        """
        if self._file is None:
            return ANYBODY
        known = paths.find(path)
        allowed = ROLES if known is None else known.roles  # an unknown path is answered 404
        if allowed is None:
            return ANYBODY
        if time.monotonic() > self._look_at:
            self._look_again(self._file)
        token = _token_of(authorization, self._file.held)
        if token is None:
            raise Unauthorized
        if token.role not in allowed:
            raise Forbidden
        return token

    def _look_again(self, file: "FollowedFile[tuple[Token, ...]]") -> None:
        self._look_at = time.monotonic() + _LOOK_SECONDS
        if file.look():
            _log.info("%s has changed: %s tokens", TOKENS_FILE, len(file.held))


def _token_of(authorization: str | None, tokens: Sequence[Token]) -> Token | None:
    """The known token. Compare the given one with each in constant time: the time tells nothing."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    digest = hashlib.sha256(token.strip().encode()).digest()
    found = None
    for known in tokens:
        if hmac.compare_digest(known.digest, digest):
            found = known
    return found


def parse(content: bytes) -> tuple[Token, ...]:
    """The tokens of a file. Empty lines and lines that begin with # are skipped. Raises BadTokensFile."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise BadTokensFile(f"{TOKENS_FILE} is not encoded in UTF-8") from error
    return tuple(
        _token(number, line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )


def _token(number: int, line: str) -> Token:
    match = _LINE.fullmatch(line.strip())
    if match is None or match["role"] not in ROLES:
        raise BadTokensFile(
            f"{TOKENS_FILE}, line {number}: expected ROLE SHA256 NAME, ROLE one of {', '.join(ROLES)}"
        )
    if not _is_name(match["name"]):
        raise BadTokensFile(f"{TOKENS_FILE}, line {number}: {_BAD_NAME}")
    return Token(match["role"], bytes.fromhex(match["digest"]), match["name"])


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and " " not in text


def main() -> None:
    from mlflow_model import arguments

    parser = arguments.Parser(
        prog="python -m api.tokens",
        description="Make a token, shown once on standard error; standard output has the line for "
        f"{TOKENS_FILE}.",
    )
    parser.add_argument("name", help="whose it is, without spaces")
    purposes = "score: decide; review: decide on one, and review; audit: all past decisions, and /metrics"
    parser.add_argument("role", choices=ROLES, help=purposes)
    options = parser.parse_args()
    if not _is_name(options.name):
        parser.error(f"{_BAD_NAME}, and no spaces")
    token = secrets.token_urlsafe(32)
    sys.stderr.write(f"Authorization: Bearer {token}\n")
    sys.stdout.write(f"{options.role} {hashlib.sha256(token.encode()).hexdigest()} {options.name}\n")


if __name__ == "__main__":
    from mlflow_model import command

    command.begin()
    command.run(main)
