"""Fetches the bundle that a URI names into a folder: a process of its own, which answers in JSON."""

import gc
import json
import os
import sys
from pathlib import Path

from mlflow_model import processes
from mlflow_model.bundle import signing
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import LoadingFailed, ModelUnavailable

# MLflow imports these if they are installed; reading a registry needs neither.
_NOT_NEEDED = ("pandas", "scipy")


def main() -> None:
    processes.end_with_parent()
    uri, folder = sys.argv[1:]
    gc.disable()  # a tenth of the time that importing MLflow takes
    for package in _NOT_NEEDED:
        sys.modules[package] = None  # type: ignore[assignment]  # as if it were absent
    answer = os.fdopen(processes.set_aside(1), "w")
    try:
        bundle, name, number = _of_pickle(Path(uri)) if uri.endswith(".pkl") else _of_registry(uri)
        bundle.write(Path(folder))
        found = {"digest": bundle.digest, "name": name, "number": number}
    except ModelUnavailable as problem:
        found = {"problem": str(problem)}
    except OSError as error:
        found = {"problem": f"the model cannot be kept in {Path(folder).parent}: {error.strerror}"}
    answer.write(json.dumps(found))
    answer.close()
    os._exit(0)


def _of_pickle(path: Path) -> tuple[Bundle, str, None]:
    from mlflow_model.handover import model_files

    signing.check("", path.name, None)
    bundle, _ = model_files.bundle_of(model_files.read(path), path)
    return bundle, path.name, None


def _of_registry(uri: str) -> tuple[Bundle, str, str | None]:
    try:
        from mlflow_model.registry import fetching, versions
    except ModuleNotFoundError as error:
        raise LoadingFailed(f"{error.name} is not installed: name the folder of a bundle") from error

    named = versions.resolve(uri)
    signing.check(named.digest or "", named.name, named.statement)
    return fetching.download(named), named.name, named.version


if __name__ == "__main__":
    main()
