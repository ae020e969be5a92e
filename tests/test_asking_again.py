"""A copy that does not arrive, or that workers wish for again, is asked for at growing intervals."""

import math
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from api.delivery import loader, sources
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.trial import Trial
from mlflow_model.errors import LoadingFailed, OutOfReach
from mlflow_model.registry.versions import Reference

# MLflow leaves connections open where a download fails.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore:.*socket:pytest.PytestUnraisableExceptionWarning"
)


class FakeRegistry:
    """Names what it is told to, and hands over nothing."""

    def __init__(self) -> None:
        self.named = Reference("models:/m/1", "m", "1", "champion", "0" * 64)
        self.problem: LoadingFailed = OutOfReach("les fichiers sont hors d’atteinte")
        self.downloads: list[float] = []
        self.now = 1_000.0

    def resolve(self, _: str) -> Reference:
        return self.named

    def download(self, _: Reference, __: Path) -> Bundle:
        self.downloads.append(self.now)
        raise self.problem


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeRegistry, sources.RegisteredModel]:
    fake = FakeRegistry()
    with closing(Trial()) as trial:
        model = sources.RegisteredModel("models:/m@champion", tmp_path, trial)
    monkeypatch.setattr(model, "_resolve", fake.resolve)
    monkeypatch.setattr(model, "_download", fake.download)
    monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: fake.now))
    return fake, model


def looked_for(seconds: int, fake: FakeRegistry, model: sources.RegisteredModel) -> int:
    """How many refusals there were when it was looked at every second."""
    refusals = 0
    for _ in range(seconds):
        fake.now += 1
        model.look(afresh=False)
        refusals += model.news.refusals
    return refusals


def test_what_is_always_cut_is_asked_for_at_growing_intervals_and_never_refused(
    faked: tuple[FakeRegistry, sources.RegisteredModel],
) -> None:
    fake, model = faked

    refusals = looked_for(100, fake, model)
    gaps = [later - one for one, later in zip(fake.downloads, fake.downloads[1:], strict=False)]
    fake.named = Reference("models:/m/2", "m", "2", "champion", "1" * 64)
    looked_for(1, fake, model)

    assert gaps == [1, 2, 4, 8, 16, 32]
    assert refusals == 0
    assert fake.downloads[-1] == fake.now  # another version is asked for at once


def test_a_version_that_is_refused_between_two_cuts_is_counted_once(
    faked: tuple[FakeRegistry, sources.RegisteredModel],
) -> None:
    fake, model = faked
    cut, bad = fake.problem, LoadingFailed("le bundle est mauvais")

    counted = []
    for problem in (cut, bad, cut, bad):
        fake.problem = problem
        counted.append(looked_for(1_000, fake, model))

    assert counted == [0, 1, 0, 0]


# ---- The registry's own state


def test_a_wish_for_a_new_copy_is_granted_at_once_and_then_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(loader, "time", SimpleNamespace(monotonic=lambda: clock.now))
    wish, granted = loader.Wish(), []
    for _ in range(1000):
        wish.make()
        if wish.is_due():
            granted.append(clock.now - 100.0)
        clock.now += 0.5
    clock.now += 200.0
    wish.make()

    assert granted[:6] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    assert {later - former for former, later in pairwise(granted[7:])} == {loader._LONGEST_AFRESH}
    assert (wish.is_due(), wish.is_due()) == (True, False)


def test_a_wish_is_forgotten_where_something_else_is_wanted() -> None:
    wish = loader.Wish()
    wish.make()
    wish.forget()

    assert (wish.is_due(), wish.seconds_until_due()) == (False, math.inf)
