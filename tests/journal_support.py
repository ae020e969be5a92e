"""What the journal's tests share: a journal of their own, and receipts of clients who do not exist."""

import math
import random
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from journal import checkpoints, erasing, ids, store, verification
from journal.checkpoints import Checkpoint
from journal.events import Review, Served
from journal.models import Model
from journal.receipt import Receipt
from journal.store import Journal
from journal.verification import Report
from journal.writer import Writer

MODEL = Model(
    name="scoring-client",
    version="3",
    digest="ab" * 32,
    threshold=0.25,
    margin=0.05,
    labels=("Classe_0 (fiable)", "Zone grise (incertain)", "Classe_1 (risqué)"),
    features=("AMT_CREDIT", "EXT_SOURCE_1", "DAYS_BIRTH"),
    columns=(
        "prediction",
        "probability_class_1",
        "probability_class_0",
        "optimal_threshold",
        "margin",
        "lower_bound",
        "upper_bound",
    ),
    code="0.2.0",
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_chance = random.Random(17)  # noqa: S311 - the same clients at every run


def receipt_of(probability: float = 0.3, **changes: object) -> Receipt:
    """Of a client in the grey zone, whose first external score is missing."""
    label = MODEL.labels[(probability >= 0.2) + (probability > 0.3)]
    kept: dict[str, object] = {
        "model": MODEL,
        "inputs": (_chance.uniform(1e5, 1e6), math.nan, float(-_chance.randrange(8_000, 25_000))),
        "outputs": (label, probability, 1 - probability, 0.25, 0.05, 0.2, 0.3),
        "door": "/predict",
        "request_id": "r-1",
    }
    return Receipt(**(kept | changes))  # type: ignore[arg-type]


def id_of(one: Receipt) -> str:
    return ids.written(one.id)


def receipts(count: int) -> list[Receipt]:
    return [receipt_of(_chance.random()) for _ in range(count)]


def journal_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty journal in the folder, which JOURNAL_URL names from now on."""
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{folder}/journal.db")
    store.make()[0].close()
    return folder / "journal.db"


def written_keys(folder: Path) -> tuple[Path, Path]:
    """The files of the private and of the public key."""
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def typed(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit code of a line after `python -m journal`, and what came on standard output and error."""
    from journal.__main__ import main  # imports much, which processes that only write do without

    capsys.readouterr()
    code = main(shlex.split(line))
    said = capsys.readouterr()
    return code, said.out, said.err


def erased(*decisions: bytes) -> int:
    with closing(store.opened()) as opened:
        return erasing.erase(opened, decisions, "test", "a test", "test")[0]


@contextmanager
def writer(journal: Journal | None = None) -> Iterator[Writer]:
    """A writer to the journal that JOURNAL_URL names."""
    with (
        closing(store.opened() if journal is None else journal) as opened,
        Writer(opened, "test", "0") as one,
    ):
        yield one


def write(*groups: list[Receipt]) -> None:
    with writer() as one:
        for group in groups:
            one.append(group)


INTO_FORM_0003 = (
    "DROP INDEX record_open",
    "DROP INDEX record_reviewed",
    "ALTER TABLE record DROP COLUMN is_reviewed",
    "CREATE INDEX record_uncertain ON record (time, position) WHERE label = 1",
    "UPDATE journal_version SET version_num = '0003'",
)


def changed(file: Path, *statements: str) -> None:
    """Change the file behind the journal's back."""
    with closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchall()


def bytes_of(file: Path) -> bytes:
    """Of the database, its log and its index together."""
    return b"".join(one.read_bytes() for one in sorted(file.parent.glob(f"{file.name}*")))


@dataclass
class Filled:
    """A journal of some hundred records by five writers, with an erasure, and a checkpoint of nearly all."""

    file: Path
    checkpoint: Checkpoint

    def copied(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> "Filled":
        """The same in another folder, which JOURNAL_URL names from now on."""
        file = folder / "journal.db"
        file.write_bytes(self.file.read_bytes())
        monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{file}")
        return Filled(file, self.checkpoint)


def filled_at(folder: Path) -> Filled:
    with pytest.MonkeyPatch.context() as patch:
        file = journal_at(folder, patch)
        first = receipts(300)
        write([*first[:100]], [*first[100:]])
        with writer() as one:
            one.append([Served(model=MODEL), *receipts(50)])
            one.append([Review(decision=first[5].id, outcome="accept", reviewer="léa", reason="revenus")])
        erased(first[7].id)
        with closing(store.opened()) as opened:
            made = checkpoints.make(opened, KEY, "test")
        write(receipts(20))
    return Filled(file, made)


def verified(*given: Checkpoint) -> Report:
    with closing(store.opened()) as opened, opened.reading() as connection:
        return verification.verify(connection, given, [KEY.public_key()])


def reviewed(one: Receipt) -> None:
    with writer() as reviewing:
        event = Review(decision=one.id, outcome="accept", reviewer="léa", reason="revenus vérifiés")
        reviewing.append([event])
