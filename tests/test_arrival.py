"""What a registry hands over: bounded in bytes, memory and time, and refused only for its own faults."""

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from api.delivery.news import GAVE_UP, News
from mlflow_model import processes
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import LoadingFailed, NotInRegistry, NotRegistered, OutOfReach
from mlflow_model.registry import connection, fetching, listing, moves, versions
from tests import servers
from tests.hostile_registry import ALIAS, HostileRegistry, hostile_registry
from tests.looking import look_once
from tests.servers import ROOT

# MLflow leaves connections open where a download fails.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore:.*socket:pytest.PytestUnraisableExceptionWarning"
)


CHAMPION = "models:/scoring-client@champion"
CHALLENGER = "models:/scoring-client@challenger"


@pytest.fixture
def hostile(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileRegistry]:
    with hostile_registry(bundle) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield server
    gc.collect()


def test_only_the_bundles_own_files_are_asked_for(hostile: HostileRegistry, bundle: Bundle) -> None:
    assert fetching.download(versions.resolve(CHAMPION)) == bundle

    asked = [path.rpartition("/")[2] for path in hostile.asked if path.startswith("/files")]
    assert sorted(asked) == sorted([*bundle.files, "manifest.json"])


IMPOSSIBLE = {
    "an endless text": ("model.txt", "endless", "'model.txt' dépasse la limite de 65536 Kio"),
    "an endless manifest": ("manifest.json", "endless", "'manifest.json' dépasse la limite de 64 Kio"),
    "a bomb": ("golden.json", "gzip_bomb", "'golden.json' dépasse la limite de 16384 Kio"),
    "a lost file": ("policy.json", "missing", "bundle incomplet ou illisible"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_version_with_impossible_files_is_refused(
    hostile: HostileRegistry, name: str, tmp_path: Path
) -> None:
    file, how, sentence = IMPOSSIBLE[name]
    hostile.behaviour[file] = how
    named = versions.resolve(CHAMPION)

    with pytest.raises(LoadingFailed, match=sentence) as refused:
        fetching.download(named, tmp_path)

    assert not isinstance(refused.value, OutOfReach)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 65 * 2**20


HORS_D_ATTEINTE = "les fichiers de la version 1 de scoring-client sont hors d’atteinte"
OUT_OF_REACH = {
    "a cut file": ("model.txt", "cut", "registre injoignable"),
    "a forbidden file": ("model.txt", "forbidden", HORS_D_ATTEINTE),
    "no files at all": ("manifest.json", "missing", HORS_D_ATTEINTE),
    "a redirection to itself": (ALIAS, "redirected", "registre injoignable"),
    "another server's page": (ALIAS, "page", "registre injoignable"),
    "a wish to be asked later": (ALIAS, "later", "registre injoignable"),
}


@pytest.mark.parametrize("name", OUT_OF_REACH)
def test_what_does_not_arrive_says_nothing_of_the_version(hostile: HostileRegistry, name: str) -> None:
    file, how, sentence = OUT_OF_REACH[name]
    hostile.behaviour[file] = how

    with pytest.raises(OutOfReach, match=sentence):
        fetching.download(versions.resolve(CHAMPION))


def test_a_folder_in_the_place_of_a_file_brings_nothing(registered: Path) -> None:
    (manifest,) = registered.glob("mlartifacts/models/m-*/artifacts/artifacts/bundle/manifest.json")
    manifest.unlink()
    manifest.mkdir()

    with pytest.raises(OutOfReach, match=HORS_D_ATTEINTE):
        fetching.download(versions.resolve(CHAMPION))


@pytest.mark.parametrize("target", ["/dev/zero", "a pipe"])
def test_a_device_or_a_pipe_in_the_place_of_a_file_neither_fills_nor_blocks(
    registered: Path, target: str
) -> None:
    (text,) = registered.glob("mlartifacts/models/m-*/artifacts/artifacts/bundle/model.txt")
    text.unlink()
    os.mkfifo(text) if target == "a pipe" else text.symlink_to(target)

    with pytest.raises(LoadingFailed, match=r"refusé|hors d’atteinte"):
        fetching.download(versions.resolve(CHAMPION))


IMPOSSIBLE_NAMES = {
    "a header in the number": {"version": "1\r\nX-Evil: yes"},
    "no number": {"version": "one"},
    "another number's name": {"version": "01"},
    "a line in the name": {"name": "scoring-client\nevil"},
}


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES)
def test_what_a_registry_says_of_a_version_reaches_no_header_and_no_log(
    hostile: HostileRegistry, name: str
) -> None:
    hostile.version |= IMPOSSIBLE_NAMES[name]

    with pytest.raises(LoadingFailed, match=r"un nom ou un numéro impossible|un autre modèle") as refused:
        versions.resolve(CHAMPION)

    assert "vil" not in str(refused.value)


@contextmanager
def started_loader(cache: Path, *more: str, **changed: float) -> Iterator["subprocess.Popen[bytes]"]:
    """The loader, in which these bounds are smaller."""
    code = "".join(f"loader.{name} = {value}; " for name, value in changed.items())
    code = f"from api.delivery import loader; {code} loader.main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, CHAMPION, str(cache), "--every", "0.2", *more],
        cwd=ROOT,
        env=processes.environment(OMP_NUM_THREADS="1"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def news_of(process: "subprocess.Popen[bytes]") -> News:
    assert process.stdout is not None
    return News.of(process.stdout.readline())


@pytest.mark.slow
def test_an_endless_answer_costs_the_loader_a_sentence_and_a_dribbling_one_its_process(
    hostile: HostileRegistry, tmp_path: Path
) -> None:
    """One process meets both in turn, because starting it is what costs."""
    hostile.behaviour[ALIAS] = "endless"
    with started_loader(tmp_path, MEMORY_BYTES=900 * 2**20, SLOW_SECONDS=90, ANSWER_SECONDS=20) as process:
        endless = news_of(process)
        hostile.behaviour[ALIAS] = "sound"
        heard = [endless, news_of(process)]
        while heard[-1].copy is None:
            heard.append(news_of(process))
        hostile.behaviour["model.txt"] = "dribble"
        hostile.bundle = other(hostile.bundle)
        while heard[-1].problem is None:
            heard.append(news_of(process))
        code = process.wait(timeout=servers.PATIENCE)

    assert endless.problem is not None
    assert "la mémoire ne suffit pas pour ce que le registre répond" in endless.problem
    assert (heard[-1].copy, heard[-1].looked_at) == (heard[-2].copy, None)
    assert "le registre n’a pas fini de répondre à temps" in str(heard[-1].problem)
    assert code == GAVE_UP


def test_an_answer_that_is_no_answer_costs_a_sentence_and_no_thread(
    hostile: HostileRegistry, tmp_path: Path
) -> None:
    hostile.behaviour[ALIAS] = "garbled"

    news = look_once(CHAMPION, tmp_path / "cache")

    assert (news.copy, news.looked_at) == (None, None)
    assert "le registre répond de façon incompréhensible (ParseError)" in str(news.problem)


@pytest.mark.parametrize(("how", "said"), [("broken", "refusé"), ("nameless", "incompréhensible")])
def test_a_fault_of_the_registry_is_not_said_to_be_an_unknown_model(
    hostile: HostileRegistry, how: str, said: str
) -> None:
    hostile.behaviour[ALIAS] = how

    with pytest.raises(LoadingFailed, match=said) as refused:
        versions.resolve(CHAMPION)

    assert not isinstance(refused.value, NotInRegistry)


@pytest.mark.slow
def test_a_slow_registry_is_a_doubt_before_it_is_given_up(hostile: HostileRegistry, tmp_path: Path) -> None:
    hostile.behaviour[ALIAS] = "late"
    with started_loader(tmp_path, SLOW_SECONDS=0.5) as process:
        first = news_of(process)
        hostile.goes_on.set()
        while (last := news_of(process)).copy is None:
            pass

    assert "le registre n’a pas fini de répondre à temps" in str(first.problem)
    assert last.problem is None


@pytest.mark.slow
def test_a_challenger_that_is_never_answered_for_does_not_cut_the_champion_s_look(
    hostile: HostileRegistry, tmp_path: Path
) -> None:
    """The loader must end, since its thread cannot; it does so between two looks at the champion."""
    hostile.behaviour["@challenger"] = "dribble"
    with started_loader(tmp_path, "--challenger", CHALLENGER, ANSWER_SECONDS=10) as process:
        while (first := news_of(process)).copy is None:
            pass
        time.sleep(4)  # the challenger's time ends before that of the champion's look
        hostile.behaviour["model.txt"] = "late"
        hostile.bundle = other(hostile.bundle)
        while (told := news_of(process)).challenger_problem is None:
            pass
        hostile.goes_on.set()
        while (last := news_of(process)).copy == first.copy:
            pass
        code = process.wait(timeout=servers.PATIENCE)

    assert "le registre n’a pas fini de répondre à temps" in told.challenger_problem
    assert last.copy is not None
    assert code == GAVE_UP


def other(bundle: Bundle) -> Bundle:
    return Bundle(bundle.files, bundle.manifest + b"\n")


def test_a_loader_in_the_middle_of_a_look_ends_with_its_parent(
    hostile: HostileRegistry, tmp_path: Path
) -> None:
    hostile.behaviour[ALIAS] = "dribble"
    (tmp_path / "arriving-from-a-dead-process").mkdir()
    code = (
        "import subprocess, sys; from mlflow_model import processes\n"
        f"loader = subprocess.Popen([sys.executable, '-m', 'api.delivery.loader', {CHAMPION!r}, "
        f"{str(tmp_path)!r}], env=processes.environment(), stdin=subprocess.PIPE)\n"
        "print(loader.pid, flush=True); loader.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        servers.eventually(lambda: ALIAS in hostile.asked or None, "a look at the registry")
        below = [child, *map(int, Path(f"/proc/{child}/task/{child}/children").read_text().split())]
        parent.kill()

    assert list(tmp_path.iterdir()) == []  # what the dead had left is removed first
    assert len(below) == 2  # the trial that it has started ahead
    servers.eventually(
        lambda: not any(map(servers.is_alive, below)) or None, "the end of the loader and its trial"
    )


# ---- The registry's own state


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
def test_a_version_whose_registration_has_not_ended_is_neither_served_nor_promoted(
    candidates: Path, status: str
) -> None:
    with closing(sqlite3.connect(candidates / "mlflow.db")) as database, database:
        database.execute("UPDATE model_versions SET status = ? WHERE version = 2", [status])

    sentence = "l’enregistrement de la version 2 de scoring-client n’est pas terminé ou a échoué"
    for uri in ("models:/scoring-client/2", "models:/scoring-client@candidate"):
        if uri.endswith("@candidate"):
            connection.connect().set_registered_model_alias("scoring-client", "candidate", "2")
        with pytest.raises(NotRegistered, match=sentence):
            versions.resolve(uri)
    with pytest.raises(NotRegistered, match=sentence):
        moves.promote(2)
    assert listing.version_at() == 1


@pytest.mark.parametrize("how", ["removed and copied", "replaced"])
def test_a_restored_database_is_the_one_that_is_read(candidates: Path, how: str) -> None:
    file = candidates / "mlflow.db"
    shutil.copy(file, candidates / "backup.db")
    moves.promote(2)
    before = versions.resolve(CHAMPION).version
    if how == "replaced":
        (candidates / "backup.db").replace(file)
    else:
        file.unlink()
        with pytest.raises(LoadingFailed, match="aucun registre de modèles"):
            versions.resolve(CHAMPION)
        shutil.copy(candidates / "backup.db", file)

    assert (before, versions.resolve(CHAMPION).version) == ("2", "1")


def test_a_cache_that_cannot_be_written_is_not_an_unreachable_registry(
    registered: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")

    news = look_once(CHAMPION, tmp_path / "file" / "cache")

    assert news.problem is not None
    assert "le cache local est inaccessible ou plein" in news.problem
    assert news.refusals == 0


@pytest.mark.slow
def test_the_alias_is_looked_at_while_a_copy_is_asked_for_again_and_again(
    candidates: Path, tmp_path: Path
) -> None:
    """As workers do that cannot use it. Whoever moves the alias back is heard all the same."""
    with started_loader(tmp_path / "cache") as process:
        assert process.stdin is not None
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            news_of(process)
            process.stdin.write(b"afresh\n")
            process.stdin.flush()
        moves.promote(2)
        moved = time.monotonic()
        while (copy := news_of(process).copy) is None or copy.version != "2":
            pass

    assert time.monotonic() - moved < 6
