"""Model files as people have them: each registers with its author's own doubles, or is called what it is."""

from pathlib import Path

import pytest

from mlflow_model.errors import ModelUnavailable
from tests import model_zoo
from tests.model_zoo import CLIENTS, FORMS, REFUSED


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_registers_gives_its_author_s_doubles(name: str, tmp_path: Path) -> None:
    specimen = FORMS[name]

    scores = model_zoo.bundle_of(specimen, tmp_path).scorer().probabilities(CLIENTS.to_numpy())

    assert scores.tolist() == specimen.expected().tolist()


@pytest.mark.parametrize("name", REFUSED)
def test_another_file_is_refused_and_only_a_damaged_one_is_called_damaged(name: str, tmp_path: Path) -> None:
    specimen = REFUSED[name]

    with pytest.raises(ModelUnavailable) as refusal:
        model_zoo.bundle_of(specimen, tmp_path)

    sentence = str(refusal.value)
    assert any(word in sentence for word in ("corromp", "tronqu")) == specimen.is_damaged
    assert "signalez" not in sentence
