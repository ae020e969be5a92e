"""Where other pages show more than the API tells: MLflow's, and those of the monitoring.

The forms of the addresses are those of MLflow 3's pages.
"""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

MLFLOW, MONITORING = "MLFLOW_UI_URL", "MONITORING_URL"


def known(model: Mapping[str, Any], examination: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What each link shows, and its address. `examination`: the last one of the version, if it is known."""
    found = []
    if pages := _address(MLFLOW):
        name, version = quote(model["name"], safe=""), model["version"]
        if version:
            place = f"{pages}/#/models/{name}/versions/{version}"
            found = [(f"Fiche de la version {version}, dans MLflow", place)]
        if examination:
            run = f"experiments/{examination['experiment']}/runs/{examination['run']}"
            found.append(("Dernier examen, client par client, dans MLflow", f"{pages}/#/{run}"))
        found += [
            ("Versions et historique des champions, dans MLflow", f"{pages}/#/models/{name}"),
            ("Entraînements et examens, dans MLflow", f"{pages}/#/experiments"),
        ]
    if monitoring := _address(MONITORING):
        found.append(("Surveillance\u00a0: trafic, dérive et alarmes", monitoring))
    return found


def _address(setting: str) -> str | None:
    given = os.environ.get(setting, "").strip().rstrip("/")
    return given if given.startswith(("http://", "https://")) else None
