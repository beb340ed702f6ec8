"""Dispatch inside this process: attempts start at once in a thread of the pool, nothing is polled."""

from __future__ import annotations

import logging

from namespaces import crash
from runner.worker.attempt import AttemptRunner
from runner.worker.pool import Pool

log = logging.getLogger(__name__)


class InProcessDispatch:
    """Implements ``Dispatch``. ``groups`` of workers do not exist here: everything runs in this process."""

    def __init__(self, runner: AttemptRunner, pool: Pool | None = None) -> None:
        self.runner = runner
        self.pool = pool or Pool()
        runner.pool = self.pool

    def start(self) -> int:
        """Have the spawner ready, go on with what an earlier process left; how many attempts were adopted."""
        work = self.runner.adopt()
        for number, carry_on in enumerate(work):
            self.pool.submit((f"adopted-{number}", 0), carry_on)
        self.runner.services.spawner.warm()
        return len(work)

    def submit(self, task_run_id: str, epoch: int, group: str) -> None:
        self.pool.submit((task_run_id, epoch), lambda: self.runner.run(task_run_id, epoch))

    def kill(self, task_run_id: str, epoch: int) -> None:
        self.pool.withdraw((task_run_id, epoch))
        self.runner.cancel(task_run_id, epoch)

    def stop(self, timeout_s: float) -> None:
        """Wait for what runs; scripts that are not finished by then live on for adoption after the restart."""
        if not self.pool.stop(timeout_s):
            crash.reach("drain.middle")
            log.info("%d attempts still run: their scripts are left to the next start", self.pool.busy)
        self.runner.services.spawner.close()
