"""Logs on standard error: one JSON object a line, or text on a terminal. No applicant's value is in any."""

import json
import logging
import os
import sys
from datetime import UTC, datetime

_TEXT = "%(asctime)s %(levelname)s %(message)s"


def configure() -> None:
    """LOG_FORMAT=json or text decides; without it, a terminal gets text."""
    chosen = os.environ.get("LOG_FORMAT") or ("text" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_TEXT) if chosen == "text" else _Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            "pid": record.process,
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)
