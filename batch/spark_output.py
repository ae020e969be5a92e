"""A folder of Parquet parts that Spark writes, which comes whole.

The parts are written into a folder of their own in OUTPUT.part, another one for each run: a task of a run
that was killed may still write. At the end that folder gets the name. `_run.json` says what it is of.
"""

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from batch.arriving import held_folder, name_folder, part_of, writing
from batch.errors import Refused
from batch.outputs import STATE, Kept, Output, check_free, digest_of_file, digest_of_several, is_of, keep

_OWN = (STATE, part_of(Path(STATE)).name)
_PARTS = "*.parquet"
_FOR_ITS_OWNER = 0o700


class SparkFolder(Output):
    """`of`: what the run is of. `data`: where Spark writes; `log`: what it says. Raises Refused, or Finished.

    With `resume` the folder of a run of the same that did not end is written anew.
    """

    def __init__(self, path: Path, of: Mapping[str, str], *, resume: bool) -> None:
        self.path, self._of = path, dict(of)
        self._folder = part_of(path)
        check_free(path, of, resume=resume)
        with writing(path):
            self._begin(resume=resume)
            self._lock = held_folder(self._folder, path)
        self.log = path.with_name(f"{path.name}.spark.log")
        self.data = self._folder / f"of-{uuid.uuid4().hex}"
        try:
            keep(self._folder, {"of": self._of})
        except BaseException:
            self.abandon()
            raise

    def _begin(self, *, resume: bool) -> None:
        try:
            self._folder.mkdir(_FOR_ITS_OWNER)
        except FileExistsError:
            if not resume:
                raise Refused(
                    f"{self._folder} is of a run that did not end: --resume writes it anew, or remove it"
                ) from None
            self._empty()

    def _empty(self) -> None:
        """Of what a run of the same has left. Raises Refused for anything else."""
        lock = held_folder(self._folder, self.path)
        try:
            if not is_of(self._folder, self._of):
                raise Refused(f"{self._folder} is not of a run of the same: remove it, or name another")
            for one in self._folder.iterdir():
                if one.name not in _OWN and not one.name.startswith("of-"):
                    raise Refused(f"{one} is not of the run before: move it away")
                if one.is_dir():
                    shutil.rmtree(one)
                else:
                    one.unlink()
        finally:
            os.close(lock)

    def sealed(self, kept: Kept) -> str:
        """The digest of the parts' digests, one a line, in the order of their names."""
        parts = sorted(self.data.glob(_PARTS))
        digests, rows = [], 0
        with writing(self.path):
            for part in parts:
                rows += pq.read_metadata(part).num_rows
                with part.open("rb") as content:
                    os.fsync(content.fileno())
                digests.append(digest_of_file(part))
            self.data.chmod(_FOR_ITS_OWNER)
            for one in self.data.iterdir():  # a session of somebody else's has another umask, and checksums
                if one.suffix == ".crc":
                    one.unlink()
                else:
                    one.chmod(0o600)
        state = kept()
        if rows != state["counts"]["clients"]:
            raise Refused(
                f"the parts of {self.path} hold {rows:,} clients, and not those that were decided on"
            )
        names = [part.name for part in parts]
        keep(self.data, {"of": self._of, "parts": names, "digests": digests, "state": state})
        return digest_of_several(digests)

    def publish(self) -> None:
        name_folder(self.data, self.path)
        self.abandon()

    def abandon(self) -> None:
        """Leave nothing, but of a task that still writes."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)
