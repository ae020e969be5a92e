"""Load on a server on this machine: wrk as hard as it can, or an even stream of requests."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# wrk's own text gives no 99.9 %, and counts only what is not 2xx or 3xx as a wrong status.
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local bodies, requests, sent = {%s}, {}, 0
function init(args)
  for place, body in ipairs(bodies) do requests[place] = wrk.format(nil, nil, nil, body) end
end
function request()
  sent = sent + 1
  return requests[(sent - 1) %% #requests + 1]
end
function done(summary, latency, requests)
  local e = summary.errors
  local form = 'RESULT {"requests": %%d, "seconds": %%f, "errors": %%d, "p50": %%f, "p99": %%f, "p999": %%f}'
  io.write(string.format(form,
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
%s
"""
_DELAY = "function delay() return %d end"


@dataclass(frozen=True)
class Load:
    """What came of it: latencies in milliseconds, processor time in microseconds a request."""

    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float
    p999: float
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def need_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed for this benchmark (apt install wrk)")


def flood(
    url: str,
    bodies: Sequence[bytes],
    connections: int,
    seconds: int,
    cores: set[int],
    pid: int,
    delay: int = 0,
) -> Load:
    """wrk on these cores, sending the bodies in turn. Each connection sends its next request at once, or
    after `delay` ms."""
    before = cpu_seconds(pid)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        written = ",".join(f"[==[{body.decode()}]==]" for body in bodies)
        script.write(_SCRIPT % (written, _DELAY % delay if delay else ""))
        script.flush()
        threads = min(len(cores), connections)
        command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
        said = _on(cores, [*command, "-s", script.name, url])
    result = json.loads(said.rpartition("RESULT ")[2])
    cpu = (cpu_seconds(pid) - before) / max(result["requests"], 1) * 1e6
    return Load(**result, cpu=cpu)


def _on(cores: set[int], command: list[str]) -> str:
    listed = ",".join(map(str, sorted(cores)))
    pinned = ["taskset", "-c", listed, *command]
    return subprocess.run(pinned, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own


def stream(
    port: int, path: str, bodies: Sequence[bytes], rate: float, seconds: float, connections: int = 16
) -> Load:
    """The bodies in turn at an even rate, whatever the answers do. Latency counts from when each was due."""
    requests = itertools.cycle([request_of(path, body) for body in bodies])
    return asyncio.run(_stream(port, requests, rate, seconds, connections))


def request_of(path: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _stream(
    port: int, requests: Iterator[bytes], rate: float, seconds: float, connections: int
) -> Load:
    due: asyncio.Queue[float] = asyncio.Queue()
    taken: list[float] = []
    errors = 0

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (when := await due.get()) >= 0:
            writer.write(next(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            errors += not head.startswith(b"HTTP/1.1 200")
            taken.append(loop.time() - when)
        writer.close()

    loop = asyncio.get_running_loop()
    clients = [asyncio.create_task(client()) for _ in range(connections)]
    start = loop.time() + 0.1
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        due.put_nowait(start + number / rate)
    for _ in clients:
        due.put_nowait(-1.0)
    await asyncio.gather(*clients)
    p50, p99, p999 = np.percentile(taken, [50, 99, 99.9]) * 1e3
    return Load(len(taken), seconds, errors, p50, p99, p999)


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


# ---- What a server takes of the machine


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                found += [int(child) for child in children.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for one in tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def megabytes(pid: int) -> float:
    """PSS of one process: what it alone has in memory, and its part of what it shares. 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
