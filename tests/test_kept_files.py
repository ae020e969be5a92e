"""Tokens and keys stay what they last were when their file is wrong, gone, half written, huge or endless."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api import followed_file, private_folder, tokens
from api.followed_file import BadFile, FollowedFile
from api.server import kept_files
from api.settings import TARIFF_FILE, TOKENS_FILE
from mlflow_model.bundle import signing
from tests import servers
from tests.live import workers_of

pytest_plugins = ["tests.api_support"]


def public_key() -> bytes:
    return (
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def line(role: str = "score") -> bytes:
    return f"{role} {os.urandom(32).hex()} somebody\n".encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(Path.unlink, id="gone"),
        pytest.param(lambda file: file.write_text("nonsense\n"), id="bad", marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_is_started_after_the_tokens_file_went_bad_lets_the_same_ones_in(
    documented_pickle: Path,
    documented_request: dict[str, float],
    tmp_path: Path,
    spoil: Callable[[Path], object],
) -> None:
    file = tmp_path / "tokens"
    token, its_line = servers.made_token("clerk", "score")
    file.write_text(its_line)
    environment = servers.alone(documented_pickle, tmp_path) | {"API_TOKENS_FILE": str(file)}
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        spoil(file)
        servers.eventually(lambda: "stays in force" in door.said or None, "a complaint")
        (former,) = workers_of(door)
        os.kill(former, signal.SIGKILL)
        (fresh,) = servers.eventually(lambda: set(workers_of(door)) - {former} or None, "another worker")
        servers.ready(door)
        let_in, kept_out = (
            door.send("POST", "/predict", b"{}", servers.JSON | {"Authorization": f"Bearer {one}"}).status
            for one in (token, "another")
        )
        environment_of_worker = Path(f"/proc/{fresh}/environ").read_bytes()
        arguments = Path(f"/proc/{fresh}/cmdline").read_bytes()

    assert (let_in, kept_out) == (400, 401)
    assert door.said.count("stays in force") == 1
    assert its_line.split()[1].encode() not in environment_of_worker + arguments


def products(instalments: int = 12) -> bytes:
    product = {"instalments": instalments, "lowest_rate": 0.06, "highest_rate": 0.12}
    return json.dumps([product]).encode()


GOOD: dict[str, Callable[[], bytes]] = {
    TOKENS_FILE: line,
    TARIFF_FILE: products,
    signing.PUBLIC_KEY: public_key,
}
BETTER = {**GOOD, TOKENS_FILE: lambda: line("audit"), TARIFF_FILE: lambda: products(24)}


@pytest.fixture
def operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The operator's files, good ones, named by the environment."""
    files = {variable: tmp_path / variable for variable in GOOD}
    for variable, file in files.items():
        file.write_bytes(GOOD[variable]())
        monkeypatch.setenv(variable, str(file))
    return files


def copy_of(variable: str) -> Path:
    return Path(os.environ[variable])


def holds(variable: str, content: bytes) -> None:
    def attempt() -> bool | None:
        copy = copy_of(variable)
        return (copy.exists() and copy.read_bytes() == content) or None

    servers.eventually(attempt, f"the copy of {variable}")


@pytest.mark.parametrize("variable", [TOKENS_FILE, TARIFF_FILE, signing.PUBLIC_KEY])
def test_a_copy_outlives_a_bad_file_and_follows_a_good_one(
    operators: dict[str, Path], variable: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = operators[variable]
    good = file.read_bytes()
    better = BETTER[variable]()
    with kept_files.kept():
        copy = copy_of(variable)
        modes = [path.stat().st_mode & 0o777 for path in (copy, copy.parent)]
        file.write_bytes(b"nonsense")
        servers.eventually(lambda: f"{variable}" in caplog.text or None, "a complaint")
        kept = copy.read_bytes()
        file.write_bytes(better)
        holds(variable, better)

    assert modes == [0o600, 0o700]
    assert kept == good
    assert os.environ[variable] == str(file)
    assert not copy.parent.exists()


def test_a_copy_that_is_cleaned_away_comes_again(operators: dict[str, Path]) -> None:
    with kept_files.kept():
        shutil.rmtree(copy_of(TOKENS_FILE).parent)
        holds(TOKENS_FILE, operators[TOKENS_FILE].read_bytes())


def test_a_bug_in_one_look_does_not_end_the_following(
    operators: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    better = line("audit")
    with kept_files.kept():
        with monkeypatch.context() as patch:
            patch.setattr(FollowedFile, "look", lambda _: dict[str, str]()["secret"])
            servers.eventually(lambda: "internal error" in caplog.text or None, "a complaint")
        operators[TOKENS_FILE].write_bytes(better)
        holds(TOKENS_FILE, better)

    assert "KeyError at " in caplog.text
    assert "secret" not in caplog.text


def test_nothing_is_written_into_a_folder_that_somebody_else_made_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(PermissionError):
        private_folder.write(folder / "file", b"")

    assert list(folder.iterdir()) == []


def test_a_file_that_is_being_written_is_taken_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(line())
    followed = FollowedFile(TOKENS_FILE, file, tokens.parse)
    with monkeypatch.context() as patch:
        patch.setattr(followed_file, "_SETTLED_SECONDS", 60.0)  # as if the next look came at once
        file.write_bytes(b"")
        half_written = followed.look(), len(followed.held)
    file.write_bytes(line() + line())
    servers.eventually(lambda: followed.look() or None, "the whole file")

    assert half_written == (False, 1)
    assert len(followed.held) == 2


def test_an_old_change_counts_at_the_first_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was taken out an hour ago opens nothing, even if nobody has asked since."""
    file = tmp_path / "tokens"
    file.write_bytes(line())
    followed = FollowedFile(TOKENS_FILE, file, tokens.parse)
    file.write_bytes(b"")
    monkeypatch.setattr(followed_file, "_SETTLED_SECONDS", 0.0)

    assert (followed.look(), followed.held) == (True, ())


def huge(file: Path) -> None:
    file.write_bytes(b"#" * (followed_file.LARGEST + 1))


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, Path.mkdir, huge, lambda file: file.symlink_to("/dev/zero"), lambda file: None],
    ids=["a pipe", "a folder", "huge", "endless", "absent"],
)
def test_what_is_no_ordinary_file_is_refused_without_waiting_for_it(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "tokens")

    with pytest.raises(BadFile, match=r"^API_TOKENS_FILE "):
        tokens.Guard(tmp_path / "tokens")
