"""A worker in a process of its own, to be killed: ``python owner.py <root> <flow file> <runs>`` runs the first task."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path


def main() -> None:
    from tests.runner.worker.world import Bench

    root, flow, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    bench = Bench(root)
    tasks = flow.read_text()
    claims = [bench.claim(tasks, number=number) for number in range(count)]
    for claim in claims:
        threading.Thread(target=bench.runner.run, args=(claim.task_run.id, 1), daemon=True).start()
    print("started", flush=True)
    time.sleep(60)


main()
