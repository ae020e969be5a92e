"""Requests that schemathesis makes up from /openapi.json: each answer is one that the document promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import BIN, ROOT, SocketDoor

pytest_plugins = ["tests.api_support"]

# 10,000 cases and more: GENERATED=5000 python -m pytest tests/test_generated_requests.py --timeout 1200 -s
EXAMPLES = os.environ.get("GENERATED", "40")


@pytest.mark.slow
def test_no_generated_request_is_answered_in_a_way_that_the_document_does_not_know(
    socket_door: SocketDoor, tmp_path: Path
) -> None:
    command = [str(BIN / "schemathesis"), "--config-file", str(ROOT / "tests" / "schemathesis.toml")]
    command += ["run", f"{socket_door.url}/openapi.json"]
    command += ["--max-examples", EXAMPLES, "--seed", "0", "--no-color"]

    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.generated_bodies", "PYTHONPATH": str(ROOT)}

    shown = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    sys.stdout.write(shown.stdout[-600:])
    assert shown.returncode == 0, "\n".join(line[:500] for line in shown.stdout.splitlines())
    assert "Traceback" not in socket_door.said
