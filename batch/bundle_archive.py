"""A bundle as one file, which travels to the machines of a cluster: a zip, the same for the same bundle."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import MANIFEST, Bundle
from mlflow_model.bundle.limits import MOST_BYTES
from mlflow_model.errors import LoadingFailed

_DAMAGED = "l’archive du modèle est illisible ou n’est pas celle de cette exécution ; relancez la commande"


def packed(files: Mapping[str, bytes]) -> bytes:
    """An archive of these files, without dates."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def pack(bundle: Bundle) -> bytes:
    return packed({**bundle.files, MANIFEST: bundle.manifest})


def unpack(path: Path, digest: str) -> Bundle:
    """The bundle with this digest, all of its files verified. Raises LoadingFailed."""
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {one.filename: _read(archive, one) for one in archive.infolist()}
        bundle = bundles.verified(contents)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, NotImplementedError) as error:
        raise LoadingFailed(_DAMAGED) from error
    if bundle.digest != digest:
        raise LoadingFailed(_DAMAGED)
    return bundle


def _read(archive: zipfile.ZipFile, file: zipfile.ZipInfo) -> bytes:
    if file.file_size > MOST_BYTES[file.filename]:
        raise LoadingFailed(bundles.too_large(file.filename))
    return archive.read(file)
