"""The notebook runs against a real API, shows a table and a plot, and is committed without outputs."""

import base64
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import requests
from nbclient import NotebookClient

from register import DEFAULT_PICKLE

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "api" / "test_api.ipynb"


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`python api/app.py` on a free port, with the shipped pickle."""
    cache = tmp_path_factory.mktemp("cache")
    environment = os.environ | {"MODEL_URI": str(DEFAULT_PICKLE), "MODEL_CACHE": str(cache)}
    log = tmp_path_factory.mktemp("api") / "log"
    with (
        log.open("w") as stream,
        subprocess.Popen(
            [sys.executable, "api/app.py", "--port", "0"], cwd=ROOT, env=environment, stderr=stream
        ) as process,
    ):
        try:
            yield _address_once_ready(log)
        finally:
            process.terminate()


def _address_once_ready(log: Path) -> str:
    for _ in range(600):
        address = re.search(r"http://[\w.]+:\d+", log.read_text())
        if address and requests.get(f"{address[0]}/ready", timeout=5).ok:
            return address[0]
        time.sleep(0.1)
    raise TimeoutError(log.read_text())


@pytest.fixture(scope="module")
def executed(api_url: str, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook after a run of all its cells, with Jupyter's own files kept out of the home folder."""
    folder = tmp_path_factory.mktemp("jupyter")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_URL", api_url)
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"):
            patch.setenv(variable, str(folder / variable))
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def _shown(notebook: nbformat.NotebookNode, kind: str) -> list[Any]:
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def test_every_cell_succeeds_against_the_running_api(executed: nbformat.NotebookNode) -> None:
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    kinds = {output.output_type for cell in code for output in cell.outputs}

    assert all(cell.execution_count for cell in code)
    assert kinds == {"execute_result", "display_data"}


def test_the_table_has_a_decision_for_each_of_the_random_clients(executed: nbformat.NotebookNode) -> None:
    table, counts = _shown(executed, "text/html")

    assert "probabilité de défaut" in table
    assert len(re.findall(r"<td>(?:Classe_0 |Classe_1 |Zone grise )", table)) == 40
    assert sum(map(int, re.findall(r"<td>(\d+)</td>", counts))) == 40


def test_the_plot_comes_out_as_an_image(executed: nbformat.NotebookNode) -> None:
    (image,) = _shown(executed, "image/png")

    content = base64.b64decode(image)

    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000


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
