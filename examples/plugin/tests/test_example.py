"""Tests of the plugin by itself: no server is needed to call `run` and `poll`."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from example_plugin import Shout
from example_trigger import Changed

from runner.plugin import PollContext, RunContext, RunFailed


class Logs:
    """As much of a `RunContext` as `Shout` uses."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, level: str, message: str) -> None:
        self.lines.append(f"{level} {message}")


def test_the_text_comes_in_capitals() -> None:
    logs = Logs()

    output = Shout.read({"text": "hi", "times": 2}).run(cast(RunContext, logs))

    assert output.values == {"text": "HI HI"}
    assert logs.lines == ["INFO shouting 2 times"]


def test_less_than_once_is_refused() -> None:
    with pytest.raises(RunFailed, match="at least 1"):
        Shout.read({"text": "hi", "times": 0}).run(cast(RunContext, Logs()))


def look(path: Path, previous: datetime | None) -> Any:
    context = PollContext(
        namespace="n", flow_id="f", trigger_id="t", now=datetime.now(UTC), previous=previous,
        cancelled=threading.Event(), log=lambda *_: None,
    )  # fmt: skip
    return Changed.read({"path": str(path)}).poll(context)


def test_a_change_is_seen_once(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    assert look(file, None) is None

    file.write_text("one")
    changed = datetime.fromtimestamp(file.stat().st_mtime, UTC)

    assert look(file, None)["size"] == 3
    assert look(file, changed - timedelta(seconds=1)) is not None
    assert look(file, changed) is None
