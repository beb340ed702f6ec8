"""The caller: webhooks at a steady rate, three in ten sent again, one in ten broken off before its answer.

Every request and every reply is in the file before the caller goes on. It ends when every key has been acknowledged.
"""

from __future__ import annotations

import argparse
import http.client
import json
import queue
import random
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.chaos.flows import KEY, NAMESPACE, WEIGHTS

THREADS = 8
AGAIN = 0.3
BROKEN_OFF = 0.1
KILL_AFTER_S = 1.0


class Journal:
    """One JSON line an event, written before anything else happens."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def note(self, what: str, **more: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"at": time.time(), "what": what, **more}) + "\n")
            self._file.flush()


class Caller:
    def __init__(self, port: int, journal: Journal, seed: int) -> None:
        self.port = port
        self.journal = journal
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.todo: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self.acknowledged: dict[str, str] = {}
        self.kills: queue.Queue[tuple[float, str] | None] = queue.Queue()

    def chance(self, share: float) -> bool:
        with self.lock:
            return self.random.random() < share

    def call(self, key: str, flow: str) -> None:
        """One delivery. Without an answer it is queued again, as a sender would."""
        body = json.dumps({"key": key, "flow": flow}).encode()
        broken = self.chance(BROKEN_OFF)
        self.journal.note("request", key=key, flow=flow, broken=broken)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request(
                "POST",
                f"/api/v1/main/executions/webhook/{NAMESPACE}/{flow}/{KEY}",
                body,
                {"Content-Type": "application/json", "Idempotency-Key": key},
            )
            if broken:
                assert connection.sock is not None
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self._again(key, flow, "broken off")
                return
            answer = connection.getresponse()
            text = answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException) as error:
            self._again(key, flow, type(error).__name__)
            return
        finally:
            connection.close()
        if status in (429, 503):
            self._again(key, flow, str(status))
            return
        found = json.loads(text) if status == 200 else {}
        self.journal.note("reply", key=key, flow=flow, status=status, id=found.get("id"), text=_shown(status, text))
        if status != 200:
            return
        with self.lock:
            new = key not in self.acknowledged
            self.acknowledged.setdefault(key, found["id"])
        if new and flow == "doomed":
            self.kills.put((time.monotonic() + KILL_AFTER_S, found["id"]))

    def _again(self, key: str, flow: str, why: str) -> None:
        self.journal.note("no reply", key=key, why=why)
        time.sleep(0.05 if why == "broken off" else 0.3)
        self.todo.put((key, flow))

    def work(self) -> None:
        while (item := self.todo.get()) is not None:
            self.call(*item)
            self.todo.task_done()

    def kill(self) -> None:
        """Kill an execution through the API until the server has said that it did."""
        while (item := self.kills.get()) is not None:
            due, execution_id = item
            time.sleep(max(0.0, due - time.monotonic()))
            while not self._killed(execution_id):
                time.sleep(0.2)
            self.kills.task_done()

    def _killed(self, execution_id: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request("DELETE", f"/api/v1/main/executions/{execution_id}/kill")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        self.journal.note("killed", id=execution_id, status=status)
        return status not in (429, 503)


def _shown(status: int, text: bytes) -> str:
    return "" if status == 200 else text[:300].decode(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--triggers", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="new keys a second")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    caller = Caller(options.port, Journal(options.journal), options.seed)
    threads = [threading.Thread(target=caller.work) for _ in range(THREADS)]
    killer = threading.Thread(target=caller.kill)
    for thread in (*threads, killer):
        thread.start()
    chosen = random.Random(options.seed)
    flows = chosen.choices(list(WEIGHTS), list(WEIGHTS.values()), k=options.triggers)
    sent: list[tuple[str, str]] = []
    begun = time.monotonic()
    for number, flow in enumerate(flows):
        time.sleep(max(0.0, begun + number / options.rate - time.monotonic()))
        sent.append((f"{options.seed}-{number}", flow))
        caller.todo.put(sent[-1])
        if chosen.random() < AGAIN:
            caller.todo.put(chosen.choice(sent))
    while len(caller.acknowledged) < options.triggers:
        time.sleep(0.1)
    caller.todo.join()
    caller.kills.join()
    for _ in threads:
        caller.todo.put(None)
    caller.kills.put(None)
    caller.journal.note("done", acknowledged=len(caller.acknowledged))


if __name__ == "__main__":
    sys.exit(main())
