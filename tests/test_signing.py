"""The service serves only what the owner of the key has signed: a bundle, a name and two dates."""

import base64
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.delivery.sources import PickleFile
from mlflow_model.bundle import signing
from mlflow_model.bundle.signing import Signer, Statement
from mlflow_model.errors import LoadingFailed
from tests.signing_support import MANIFEST, NAME, Key, Sound, payload, trust, written

pytest_plugins = ["tests.signing_fixtures"]


# ---- A statement


def test_a_statement_of_the_key_for_this_bundle_and_name_is_accepted(key: Key) -> None:
    found = signing.check(MANIFEST, NAME, key.states(valid_for=timedelta(days=1)))

    assert found is not None
    assert (found.name, found.manifest, found.number, found.key_id) == (NAME, MANIFEST, 7, key.id)
    assert found.expires == found.signed_at + timedelta(days=1)
    assert abs(datetime.now(UTC) - found.signed_at) < timedelta(minutes=1)


def test_a_statement_is_written_as_the_documentation_says(key: Key) -> None:
    payload = base64.urlsafe_b64decode(key.states().split(".")[0] + "==")

    signed_at = json.loads(payload)["signed_at"]
    assert datetime.fromisoformat(signed_at).tzinfo == UTC
    assert payload.decode() == (
        f'{{"statement":1,"name":"scoring-client","manifest":"{MANIFEST}","number":7,'
        f'"signed_at":"{signed_at}","expires":null,"key":"{key.id}"}}'
    )


