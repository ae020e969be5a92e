"""Signs versions of the registry, and foresees whether a service that asks for signatures would refuse them.

Anyone who can write to the registry can put other files under a version's number. The owner of a key
therefore signs only a bundle that was just built, or a version that one of the keys has signed before.
"""

import time
from typing import Any

from mlflow_model.bundle import signing
from mlflow_model.bundle.signing import Signer, SigningRefused, Statement
from mlflow_model.registry import connection, failures, fetching, listing, moves, versions
from mlflow_model.registry.versions import Reference

_REGISTER_SIGNED = (
    "repeat the command that registered it (the same --pickle, --threshold, --margin) with --sign KEY.pem"
)


def vouched(signer: Signer, number: int, name: str) -> Reference:
    """The version, if one of the keys has signed it before under this name. Raises SigningRefused."""
    version = versions.resolve(f"models:/{name}/{number}")
    statement = signing.genuine(version.statement, signer.known_keys())
    if not _is_of(version, statement):
        raise SigningRefused(
            f"version {number} of {name} was never signed by this key or one of {signing.PUBLIC_KEY}: "
            f"{_REGISTER_SIGNED}"
        )
    return version


def sign(client: Any, signer: Signer, name: str, number: int, digest: str) -> Statement:
    """Sign the bundle of this digest as the version's. The caller holds the lease. Raises SigningRefused."""
    statement, text = signer.sign(name, digest, _next_number(signer, name))
    client.set_model_version_tag(name, str(number), versions.STATEMENT_TAG, text)
    return statement


def _next_number(signer: Signer, name: str) -> int:
    """A statement number above all that are in use: the seconds since 1970, or more if that is not enough.

    By the clock, the numbers grow even if all tags are lost. Only numbers in genuine statements count:
    otherwise anyone could use up all numbers with a made-up one.
    """
    keys = signer.known_keys()
    genuine = (signing.genuine(version.signed, keys) for version in listing.listed(name))
    used = [statement.number for statement in genuine if statement is not None and statement.name == name]
    return max([int(time.time()), *(number + 1 for number in used)])


def sign_again(signer: Signer, number: int, name: str, by: str | None) -> Statement:
    """Sign a version anew that one of the keys has signed before. Raises SigningRefused, Overtaken."""
    version = vouched(signer, number, name)
    fetching.download(version)  # a version that cannot be loaded needs no signature
    client = connection.connect()
    with (
        failures.in_words(f"signature de la version {number} de {name}"),
        moves.lease(client, name, by) as held,
    ):
        held.check()
        return sign(client, signer, name, number, str(version.digest))


def foreseen(signed: str | None, wanted: str, present: Reference) -> str | None:
    """Why a service that asks for signatures would refuse another version after `present`, or None.

    `signed`: the text of the other version's statement tag. `wanted`: what to call that version.
    """
    if present.statement is None:
        return None
    would_refuse = f"a service that asks for signatures would refuse {wanted}"
    if signed is None:
        return f"{would_refuse}: it is not signed, and version {present.version} is"
    next_one, present_one = _stated(signed), _stated(present.statement)
    if next_one is None:
        form = "of the old form" if signing.is_old(signed) else "unreadable"
        return f"{would_refuse}: its signature is {form}"
    if present_one is None:
        return None
    if next_one.number < present_one.number or (
        next_one.number == present_one.number and next_one.manifest != present_one.manifest
    ):
        return f"{would_refuse}: its signature is older than that of version {present.version}"
    return None


def way_out(version: Reference) -> str:
    """What the owner of a key does about a version that `foreseen` speaks of.

    Without the key nobody can tell whether a statement is genuine: `vouched` does once there is one.
    """
    stated = None if version.statement is None else _stated(version.statement)
    return "--sign KEY.pem signs it anew" if _is_of(version, stated) else _REGISTER_SIGNED


def _is_of(version: Reference, statement: Statement | None) -> bool:
    """Whether a statement is about this version. `vouched` signs no other version anew."""
    return statement is not None and (statement.name, statement.manifest) == (version.name, version.digest)


def _stated(signed: str) -> Statement | None:
    try:
        return signing.read(signed)
    except signing.Unreadable:
        return None
