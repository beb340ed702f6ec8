"""The server's own log: sentences for people in a terminal, one JSON object a line for collectors."""

from __future__ import annotations

import json
import logging
import time
from typing import IO, Any

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Sentences(logging.Formatter):
    """``10:00:00 WARNING sentence``."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class Json(logging.Formatter):
    """Time in UTC, level, logger, sentence, and the stable fields given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line: dict[str, Any] = {
            "time": moment,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def handler(stream: IO[str]) -> logging.Handler:
    """Sentences when a person watches the stream, JSON when a program reads it."""
    made = logging.StreamHandler(stream)
    made.setFormatter(Sentences() if stream.isatty() else Json())
    return made
