"""Moves an alias to an examined candidate, or back to the version before.

The alias stays where it is if anything has changed since the examination.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_model.bundle.signing import Signer, SigningRefused
from mlflow_model.registry import aliases, connection, listing, moves, signed_versions, versions
from promotion import record
from promotion.examination import Examination
from promotion.gate import NOTHING_OVERRIDDEN, Override


def promote(
    examined: Examination,
    why: str | None,
    by: str | None = None,
    signer: Signer | None = None,
    override: Override = NOTHING_OVERRIDDEN,
) -> None:
    """Move the alias if nothing has changed since the examination, and record that.

    `why`: somebody's reason to promote in spite of objections. The caller has seen that none is left that is
    not overridden. Raises Overtaken, LoadingFailed.
    """
    number = int(str(examined.candidate.version))
    said = (override.recorded(examined.objections), examined.limits.own)
    overridden = "; ".join(one for one in said if one is not None) or None

    def ready(client: MlflowClient) -> None:
        _must_be_unchanged(examined)
        if signer is not None:
            digest = str(examined.candidate.digest)
            signed_versions.sign(client, signer, examined.name, number, digest)

    run = record.record(examined, "examined", why, by, overridden)
    with _outcome_kept(run, "forced" if examined.objections else "promoted"):
        moves.promote(
            number,
            name=examined.name,
            alias=examined.alias,
            why=why,
            by=by,
            portfolio=None if examined.portfolio is None else examined.portfolio.sha256,
            overridden=overridden,
            ready=ready,
        )


@contextmanager
def _outcome_kept(run: str | None, success: str) -> Iterator[None]:
    """Write into the examination's run what became of it."""
    outcome = "failed"
    try:
        yield
        outcome = success
    except aliases.Overtaken:
        outcome = "overtaken"
        raise
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    finally:
        if run is not None:
            with suppress(MlflowException):  # the alias and its history show the outcome
                connection.connect().set_tag(run, "outcome", outcome)


def _must_be_unchanged(examined: Examination) -> None:
    """Raises Overtaken if the alias names another version by now, or a version another bundle."""
    name, alias = examined.name, examined.alias
    present = listing.version_at(name, alias)
    compared_with = None if examined.champion is None else int(str(examined.champion.version))
    if present != compared_with:
        names = "no version" if present is None else f"version {present}"
        raise aliases.Overtaken(f"{alias} of {name} names {names} by now: compare with that one")
    anchor = None if examined.from_anchor is None else examined.anchor
    for one in (examined.candidate, examined.champion, anchor):
        if one is not None and versions.resolve(one.source).digest != one.digest:
            raise aliases.Overtaken(f"version {one.version} of {name} was exchanged meanwhile")


def rollback(
    *,
    name: str,
    alias: str,
    by: str | None = None,
    signer: Signer | None = None,
    unsigned: bool = False,
) -> int:
    """Point the alias back at the version that it named before, and sign that one anew if there is a key.

    Returns that version. Raises RollbackRefused, Overtaken and SigningRefused; also SigningRefused if a
    service that asks for signatures would refuse the version, unless `unsigned`.
    """
    number, overridden = moves.rollback_target(name, alias), None
    if signer is not None:
        signed_versions.vouched(signer, number, name)
    elif foreseen := _foreseen(name, alias, number):
        if not unsigned:
            raise SigningRefused(f"{foreseen}; --unsigned returns all the same")
        overridden = aliases.SIGNATURE

    def ready(client: MlflowClient, returning: int) -> None:
        if returning != number:
            raise aliases.Overtaken(f"{alias} of {name} has been moved meanwhile: look at it again")
        if signer is not None:
            version = signed_versions.vouched(signer, number, name)
            signed_versions.sign(client, signer, name, number, str(version.digest))

    return moves.rollback(name=name, alias=alias, by=by, overridden=overridden, ready=ready)


def _foreseen(name: str, alias: str, number: int) -> str | None:
    """Why a service that asks for signatures would refuse this version after the present one, or None.

    With what to do about it.
    """
    present = listing.version_at(name, alias)
    if present is None:
        return None
    wanted, served = (versions.resolve(f"models:/{name}/{one}") for one in (number, present))
    objection = signed_versions.foreseen(wanted.statement, f"version {number}", served)
    return None if objection is None else f"{objection}; {signed_versions.way_out(wanted)}"
