"""What a service remembers of the numbers that were signed, and what it serves by that."""

import subprocess
import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from api.delivery import cache, signed_numbers
from api.delivery.finder import Finder
from api.delivery.news import News
from api.delivery.sources import RegisteredModel
from mlflow_model import files
from mlflow_model.bundle import signing
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import connection, versions
from tests.signing_support import (
    CHAMPION,
    MANIFEST,
    NAME,
    Key,
    Sound,
    attach,
    looked,
    model,
    point,
    put,
    trust,
)

pytest_plugins = ["tests.signing_fixtures"]


# ---- What the service remembers


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
