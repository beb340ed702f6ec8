"""A scheduler process on a simulated clock, for tests that kill it: ``URL START MINUTES lease|nolease``."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from namespaces.clock import ManualClock
from namespaces.store.db import open_database
from runner.renderer import Renderer
from service.migrations.models import whole_metadata
from tests.runner.triggers.conftest import House


def main() -> None:
    url, start, minutes, lease = sys.argv[1:5]
    whole_metadata()
    database = open_database(url)
    clock = ManualClock(datetime.fromisoformat(start))
    with Renderer() as renderer:
        house = House(database, clock, renderer, lease=lease == "lease")
        for _ in range(int(minutes) + 1):
            # More than one pass a minute when a pass has left something.
            while house.scheduler.run_once() == 0:
                pass
            clock.advance(timedelta(minutes=1))
        house.scheduler.stop()
        house.close()
    database.close()


main()
