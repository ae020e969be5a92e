"""Signs versions of the registry, and foresees what a service that asks for signatures would say of them.

Whoever can write to the registry can put other files under a version's number. A key's owner therefore signs
what was built on the spot, or again what one of the keys had signed before: never what is merely there.
"""

import time
from datetime import timedelta
from typing import Any

from mlflow_model import registry, signing
from mlflow_model.registry import Reference
from mlflow_model.signing import Signer, SigningRefused, Statement


def vouched(signer: Signer, number: int, name: str) -> Reference:
    """The version, which one of the keys has signed before under this name. Raises SigningRefused."""
    reference = registry.resolve(f"models:/{name}/{number}")
    former = signing.genuine(reference.statement, signer.known_keys())
    if former is None or (former.name, former.manifest) != (name, reference.digest):
        raise SigningRefused(
            f"version {number} of {name} was never signed by this key or one of {signing.PUBLIC_KEY}: repeat "
            "the command that registered it (the same --pickle, --threshold, --margin) with --sign KEY.pem"
        )
    return reference


def sign(
    client: Any, signer: Signer, name: str, number: int, digest: str, valid_for: timedelta | None
) -> Statement:
    """Sign the bundle of this digest as the version's, under the lease. Raises SigningRefused."""
    statement, text = signer.sign(name, digest, _next_number(signer, name), valid_for)
    client.set_model_version_tag(name, str(number), registry.STATEMENT_TAG, text)
    return statement


def _next_number(signer: Signer, name: str) -> int:
    """The seconds since 1970, so that they grow even where all tags are lost, or more.

    Only what a key has truly signed counts: with a number made up, anybody could use all of them up.
    """
    keys = signer.known_keys()
    genuine = (signing.genuine(version.signed, keys) for version in registry.versions(name))
    used = [statement.number for statement in genuine if statement is not None and statement.name == name]
    return max([int(time.time()), *(number + 1 for number in used)])


def sign_again(
    signer: Signer, number: int, name: str, valid_for: timedelta | None, by: str | None
) -> Statement:
    """Sign a version anew that one of the keys has signed before. Raises SigningRefused, Overtaken."""
    reference = vouched(signer, number, name)
    registry.download(reference)  # or it would be signed to no purpose
    client = registry.connect()
    with (
        registry.in_words(f"signature de la version {number} de {name}"),
        registry.lease(client, name, by) as held,
    ):
        held.check()
        return sign(client, signer, name, number, str(reference.digest), valid_for)


def foreseen(signed: str | None, wanted: str, present: Reference) -> str | None:
    """Why a service that asks for signatures, and serves one version, would not serve another instead.

    `signed`: the text of that other version's tag; `wanted`: how it is called.
    """
    if present.statement is None:
        return None
    would_refuse = f"a service that asks for signatures would refuse {wanted}"
    if signed is None:
        return f"{would_refuse}: it is not signed, and version {present.version} is"
    stated, former = _stated(signed), _stated(present.statement)
    if stated is None:
        form = "of the old form" if signing.is_old(signed) else "unreadable"
        return f"{would_refuse}: its signature is {form}"
    if former is None:
        return None
    if stated.number < former.number or (
        stated.number == former.number and stated.manifest != former.manifest
    ):
        return f"{would_refuse}: its signature is older than that of version {present.version}"
    return None


def _stated(signed: str) -> Statement | None:
    try:
        return signing.read(signed)
    except signing.Unreadable:
        return None
