"""The cache: whoever may write to it runs code in the service, so only this user may."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from api.delivery import cache
from api.delivery.news import Copy
from mlflow_model import files
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import LoadingFailed, OutOfReach
from tests import servers
from tests.servers import ROOT

URI = "models:/scoring-client@champion"
SOMEBODY = 54_321


@pytest.fixture
def folder(tmp_path: Path, bundle: Bundle) -> Path:
    """A cache that remembers a copy."""
    folder = tmp_path / "cache"
    kept = cache.keep(bundle, folder)
    cache.remember(URI, folder, Copy(str(kept), "scoring-client", "1", "champion"))
    return folder


def pointer(folder: Path) -> Path:
    (found,) = folder.glob("*.json")
    return found


def given_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's, or as if it were for who may not give files away."""
    if os.geteuid() == 0:
        os.chown(path, SOMEBODY, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)


def test_what_is_remembered_is_found_again_in_this_cache(folder: Path, bundle: Bundle) -> None:
    copy = cache.recall(URI, folder)

    assert copy == Copy(str(folder / bundle.digest), "scoring-client", "1", "champion", confirmed=False)
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert (folder.stat().st_mode & 0o777, modes) == (0o700, {0o600})


EXPOSED: dict[str, Callable[[Path], object]] = {
    "writable by the group": lambda folder: folder.chmod(0o770),
    "writable by all": lambda folder: folder.chmod(0o777),
    "below a folder that is": lambda folder: folder.parent.chmod(0o777),
    "a link": lambda folder: linked(folder),
}


def linked(folder: Path) -> None:
    folder.rename(folder.with_name("other"))
    folder.symlink_to("other")


@pytest.mark.parametrize("name", EXPOSED)
def test_a_cache_that_others_may_write_to_is_neither_read_nor_written(
    folder: Path, bundle: Bundle, name: str
) -> None:
    EXPOSED[name](folder)

    assert cache.recall(URI, folder) is None
    with pytest.raises(OutOfReach, match="le cache local est ouvert à d’autres utilisateurs"):
        cache.keep(bundle, folder)


def test_a_cache_of_somebody_else_is_neither_read_nor_written(
    folder: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_away(folder, monkeypatch)

    assert cache.recall(URI, folder) is None
    with pytest.raises(OutOfReach, match="ouvert à d’autres utilisateurs"):
        cache.keep(bundle, folder)


def test_a_sticky_folder_above_is_as_good_as_a_private_one(folder: Path) -> None:
    folder.parent.chmod(0o1777)

    assert cache.recall(URI, folder) is not None


def test_the_service_does_not_start_with_a_cache_that_others_may_write_to(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)

    shown = subprocess.run(
        [sys.executable, "api/app.py", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, **servers.registry_in(tmp_path)},
        capture_output=True,
        text=True,
        timeout=servers.PATIENCE,
        check=False,
    )

    assert shown.returncode == 1
    assert f"chmod 700 {tmp_path / 'cache'}" in shown.stderr.splitlines()[-1]


# ---- The pointer

CHANGED: dict[str, dict[str, Any]] = {
    "a header in the version": {"version": "1\r\nX-Evil: yes"},
    "no number as version": {"version": "one"},
    "a number as version": {"version": 1},
    "a line in the name": {"name": "a\nb"},
    "a list as alias": {"alias": []},
    "an unknown field": {"evil": True},
    "no digest": {"folder": "/nowhere"},
    "the folder above": {"folder": ".."},
    "a huge signature": {"signature": "x" * 2**15},
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_pointer_with_anything_but_a_copys_fields_is_not_followed(folder: Path, name: str) -> None:
    content = json.loads(pointer(folder).read_bytes())
    pointer(folder).write_text(json.dumps(content | CHANGED[name]))

    assert cache.recall(URI, folder) is None


def test_a_pointer_leads_nowhere_but_into_its_cache(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / bundle.digest
    bundle.write(elsewhere)
    content = json.loads(pointer(folder).read_bytes())
    pointer(folder).write_text(json.dumps(content | {"folder": str(elsewhere)}))

    copy = cache.recall(URI, folder)

    assert copy is not None
    assert copy.folder == str(folder / bundle.digest)


def replaced(path: Path, by: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if by == "a pipe":
        os.mkfifo(path)
    elif by == "a folder":
        path.mkdir()
    elif by == "a device":
        path.symlink_to("/dev/zero")
    else:
        (path.parent / "target").write_bytes(content)
        path.symlink_to(path.parent / "target")


KINDS = ["a pipe", "a folder", "a device", "a link"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pointer_that_is_no_regular_file_is_not_followed_and_not_waited_for(
    folder: Path, kind: str
) -> None:
    replaced(pointer(folder), kind)

    assert cache.recall(URI, folder) is None


def test_a_device_or_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(files.NotTrusted):
            files.read(path, 10, own=False)


@pytest.mark.parametrize("file", ["the pointer", "model.txt"])
@pytest.mark.parametrize("change", ["somebody else's", "writable by all", "huge"])
def test_a_file_that_others_may_have_written_or_that_is_huge_is_not_read(
    folder: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, file: str, change: str
) -> None:
    path = pointer(folder) if file == "the pointer" else folder / bundle.digest / file
    if change == "huge":
        os.truncate(path, 2**34)
    elif change == "writable by all":
        path.chmod(0o666)
    else:
        given_away(path, monkeypatch)

    if file == "the pointer":
        assert cache.recall(URI, folder) is None
    else:
        with pytest.raises(LoadingFailed, match=r"service seul|dépasse la limite"):
            bundles.read_again(folder / bundle.digest, bundle.digest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_with_a_file_of_another_kind_is_not_used_and_made_again(
    folder: Path, bundle: Bundle, kind: str
) -> None:
    replaced(folder / bundle.digest / "scoring.py", kind)
    with pytest.raises(LoadingFailed):
        bundles.read_again(folder / bundle.digest, bundle.digest)

    cache.keep(bundle, folder)

    assert bundles.read_again(folder / bundle.digest, bundle.digest) == bundle
    assert [entry.name for entry in folder.iterdir() if entry.is_dir()] == [bundle.digest]


# ---- What the dead leave behind


def test_the_half_copies_of_the_dead_are_removed_and_those_of_the_living_stay(
    folder: Path, bundle: Bundle
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from mlflow_model import files\n"
        "with files.workplace(Path(sys.argv[1])) as place:\n"
        "    files.write(place / 'half', b'x'); print(place, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE) as one:
        assert one.stdout is not None
        place = Path(one.stdout.readline().decode().strip())
        cache.keep(bundle, folder)
        while_it_lives = place.exists()
        one.send_signal(signal.SIGKILL)
    cache.keep(bundle, folder)

    assert (while_it_lives, place.exists()) == (True, False)


def test_a_workplace_leaves_nothing_behind(tmp_path: Path) -> None:
    with files.workplace(tmp_path) as place:
        files.write(place / "half", b"x")
        files.remove_abandoned(tmp_path)
        assert (place / "half").exists()

    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_would_break_a_header_or_a_path_cannot_be_made(tmp_path: Path) -> None:
    whole = asdict(Copy(str(tmp_path / ("0" * 64)), "m", "1", None))

    for field in ("folder", "name", "version", "alias"):
        with pytest.raises(ValueError, match="no copy of a model"):
            Copy(**whole | {field: "x\r\nX-Evil: yes"})
