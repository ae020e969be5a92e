"""`python .ci/other_python.py write|read FOLDER`: a bundle is made by one Python, and read by another."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from features.catalogue import example_client
from mlflow_model.bundle import bundles
from mlflow_model.handover import model_files


def main(how: str, folder: Path) -> None:
    decision = folder.with_suffix(".json")
    if how == "write":
        bundle, _ = model_files.convert(ROOT / "models" / "lgbm_final_model.pkl")
        bundle.write(folder)
    else:
        bundle = bundles.read(folder)
    scorer = bundle.scorer()
    decided = {"digest": bundle.digest, **scorer.decide(example_client(scorer.features))}
    if how == "write":
        decision.write_text(json.dumps(decided), encoding="utf-8")
    elif json.loads(decision.read_text(encoding="utf-8")) != decided:
        sys.exit(f"another decision than that of the Python that made it: {decided}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).absolute())
