"""Opens an uploaded file of clients by its first bytes, which say more than its name.

A value of a CSV is never read as a number here: the API knows the dialects, and what is wrong with a row.
"""

from collections.abc import Sequence

from dashboard.portfolio.csv_file import CsvFile
from dashboard.portfolio.files import BadFile, ClientsFile
from dashboard.portfolio.parquet_file import ParquetFile

_BEGINNINGS = {
    b"PK\x03\x04": "Ce fichier est un classeur ou une archive. Enregistrez le tableau au format "
    "« CSV UTF-8 », puis déposez ce CSV.",
    b"\xd0\xcf\x11\xe0": "Ce fichier est un ancien classeur Excel. Enregistrez-le au format "
    "« CSV UTF-8 », puis déposez ce CSV.",
    b"\x1f\x8b": "Ce fichier est compressé (gzip). Décompressez-le, puis déposez le CSV.",
    b"%PDF": "Ce fichier est un PDF. Déposez un CSV ou un fichier Parquet.",
    b"ARROW1": "Ce fichier est au format Arrow. Déposez un CSV ou un fichier Parquet.",
    b"\xff\xfe": "Ce fichier n’est pas encodé en UTF-8. Dans le tableur, choisissez « CSV UTF-8 ».",
    b"\xfe\xff": "Ce fichier n’est pas encodé en UTF-8. Dans le tableur, choisissez « CSV UTF-8 ».",
}
_NEITHER = "Ce fichier n’est ni un CSV ni un fichier Parquet."


def opened(content: bytes, features: Sequence[str]) -> ClientsFile:
    """Raises BadFile."""
    if not content:
        raise BadFile("Ce fichier est vide.")
    for beginning, sentence in _BEGINNINGS.items():
        if content.startswith(beginning):
            raise BadFile(sentence)
    if content.startswith(b"PAR1"):
        return ParquetFile(content, features)
    if b"\0" in content[:4096]:
        raise BadFile(_NEITHER)
    return CsvFile(content, features)
