"""A process holds models ready under numbers, and answers with the one that the shared number names."""

from pathlib import Path

import pytest

from api.delivery.news import Copy, News
from api.delivery.served import ServedModel
from api.server.shared_number import SharedNumber, read_only
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import ModelUnavailable
from tests.live import policy_of


@pytest.fixture
def copies(bundle: Bundle, tmp_path: Path) -> dict[str, Copy]:
    """Of two versions."""
    found = {}
    for version, one in (("1", bundle), ("2", policy_of(bundle, 0.5))):
        one.write(tmp_path / one.digest)
        found[version] = Copy(str(tmp_path / one.digest), "scoring-client", version, "champion")
    return found


def test_a_model_that_is_held_ready_is_in_use_when_the_page_names_it(copies: dict[str, Copy]) -> None:
    number = SharedNumber.new()
    served = ServedModel(read_only(number.descriptor))
    assert served.prepare(1, copies["1"])
    with pytest.raises(ModelUnavailable, match="chargement en cours"):
        _ = served.model
    number.change_to(1)
    first = served.model
    assert served.prepare(2, copies["2"])
    before = served.model
    number.change_to(2)

    assert before is first
    assert (first.version, served.model.version) == ("1", "2")


def test_a_page_that_names_none_leaves_no_model_in_use(copies: dict[str, Copy]) -> None:
    number = [1]
    served = ServedModel(number)
    served.prepare(1, copies["1"])
    assert served.model.version == "1"

    number[0] = 0

    with pytest.raises(ModelUnavailable, match="chargement en cours"):
        _ = served.model


def test_a_copy_that_was_prepared_in_vain_is_not_kept(copies: dict[str, Copy]) -> None:
    in_use = [1]
    served = ServedModel(in_use)
    for number, version in ((1, "1"), (2, "2"), (3, "1")):
        served.prepare(number, copies[version])
    in_use[0] = 2

    assert served.model.version == "1"


def test_the_doubt_names_no_outage_that_is_over(copies: dict[str, Copy]) -> None:
    """A new version is named while the worker has not loaded it, after an outage and its end."""
    number = [1]
    served = ServedModel(number)
    served.prepare(1, copies["1"])
    doubts = []
    for news in (
        News(copies["1"]),
        News(copies["1"], "registre injoignable"),
        News(copies["2"]),
        News(copies["1"]),
    ):
        served.news = news
        doubts.append(served.doubt)

    loading = "Erreur lors du chargement du modèle : chargement en cours ; réessayez dans quelques secondes"
    assert doubts == [None, "registre injoignable", loading, None]


def test_without_a_supervisor_what_is_heard_of_is_in_use_at_once(copies: dict[str, Copy]) -> None:
    served = ServedModel()

    assert [served.hear(News(copies[version])) and served.model.version for version in ("1", "2", "1")] == [
        "1",
        "2",
        "1",
    ]


def test_a_copy_that_is_gone_is_said_and_the_former_one_goes_on(copies: dict[str, Copy]) -> None:
    served = ServedModel()
    gone = Copy("/nowhere/" + "0" * 64, "scoring-client", "3", "champion")
    with_none = served.hear(News(gone))
    with pytest.raises(ModelUnavailable, match="la copie locale est inutilisable"):
        _ = served.model

    served.hear(News(copies["1"]))
    with_one = served.hear(News(gone))

    assert (with_none, with_one, served.model.version) == (False, False, "1")
    assert served.doubt is not None
    assert "la copie locale est inutilisable" in served.doubt
