"""`python -m mlflow_model.free_port UI_PORT 5001`: refuses a port of 127.0.0.1 that is not free, in one line.

MLflow and Streamlit tell of one with a traceback, or after they have said that they answer there.
"""

import os
import socket
import sys


def main() -> int:
    name, text = sys.argv[1:]
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**16):
        sys.stderr.write(f"{name}={text} is not a port: name a number from 1 to 65535\n")
        return 2
    try:
        socket.create_server(("127.0.0.1", int(text))).close()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        sys.stderr.write(f"Port {text} is not available ({why}): choose another with {name}=\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
