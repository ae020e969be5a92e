"""Keys, statements, and versions that are signed with them."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from api.delivery.sources import RegisteredModel
from mlflow_model.bundle.signing import Signer
from mlflow_model.bundle.trial import Trial
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import connection, versions

CARD = ModelCard("# Card\n")
NAME = versions.NAME
MANIFEST = "a" * 64
CHAMPION = f"models:/{NAME}@champion"


class Key:
    """A pair of keys in two files."""

    def __init__(self, folder: Path, called: str) -> None:
        self.private, self.file = Ed25519PrivateKey.generate(), folder / f"{called}.pem"
        self.file.write_bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.public = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.signer = Signer(self.file)
        self.id = self.signer.key_id

    def states(
        self,
        *,
        name: str = NAME,
        manifest: str = MANIFEST,
        number: int = 7,
        valid_for: timedelta | None = None,
    ) -> str:
        return Signer(self.file, valid_for).sign(name, manifest, number)[1]

    def signs(self, payload: bytes, prefix: bytes = b"scoring-client statement 1\n") -> str:
        """Any payload with its genuine signature."""
        return written(payload, self.private.sign(prefix + payload))


def written(payload: bytes, signature: bytes) -> str:
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (payload, signature))


def trust(folder: Path, monkeypatch: pytest.MonkeyPatch, *keys: Key) -> None:
    (folder / "trusted.pem").write_bytes(b"".join(key.public for key in keys))
    monkeypatch.setenv("MODEL_PUBLIC_KEY", str(folder / "trusted.pem"))


def payload(signing_key: Key, **other: Any) -> bytes:
    content = json.loads(base64.urlsafe_b64decode(signing_key.states().split(".")[0] + "=="))
    return json.dumps(content | other, separators=(",", ":")).encode()


class Sound(Trial):
    """A trial that finds nothing wrong."""

    def __init__(self) -> None:
        pass

    def verified(self, folder: Path, digest: str) -> None:
        pass


def model(folder: Path, uri: str = CHAMPION, **more: Any) -> RegisteredModel:
    return RegisteredModel(uri, folder / "cache", Sound(), **more)


def put(key: Key, version: int, number: int | None = None, **more: Any) -> None:
    reference = versions.resolve(f"models:/{NAME}/{version}")
    text = key.states(manifest=str(reference.digest), number=number or version, **more)
    attach(version, text)


def attach(version: int, text: str | None, name: str = NAME, tag: str = versions.STATEMENT_TAG) -> None:
    """Replace a version's statement, as anybody who can write to the registry could."""
    client = connection.connect()
    if text is None:
        client.delete_model_version_tag(name, str(version), tag)
    else:
        client.set_model_version_tag(name, str(version), tag, text)


def point(version: int) -> None:
    connection.connect().set_registered_model_alias(NAME, "champion", str(version))


def served(followed: RegisteredModel) -> str | None:
    copy = followed.news.copy
    return None if copy is None else copy.version


def looked(followed: RegisteredModel) -> tuple[str | None, str]:
    followed.look(afresh=False)
    return served(followed), str(followed.news.problem)
