"""What stands under the name of an output: it is replaced, or refused before anything is decided."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import batch_support
from tests.batch_support import TABLE, batch, files_in

pytest_plugins = ["tests.batch_fixtures"]

OPTIONS = ["--output", "--summary", "--bad-rows"]


def make_link(place: Path) -> None:
    place.symlink_to(place.parent / "in.parquet")


def make_dangling_link(place: Path) -> None:
    place.symlink_to("absent")


def make_link_to_a_folder(place: Path) -> None:
    (place.parent / "folder").mkdir()
    place.symlink_to("folder")


def make_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place))


def make_device(place: Path) -> None:
    try:
        os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # a null device
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (make_link, "a link"),
        (make_dangling_link, "a link"),
        (make_link_to_a_folder, "a link"),
        (make_socket, "a socket"),
        (make_device, "a device"),
        (os.mkfifo, "a pipe"),
    ],
)
def test_what_is_no_file_is_left_as_it_is(
    option: str, make: Callable[[Path], None], kind: str, tmp_path: Path
) -> None:
    """Before the model is even looked for."""
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    make(tmp_path / "o")
    before, found = files_in(tmp_path), (tmp_path / "o").lstat()
    named = f"{tmp_path}/o"
    given = {"--input": tmp_path / "in.parquet", "--output": tmp_path / "o.csv", "--model": "absent"}
    given[option] = f"quarantine={named}" if option == "--bad-rows" else named

    done = batch(*(part for pair in given.items() for part in pair))

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{named} is {kind}, which a file must not replace: name a file" in done.stderr
    assert ("or - for standard output" in done.stderr) == (option == "--output")
    assert (files_in(tmp_path), os.path.samestat(found, (tmp_path / "o").lstat())) == (before, True)


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="mount points are listed on Linux")
def test_a_mount_point_is_refused_at_the_start_and_not_at_the_end(tmp_path: Path) -> None:
    done = batch("--input", tmp_path / "in.parquet", "--output", "/proc/", "--model", "absent")

    assert done.returncode == 2
    assert done.stderr == (
        "Refused: --output /proc is a mount point, which cannot be replaced: name a folder in it\n"
    )


def test_a_regular_file_and_an_empty_folder_are_replaced(bundle_folder: Path, tmp_path: Path) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    (tmp_path / "s.json").write_text("of yesterday")
    (tmp_path / "o").mkdir()

    done = batch(
        *("--input", tmp_path / "in.parquet", "--output", f"{tmp_path / 'o'}/", "--model", bundle_folder),
        *("--summary", tmp_path / "s.json"),
    )

    assert done.returncode == 0, done.stderr
    assert "of yesterday" not in (tmp_path / "s.json").read_text()
    assert files_in(tmp_path / "o") == ["_run.json", "part-00000.parquet"]


@pytest.mark.parametrize("output", ["o.parquet", "o/"])
def test_an_output_may_lie_in_a_folder_that_a_link_leads_to(
    bundle_folder: Path, tmp_path: Path, output: str
) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    (tmp_path / "disk").mkdir()
    (tmp_path / "book").symlink_to("disk")

    done = batch(
        *("--input", tmp_path / "in.parquet", "--output", f"{tmp_path}/book/{output}"),
        *("--model", bundle_folder, "--summary", tmp_path / "book" / "s.json"),
    )

    assert done.returncode == 0, done.stderr
    assert {"s.json", output.rstrip("/")} <= {*files_in(tmp_path / "disk")}
