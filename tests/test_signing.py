"""The service serves only what the owner of the key has signed: a bundle, a name and two dates."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from api.delivery import cache, signed_numbers
from api.delivery.finder import Finder
from api.delivery.news import News
from api.delivery.sources import PickleFile, RegisteredModel
from mlflow_model import files
from mlflow_model.bundle import signing
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.signing import Signer, SigningRefused, Statement
from mlflow_model.bundle.trial import Trial
from mlflow_model.errors import LoadingFailed
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import (
    connection,
    fetching,
    leases,
    listing,
    moves,
    registration,
    signed_versions,
    versions,
)
from tests.command_line import register_py
from tests.conftest import copied_registry
from tests.live import policy_of

pytest_plugins = ["tests.promotion_fixtures"]
pytestmark = pytest.mark.usefixtures("few_resamplings")

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


@pytest.fixture(scope="module")
def one_key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("keys"), "key")


@pytest.fixture
def key(one_key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    """The key that MODEL_PUBLIC_KEY names."""
    trust(tmp_path, monkeypatch, one_key)
    return one_key


@pytest.fixture
def other_key(tmp_path: Path) -> Key:
    return Key(tmp_path, "other")


def trust(folder: Path, monkeypatch: pytest.MonkeyPatch, *keys: Key) -> None:
    (folder / "trusted.pem").write_bytes(b"".join(key.public for key in keys))
    monkeypatch.setenv("MODEL_PUBLIC_KEY", str(folder / "trusted.pem"))


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


def payload(signing_key: Key, **other: Any) -> bytes:
    content = json.loads(base64.urlsafe_b64decode(signing_key.states().split(".")[0] + "=="))
    return json.dumps(content | other, separators=(",", ":")).encode()


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


# ---- What the service remembers


class Sound(Trial):
    """A trial that finds nothing wrong."""

    def __init__(self) -> None:
        pass

    def verified(self, folder: Path, digest: str) -> None:
        pass


def model(folder: Path, uri: str = CHAMPION, **more: Any) -> RegisteredModel:
    return RegisteredModel(uri, folder / "cache", Sound(), **more)


@pytest.fixture(scope="module")
def signed_once(three_versions: Path, one_key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    copied_registry(three_versions, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        for number in (1, 2, 3):
            put(one_key, number)
    return folder


@pytest.fixture
def three_signed(signed_once: Path, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Versions 1, 2 and 3, signed in this order; version 1 is the champion."""
    copied_registry(signed_once, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    connection.connect()
    return tmp_path


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


def test_a_version_with_a_lower_number_than_what_was_served_is_refused(three_signed: Path) -> None:
    followed = model(three_signed)
    point(2)
    assert looked(followed) == ("2", "None")

    point(1)

    version, problem = looked(followed)
    assert version == "2"
    assert "porte le numéro 1, mais le numéro 2 a déjà été servi" in problem
    assert "signez la version de nouveau avec « python register.py sign NUMÉRO --key CLE.pem »" in problem


def test_the_memory_outlives_the_process(three_signed: Path) -> None:
    point(2)
    looked(model(three_signed))
    point(1)

    version, problem = looked(model(three_signed))

    assert (version, "le numéro 2 a déjà été servi" in problem) == (None, True)


def test_a_version_that_was_signed_anew_may_be_served_again(three_signed: Path, key: Key) -> None:
    followed = model(three_signed)
    point(2)
    looked(followed)
    point(1)
    put(key, 1, 4)

    assert looked(followed) == ("1", "None")


def test_a_former_statement_of_the_same_version_is_refused(three_signed: Path, key: Key) -> None:
    """An earlier statement may be valid for longer than the one that replaced it."""
    former = versions.resolve(CHAMPION).statement
    followed = model(three_signed)
    put(key, 1, 5, valid_for=timedelta(days=1))
    assert looked(followed) == ("1", "None")

    attach(1, former)

    assert "porte le numéro 1, mais le numéro 5" in looked(followed)[1]


def test_the_statement_of_another_version_serves_no_bundle(three_signed: Path) -> None:
    attach(1, versions.resolve(f"models:/{NAME}/3").statement)

    assert "la signature est celle d’un autre bundle" in looked(model(three_signed))[1]


def test_one_number_for_two_bundles_serves_the_first_alone(three_signed: Path, key: Key) -> None:
    put(key, 1, 2)
    followed = model(three_signed)
    looked(followed)

    point(2)

    assert "porte le numéro 2, mais le numéro 2" in looked(followed)[1]


def test_an_old_signed_bundle_under_a_new_number_is_refused(
    three_signed: Path, key: Key, bundle: Bundle
) -> None:
    """The attack: version 1's bundle, copied with all its tags to a version 4."""
    point(3)
    followed = model(three_signed)
    assert looked(followed) == ("3", "None")
    copied = copied_version(NAME)
    point(copied)

    assert "porte le numéro 1, mais le numéro 3" in looked(followed)[1]


def copied_version(name: str) -> int:
    client = connection.connect()
    former = client.get_model_version(NAME, "1")
    if name != NAME:
        client.create_registered_model(name)
    made = client.create_model_version(name, str(former.source), former.run_id, dict(former.tags))
    return int(made.version)


def test_a_signed_version_is_not_served_under_another_model_s_name(three_signed: Path) -> None:
    copied = copied_version("other")

    version, problem = looked(model(three_signed, f"models:/other/{copied}"))

    assert version is None
    assert "la version est signée pour le modèle scoring-client" in problem


def test_a_served_version_that_is_signed_anew_is_served_with_its_new_statement(
    three_signed: Path, key: Key
) -> None:
    followed = model(three_signed)
    looked(followed)
    put(key, 1, 5)

    looked(followed)

    recalled = cache.recall(CHAMPION, three_signed / "cache")
    assert recalled is not None
    assert signing.read(str(recalled.statement)).number == 5


@pytest.mark.parametrize("uri", ["models:/wanted@champion", "models:/wanted/1", "models:/wanted/latest"])
def test_a_registry_that_answers_for_another_model_is_not_believed(
    three_signed: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version in the answer is genuinely signed, but for the other name."""
    other = connection.connect().get_model_version(NAME, "1")

    class Lying:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: [other] if name.startswith("search") else other

    monkeypatch.setattr(connection, "connect", Lying)

    with pytest.raises(LoadingFailed, match="le registre répond pour un autre modèle"):
        versions.resolve(uri)


def test_nothing_is_fetched_of_a_version_that_is_not_signed(three_signed: Path) -> None:
    attach(1, None)
    for file in three_signed.glob("mlartifacts/**/bundle/*"):
        file.unlink()

    assert "la version n’est pas signée" in looked(model(three_signed))[1]
    assert not (three_signed / "cache").exists()


def test_a_version_whose_trial_fails_is_not_remembered(three_signed: Path) -> None:
    class Unsound(Sound):
        def verified(self, folder: Path, digest: str) -> None:
            raise LoadingFailed("elle ne vaut rien")

    point(3)
    failing = RegisteredModel(CHAMPION, three_signed / "cache", Unsound())
    assert "elle ne vaut rien" in looked(failing)[1]
    point(1)

    assert looked(model(three_signed)) == ("1", "None")


def test_a_challenger_needs_a_signature_but_no_higher_number(three_signed: Path) -> None:
    point(3)
    looked(model(three_signed))
    challenger = f"models:/{NAME}/1"

    assert looked(model(three_signed, challenger, is_challenger=True)) == ("1", "None")
    attach(1, None)
    assert "pas signée" in looked(model(three_signed, challenger, is_challenger=True))[1]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"a": {}}', b'{"%s": {"%s": [1.5, "x"]}}' % (b"a" * 64, b"b" * 16)]
)
def test_a_damaged_memory_is_not_taken_for_an_empty_one(three_signed: Path, content: bytes) -> None:
    looked(model(three_signed))
    (three_signed / "cache" / signed_numbers.FILE).write_bytes(content)

    assert "la mémoire des numéros servis est illisible" in looked(model(three_signed))[1]


def test_a_memory_that_cannot_be_written_lets_no_version_in(
    three_signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (three_signed / "cache" / f"{signed_numbers.FILE}.lock").mkdir(parents=True)

    version, problem = looked(model(three_signed))

    assert (version, "le cache local est inaccessible" in problem) == (None, True)


def test_services_that_share_a_cache_do_not_forget_for_each_other(tmp_path: Path, key: Key) -> None:
    for number, name in ((7, "one"), (9, "two"), (3, "one")):
        statement, _ = key.signer.sign(name, MANIFEST, number)
        signed_numbers.remember(tmp_path, statement)

    with pytest.raises(LoadingFailed, match="le numéro 7 a déjà été servi"):
        signed_numbers.check(tmp_path, MANIFEST, "one", key.states(name="one", number=6))
    assert signed_numbers.check(tmp_path, MANIFEST, "two", key.states(name="two", number=9))
    assert sorted(file.name for file in tmp_path.glob("signed*")) == ["signed-numbers", "signed-numbers.lock"]


KILLED_WHILE_WRITING = """
import os, sys; from pathlib import Path
from api.delivery import signed_numbers; from mlflow_model.bundle import signing
os.fsync = lambda file: os.kill(os.getpid(), 9)
signed_numbers.remember(Path(sys.argv[1]), signing.read(sys.argv[2]))
"""


def test_what_a_process_leaves_that_is_killed_as_it_remembers_is_removed(tmp_path: Path, key: Key) -> None:
    cached = tmp_path / "cache"
    cached.mkdir(0o700)
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(cached), key.states()]
    killed = subprocess.run(command, cwd=Path(signing.__file__).parents[2], check=False)
    files.remove_abandoned(cached)

    assert killed.returncode == -9
    assert [file.name for file in cached.iterdir()] == ["signed-numbers.lock"]


def test_one_check_reads_the_keys_once(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two reads, a key could be revoked between them."""
    given = [signing.trusted_keys()]
    monkeypatch.setattr(signing, "trusted_keys", given.pop)

    assert signed_numbers.check(tmp_path, MANIFEST, NAME, key.states())


def test_the_number_of_a_stolen_key_does_not_outlive_its_revocation(
    key: Key, other_key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(tmp_path, monkeypatch, key, other_key)
    stolen, _ = key.signer.sign(NAME, MANIFEST, signing.GREATEST)
    signed_numbers.remember(tmp_path, stolen)
    with pytest.raises(LoadingFailed, match="a déjà été servi"):
        signed_numbers.check(tmp_path, MANIFEST, NAME, other_key.states())

    trust(tmp_path, monkeypatch, other_key)

    assert signed_numbers.check(tmp_path, MANIFEST, NAME, other_key.states())


# ---- While it is served


def test_a_served_version_whose_key_is_revoked_goes_on_and_says_so(
    three_signed: Path, other_key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = model(three_signed)
    looked(followed)
    trusted = (tmp_path / "trusted.pem").read_bytes()
    trust(tmp_path, monkeypatch, other_key)

    version, problem = looked(followed)
    assert (version, "que MODEL_PUBLIC_KEY ne contient pas" in problem) == ("1", True)

    (tmp_path / "trusted.pem").write_bytes(trusted)
    assert looked(followed) == ("1", "None")


def test_a_served_version_whose_signature_expires_goes_on_and_says_so(
    three_signed: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=2)

    put(key, 1, 5, valid_for=timedelta(days=1))
    followed = model(three_signed)
    assert looked(followed) == ("1", "None")
    monkeypatch.setattr(signing, "datetime", Later)

    version, problem = looked(followed)

    assert (version, "la signature a expiré le" in problem) == ("1", True)


def told(folder: Path) -> list[News]:
    heard: list[News] = []

    def tell(news: News) -> bool:
        heard.append(news)
        return True

    Finder(CHAMPION, folder / "cache", tell).recall()
    return heard


def test_a_start_without_the_registry_serves_what_is_still_allowed(three_signed: Path) -> None:
    looked(model(three_signed))

    (news,) = told(three_signed)

    assert news.copy is not None
    assert news.copy.version == "1"


def test_a_start_serves_no_remembered_version_whose_key_was_revoked(
    three_signed: Path, other_key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked(model(three_signed))
    trust(tmp_path, monkeypatch, other_key)

    (news,) = told(three_signed)

    assert news.copy is None
    assert "que MODEL_PUBLIC_KEY ne contient pas" in str(news.problem)


def test_a_start_serves_no_remembered_version_that_is_older_than_what_was_served(
    three_signed: Path, key: Key
) -> None:
    """An old pointer is put back into the cache."""
    looked(model(three_signed))
    copy = cache.recall(CHAMPION, three_signed / "cache")
    assert copy is not None
    signed_numbers.remember(three_signed / "cache", key.signer.sign(NAME, MANIFEST, 9)[0])

    (news,) = told(three_signed)

    assert news.copy is None
    assert "le numéro 9 a déjà été servi" in str(news.problem)


# ---- Signing


def test_numbers_grow_even_for_versions_that_are_signed_within_a_second(candidates: Path, key: Key) -> None:
    put(key, 1)
    made = [signed_versions.sign_again(key.signer, 1, NAME, "me").number for _ in range(3)]

    assert made == sorted(set(made))
    assert abs(made[0] - datetime.now(UTC).timestamp()) < 60


def test_a_number_made_up_by_others_does_not_use_the_numbers_up(
    candidates: Path, key: Key, other_key: Key
) -> None:
    put(key, 1)
    put(other_key, 2, signing.GREATEST)
    put(key, 3, 2**40)

    statement = signed_versions.sign_again(key.signer, 1, NAME, None)

    assert statement.number == 2**40 + 1


@pytest.mark.parametrize("kind", ["nothing", "another key", "another bundle", "another name"])
def test_what_the_key_has_never_signed_is_not_signed_from_the_registry(
    candidates: Path, key: Key, other_key: Key, kind: str
) -> None:
    """Anybody who can write to the registry could have put a bundle of their own there."""
    digest = str(versions.resolve(f"models:/{NAME}/2").digest)
    before = {
        "nothing": None,
        "another key": other_key.states(manifest=digest),
        "another bundle": key.states(),
        "another name": key.states(manifest=digest, name="other"),
    }[kind]
    if before is not None:
        attach(2, before)

    with pytest.raises(SigningRefused, match="version 2 of scoring-client was never signed by this key"):
        signed_versions.sign_again(key.signer, 2, NAME, None)


def test_whoever_has_lost_the_lease_signs_nothing(
    candidates: Path, key: Key, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then somebody else may be signing with the same number."""
    put(key, 1)
    before = [version.signed for version in listing.listed()]
    monkeypatch.setattr(leases, "_USABLE_SECONDS", -1.0)

    with pytest.raises(leases.Overtaken):
        signed_versions.sign_again(key.signer, 1, NAME, None)
    with pytest.raises(leases.Overtaken):
        registration.register(bundle, CARD, alias="champion", signer=key.signer)

    assert [version.signed for version in listing.listed()] == before


def test_an_old_signature_is_not_renewed_from_the_registry(candidates: Path, key: Key) -> None:
    """An old signature holds no name: somebody may have copied it from another model."""
    bundle = fetching.download(versions.resolve(CHAMPION))
    attach(1, base64.b64encode(key.private.sign(bundle.manifest)).decode(), tag="bundle.signature")

    refused = register_py("sign", "1", "--key", str(key.file))

    assert (refused.returncode, "was never signed by this key" in refused.stderr) == (2, True)
    assert "la signature de la version est de l’ancienne forme" in looked(model(candidates))[1]


def test_a_pickle_registered_with_a_key_is_signed_served_and_listed(
    store: Path, key: Key, documented_pickle: Path
) -> None:
    pickle = ("--pickle", str(documented_pickle), "--sign", str(key.file))

    done = register_py(*pickle, "--valid-days", "30")

    assert "scoring-client version 1 registered and signed; champion points at it" in done.stderr
    assert looked(model(store)) == ("1", "None")
    statement = signing.read(str(versions.resolve(CHAMPION).statement))
    assert statement.expires is not None
    assert statement.expires - statement.signed_at == timedelta(days=30)
    shown = f"{statement.number} of {statement.signed_at:%Y-%m-%d} by {key.id[:8]}, until "
    assert shown in register_py("list").stdout


def test_what_was_registered_without_a_key_is_signed_by_registering_it_again(
    registered: Path, key: Key, documented_pickle: Path
) -> None:
    done = register_py("--pickle", str(documented_pickle), "--sign", str(key.file))

    assert "scoring-client version 1 was registered already and signed; champion points at it" in done.stderr
    assert looked(model(registered)) == ("1", "None")


def test_a_bad_private_key_is_refused_before_anything_is_done(
    store: Path, key: Key, documented_pickle: Path, tmp_path: Path
) -> None:
    public = tmp_path / "public.pem"
    public.write_bytes(key.public)

    refused = register_py("--pickle", str(documented_pickle), "--sign", str(public))

    assert (refused.returncode, listing.listed()) == (2, [])
    assert refused.stderr == "public.pem is no readable private key in PEM form without password\n"


# ---- Promotion and rollback


LENIENT = (
    "--max-cost-increase",
    "inf",
    "--max-changed",
    "1",
    "--max-approval-change",
    "1",
    "--max-group-change",
    "1",
)


def test_an_unsigned_candidate_is_refused_before_its_code_runs(
    registered: Path, key: Key, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(key, 1)
    monkeypatch.setenv("MAY_LIVE", "yes")  # True only while the bundle is built
    deadly = b"\nimport os\nif 'MAY_LIVE' not in os.environ: os._exit(9)\n"
    registration.register(policy_of(bundle, 0.26, more_code=deadly), CARD)
    monkeypatch.delenv("MAY_LIVE")

    refused = register_py("promote", "2", "--dry-run", *LENIENT)

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith(
        "la version n’est pas signée ; répétez la commande qui l’a enregistrée, avec la clé : "
        "« python register.py … --sign CLE.pem »"
    )


@pytest.mark.slow
def test_a_promotion_that_a_service_with_a_key_would_refuse_needs_a_key_or_a_word(
    three_signed: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL_PUBLIC_KEY")
    point(3)

    refused = register_py("promote", "2", *LENIENT)
    signed = register_py("promote", "2", *LENIENT, "--sign", str(key.file))

    assert refused.returncode == 3
    assert (
        "Objection (signature): a service that asks for signatures would refuse version 2: its signature is "
        "older than that of version 3; --sign KEY.pem signs it anew\n" in refused.stderr
    )
    assert (signed.returncode, listing.version_at()) == (0, 2)


REGISTER_SIGNED = (
    "repeat the command that registered it (the same --pickle, --threshold, --margin) with --sign KEY.pem"
)


@pytest.mark.slow
def test_a_candidate_that_was_never_signed_is_registered_with_the_key_as_its_objection_says(
    candidates: Path, key: Key, documented_pickle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL_PUBLIC_KEY")
    put(key, 1)

    refused = register_py("promote", "2", *LENIENT)
    register_py("--pickle", str(documented_pickle), "--margin", "0.021", "--sign", str(key.file))
    followed = register_py("promote", "2", *LENIENT)

    assert (
        "Objection (signature): a service that asks for signatures would refuse version 2: it is not signed, "
        f"and version 1 is; {REGISTER_SIGNED}\n" in refused.stderr
    )
    assert (refused.returncode, followed.returncode, listing.version_at()) == (3, 0, 2)


@pytest.mark.slow
def test_a_candidate_with_another_version_s_statement_was_never_signed(
    three_signed: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL_PUBLIC_KEY")
    point(3)
    attach(2, key.states(manifest="b" * 64, number=1))

    refused = register_py("promote", "2", *LENIENT)

    assert f"its signature is older than that of version 3; {REGISTER_SIGNED}\n" in refused.stderr


@pytest.mark.slow
def test_a_signed_promotion_is_served(three_signed: Path, key: Key) -> None:
    followed = model(three_signed)
    point(3)
    looked(followed)

    register_py("promote", "2", *LENIENT, "--sign", str(key.file))

    assert looked(followed) == ("2", "None")


def test_a_candidate_that_the_key_never_signed_is_not_signed_by_its_promotion(
    candidates: Path, key: Key
) -> None:
    refused = register_py("promote", "2", *LENIENT, "--sign", str(key.file))

    assert (refused.returncode, listing.version_at()) == (2, 1)
    assert "was never signed by this key" in refused.stderr


def test_a_rollback_needs_a_key_where_the_champion_is_signed(three_signed: Path, key: Key) -> None:
    followed = model(three_signed)
    moves.promote(2)
    looked(followed)

    refused = register_py("rollback")
    signed = register_py("rollback", "--sign", str(key.file))

    assert (refused.returncode, signed.returncode) == (2, 0)
    assert refused.stderr == (
        "a service that asks for signatures would refuse version 1: its signature is older than that of "
        "version 2; --sign KEY.pem signs it anew; --unsigned returns all the same\n"
    )
    assert looked(followed) == ("1", "None")


def test_a_rollback_without_the_key_is_possible_if_it_is_meant(three_signed: Path) -> None:
    moves.promote(2)

    done = register_py("rollback", "--unsigned")

    assert (done.returncode, listing.version_at()) == (0, 1)
    assert moves.history()[-1].overridden == "signature"


@pytest.mark.slow
def test_a_rollback_to_a_signature_of_the_old_form_needs_a_key_or_a_word(candidates: Path, key: Key) -> None:
    for number in (1, 2):
        manifest = fetching.download(versions.resolve(f"models:/{NAME}/{number}")).manifest
        old = base64.b64encode(key.private.sign(manifest)).decode()
        attach(number, old, tag="bundle.signature")
    moves.promote(2)

    refused = register_py("rollback")
    meant = register_py("rollback", "--unsigned")

    assert (refused.returncode, meant.returncode, listing.version_at()) == (2, 0, 1)
    assert refused.stderr == (
        "a service that asks for signatures would refuse version 1: its signature is of the old form; "
        f"{REGISTER_SIGNED}; --unsigned returns all the same\n"
    )


@pytest.mark.slow
def test_a_registration_takes_no_signed_champion_s_place_unsigned_without_a_word(three_signed: Path) -> None:
    before = listing.listed()

    refused = register_py("--alias", "champion", "--margin", "0.04")
    after = listing.listed()
    meant = register_py("--alias", "champion", "--margin", "0.04", "--unsigned")

    assert (refused.returncode, after) == (2, before)
    assert refused.stderr.endswith(
        "a service that asks for signatures would refuse the new version: it is not signed, and version 1 "
        "is; --sign KEY.pem signs it, --unsigned moves champion all the same\n"
    )
    assert (meant.returncode, listing.version_at()) == (0, before[0].number + 1)
    assert moves.history()[-1].overridden == "signature"


@pytest.mark.slow
def test_a_registration_takes_a_signed_champion_s_place_with_the_key(three_signed: Path, key: Key) -> None:
    followed = model(three_signed)
    looked(followed)

    done = register_py("--alias", "champion", "--margin", "0.04", "--sign", str(key.file))

    assert done.returncode == 0
    assert looked(followed) == (str(listing.version_at()), "None")
