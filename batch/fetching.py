"""Fetches the bundle that a URI names into a folder: a process of its own, which is asked and answers."""

from pathlib import Path
from typing import Any

from mlflow_model import machine, processes
from mlflow_model.bundle import signing
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import LoadingFailed, ModelUnavailable
from mlflow_model.registry import lean_import


def main() -> None:
    processes.end_with_parent()
    lean_import.prepare()
    processes.answer(_fetched)


def _fetched(uri: str, folder: str) -> dict[str, Any]:
    """What the bundle is called and its digest, or the problem."""
    try:
        bundle, name, number = _of_pickle(Path(uri)) if uri.endswith(".pkl") else _of_registry(uri)
        bundle.write(Path(folder))
    except ModelUnavailable as problem:
        return {"problem": str(problem)}
    except OSError as error:
        return {
            "problem": f"the model cannot be kept in {Path(folder).parent}: {machine.why_not_written(error)}"
        }
    return {"digest": bundle.digest, "name": name, "number": number}


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
