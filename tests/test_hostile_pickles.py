"""Hostile and damaged pickles: each is refused with a sentence, nothing in it runs, and nothing hangs."""

import io
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from api.delivery import finder
from mlflow_model.bundle import trial
from mlflow_model.errors import ModelUnavailable
from mlflow_model.handover import model_files
from tests import servers
from tests.conftest import FEATURES, random_clients, random_outcomes

ROOT = Path(__file__).resolve().parents[1]
MOST_PROCESSOR_SECONDS = 35  # a few more than a child may have
MOST_KIBIBYTES = 2 * 2**20

CLIENTS = random_clients(400, seed=5)
OUTCOMES = random_outcomes(CLIENTS, seed=6)
SMALL: dict[str, Any] = {"n_estimators": 3, "num_leaves": 4, "verbosity": -1, "n_jobs": 1}
GOOD: dict[str, Any] = {
    "model": LGBMClassifier(**SMALL).fit(CLIENTS, OUTCOMES),
    "features": list(FEATURES),
    "optimal_threshold": 0.2,
    "margin": 0.02,
}


class Call:
    """Pickles as a call of a named function. A plain `pickle.load` would make the call."""

    def __init__(self, module: str, name: str, *arguments: object) -> None:
        self.opcodes = f"c{module}\n{name}\n".encode() + pickle.dumps(arguments, 2)[2:-1] + b"R"


def spelt(content: object) -> bytes:
    """A pickle in which each Call in the content is written as opcodes."""
    calls: list[Call] = []

    def mark(value: object) -> object:
        if isinstance(value, Call):
            calls.append(value)
            return f"\x01call{len(calls) - 1}\x01"
        if isinstance(value, dict):
            return {mark(key): mark(entry) for key, entry in value.items()}
        return [mark(entry) for entry in value] if isinstance(value, list) else value

    raw = _without_memo(mark(content))
    for number, call in enumerate(calls):
        text = f"\x01call{number}\x01".encode()
        raw = raw.replace(b"X" + struct.pack("<I", len(text)) + text, call.opcodes)
    return raw


def _without_memo(content: object) -> bytes:
    stream = io.BytesIO()
    pickler = pickle._Pickler(stream, 2)  # the pickler written in Python can leave the memo out
    pickler.fast = True
    pickler.dump(content)
    return stream.getvalue()


def payloads(canary: str) -> dict[str, Call]:
    touch, code = f"touch {canary}", f"open({canary!r}, 'w').close()"
    return {
        "os.system": Call("os", "system", touch),
        "posix.system": Call("posix", "system", touch),
        "os.popen": Call("os", "popen", touch),
        "os.mkdir": Call("os", "mkdir", canary),
        "os.execv": Call("os", "execv", "/bin/touch", ["touch", canary]),
        "subprocess.Popen": Call("subprocess", "Popen", ["touch", canary]),
        "subprocess.check_output": Call("subprocess", "check_output", ["touch", canary]),
        "pty.spawn": Call("pty", "spawn", ["touch", canary]),
        "builtins.eval": Call("builtins", "eval", code),
        "builtins.exec": Call("builtins", "exec", code),
        "__builtin__.eval": Call("__builtin__", "eval", code),
        "builtins.open": Call("builtins", "open", canary, "w"),
        "io.open": Call("io", "open", canary, "w"),
        "builtins.__import__": Call("builtins", "__import__", "antigravity"),
        "builtins.getattr": Call("builtins", "getattr", "x", "upper"),
        "builtins.breakpoint": Call("builtins", "breakpoint"),
        "builtins.input": Call("builtins", "input"),
        "importlib.import_module": Call("importlib", "import_module", "antigravity"),
        "runpy.run_path": Call("runpy", "run_path", canary),
        "code.interact": Call("code", "interact"),
        "timeit.timeit": Call("timeit", "timeit", code, "pass", 1),
        "ctypes.CDLL": Call("ctypes", "CDLL", canary),
        "socket.create_connection": Call("socket", "create_connection", ["127.0.0.1", 9]),
        "webbrowser.open": Call("webbrowser", "open", "file:///"),
        "shutil.rmtree": Call("shutil", "rmtree", canary),
        "pathlib.Path": Call("pathlib", "Path", canary),
        "tempfile.NamedTemporaryFile": Call("tempfile", "NamedTemporaryFile"),
        "logging.FileHandler": Call("logging", "FileHandler", canary),
        "sqlite3.connect": Call("sqlite3", "connect", canary),
        "zipfile.ZipFile": Call("zipfile", "ZipFile", canary, "w"),
        "operator.methodcaller": Call("operator", "methodcaller", "upper"),
        "functools.partial": Call("functools", "partial", "x"),
        "types.FunctionType": Call("types", "FunctionType", "x", {}),
        "pickle.loads": Call("pickle", "loads", b"cos\nsystem\n(S'true'\ntR."),
        "numpy.load": Call("numpy", "load", canary),
        "numpy.memmap": Call("numpy", "memmap", canary),
        "pandas.read_pickle": Call("pandas", "read_pickle", canary),
        "joblib.load": Call("joblib", "load", canary),
        "lightgbm.Booster": Call("lightgbm.basic", "Booster", {}, None, canary),
        "time.sleep": Call("time", "sleep", 3600),
        "signal.pause": Call("signal", "pause"),
        "os.kill": Call("os", "kill", 0, 9),
        "os._exit": Call("os", "_exit", 0),
        "sys.exit": Call("sys", "exit", 0),
        "faulthandler._sigsegv": Call("faulthandler", "_sigsegv"),
    }


