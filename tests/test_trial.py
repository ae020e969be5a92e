"""A bundle's own code runs in a limited process. Its reply is bounded, and its end gets its true cause."""

import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mlflow_model.bundle import trial
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Doubles
from mlflow_model.errors import LoadingFailed, OutOfReach
from tests import servers
from tests.conftest import FEATURES, SOMETIMES_MISSING, random_clients
from tests.live import policy_of


def kept(bundle: Bundle, folder: Path) -> Path:
    bundle.write(folder / bundle.digest)
    return folder / bundle.digest


@pytest.fixture(scope="module")
def portfolio() -> dict[str, Doubles]:
    clients = random_clients(500, seed=9)
    return {name: clients[name].to_numpy() for name in FEATURES}


def decided(bundle: Bundle, folder: Path, portfolio: dict[str, Doubles]) -> trial.Answers:
    return trial.decide(kept(bundle, folder), bundle.digest, portfolio)


def verify(bundle: Bundle, folder: Path) -> None:
    with closing(trial.Trial()) as ahead:
        ahead.verified(kept(bundle, folder), bundle.digest)


def test_the_trial_answers_for_a_portfolio_what_the_bundle_decides(
    bundle: Bundle, tmp_path: Path, portfolio: dict[str, Doubles]
) -> None:
    answers = decided(bundle, tmp_path, portfolio | {"OTHER": np.zeros(500)})

    expected = bundle.scorer().decide_table(portfolio)
    assert answers.accepted.all()
    assert answers.predictions.tolist() == expected["prediction"].tolist()
    assert answers.probabilities.tolist() == expected["probability_class_1"].tolist()
    assert (answers.features, answers.nullable) == (FEATURES, SOMETIMES_MISSING)
    assert answers.labels == ("Classe_0 (fiable)", "Zone grise (incertain)", "Classe_1 (risqué)")
    assert (answers.threshold, answers.lower_bound, answers.upper_bound) == (0.25, 0.23, 0.27)


def test_a_client_without_a_value_that_the_version_must_have_is_not_accepted(
    bundle: Bundle, tmp_path: Path, portfolio: dict[str, Doubles]
) -> None:
    credit = portfolio["AMT_CREDIT"].copy()
    credit[[3, 7]] = np.nan

    answers = decided(bundle, tmp_path, portfolio | {"AMT_CREDIT": credit})

    assert np.flatnonzero(~answers.accepted).tolist() == [3, 7]
    assert answers.predictions[[3, 7]].tolist() == ["", ""]
    assert np.isnan(answers.probabilities[[3, 7]]).all()
    assert answers.predictions[4] != ""


def test_a_portfolio_that_lacks_features_or_holds_infinite_values_is_told_apart(
    bundle: Bundle, tmp_path: Path, portfolio: dict[str, Doubles]
) -> None:
    few = {name: portfolio[name] for name in FEATURES[2:]}
    lacking = trial.decide(kept(bundle, tmp_path), bundle.digest, few)
    infinite = portfolio | {FEATURES[0]: np.full(500, np.inf)}
    refused = trial.decide(tmp_path / bundle.digest, bundle.digest, infinite)

    assert lacking.lacking == FEATURES[:2]
    assert not lacking.accepted.any()
    assert refused.refusal is not None
    assert refused.refusal.startswith("ligne 1 : la feature 'AMT_ANNUITY' doit être un nombre fini")
    assert not refused.accepted.any()


# What a version's own code may do when a trial loads its scoring.py, but not when the bundle is built.
_IN_TRIAL = b"""
import os, stat, sys, time

def pipes():
    opened = [int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    return [fd for fd in opened if fd > 2 and stat.S_ISFIFO(os.fstat(fd).st_mode)]

if "mlflow_model.bundle.trial" in sys.orig_argv:
    """
