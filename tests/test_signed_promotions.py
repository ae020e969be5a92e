"""Who registers, promotes and rolls back where a key is asked for, and what is signed by that."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlflow_model.bundle import signing
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.signing import SigningRefused
from mlflow_model.registry import (
    fetching,
    leases,
    listing,
    moves,
    registration,
    signed_versions,
    versions,
)
from tests.command_line import register_py
from tests.live import policy_of
from tests.signing_support import CARD, CHAMPION, NAME, Key, attach, looked, model, point, put

pytest_plugins = ["tests.promotion_fixtures", "tests.signing_fixtures"]

pytestmark = pytest.mark.usefixtures("few_resamplings")


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
