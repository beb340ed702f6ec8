"""Health for probes (``reliability.md`` R27): is the process alive, may traffic come. Open to all, status only."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import sqlalchemy as sa
from flask import Blueprint, Response, current_app

from namespaces.errors import LannerError
from namespaces.store.db import Database
from namespaces.store.leases import table as lease_table
from service.api.answers import answer
from service.api.context import lanner

if TYPE_CHECKING:
    from service.wiring import Lanner

log = logging.getLogger("lanner.health")
resource = Blueprint("health", __name__)

WRITE_S = 1.0


@resource.get("/ping")
def ping() -> Response:
    return current_app.response_class("pong", 200, mimetype="text/plain")


@resource.get("/health/live", endpoint="live")
@resource.get("/health/liveness", endpoint="liveness")
def live() -> Response:
    return answer({"status": "UP"})


@resource.get("/health/ready", endpoint="ready")
@resource.get("/health/readiness", endpoint="readiness")
@resource.get("/health", endpoint="health")
def ready() -> Response:
    """Whether the server may take work: not stopping, and the database commits within a second."""
    problem = not_ready(lanner())
    if problem is None:
        return answer({"status": "UP"})
    log.warning("not ready: %s", problem, extra={"action": "not_ready"})
    return answer({"status": "DOWN"}, 503)


def not_ready(wiring: Lanner) -> str | None:
    """Why no traffic should come, None when it may. Never because a Git source is in error."""
    if wiring.draining.is_set():
        return "the server is stopping"
    return _commits(wiring.database)


def _commits(database: Database) -> str | None:
    """A write that changes nothing still needs the writer and a transaction."""
    outcome: list[str | None] = ["the database did not commit within a second"]
    done = threading.Event()

    def work() -> None:
        try:
            nobody = sa.update(lease_table).where(lease_table.c.name == "").values(token=0)
            database.write(lambda tx: tx.execute(nobody))
            outcome[0] = None
        except LannerError as error:
            outcome[0] = str(error)
        except sa.exc.SQLAlchemyError as error:
            outcome[0] = f"the database refused: {type(error).__name__}"
        finally:
            done.set()

    threading.Thread(target=work, name="lanner-health", daemon=True).start()
    done.wait(WRITE_S)
    return outcome[0]
