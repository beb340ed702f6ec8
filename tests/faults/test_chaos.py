"""The crash loop of every change (``reliability.md`` G1): 1,000 acknowledged webhooks over 10 kills.

On both databases, with one process and with one for each part.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.faults.chaos.loop import Plan, run
from tests.support import services


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("db", "roles"),
    [
        ("sqlite", "whole"),
        pytest.param("postgres", "whole", marks=pytest.mark.postgres),
        pytest.param("postgres", "split", marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
    ],
)
def test_a_thousand_acknowledged_triggers_survive_ten_kills(db: str, roles: str, tmp_path: Path) -> None:
    """Split: a process for each part, three workers, RabbitMQ between them; one part at a time is killed."""
    if db == "postgres":
        services.require("PostgreSQL", services.POSTGRES)
    broker = services.require("RabbitMQ", services.RABBITMQ) if roles == "split" else ""
    seed = int(os.environ.get("LANNER_TEST_SEED") or random.randrange(1_000_000))
    print(f"seed {seed} (again with LANNER_TEST_SEED={seed})")

    report = run(Plan(folder=tmp_path, kills=10, triggers=1000, db=db, seed=seed, roles=roles, broker=broker))

    print(json.dumps(report, indent=1))
    if not report["ok"]:
        kept = Path(f"/tmp/lanner-chaos-{db}-{roles}-{seed}")
        shutil.copytree(tmp_path, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
        print(f"everything is kept in {kept}")
    assert report["wrong"] == {}
    assert report["acknowledged"] == 1000
    assert (report["lost"], report["doubled"]) == (0, 0)
