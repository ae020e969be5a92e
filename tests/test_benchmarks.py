"""The page of results: each benchmark replaces its own section, and the others stay.

What is sent to servers that are compared: other clients all the time.
"""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import clients, load
from benchmarks.__main__ import replaced
from mlflow_model.handover import model_files
from mlflow_model.processes import ROOT

BODIES = [b'{"number": %d}' % number for number in range(40)]


def made(name: str, figure: str) -> str:
    return f"<!-- {name} -->\n## {name}\n\n{figure}\n<!-- end of {name} -->\n"


def test_a_benchmark_replaces_its_own_section_and_no_other() -> None:
    page = replaced(replaced("", "quality", made("quality", "0.7")), "server", made("server", "100"))

    again = replaced(page, "server", made("server", "200"))

    assert again == page.replace("100", "200")
    assert again.index("## server") < again.index("## quality")


def test_benchmarks_send_a_thousand_clients_of_whom_no_two_are_the_same() -> None:
    scorer = model_files.convert(ROOT / "models" / "lgbm_final_model.pkl")[0].scorer()

    bodies = clients.bodies(clients.different(scorer))

    assert len(set(bodies)) == 1_000
    assert all(scorer.decide(json.loads(body)) for body in bodies)


@contextmanager
def what_arrives() -> Iterator[tuple[int, list[bytes]]]:
    arrived: list[bytes] = []

    class Kept(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer

        def do_POST(self) -> None:
            arrived.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Kept)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, arrived
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_even_stream_sends_all_bodies_before_one_is_sent_again() -> None:
    with what_arrives() as (port, arrived):
        load.stream(port, "/predict", BODIES, rate=200, seconds=0.5, connections=1)

    assert arrived[:80] == [*BODIES, *BODIES]


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_sends_all_bodies_before_one_is_sent_again() -> None:
    with what_arrives() as (port, arrived):
        load.flood(f"http://127.0.0.1:{port}/predict", BODIES, 1, 1, {*os.sched_getaffinity(0)}, os.getpid())

    first, again = arrived[:40], arrived[40:80]
    assert sorted(first) == sorted(BODIES)
    assert first == again
