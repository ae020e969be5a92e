"""The socket that the service listens on, and the line that says where it answers."""

import errno
import logging
import os
import socket
import sys

from api.settings import refuse

# More than most systems allow: then their own limit holds (net.core.somaxconn).
BACKLOG = 8192

_log = logging.getLogger("scoring_client")


def listener(host: str, port: int) -> socket.socket:
    """A listening socket. End the process with one sentence if there can be none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OverflowError:
        refuse(f"Port {port} does not exist: choose one from 1 to 65535 with PORT=")
    except OSError as error:
        number = error.errno or 0  # that of a name without an address is negative
        if number < 0 or number == errno.EADDRNOTAVAIL:
            refuse(f"--host {host} is no address of this machine")
        reason = os.strerror(number)
        sys.exit(f"Port {port} is not available ({reason}): choose another with PORT=")
    # Accepted connections inherit this. Without it an answer waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def announce(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    _log.info(
        "Scoring Client listens on http://%s:%s for POST /predict and GET /docs (process %s)",
        host,
        port,
        os.getpid(),
    )
