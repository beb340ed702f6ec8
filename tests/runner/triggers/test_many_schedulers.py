"""R10, R11: several schedulers without a leader, killed again and again, fire each slot exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from namespaces.clock import ManualClock
from namespaces.store.db import create_schema, open_database
from runner.renderer import Renderer
from runner.rows import execution_table
from runner.triggerrows import fire_table
from tests.runner.triggers.conftest import House, at

ROOT = Path(__file__).parents[3]
MINUTES = 45
ROUNDS = 4
CRONS = {"every": "* * * * *", "third": "*/3 * * * *", "odd": "1-59/2 * * * *"}


def process(
    url: str, start: datetime, minutes: int, *, crash: str = "", lease: str = "nolease"
) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LANNER_TEST": "1"}
    if crash:
        env["LANNER_TEST_CRASH"] = crash
    script = str(ROOT / "tests/runner/triggers/schedule_process.py")
    return subprocess.Popen([sys.executable, script, url, start.isoformat(), str(minutes), lease], env=env, cwd=ROOT)


def triggers() -> str:
    return "\n".join(
        f'- id: {name}\n  type: io.kestra.plugin.core.trigger.Schedule\n  cron: "{cron}"\n  allowConcurrent: true'
        for name, cron in CRONS.items()
    )


def oracle() -> set[tuple[str, datetime]]:
    step = {"every": lambda m: True, "third": lambda m: m % 3 == 0, "odd": lambda m: m % 2 == 1}
    return {
        (name, at("00:00:00") + timedelta(minutes=minute))
        for name, holds in step.items()
        for minute in range(1, MINUTES + 1)
        if holds(minute % 60)
    }


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_three_schedulers_without_a_leader_double_nothing_over_kills(
    database_url: str, renderer: Renderer, clock: ManualClock
) -> None:
    from service.migrations.models import whole_metadata

    whole_metadata()
    database = open_database(database_url)
    create_schema(database)
    house = House(database, clock, renderer)
    house.deploy(triggers())
    house.scheduler.run_once()
    choose = random.Random(20261124)
    begin = clock.now()

    kills = 0
    for _ in range(ROUNDS):
        running = []
        for _ in range(3):
            skew = choose.randint(0, MINUTES // 2)
            crash = f"fire.{choose.choice(['before', 'after'])}_commit:{choose.randint(1, 3)}"
            running.append(process(database_url, begin + timedelta(minutes=skew), MINUTES - skew, crash=crash))
        kills += [one.wait() for one in running].count(-signal.SIGKILL)
    final = [one.wait() for one in [process(database_url, begin, MINUTES) for _ in range(3)]]

    rows = database.read(lambda c: c.execute(sa.select(fire_table)).all())
    made = database.read(lambda c: c.execute(sa.select(execution_table)).all())
    started = Counter((row.trigger_id, row.scheduled_for) for row in rows if row.decision == "started")
    by_execution = Counter((row.trigger["id"], row.trigger["variables"]["date"]) for row in made)
    assert kills >= 2 * ROUNDS
    assert final == [0, 0, 0]
    assert set(started) == oracle()
    assert set(started.values()) == {1}
    assert set(by_execution.values()) == {1}
    assert len(by_execution) == len(started)
    assert {row.execution_id for row in rows} == {row.id for row in made}
    house.close()
    database.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_leader_that_dies_is_followed_at_once(sqlite_url: str, renderer: Renderer, clock: ManualClock) -> None:
    from service.migrations.models import whole_metadata

    whole_metadata()
    database = open_database(sqlite_url)
    create_schema(database)
    house = House(database, clock, renderer)
    house.deploy(triggers())
    house.scheduler.run_once()

    died = process(sqlite_url, clock.now(), 5, crash="leader.after_win", lease="lease").wait()
    after = process(sqlite_url, clock.now(), 5, lease="lease").wait()

    assert (died, after) == (-signal.SIGKILL, 0)
    assert len(house.executions_of()) == 5 + 1 + 3
    house.close()
    database.close()


def test_only_the_leader_schedules_and_hands_over_when_it_stops(
    sqlite_url: str, renderer: Renderer, clock: ManualClock
) -> None:
    from service.migrations.models import whole_metadata

    whole_metadata()
    database = open_database(sqlite_url)
    create_schema(database)
    one, two = (House(database, clock, renderer, lease=True) for _ in range(2))
    one.deploy(triggers())
    one.scheduler.run_once()
    two.scheduler.run_once()
    follower = two.scheduler.leading

    one.scheduler.stop()
    two.scheduler.run_once()

    assert not follower
    assert two.scheduler.leading
    for house in (one, two):
        house.close()
    database.close()