def test_without_a_key_nothing_is_asked_for(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_PUBLIC_KEY")

    assert signing.check(MANIFEST, NAME, None) is None
    assert signing.check(MANIFEST, NAME, "nonsense") is None


def expired(key: Key) -> str:
    now = datetime.now(UTC).replace(microsecond=0)
    return key.signs(Statement(NAME, MANIFEST, 7, now, now - timedelta(seconds=1), key.id).payload)


def forged(key: Key) -> str:
    _, signature = key.states().split(".")
    return f"{written(payload(key, number=8), b'')}{signature}"


UNREADABLE = "la signature est illisible"
REFUSED: dict[str, tuple[Callable[[Key, Key], str | None], str]] = {
    "none": (lambda key, _: None, "la version n’est pas signée ; répétez la commande"),
    "the old form": (
        lambda key, _: base64.b64encode(key.private.sign(b"{}")).decode(),
        "la signature de la version est de l’ancienne forme",
    ),
    "of another key": (lambda _, other: other.states(), "que MODEL_PUBLIC_KEY ne contient pas"),
    "of another key in our name": (
        lambda key, other: other.signs(payload(key)),
        "la signature n’est pas celle de la clé",
    ),
    "of another model": (
        lambda key, _: key.states(name="other"),
        "la version est signée pour le modèle other ; réenregistrez-la",
    ),
    "of another bundle": (
        lambda key, _: key.states(manifest="b" * 64),
        "la signature est celle d’un autre bundle (bbbbbbbbbbbb)",
    ),
    "expired": (lambda key, _: expired(key), "la signature a expiré le "),
    "with another number": (lambda key, _: forged(key), "la signature n’est pas celle de la clé"),
    "of the bare payload": (
        lambda key, _: key.signs(payload(key), prefix=b""),
        "la signature n’est pas celle de la clé",
    ),
    "empty": (lambda key, _: "", UNREADABLE),
    "a word": (lambda key, _: "hello", UNREADABLE),
    "without signature": (lambda key, _: key.states().split(".")[0], UNREADABLE),
    "no JSON": (lambda key, _: key.signs(b"{"), UNREADABLE),
    "nested": (lambda key, _: key.signs(b"[" * 2_000), UNREADABLE),
    "a list": (lambda key, _: key.signs(b"[]"), UNREADABLE),
    "of a later form": (lambda key, _: key.signs(payload(key, statement=2)), UNREADABLE),
    "with more in it": (lambda key, _: key.signs(payload(key, more=1)), UNREADABLE),
    "with a key twice": (
        lambda key, _: key.signs(payload(key).replace(b'"number":7', b'"number":7,"number":9')),
        UNREADABLE,
    ),
    "in another order": (
        lambda key, _: key.signs(json.dumps(json.loads(payload(key)), sort_keys=True).encode()),
        UNREADABLE,
    ),
    "number as text": (lambda key, _: key.signs(payload(key, number="7")), UNREADABLE),
    "number with a point": (lambda key, _: key.signs(payload(key, number=7.0)), UNREADABLE),
    "number true": (lambda key, _: key.signs(payload(key, number=True)), UNREADABLE),
    "number zero": (lambda key, _: key.signs(payload(key, number=0)), UNREADABLE),
    "number beyond": (lambda key, _: key.signs(payload(key, number=2**53)), UNREADABLE),
    "name a list": (lambda key, _: key.signs(payload(key, name=[NAME])), UNREADABLE),
    "manifest short": (lambda key, _: key.signs(payload(key, manifest="a")), UNREADABLE),
    "key null": (lambda key, _: key.signs(payload(key, key=None)), UNREADABLE),
    "a date without zone": (
        lambda key, _: key.signs(payload(key, signed_at="2026-01-01T00:00:00")),
        UNREADABLE,
    ),
    "a date that is none": (lambda key, _: key.signs(payload(key, expires="tomorrow")), UNREADABLE),
    "a date before all": (
        lambda key, _: key.signs(payload(key, expires="0001-01-01T00:00:00+23:59")),
        UNREADABLE,
    ),
    "padded": (lambda key, _: key.states() + "==", UNREADABLE),
    "with a line's end": (lambda key, _: key.states() + "\n", UNREADABLE),
    "too long": (lambda key, _: key.signs(payload(key, name="n" * 4_000)), UNREADABLE),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_any_other_statement_is_refused_with_the_way_out(key: Key, other_key: Key, kind: str) -> None:
    make, sentence = REFUSED[kind]

    with pytest.raises(LoadingFailed, match=r"« python register\.py .*--(sign|key) CLE\.pem »$") as refused:
        signing.check(MANIFEST, NAME, make(key, other_key))

    assert sentence in refused.value.detail


def test_every_other_text_of_a_signature_is_refused(key: Key) -> None:
    """The last base64 digit has unused bits. They must be zero, or one signature would have several texts."""
    text = key.states()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    others = [text[:-1] + last for last in alphabet if last != text[-1]]

    for other in others:
        with pytest.raises(LoadingFailed, match="signature"):
            signing.check(MANIFEST, NAME, other)


# ---- Keys


def test_a_file_may_hold_several_keys_and_one_taken_out_of_it_is_revoked(
    key: Key, other_key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(tmp_path, monkeypatch, other_key, key)
    assert signing.check(MANIFEST, NAME, key.states())
    assert signing.check(MANIFEST, NAME, other_key.states())

    trust(tmp_path, monkeypatch, other_key)

    with pytest.raises(LoadingFailed, match=f"signée par la clé {key.id}, que MODEL_PUBLIC_KEY ne contient"):
        signing.check(MANIFEST, NAME, key.states())


def _rsa() -> bytes:
    public = rsa.generate_private_key(65_537, 2_048).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


BAD_KEY_FILES: dict[str, Callable[[Key], bytes]] = {
    "empty": lambda key: b"",
    "no PEM": lambda key: b"hello",
    "a private key": lambda key: key.file.read_bytes(),
    "a private key beside": lambda key: key.public + key.file.read_bytes(),
    "cut off": lambda key: key.public + key.public[:40],
    "of another kind": lambda key: key.public + _rsa(),
    "too large": lambda key: key.public + b" " * 64 * 1024,
}


@pytest.mark.parametrize("kind", BAD_KEY_FILES)
def test_a_file_that_holds_anything_but_public_keys_trusts_nobody(
    key: Key, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "trusted.pem").write_bytes(BAD_KEY_FILES[kind](key))

    with pytest.raises(LoadingFailed, match="MODEL_PUBLIC_KEY"):
        signing.check(MANIFEST, NAME, key.states())
    with pytest.raises(signing.BadKey, match="MODEL_PUBLIC_KEY names no readable public Ed25519 keys"):
        signing.require_keys_in((tmp_path / "trusted.pem").read_bytes())


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["a pipe", "a folder"])
def test_what_is_no_file_of_keys_is_not_waited_for(
    key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "other.pem")
    monkeypatch.setenv("MODEL_PUBLIC_KEY", str(tmp_path / "other.pem"))

    with pytest.raises(LoadingFailed, match="la clé MODEL_PUBLIC_KEY est illisible"):
        signing.check(MANIFEST, NAME, key.states())
    with pytest.raises(signing.BadKey, match=r"other\.pem is no readable private key"):
        Signer(tmp_path / "other.pem")


def test_a_file_of_keys_may_be_a_link(key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in (("public", Path(os.environ["MODEL_PUBLIC_KEY"])), ("private", key.file)):
        (tmp_path / f"{name}.link").symlink_to(file)
    monkeypatch.setenv("MODEL_PUBLIC_KEY", str(tmp_path / "public.link"))

    assert signing.check(MANIFEST, NAME, key.states())
    assert Signer(tmp_path / "private.link").key_id == key.id


def test_a_pickle_is_refused_before_it_is_read_where_a_key_is_asked_for(key: Key, tmp_path: Path) -> None:
    followed = PickleFile(tmp_path / "absent.pkl", tmp_path / "cache", Sound())

    followed.look(afresh=False)

    assert "la version n’est pas signée" in str(followed.news.problem)
