"""``python -m tests.faults.chaos --kills 30 --triggers 3000 --db sqlite|postgres --seed N``: run and print."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.chaos.loop import Plan, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--triggers", type=int, default=3000)
    parser.add_argument("--db", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rate", type=float, default=0.0, help="new keys a second; default: as long as the kills take")
    parser.add_argument("--folder", type=Path, default=None, help="where everything is kept; default: a temporary one")
    parser.add_argument("--long-pauses", action="store_true")
    options = parser.parse_args()
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
    )
    report = run(plan)
    print(json.dumps(report, indent=1))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
