"""What the documentation of many a scoring API shows: unpickle, make a frame of the JSON, call predict_proba.

`python plain_flask.py PORT` serves it by Flask's development server; gunicorn takes `plain_flask:app`.
"""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from flask import Flask, jsonify, request

# That it is unpickled is the point of this contender.
DELIVERED = pickle.loads(Path(os.environ["PICKLE"]).read_bytes())  # noqa: S301

app = Flask(__name__)


@app.post("/predict")
def decide() -> Any:
    client = pd.DataFrame([request.get_json()])[DELIVERED["features"]].astype(float)
    probability = float(DELIVERED["model"].predict_proba(client)[0, 1])
    threshold, margin = float(DELIVERED["optimal_threshold"]), float(DELIVERED.get("margin", 0.0))
    if probability < threshold - margin:
        label = "Classe_0 (fiable)"
    elif probability > threshold + margin:
        label = "Classe_1 (risqué)"
    else:
        label = "Zone grise (incertain)"
    return jsonify(
        prediction=label,
        probability_class_1=probability,
        probability_class_0=1.0 - probability,
        optimal_threshold=threshold,
        margin=margin,
        lower_bound=threshold - margin,
        upper_bound=threshold + margin,
    )


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]))
