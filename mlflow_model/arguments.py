"""What the command lines share: their parser, and types that say what a text should have been."""

import argparse
import math
import re
from datetime import timedelta
from typing import NoReturn

from mlflow_model import command

LONGEST_REASON = 1_000
_TOO_LARGE = 1e15
LONGEST_NAME = 128
LONGEST_VALIDITY = 36_500  # days


class Parser(argparse.ArgumentParser):
    """Refuses in one sentence, before which argparse would show all options."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            prog = self.prog if self.prog.startswith("python ") else f"python {self.prog}"
            message += command.named_here(f"; {prog} --help says more")
        self.exit(2, f"Refused: {message}\n")


def version(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"a version is a number that `register.py list` shows, not {text!r}")
    return int(text)


def model_name(text: str) -> str:
    """A name that MLflow's registry accepts and its search can quote."""
    if not (re.fullmatch(r"\w+(?:[ .-]+\w+)*", text) and len(text) <= LONGEST_NAME):
        raise argparse.ArgumentTypeError(f"a model's name is words joined by - . or spaces, not {text!r}")
    return text


def alias(text: str) -> str:
    """An alias that MLflow's registry accepts. It refuses `latest`, v1, v2, ..., which look like versions."""
    is_version = re.fullmatch(r"(?i)latest|v[0-9]+", text) is not None
    if is_version or not (re.fullmatch(r"[\w-]+", text, re.ASCII) and len(text) <= LONGEST_NAME):
        raise argparse.ArgumentTypeError(
            f"an alias is letters, digits, _ and -, and neither latest nor v and a number: not {text!r}"
        )
    return text


def share(text: str) -> float:
    if not 0 <= (share := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"a share is a number from 0 to 1, not {text!r}")
    return share


def part(text: str) -> float:
    """A share of which something is left."""
    if not 0 <= (part := _number(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be a share from 0 to below 1, not {text!r}")
    return part


def positive(text: str) -> float:
    if not 0 < (number := _number(text)) < _TOO_LARGE:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and below {_TOO_LARGE:g}, not {text!r}")
    return number


def clients(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"a number of clients is 1 or more, not {text!r}")
    return int(text)


def days(text: str) -> timedelta:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= LONGEST_VALIDITY):
        raise argparse.ArgumentTypeError(
            f"a signature holds for 1 to {LONGEST_VALIDITY:,} days, not {text!r}"
        )
    return timedelta(days=int(text))


def cost(text: str) -> float:
    """A cost of 0 or more; with infinity, no increase is too much."""
    if not (increase := _number(text)) >= 0:
        raise argparse.ArgumentTypeError(f"a cost is a number of 0 or more, not {text!r}")
    return increase


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def plain_text(text: str) -> str:
    """A name, or another short text on one line."""
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise argparse.ArgumentTypeError(f"a name is plain text of at most {LONGEST_NAME} characters")
    return name


def reason(text: str) -> str:
    """A reason on one line, so that `list` stays a table, and short enough for a tag in any store."""
    reason = " ".join(text.split())
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise argparse.ArgumentTypeError(f"a reason is plain text of at most {LONGEST_REASON:,} characters")
    return reason
