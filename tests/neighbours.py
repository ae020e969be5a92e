"""Servers that are not ours, where they are installed."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests import servers


def program(name: str, *folders: str) -> str:
    """Where a server's program is; the test is skipped where it is not installed."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin", *folders])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed (.ci/run installs it)")
    return found


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL cluster, made and not running. `command` starts it."""

    folder: Path
    port: int
    command: Sequence[str]

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://mlflow@127.0.0.1:{self.port}/postgres"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        log = Path(tempfile.gettempdir()) / f"postgres-{self.port}.log"
        try:
            with servers.process([*self.command], {}, log, self.folder) as child:
                yield child
        finally:
            log.unlink()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster of its own, by another user where the tests run as root, who may not start one."""
    initdb = program("initdb", *map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    program("pg_ctl", str(Path(initdb).parent))
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        if as_nobody:
            os.chown(folder, 65534, 65534)
            os.chown(data, 65534, 65534)
        trusting = [*as_nobody, initdb, "-D", str(data), "-U", "mlflow", "--auth=trust", "--no-sync"]
        subprocess.run(trusting, check=True, capture_output=True, cwd=folder)
        postgres = [*as_nobody, str(Path(initdb).with_name("postgres")), "-D", str(data), "-F"]
        postgres += ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", str(folder)]
        yield Cluster(folder, port, postgres)


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a cluster that is starting."""
    with cluster() as made, made.running():
        yield made.url


def wait_for(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for _ in range(300):
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError:
            time.sleep(0.1)
    raise TimeoutError(url)