HOSTILE = {
    "it ends its process": (b"os._exit(0)", "arrête le processus"),
    "it crashes": (b"os.kill(os.getpid(), 11)", "arrête le processus"),
    "it raises": (b"raise KeyError('x')", "arrête le processus"),
    "it asks for all the memory": (b"x = bytearray(1 << 40)", "trop de mémoire"),
    "it answers itself": (b"[os.write(fd, b'x') for fd in pipes()]", "arrête le processus"),
    "it answers without end": (
        b"while True: [os.write(fd, bytes(65536)) for fd in pipes()]",
        "ne répond pas dans la forme attendue",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_hostile_version_does_is_its_own_fault(bundle: Bundle, tmp_path: Path, name: str) -> None:
    code, sentence = HOSTILE[name]

    with pytest.raises(LoadingFailed, match=sentence) as refused:
        verify(doing(code, bundle), tmp_path)

    assert not isinstance(refused.value, OutOfReach)


def doing(code: bytes, bundle: Bundle) -> Bundle:
    return policy_of(bundle, 0.25, more_code=_IN_TRIAL + code + b"\n")


def test_a_version_that_computes_without_end_is_refused_for_its_processor_time(
    bundle: Bundle, tmp_path: Path
) -> None:
    """The version sets a lower limit for itself, which ends it in the same way as the trial's limit."""
    endless = b"import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\n    while True: pass"

    with pytest.raises(LoadingFailed, match="demande trop de temps de calcul"):
        verify(doing(endless, bundle), tmp_path)


def test_the_trial_bounds_memory_files_and_processor_time(bundle: Bundle, tmp_path: Path) -> None:
    """The version's own code looks, and raises if a bound is missing."""
    bounds = {"AS": trial.MEMORY_BYTES, "FSIZE": 0, "CPU": trial.PROCESSOR_SECONDS, "NOFILE": 64, "CORE": 0}
    looks = "; ".join(
        f"assert resource.getrlimit(resource.RLIMIT_{name})[0] == {most}, 0" for name, most in bounds.items()
    )
    looks += f"; assert resource.getrlimit(resource.RLIMIT_CPU)[1] == {trial.PROCESSOR_SECONDS + 1}"

    verify(doing(f"import resource; {looks}".encode(), bundle), tmp_path)


def test_what_a_version_prints_is_kept_apart_from_its_answer(bundle: Bundle, tmp_path: Path) -> None:
    verify(doing(b"print('not an answer', flush=True); os.write(1, b'x')", bundle), tmp_path)


def test_a_trial_that_is_killed_from_outside_is_not_the_versions_fault(
    bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(OutOfReach, match="arrêté de l’extérieur"):
        verify(doing(b"os.kill(os.getpid(), 9)", bundle), tmp_path)


def test_a_version_that_waits_without_end_is_given_up(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "CLOCK_SECONDS", 2)

    with pytest.raises(OutOfReach, match="pas fini en 2 secondes"):
        verify(doing(b"time.sleep(3600)", bundle), tmp_path)


def test_a_process_that_a_version_leaves_behind_does_not_hold_the_answer(
    bundle: Bundle, tmp_path: Path
) -> None:
    leaving = b"if not os.fork(): time.sleep(40); os._exit(0)"

    begun = time.monotonic()
    verify(doing(leaving, bundle), tmp_path)

    assert time.monotonic() - begun < 40


def test_a_larger_portfolio_has_more_time_by_the_clock_as_well(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "CLOCK_SECONDS", 0)
    waiting = doing(b"time.sleep(3600)", bundle)

    with pytest.raises(OutOfReach, match="pas fini en 3 secondes"):
        decided(waiting, tmp_path, {name: np.zeros(1_000) for name in FEATURES})


def test_the_clock_of_a_trial_never_strikes_before_the_processor_s_limit() -> None:
    requests = [trial._Request("", "", (), clients) for clients in (0, 70_000, 10_000_000)]

    assert [(one.processor_seconds, one.clock_seconds) for one in requests] == [
        (30, 100),
        (100, 310),
        (10_030, 30_100),
    ]


def test_a_version_on_trial_is_told_no_secret_of_the_operator_s(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version's own code looks. It is told the library paths, because LightGBM may need them."""
    for secret in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "API_TOKENS_FILE"):
        monkeypatch.setenv(secret, "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    looks = b"assert 'secret' not in os.environ.values(), 0; assert os.environ['LD_LIBRARY_PATH']"
    verify(doing(looks, bundle), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_trial_ends_with_its_parent_which_waits_for_nothing(
    bundle: Bundle, tmp_path: Path, number: signal.Signals
) -> None:
    waiting = doing(f"open({str(tmp_path / 'pid')!r}, 'w'); time.sleep(60)".encode(), bundle)
    folder = kept(waiting, tmp_path)
    code = (
        "import signal, sys; from pathlib import Path; from mlflow_model.bundle.trial import Trial\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "trial = Trial(); print(trial._ahead.pid, flush=True)\n"
        "trial.verified(Path(sys.argv[1]), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(folder), waiting.digest]
    with subprocess.Popen(
        command, cwd=servers.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        servers.eventually(lambda: (tmp_path / "pid").exists() or None, "a version that waits")
        parent.send_signal(number)
        try:
            parent.wait(10)
        finally:
            parent.kill()

    servers.eventually(lambda: not servers.is_alive(child) or None, "the end of the trial")
