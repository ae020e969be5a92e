"""`python -m benchmarks.reliability`: good requests beside 200 slow clients, and many minutes at half load.

The slow clients send a byte a second, and come again when they are closed. The long run asks two workers.
"""

import argparse
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load
from benchmarks.markdown import table
from benchmarks.serving import OURS, Running, contenders, cores, serving
from mlflow_model import command

SLOW_CLIENTS = 200
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n"
DELAY = 1  # ms between an answer and the next request of the same connection, in the long run


def report(minutes: float = 10, slow_seconds: int = 30) -> str:
    """The tables, as markdown."""
    load.need_wrk()
    with tempfile.TemporaryDirectory() as scratch:
        ours = next(one for one in contenders(Path(scratch)) if one.name == OURS)
        mine, theirs = cores()
        with serving(ours, {min(mine)}) as running:
            slow = _beside_slow_clients(running, slow_seconds, theirs)
        with serving(ours, mine, workers=2) as running:
            long = _for_long(running, minutes, theirs)
    return f"{slow}\n\n{long}"


# ---- Slow clients


def _beside_slow_clients(running: Running, seconds: int, theirs: set[int]) -> str:
    """An even stream, as hard as wrk can would measure the queue and not the slow clients."""
    without = load.stream(running.port, "/predict", running.contender.bodies, 500, seconds)
    with _slow_clients(running.port) as closed:
        beside = load.stream(running.port, "/predict", running.contender.bodies, 500, seconds)
        flooded = running.flood(8, 5, theirs)
    rows = [
        [name, f"{one.p50:.3g} / {one.p99:.3g} / {one.p999:.3g}", str(one.errors)]
        for name, one in (
            ("500 requests/s alone", without),
            ("500 requests/s beside them", beside),
            ("wrk, 8 connections, beside them", flooded),
        )
    ]
    title = (
        f"{SLOW_CLIENTS} clients send a byte a second, in heads and in bodies, and come again when they are "
        f"closed ({len(closed)} times in {seconds} s). Aim: no error, p99 at most 20 ms."
    )
    return f"{title}\n\n{table(['one worker', 'ms: p50 / p99 / p99.9', 'errors'], rows)}"


@contextmanager
def _slow_clients(port: int) -> Iterator[list[float]]:
    """Yields the times at which the server has closed one, so far."""
    stop, closed = threading.Event(), list[float]()

    def trickle() -> None:
        clients = [_slow(port, number) for number in range(SLOW_CLIENTS)]
        while not stop.wait(1):
            for number, client in enumerate(clients):
                try:
                    client.sendall(b"a")
                except OSError:
                    closed.append(time.monotonic())
                    client.close()
                    clients[number] = _slow(port, number)
        for client in clients:
            client.close()

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield closed
    finally:
        stop.set()
        thread.join()


def _slow(port: int, number: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(HEAD + (b"X-Slow: " if number % 2 else b"\r\n{"))
    return client


# ---- For long


def _for_long(running: Running, minutes: float, theirs: set[int]) -> str:
    full = running.flood(32, 5, theirs)
    connections = 4
    while running.flood(connections, 2, theirs, DELAY).rate < full.rate / 2 and connections < 64:
        connections += 2
    rows, errors, started = [], 0, time.monotonic()
    first = last = (0.0, 0)
    for part in range(11):
        last = _taken(running)
        first = first if part else last
        rows.append([f"{(time.monotonic() - started) / 60:.1f}", f"{last[0]:.1f}", str(last[1])])
        if part < 10:
            one = running.flood(connections, max(1, round(minutes * 6)), theirs, DELAY)
            errors += one.errors
            rows[-1] += [f"{one.rate:,.0f}", f"{one.p99:.3g}"]
    rows[-1] += ["", ""]
    title = (
        f"{minutes:g} minutes with {connections} connections, {full.rate:,.0f} requests/s being the most: "
        f"{errors} errors, memory {last[0] / first[0] - 1:+.1%} (aim: at most +2 %), "
        f"{last[1] - first[1]:+d} file descriptors (aim: 0)."
    )
    heads = ["minute", "MB of the workers (PSS)", "file descriptors", "requests/s", "p99, ms"]
    return f"{title}\n\n{table(heads, rows)}"


def _taken(running: Running) -> tuple[float, int]:
    """Memory and open files of the supervisor and its workers, when nobody asks."""
    time.sleep(1)
    pids = load.tree(running.pid)
    return sum(map(load.megabytes, pids)), sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of the long run (default: 10)")
    parser.add_argument("--slow-seconds", type=int, default=30, help="beside slow clients (default: 30)")
    options = parser.parse_args(arguments)
    print(report(options.minutes, options.slow_seconds))


if __name__ == "__main__":
    command.begin()
    command.run(main)
