"""The versions that the registry holds, and the one at which an alias points."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.entities.model_registry import ModelVersion

from mlflow_model.registry import connection, failures, sqlite
from mlflow_model.registry.versions import CHAMPION, NAME, signed_text


@dataclass(frozen=True)
class Version:
    """A registered version, as `register.py list` shows it."""

    number: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created: datetime

    @property
    def signed(self) -> str | None:
        """The text of its statement, or of an old signature."""
        return signed_text(self.tags)


def listed(name: str = NAME) -> list[Version]:
    """All versions of a model, newest first."""
    client = connection.connect()
    with failures.in_words("lecture du registre"):
        if not client.search_registered_models(f"name = '{name}'"):
            return []
        found = [_described(version) for version in client.search_model_versions(f"name = '{name}'")]
        pointers = client.get_registered_model(name).aliases
    by_number = {version.number: version for version in found}
    for alias, number in pointers.items():
        version = by_number.get(int(number))
        if version is None:  # registered after they were listed
            continue
        by_number[int(number)] = Version(
            version.number, (*version.aliases, alias), version.tags, version.created
        )
    return sorted(by_number.values(), key=lambda version: -version.number)


def version_at(name: str = NAME, alias: str = CHAMPION) -> int | None:
    """The version at which the alias points; None if there is no store, no model or no such alias."""
    if sqlite.is_absent():
        return None
    found = [version.number for version in listed(name) if alias in version.aliases]
    return found[0] if found else None


def _described(version: ModelVersion) -> Version:
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return Version(int(version.version), (), dict(version.tags), created)
