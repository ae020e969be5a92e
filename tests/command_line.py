"""The registry's command line, in this process: other tests start the real one, which costs seconds."""

import contextlib
import io
import subprocess

import register


def register_py(*arguments: str) -> subprocess.CompletedProcess[str]:
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        code = register.main(arguments)
    return subprocess.CompletedProcess(arguments, code, said.getvalue(), told.getvalue())
