"""The tables that are written whole into the documents, from what the project is and answers."""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from api.web import openapi
from features.catalogue import FITTING_LOAN, example_client
from features.identities import IDENTITIES
from mlflow_model.errors import LoadingFailed, ModelUnavailable
from tests import accepted_models, model_zoo, refused_models
from tests.documented_project import EXTERNAL_SCORES, Project

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "models" / "lgbm_final_model.md"


def line_of(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _features(project: Project) -> str:
    model = project.served.model
    client = openapi.document(model.scorer, model.version)["components"]["schemas"]["Client"]
    rows = [["Variable", "Sens", "Unité", "Valeurs usuelles", "`null`"], ["---"] * 5]
    for name, feature in client["properties"].items():
        low, high = map(_french, feature["x-usual"])
        null = "accepté" if "null" in feature["type"] else "refusé"
        formula = f" ; `{feature['x-formula']}`".replace("|", r"\|") if name in IDENTITIES else ""
        meaning = feature["description"].rstrip(".") + formula + "."
        rows.append([f"`{name}`", meaning, feature["x-unit"], f"{low} à {high}", null])
    return "".join(line_of([_spaced(cell) for cell in row]) + "\n" for row in rows)


def _french(number: float) -> str:
    return f"{number:,}".removesuffix(".0").replace(",", "\u00a0").replace(".", ",")


def _spaced(text: str) -> str:
    return re.sub(r" (?=[;:?!»])|(?<=«) ", "\u00a0", text)


def _figures(_: Project) -> str:
    """The model card's own figures."""
    card = yaml.safe_load(CARD.read_text(encoding="utf-8").split("---\n", 2)[1])
    metrics, policy = card["metrics"], card["policy"]

    def interval(name: str) -> str:
        return f"{metrics[name]:.4f} [{metrics[f'{name}_low']:.4f}, {metrics[f'{name}_high']:.4f}]"

    rows = [
        ["on the test set", "value [95 %]"],
        ["---", "---"],
        ["clients", f"{metrics['test_clients']:,.0f}"],
        ["of whom defaulted", f"{metrics['test_default_rate']:.2%}"],
        ["AUC", interval("auc")],
        ["AUC of the true probabilities", f"{metrics['auc_of_true_probabilities']:.4f}"],
        ["calibration error (ECE)", interval("ece")],
        ["cost per client", interval("cost_per_client")],
        ["approved", interval("approval_rate")],
        ["in the grey zone", interval("grey_rate")],
        ["threshold ± margin", f"{policy['threshold']:.4f} ± {policy['margin']:g}"],
    ]
    return "".join(line_of(row) + "\n" for row in rows)


def _reasons(project: Project) -> str:
    """What POST /explain says of the client of the documented request."""
    client = example_client(project.served.model.scorer.features)
    body, headers = json.dumps(client).encode(), {"Content-Type": "application/json"}
    _, _, answer = project.http("POST", "/explain", headers, body)
    found = json.loads(answer)
    said = [
        *(("pour", one["sentence"]) for one in found["reasons"]["for"]),
        *(("contre", one["sentence"]) for one in found["reasons"]["against"]),
        *((f"`{one['code']}`", one["sentence"]) for one in found["warnings"]),
    ]
    rows = [["Où", "Ce que dit `/explain` du client documenté"], ["---", "---"], *map(list, said)]
    return "".join(line_of(row) + "\n" for row in rows)


def _offers(project: Project) -> str:
    """What POST /explain offers to clients whose figures hang together."""
    rows = [["Scores externes", "`prediction`", "Ce que dit `/explain`"], ["---", "---", "---"]]
    example = example_client(project.served.model.scorer.features) | FITTING_LOAN
    for scores in EXTERNAL_SCORES:
        of_client = {f"EXT_SOURCE_{number}": score for number, score in enumerate(scores, 1)}
        body = json.dumps(example | of_client).encode()
        _, _, answer = project.http("POST", "/explain", {"Content-Type": "application/json"}, body)
        found = json.loads(answer)
        offers = found["offers"]
        said = [offers["sentence"], *(one["sentence"] for one in [*offers["found"], offers["worse"]] if one)]
        rows.append(
            [
                " · ".join(map(str, scores)).replace(".", ","),
                found["decision"]["prediction"],
                "<br>".join(said),
            ]
        )
    return "".join(line_of(row) + "\n" for row in rows)


def _metrics(project: Project) -> str:
    """Every metric of the service, in its own words."""
    _, _, page = project.http("GET", "/metrics", {}, b"")
    found = re.findall(r"^# HELP (\w+) (.+)$", page, re.MULTILINE)
    rows = [["metric", "meaning"], ["---", "---"], *([f"`{name}`", meaning] for name, meaning in found)]
    return "".join(line_of(row) + "\n" for row in rows)


def _result(name: str, number: int, _: Project) -> str:
    """A table of a section of the results."""
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    section = results.partition(f"<!-- {name} -->")[2]
    return re.findall(r"(?:^\|[^\n]*\n)+", section, re.MULTILINE)[number]


def _ratios(project: Project) -> str:
    """Those of the service to other servers, and whether each aim is reached."""
    head, rule, *rows = _result("server", 0, project).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    said = [[name, measured, aim, _is_reached(float(measured), aim)] for name, measured, aim in cells]
    return "".join(f"{one}\n" for one in (f"{head} reached |", f"{rule} --- |", *map(line_of, said)))


def _is_reached(measured: float, aim: str) -> str:
    if not aim:
        return ""
    bound = float(aim.split()[-1])
    return "yes" if (measured >= bound if aim.startswith("at least ") else measured <= bound) else "no"


def _forms(project: Project) -> str:
    """The model files that register. Their scores are compared elsewhere: tests/test_model_files.py."""
    rows = [["file", "written by"], ["---", "---"]]
    for name, specimen in accepted_models.FORMS.items():
        model_zoo.bundle_of(specimen, project.folder)
        rows.append([name, f"`{specimen.written}`"])
    return "".join(line_of(row) + "\n" for row in rows)


def _refusals(project: Project) -> str:
    rows = [["file", "written by", "sentence"], ["---", "---", "---"]]
    for name, specimen in refused_models.REFUSED.items():
        try:
            model_zoo.bundle_of(specimen, project.folder)
        except ModelUnavailable as problem:
            sentence = str(problem).removeprefix(str(LoadingFailed("")))
            rows.append([name, f"`{specimen.written}`", sentence])
    return "".join(line_of(row) + "\n" for row in rows)


BY_NAME: dict[str, Callable[[Project], str]] = {
    "features": _features,
    "figures": _figures,
    "metrics": _metrics,
    "offers": _offers,
    "reasons": _reasons,
    "ratios": _ratios,
    "books": functools.partial(_result, "batch_score", 0),
    "power": functools.partial(_result, "gate", 0),
    "measured": functools.partial(_result, "gate", 1),
    "others": functools.partial(_result, "gate", 2),
    "forms": _forms,
    "refusals": _refusals,
}