PAYLOADS = payloads("canary")
# One of each kind: it runs a command, runs Python, opens, imports, ends or stops the process.
DAILY_PAYLOADS = frozenset(
    {
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.open",
        "builtins.getattr",
        "importlib.import_module",
        "ctypes.CDLL",
        "pickle.loads",
        "joblib.load",
        "lightgbm.Booster",
        "time.sleep",
        "os._exit",
    }
)


def kept_daily(names: Iterable[str], daily: Container[str]) -> list[Any]:
    """Parameters of which `make test` tries some and `make proofs` the others: each costs a process."""
    return [pytest.param(name, marks=[] if name in daily else [pytest.mark.slow]) for name in names]


@pytest.mark.parametrize("name", kept_daily(PAYLOADS, DAILY_PAYLOADS))
def test_a_payload_in_place_of_the_model_is_refused_and_does_not_run(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    sentence = refused(spelt(GOOD | {"model": payloads(str(canary))[name]}), tmp_path)

    assert sentence.startswith("Erreur lors du chargement du modèle : le modèle ")
    assert not canary.exists()


PLACES: dict[str, Callable[[Call], object]] = {
    "in place of everything": lambda call: call,
    "as the features": lambda call: GOOD | {"features": call},
    "as one feature": lambda call: GOOD | {"features": [call, *FEATURES[1:]]},
    "as the threshold": lambda call: GOOD | {"optimal_threshold": call},
    "as the margin": lambda call: GOOD | {"margin": call},
    "beside a document without keys": lambda call: {"model": 1, "x": call},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_payload_anywhere_is_refused_and_does_not_run(place: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    refused(spelt(PLACES[place](Call("os", "system", f"touch {canary}"))), tmp_path)

    assert not canary.exists()


def test_a_payload_beside_a_good_model_is_refused_and_does_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    sentence = refused(spelt(GOOD | {"note": Call("os", "system", f"touch {canary}")}), tmp_path)

    assert "'note' contient « os.system »" in sentence
    assert not canary.exists()


PLAIN = pickle.dumps(GOOD, 4)


def untrained() -> LGBMClassifier:
    return LGBMClassifier(**SMALL)


def three_classes() -> LGBMClassifier:
    return LGBMClassifier(**SMALL).fit(CLIENTS, np.arange(len(CLIENTS)) % 3)


def own_objective() -> lightgbm.Booster:
    def objective(scores: np.ndarray, data: lightgbm.Dataset) -> tuple[np.ndarray, np.ndarray]:
        return scores - np.asarray(data.get_label()), np.ones(len(scores))

    data = lightgbm.Dataset(CLIENTS, OUTCOMES)
    return lightgbm.train({"objective": objective, "verbosity": -1, "num_threads": 1}, data, 3)


def categorical() -> LGBMClassifier:
    coded = CLIENTS.fillna(0).assign(CREDIT_TERM=(CLIENTS.CREDIT_TERM.round() % 4).astype(int))
    return LGBMClassifier(**SMALL).fit(coded, OUTCOMES, categorical_feature=["CREDIT_TERM"])


def damaged_text(old: str, new: str) -> bytes:
    """A pickle of a booster with a changed text, and the matching length in its opcode."""
    text = GOOD["model"].booster_.model_to_string()
    state = {"_handle": text.replace(old, new, 1)}
    booster = b"clightgbm.basic\nBooster\n)\x81" + pickle.dumps(state, 2)[2:-1] + b"b"
    return spelt(GOOD | {"model": Opcodes(booster)})


class Opcodes(Call):
    def __init__(self, opcodes: bytes) -> None:
        self.opcodes = opcodes


def truncated(place: int) -> bytes:
    return PLAIN[: len(PLAIN) * place // 10]


def changed(**content: object) -> Callable[[], bytes]:
    return lambda: pickle.dumps(GOOD | content, 4)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty file": lambda: b"",
    "text": lambda: b"Bonjour, ceci n'est pas un pickle.",
    "a zip": lambda: b"PK\x03\x04" + bytes(100),
    "zeros": lambda: bytes(1000),
    "protocol 200": lambda: b"\x80\xc8" + PLAIN[2:],
    "bytes after the end": lambda: PLAIN + b"x",
    "two pickles": lambda: PLAIN + PLAIN,
    **{f"truncated at {place}/10": partial(truncated, place) for place in range(1, 10)},
    "without its last byte": lambda: PLAIN[:-1],
    "a memo index of 2**31": lambda: b"\x80\x02}r\xff\xff\xff\x7f.",
    "a memo index of 2**32": lambda: b"\x80\x02}r\xff\xff\xff\xff.",
    "a string of 2**62 bytes": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "bytes of 2**40": lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "a bytearray of 2**36": lambda: b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b"x.",
    "a frame of 2**60": lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "an integer of many digits": lambda: b"I" + b"9" * 1_000_000 + b"\n.",
    "nested 300,000 deep as a key": lambda: b"\x80\x04}N" + b"\x85" * 300_000 + b"Ns.",
    "billion laughs": lambda: (
        b"\x80\x02]" + b"q\x00" + b"(" + b"h\x00" * 50_000 + b"e" + b"2" * 100_000 + b"."
    ),
    "growing without end": lambda: b"\x80\x02](" + (b"]" * 40_000_000) + b"e.",
    "a persistent identifier": lambda: b"Pfile:///etc/passwd\n.",
    "a binary persistent identifier": lambda: b"\x80\x02X\x01\x00\x00\x00aQ.",
    "an extension code": lambda: b"\x80\x02\x82\x01.",
    "an out-of-band buffer": lambda: b"\x80\x05\x97.",
    "BUILD on a class": lambda: b"\x80\x02cos\nsystem\n}X\x05\x00\x00\x00stateK\x01sb.",
    "BUILD that sets __class__": lambda: (
        b"\x80\x02cos\nsystem\n)\x81}X\x09\x00\x00\x00__class__cos\nsystem\nsb."
    ),
    "BUILD that sets __setstate__": lambda: (
        b"\x80\x02cos\nsystem\n)\x81N}X\x0c\x00\x00\x00__setstate__cos\nsystem\ns\x86b."
    ),
    "INST": lambda: b"(S'true'\nios\nsystem\n.",
    "OBJ": lambda: b"(cos\nsystem\nS'true'\no.",
    "NEWOBJ_EX": lambda: b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00true\x85}\x92.",
    "STACK_GLOBAL": lambda: b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "STACK_GLOBAL of no strings": lambda: b"\x80\x04NN\x93.",
    "an unknown opcode": lambda: b"\x80\x04\xff.",
    "an empty stack": lambda: b"\x80\x04.",
    "no features": changed(features=[]),
    "features that are no strings": changed(features=list(range(17))),
    "features twice": changed(features=["AMT_CREDIT"] * 17),
    "features in another order": changed(features=list(reversed(FEATURES))),
    "a feature less": changed(features=list(FEATURES[:-1])),
    "a feature more": changed(features=[*FEATURES, "TARGET"]),
    "features as one string": changed(features="AMT_CREDIT"),
    "a threshold of True": changed(optimal_threshold=True),
    "a threshold in words": changed(optimal_threshold="0.5"),
    "a threshold of NaN": changed(optimal_threshold=float("nan")),
    "a threshold of infinity": changed(optimal_threshold=float("inf")),
    "a threshold of 0": changed(optimal_threshold=0.0),
    "a threshold of 1": changed(optimal_threshold=1.0),
    "a threshold of 10**400": changed(optimal_threshold=10**400),
    "a threshold in a list": changed(optimal_threshold=[0.2]),
    "a threshold as a numpy integer": changed(optimal_threshold=np.int64(1)),
    "a threshold as a numpy array": changed(optimal_threshold=np.array([0.2])),
    "a negative margin": changed(margin=-0.01),
    "a margin of NaN": changed(margin=float("nan")),
    "a margin beyond the threshold": changed(margin=0.21),
    "a margin in words": changed(margin="large"),
    "an untrained classifier": lambda: pickle.dumps(GOOD | {"model": untrained()}, 4),
    "a regressor": lambda: pickle.dumps(GOOD | {"model": LGBMRegressor(**SMALL).fit(CLIENTS, OUTCOMES)}, 4),
    "three classes": lambda: pickle.dumps(GOOD | {"model": three_classes()}, 4),
    "an objective of its own": lambda: pickle.dumps(GOOD | {"model": own_objective()}, 4),
    "categorical features": lambda: pickle.dumps(GOOD | {"model": categorical()}, 4),
    "a pipeline": lambda: pickle.dumps(
        GOOD | {"model": make_pipeline(LogisticRegression(), LGBMClassifier(**SMALL))}, 4
    ),
    "a logistic regression": lambda: pickle.dumps(GOOD | {"model": LogisticRegression()}, 4),
    "a model as its text": lambda: pickle.dumps(
        GOOD | {"model": GOOD["model"].booster_.model_to_string()}, 4
    ),
    "a text without an end": lambda: damaged_text("end of trees", ""),
    "a text with an index out of range": lambda: damaged_text("split_feature=", "split_feature=99999 "),
    "a text with an infinite leaf": lambda: damaged_text("leaf_value=", "leaf_value=inf "),
    "a text with a tree too many": lambda: damaged_text("tree_sizes=", "tree_sizes=100 "),
}

# Of each kind some: cut off, greedy, with a call in it, with wrong content, of another model.
DAILY_HOSTILE = frozenset(
    {
        "empty file",
        "text",
        "truncated at 5/10",
        "a memo index of 2**32",
        "a string of 2**62 bytes",
        "an integer of many digits",
        "nested 300,000 deep as a key",
        "billion laughs",
        "a persistent identifier",
        "BUILD on a class",
        "STACK_GLOBAL",
        "features twice",
        "a threshold of NaN",
        "a margin beyond the threshold",
        "a regressor",
        "a pipeline",
        "a text with an index out of range",
    }
)


@pytest.mark.parametrize("name", kept_daily(HOSTILE, DAILY_HOSTILE))
def test_a_hostile_or_damaged_pickle_is_refused_in_words(name: str, tmp_path: Path) -> None:
    sentence = refused(HOSTILE[name](), tmp_path)

    assert sentence.startswith(
        ("Erreur lors du chargement du modèle : ", "Le fichier Pickle ne contient pas")
    )


def refused(content: bytes, folder: Path) -> str:
    """The sentence of a refusal. Also checks that it was cheap, left nothing behind and shows no path."""
    path = folder / "hostile.pkl"
    path.write_bytes(content)
    before, spent, largest = sorted(folder.iterdir()), processor_seconds_of_children(), largest_child()
    with pytest.raises(ModelUnavailable, match=r"Pickle|modèle|fichier") as refusal:
        model_files.convert(path)
    assert processor_seconds_of_children() - spent < MOST_PROCESSOR_SECONDS
    assert largest_child() < MOST_KIBIBYTES or largest_child() == largest
    assert sorted(folder.iterdir()) == before
    assert not any(word in str(refusal.value) for word in (str(folder), "Traceback", "Error", "\n"))
    return str(refusal.value)


def processor_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def largest_child() -> int:
    """The peak memory in KiB of the largest child that has ended, perhaps one of an earlier test."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


NAMES_WITHOUT_END = b"\x80\x02" + b"cos\nsystem\n0" * 1_000_000 + b"N."  # takes 8 s unless it is stopped


def test_a_pickle_that_computes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_CHILD_PROCESSOR_SECONDS", 1)
    spent = processor_seconds_of_children()

    sentence = refused(NAMES_WITHOUT_END, tmp_path)

    assert "la lecture du fichier demande plus de 1 s de calcul ; fournissez" in sentence
    assert 0.7 < processor_seconds_of_children() - spent < 3


def test_a_reading_that_does_not_end_is_not_said_to_be_the_pickles_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "_CHILD_SECONDS", 0.01)

    assert "n’a pas fini en 0.01 s ; réessayez" in refused(PLAIN, tmp_path)


def test_a_reading_that_does_not_end_is_told_before_the_loader_is_thought_to_hang() -> None:
    assert model_files._CHILD_SECONDS + trial.CLOCK_SECONDS < finder._SILENCE_SECONDS


def test_a_reading_that_is_killed_is_not_said_to_be_the_pickles_fault(tmp_path: Path) -> None:
    def kill_reader() -> bool | None:
        for child in children():
            if b"mlflow_model.handover.model_child" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
                return True
        return None

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(servers.eventually, kill_reader, "a process that reads the pickle")
        sentence = refused(NAMES_WITHOUT_END, tmp_path)
        assert killed.result()

    assert "la lecture du fichier a été interrompue (signal 9) ; réessayez" in sentence


def children() -> list[int]:
    lists = [task.read_text() for task in Path("/proc/self/task").glob("*/children")]
    return [int(pid) for pid in " ".join(lists).split()]


def test_there_are_at_least_60_hostile_pickles() -> None:
    assert len(PAYLOADS) + len(PLACES) + len(HOSTILE) >= 60


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="n’est pas un fichier"):
        model_files.read(tmp_path)


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")

    with pytest.raises(ModelUnavailable, match="n’est pas un fichier"):
        model_files.read(tmp_path / "pipe.pkl")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            spelt(Call("os", "system", "true")),
            "Le fichier Pickle ne contient pas les bonnes clés ('model', 'features').",
        ),
        (b"", "Erreur lors du chargement du modèle : ce fichier est vide ; "),
        (None, "Le fichier Pickle 'hostile.pkl' est introuvable."),
    ],
    ids=["hostile", "empty", "absent"],
)
def test_register_refuses_in_one_sentence_and_makes_no_registry(
    content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.pkl"
    if content is not None:
        path.write_bytes(content)
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}

    command = [sys.executable, str(ROOT / "register.py"), "--pickle", str(path)]
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=servers.PATIENCE, check=False
    )

    doing, said = process.stderr.splitlines()
    assert process.returncode == 2
    assert doing == "Reading hostile.pkl (nothing in it is executed)"
    assert said.startswith(sentence)
    assert not (tmp_path / "mlflow.db").exists()
