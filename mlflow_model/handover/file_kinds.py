"""Tells by its first bytes what a file is, and takes off the compression that joblib may have put on it."""

import bz2
import functools
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple


class NotAModel(ValueError):
    """No model can be read from the file. The message says in French what the file is, and what to do."""


class Content(NamedTuple):
    """The bytes of a pickle, or of LightGBM's own text."""

    is_text: bool
    content: bytes


_PICKLE = b"\x80"  # since protocol 2
# Protocols 0 and 1 have no mark of their own: a list, a dictionary, or the name of what is built.
_OLD_PICKLE = re.compile(rb"\([dl]p[0-9]+\n|\([dl]q|[\]}]q|(?:\([ic])?c?[\w.]+\n[\w.]+\n[(pq]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LIGHTGBM = re.compile(rb"tree\r?\n")
_ANOTHER = "donnez le fichier du modèle lui-même"
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "est une archive zip ; décompressez-la d’abord"),
    (
        b"version https://git-lfs",
        "n’est que le pointeur Git LFS d’un fichier ; téléchargez le fichier avec « git lfs pull »",
    ),
    (b"PAR1", f"est en Parquet, et n’est pas un modèle ; {_ANOTHER}"),
    (b"ARROW1", f"est en Arrow, et n’est pas un modèle ; {_ANOTHER}"),
    (b"\x89HDF", f"est en HDF5, et n’est pas un modèle de LightGBM ; {_ANOTHER}"),
    (b"\x93NUMPY", f"est un tableau de NumPy, et n’est pas un modèle ; {_ANOTHER}"),
    (b"CBM1", "est un modèle CatBoost ; seuls ceux de LightGBM sont pris en charge"),
    (b"ZF", "vient d’une ancienne version de joblib ; écrivez-le de nouveau avec joblib 1.0 ou plus"),
    (b"<", f"est une page HTML ou du XML, et n’est pas un modèle ; {_ANOTHER}"),
)
_COMPRESSED: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_ZLIB = 0x78


def recognised(content: bytes, most: int) -> Content:
    """The pickle or the text in a file of a model, of `most` bytes without compression. Raises NotAModel."""
    content = _without_compression(content, most)
    content = content.removeprefix(_BYTE_ORDER_MARK) if _LIGHTGBM.match(content, 3) else content
    if _LIGHTGBM.match(content):
        return Content(True, content.replace(b"\r\n", b"\n"))
    if content.startswith(_PICKLE) or _OLD_PICKLE.match(content):
        return Content(False, content)
    raise NotAModel(f"ce fichier {_what_else(content)}")


def _what_else(content: bytes) -> str:
    if not content:
        return "est vide ; donnez le fichier d’un modèle"
    for start, sentence in _OTHERS:
        if content.startswith(start):
            return sentence
    if content[:1] in (b"{", b"["):
        return _some_json(content)
    try:
        content.decode()
    except UnicodeDecodeError:
        return f"n’est ni un fichier Pickle ni un modèle de LightGBM ; {_ANOTHER}"
    return f"est du texte, et n’est pas un modèle ; {_ANOTHER}"


def _some_json(content: bytes) -> str:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and "tree_info" in document:
        return (
            "est l’export JSON d’un modèle de LightGBM, qui n’en garde pas tous les chiffres ; "
            "écrivez-le par « save_model »"
        )
    if isinstance(document, dict) and "learner" in document:
        return "est un modèle XGBoost ; seuls ceux de LightGBM sont pris en charge"
    return f"est en JSON, et n’est pas un modèle ; {_ANOTHER}"


def _without_compression(content: bytes, most: int) -> bytes:
    name = next((name for start, name in _COMPRESSED if content.startswith(start)), None)
    if name is None and _looks_like_zlib(content):
        name = "zlib"
    if name is None:
        return content
    try:
        found = _OPENERS[name](content, most + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise NotAModel(
            f"ce fichier est compressé par {name}, et corrompu ou tronqué ; copiez-le de nouveau"
        ) from error
    if len(found) > most:
        raise NotAModel(f"ce fichier dépasse {most // 2**20} Mio une fois décompressé ; {_ANOTHER}")
    return found


def _looks_like_zlib(content: bytes) -> bool:
    """Whether the first two bytes are a header of zlib's: https://www.rfc-editor.org/rfc/rfc1950."""
    return len(content) > 1 and content[0] == _ZLIB and int.from_bytes(content[:2], "big") % 31 == 0


def _by_zlib(content: bytes, most: int) -> bytes:
    reader = zlib.decompressobj()
    found = reader.decompress(content, most)
    if not reader.eof and len(found) < most:
        raise EOFError
    return found


def _by_lz4(content: bytes, most: int) -> bytes:
    import pyarrow as pa  # it knows LZ4 frames, which the standard library does not

    pieces, left = [], most
    with pa.CompressedInputStream(pa.BufferReader(content), "lz4") as stream:
        while left > 0 and (piece := stream.read(min(left, 2**20))):
            pieces.append(piece)
            left -= len(piece)
    return b"".join(pieces)


def _by_file(kind: Callable[[io.BytesIO], Any], content: bytes, most: int) -> bytes:
    with kind(io.BytesIO(content)) as file:
        return bytes(file.read(most))


_OPENERS: dict[str, Callable[[bytes, int], bytes]] = {
    "zlib": _by_zlib,
    "lz4": _by_lz4,
    "gzip": functools.partial(_by_file, lambda stream: gzip.GzipFile(fileobj=stream)),
    "bzip2": functools.partial(_by_file, bz2.BZ2File),
    "xz": functools.partial(_by_file, lzma.LZMAFile),
    "lzma": functools.partial(_by_file, lzma.LZMAFile),
}
