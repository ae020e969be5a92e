"""The notebook runs against a real API, shows a table and a plot, and is committed without outputs."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from mlflow_model.registry.command_options import DEFAULT_PICKLE
from tests import servers
from tests.servers import ROOT

NOTEBOOK = ROOT / "api" / "test_api.ipynb"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """`python api/app.py` with the shipped pickle, which wants a token: its address, and a token."""
    folder = tmp_path_factory.mktemp("api")
    token, line = servers.made_token("notebook", "score")
    (folder / "tokens").write_text(line)
    environment = servers.alone(DEFAULT_PICKLE, folder) | {"API_TOKENS_FILE": str(folder / "tokens")}
    with servers.api(environment, folder / "log") as door:
        servers.ready(door)
        yield door.url, token


@pytest.fixture(scope="module")
def executed(api: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook after a run of all its cells, with Jupyter's own files kept out of the home folder."""
    folder = tmp_path_factory.mktemp("jupyter")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_URL", api[0])
        patch.setenv("API_TOKEN", api[1])
        _execute(notebook, folder, patch)
    return notebook


def _execute(notebook: nbformat.NotebookNode, folder: Path, patch: pytest.MonkeyPatch) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"):
        patch.setenv(variable, str(folder / variable))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()


def _shown(notebook: nbformat.NotebookNode, kind: str) -> list[Any]:
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.slow
def test_every_cell_succeeds_against_the_running_api(executed: nbformat.NotebookNode) -> None:
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    kinds = {output.output_type for cell in code for output in cell.outputs}

    assert all(cell.execution_count for cell in code)
    assert kinds == {"execute_result", "display_data"}


@pytest.mark.slow
def test_the_table_has_a_decision_for_each_of_the_random_clients(executed: nbformat.NotebookNode) -> None:
    table, counts, _ = _shown(executed, "text/html")

    assert "probabilité de défaut" in table
    assert len(re.findall(r"<td>(?:Classe_0 |Classe_1 |Zone grise )", table)) == 40
    assert sum(map(int, re.findall(r"<td>(\d+)</td>", counts))) == 40


@pytest.mark.slow
def test_the_explained_client_has_reasons_and_offers(executed: nbformat.NotebookNode) -> None:
    *_, sentences = _shown(executed, "text/html")

    assert "Zone grise (incertain)</th>" in sentences
    assert {"contre", "offre"} <= set(re.findall(r">(pour|contre|offre)</td>", sentences))
    assert "la décision serait «\u00a0Classe_0 (fiable)\u00a0»." in sentences


@pytest.mark.slow
def test_the_plots_come_out_as_images(executed: nbformat.NotebookNode) -> None:
    decisions, waterfall = (base64.b64decode(image) for image in _shown(executed, "image/png"))

    assert decisions.startswith(b"\x89PNG")
    assert waterfall.startswith(b"\x89PNG")
    assert min(len(decisions), len(waterfall)) > 10_000


@pytest.mark.slow
def test_the_examples_show_an_accepted_null_a_refused_one_and_two_errors(
    executed: nbformat.NotebookNode,
) -> None:
    accepted, null, missing, text = _shown(executed, "text/plain")[-4:]

    assert accepted.startswith("(200,")
    assert "ne peut pas être null" in null
    assert "Features manquantes : ['AMT_ANNUITY'" in missing
    assert "non un texte" in text


def test_the_committed_notebook_is_clean() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert not any(cell.metadata for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}


def test_the_notebook_holds_no_address_but_the_documented_one() -> None:
    addresses = set(re.findall(r"https?://[^\s\"\\]+", NOTEBOOK.read_text(encoding="utf-8")))

    assert {address.rstrip(".,)") for address in addresses} == {"http://127.0.0.1:5000"}


@pytest.mark.slow
def test_without_an_api_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    address = f"http://127.0.0.1:{servers.free_port()}"

    monkeypatch.setenv("API_URL", address)
    with pytest.raises(CellExecutionError) as ended:
        _execute(notebook, tmp_path, monkeypatch)

    said = f"L’API ne répond pas à {address}\u00a0: lancez «\u00a0make serve\u00a0» d’abord."
    assert said in str(ended.value)
    assert "urllib3" not in str(ended.value)
