"""What MLflow registers, as code: it verifies its bundle and runs the scoring.py found in there.

It stands alone on purpose. Wherever MLflow loads the model, this file and the bundle are all that there is.
"""

import hashlib
import json
import types
from pathlib import Path

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class ScoringModel(PythonModel):
    """The bundle behind MLflow's pyfunc: a frame of clients in, a frame of the seven output columns out."""

    # MLflow 3.17 warns at each load of an untyped `predict`; a typed one takes other payloads.
    _skip_type_hint_validation = True

    def load_context(self, context):  # type: ignore[no-untyped-def]
        files = _verified(Path(context.artifacts["bundle"]))
        scoring = types.ModuleType("scoring_of_this_bundle")
        exec(compile(files["scoring.py"], "<scoring.py of the bundle>", "exec"), vars(scoring))  # noqa: S102
        self.scorer = scoring.Scorer(files)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return pd.DataFrame(self.scorer.decide_table(model_input, (params or {}).get("margin")))


def _verified(folder: Path) -> dict[str, bytes]:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    if manifest["format"] != 3:
        raise ValueError("bundle format not supported: register the model again with python register.py")
    files = {name: (folder / name).read_bytes() for name in manifest["files"]}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != manifest["files"][name]:
            raise ValueError(f"{name} does not match the bundle's manifest: register the model again")
    return files


set_model(ScoringModel())
