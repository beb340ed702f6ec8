"""Dispatch through Celery: one task with two arguments, a queue per worker group. The only file that imports Celery.

The message is a bell. It is acknowledged as soon as the worker has claimed the row, so a long script holds no
message; a message that gets lost is repaired by the reconciler.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from namespaces.errors import Unavailable

log = logging.getLogger("lanner.dispatch")

TASK = "lanner.run_attempt"
KILLS = "kill"
PUBLISH_TIMEOUT_S = 5


def name_of(instance: str, part: str) -> str:
    """Name of a queue or exchange: instances that share a broker must not take each other's work."""
    return f"lanner.{instance}.{part}" if part else f"lanner.{instance}"


def make_app(broker_url: str, instance: str) -> Any:
    """The Celery application: JSON only, no results, no retries, no timers of its own."""
    from celery import Celery

    app = Celery("lanner", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=PUBLISH_TIMEOUT_S,
        task_default_queue=name_of(instance, ""),
        task_create_missing_queues=True,
        worker_hijack_root_logger=False,
        broker_transport_options=(
            {"confirm_publish": True} if broker_url.startswith(("amqp", "pyamqp")) else {"socket_timeout": 10}
        ),
    )
    return app


class CeleryDispatch:
    """Publishes attempts and kills; the workers are other processes (``lanner worker``)."""

    def __init__(self, broker_url: str, instance: str) -> None:
        self._app = make_app(broker_url, instance)
        self._instance = instance
        self._lock = threading.Lock()

    def submit(self, task_run_id: str, epoch: int, group: str) -> None:
        """Publish and forget; a broker that does not answer leaves the work to the reconciler, which is logged."""
        from kombu.exceptions import KombuError, OperationalError

        try:
            with self._lock:
                self._app.send_task(
                    TASK,
                    args=(task_run_id, epoch),
                    queue=name_of(self._instance, group),
                    retry=False,
                    ignore_result=True,
                )
        except (OSError, OperationalError, KombuError) as error:
            log.warning("broker not reached, %s waits: %s", task_run_id, error, extra={"action": "publish_failed"})

    def kill(self, task_run_id: str, epoch: int) -> None:
        """Tell every worker; the one that runs the attempt ends it. Raises ``Unavailable`` so that it is sent again."""
        from kombu.entity import Exchange
        from kombu.exceptions import KombuError, OperationalError
        from kombu.messaging import Producer

        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=PUBLISH_TIMEOUT_S)
                producer = Producer(
                    connection.channel(), Exchange(name_of(self._instance, KILLS), type="fanout", durable=False)
                )
                producer.publish({"run": task_run_id, "epoch": epoch}, serializer="json", retry=False)
        except (OSError, OperationalError, KombuError) as error:
            raise Unavailable(f"the broker cannot be reached: {error}") from error

    def stop(self, timeout_s: float) -> None:
        self._app.close()


class CeleryWorker:
    """Consumes attempts with ``concurrency`` threads and listens for kills."""

    def __init__(
        self,
        broker_url: str,
        instance: str,
        run: Callable[[str, int], object],
        kill: Callable[[str, int], object],
        *,
        concurrency: int,
        groups: tuple[str, ...] = ("",),
    ) -> None:
        self._broker_url = broker_url
        self._instance = instance
        self._run = run
        self._kill = kill
        self._concurrency = concurrency
        self._groups = groups
        self._app = make_app(broker_url, instance)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

        @self._app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
        def run_attempt(task_run_id: str, epoch: int) -> None:
            # What arrives while this worker ends, and may just have been given back, is rung for again elsewhere.
            if not self._stopped.is_set():
                run(task_run_id, epoch)

    def start(self) -> None:
        consume = threading.Thread(target=self._consume, name="lanner-celery", daemon=True)
        listen = threading.Thread(target=self._listen, name="lanner-kills", daemon=True)
        self._threads = [consume, listen]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Take nothing more; what runs goes on."""
        from celery.worker import state

        self._stopped.set()
        # The consumer looks at this between two messages and ends itself, in its own thread.
        state.should_stop = 0

    def stop(self, timeout_s: float) -> None:
        self.close()
        for thread in self._threads:
            thread.join(timeout_s)

    def _consume(self) -> None:
        from celery.worker import state

        state.should_stop = None
        while not self._stopped.is_set():
            try:
                # The controller alone: no banner, no signal handlers, no logging set-up of Celery's own.
                worker = self._app.WorkController(
                    pool_cls="threads",
                    concurrency=self._concurrency,
                    queues=[name_of(self._instance, group) for group in self._groups],
                    without_gossip=True,
                    without_mingle=True,
                    without_heartbeat=True,
                    # The plain loop looks up every two seconds, so that an end does not wait for a message.
                    use_eventloop=False,
                    optimization="fair",
                )
                worker.start()
            except Exception:
                log.exception("celery worker ended, starting again", extra={"action": "celery_failed"})
            self._stopped.wait(1)

    def _listen(self) -> None:
        from kombu.connection import Connection
        from kombu.entity import Exchange, Queue
        from kombu.exceptions import KombuError, OperationalError
        from kombu.messaging import Consumer

        exchange = Exchange(name_of(self._instance, KILLS), type="fanout", durable=False)

        def received(body: Any, message: Any) -> None:
            message.ack()
            self._kill(str(body["run"]), int(body["epoch"]))

        while not self._stopped.is_set():
            try:
                with Connection(self._broker_url, connect_timeout=PUBLISH_TIMEOUT_S) as connection:
                    queue = Queue("", exchange, exclusive=True, auto_delete=True)
                    with Consumer(connection.channel(), [queue], callbacks=[received], accept=["json"]):
                        while not self._stopped.is_set():
                            try:
                                connection.drain_events(timeout=1)
                            except TimeoutError:
                                continue
            except (OSError, OperationalError, KombuError) as error:
                if not self._stopped.is_set():
                    log.warning("kill channel lost: %s", error, extra={"action": "kill_channel_lost"})
                self._stopped.wait(2)
