"""``python -m tests.faults.chaos --kills 30 --triggers 3000 --db sqlite|postgres --roles split --seed N``."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.chaos.loop import Plan, run
from tests.support import services


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--triggers", type=int, default=3000)
    parser.add_argument("--db", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rate", type=float, default=0.0, help="new keys a second; default: as long as the kills take")
    parser.add_argument("--folder", type=Path, default=None, help="where everything is kept; default: a temporary one")
    parser.add_argument("--long-pauses", action="store_true")
    parser.add_argument("--drain", action="store_true", help="SIGTERM first, SIGKILL while it drains")
    parser.add_argument("--roles", choices=("whole", "split"), default="whole", help="split: one process a role")
    parser.add_argument("--broker", choices=("rabbitmq", "redis"), default="rabbitmq", help="of split roles")
    options = parser.parse_args()
    if options.roles == "split" and options.db == "sqlite":
        parser.error("split roles need --db postgres")
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="lanner-chaos-"))
    print(f"seed {seed}, everything is in {folder}", flush=True)
    plan = Plan(
        folder=folder,
        kills=options.kills,
        triggers=options.triggers,
        db=options.db,
        seed=seed,
        rate=options.rate,
        long_pauses=options.long_pauses,
        drain=options.drain,
        roles=options.roles,
        broker=services.REDIS if options.broker == "redis" else services.RABBITMQ,
    )
    report = run(plan)
    print(json.dumps(report, indent=1))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
