"""`python -m tests.fuzz_predict --seconds 300`: coverage-guided bodies against the function behind /predict.

No exception, an answer of the contract, and the fast path gives the careful path's bytes. pytest runs it for
two seconds; the body that breaks a promise is printed and kept in the current folder.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import atheris

with atheris.instrument_imports(include=["api", "mlflow_model", "json"]):
    from api.deciding.service import Service
    from features.catalogue import example_client
    from mlflow_model.bundle.scoring import OUTPUT_COLUMNS, Scorer
    from mlflow_model.handover import model_files
    from tests import careful, servers

PICKLE = Path(__file__).resolve().parents[1] / "models" / "lgbm_final_model.pkl"
TOKENS = ("null", "true", "NaN", "-0", "1e400", "9007199254740993", "{}", "[]", "\\u0041", "\ufeff", '": ')


def check(service: Service, scorer: Scorer, body: bytes) -> None:
    status, written, *_ = service.predict("application/json", None, None, body, "0")
    content = json.loads(written)
    if status == 200:
        assert tuple(content) == OUTPUT_COLUMNS
    else:
        assert status == 400
        assert list(content) == ["error"]
        assert content["error"].startswith(
            ("Features manquantes : [", "Erreur lors du traitement des données : ")
        )
    assert (status, written) == careful.answer(scorer, body)


def seeds(features: Sequence[str]) -> list[bytes]:
    client = example_client(features)
    first, *_ = features
    clients = [
        client,
        client | {first: None},
        client | {"nom": "x"},
        client | {first: [1]},
        dict.fromkeys(features),
    ]
    return [json.dumps(client).encode() for client in clients]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="tests.fuzz_predict", description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="keeps the corpus there (default: it is thrown away)")
    options = parser.parse_args(arguments)
    if options.folder is not None:
        fuzz(options.seconds, options.folder)
    with tempfile.TemporaryDirectory() as folder:  # libFuzzer ends its process: another one tidies up
        command = [sys.executable, "-m", "tests.fuzz_predict", "--seconds", str(options.seconds)]
        sys.exit(subprocess.run([*command, "--folder", folder], check=False).returncode)


def fuzz(seconds: int, folder: Path) -> NoReturn:
    scorer = Scorer(model_files.convert(PICKLE)[0].files)
    service = Service(servers.serving(scorer))
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds(scorer.features)):
        (corpus / str(number)).write_bytes(seed)
    words.write_text("".join(f"{_quoted(word)}\n" for word in (*TOKENS, *scorer.features)))
    limits = [f"-max_total_time={seconds}", "-max_len=2048", "-print_final_stats=1"]
    atheris.Setup(
        [sys.argv[0], *limits, f"-dict={words}", str(corpus)],
        lambda body: check(service, scorer, bytes(body)),
    )
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends its process")


def _quoted(word: str) -> str:
    """A word as libFuzzer's dictionaries have it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"'


if __name__ == "__main__":
    main()
