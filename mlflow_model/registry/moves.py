"""Moves an alias to another version, or back, while nobody else can move it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import aliases, connection, failures, fetching, leases, versions
from mlflow_model.registry.aliases import Move, RollbackRefused, Term


def promote(
    number: int,
    *,
    name: str = versions.NAME,
    alias: str = versions.CHAMPION,
    why: str | None = None,
    by: str | None = None,
    portfolio: str | None = None,
    overridden: str | None = None,
    ready: Callable[[MlflowClient], object] = lambda _: None,
) -> None:
    """Point the alias at a version under the lease, and record when, how, by whom and why.

    `ready` is called while nobody else can move an alias of the model; it may still refuse by raising. Raises
    Overtaken.
    """
    client = connection.connect()
    step = Move(number, aliases.PROMOTION, why, by, portfolio, overridden)
    with failures.in_words(f"promotion de la version {number} de {name}"):
        versions.require_registered(client.get_model_version(name, str(number)))
        with lease(client, name, by) as held:
            held.check()
            ready(client)
            if aliases.named(client, name, alias) != number:
                held.check()
                aliases.move(client, name, alias, step)


def rollback(
    *,
    name: str = versions.NAME,
    alias: str = versions.CHAMPION,
    by: str | None = None,
    overridden: str | None = None,
    ready: Callable[[MlflowClient, int], object] = lambda *_: None,
) -> int:
    """Verify the version that the alias named before, and point the alias back at it. Returns that version.

    `ready` is called as in `promote`, also with the version. Raises RollbackRefused, Overtaken.
    """
    client = connection.connect()
    with failures.in_words(f"retour à la version précédente de {name}"):
        current, number = aliases.named(client, name, alias), rollback_target(name, alias)
        _verify_for_return(name, number)
        with lease(client, name, by) as held:
            if (current, number) != (aliases.named(client, name, alias), rollback_target(name, alias)):
                raise aliases.Overtaken(f"{alias} has been moved meanwhile: look at it again")
            held.check()
            ready(client, number)
            held.check()
            aliases.move(client, name, alias, Move(number, aliases.ROLLBACK, by=by, overridden=overridden))
        return number


def rollback_target(name: str = versions.NAME, alias: str = versions.CHAMPION) -> int:
    """The version to which a rollback returns. Raises RollbackRefused if there is none."""
    client = connection.connect()
    with failures.in_words(f"retour à la version précédente de {name}"):
        found = aliases.rollback_target(client, name, alias)
    if found is None:
        raise RollbackRefused(
            f"No {alias} was in force before this one that nobody has rolled back from: "
            "python register.py promote NUMBER makes any version the champion again"
        )
    return found


@contextmanager
def lease(client: MlflowClient, name: str, by: str | None) -> Iterator[leases.Lease]:
    """Hold the lease on a model: nobody else moves its aliases or signs its versions. Raises Overtaken."""
    held = leases.taken(client, name, by)
    try:
        yield held
    finally:
        with suppress(MlflowException):  # what was done is done, and the lease ends by itself
            leases.end(client, name, held)


def _verify_for_return(name: str, number: int) -> None:
    try:
        fetching.download(versions.resolve(f"models:/{name}/{number}"))
    except LoadingFailed as error:
        raise RollbackRefused(
            f"Version {number} of {name} cannot return: python register.py promote chooses another.\n{error}"
        ) from error


def history(name: str = versions.NAME, alias: str = versions.CHAMPION) -> list[Term]:
    """The versions that the alias has named, oldest first; empty if the model is not known."""
    client = connection.connect()
    with failures.in_words("lecture du registre"):
        known = client.search_registered_models(f"name = '{name}'")
        return aliases.history(client, name, alias) if known else []
