"""Writes `docs/state-machine.md` from the transition tables: ``python -m tests.runner.engine.state_machine``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runner.engine.states import State
from runner.engine.transitions import EXECUTION, TASK_RUN

PAGE = Path(__file__).parents[3] / "docs" / "state-machine.md"

HEAD = """\
# The state machine

<!-- Made by `python -m tests.runner.engine.state_machine` from runner/engine/transitions.py; change it there. -->

Executions and task runs move by *events* only: a start, an attempt's end, a timer, a kill. `runner/engine/advance.py`
decides what an event means; the rest of the service stores the outcome and carries out what it asks for. Every history
that random tests produce is checked against these tables.

States in **bold** are terminal. An execution that is terminal may still run its `afterExecution` tasks: it is
*finished*, and its concurrency slot free, when they have ended.

What an execution shows follows from its task runs: PAUSED while one of them is PAUSED or a person paused it, else
RETRYING while one waits for its retry, else RUNNING. Only a Pause, an Approval and a person keep new task runs from
starting; a waiting LoopUntil or a paused child execution does not.

A stop (kill, Exit, a Pause with CANCEL, an SLA, a retry that creates a new execution) is decided at once and takes
effect when nothing runs any more: what has not begun ends, what runs is interrupted (kill, SLA) or may finish, and only
then the execution gets its state. Its `errors` and `finally` do not run, its `afterExecution` does.
"""


def render() -> str:
    parts = [HEAD]
    for title, table in (("Executions", EXECUTION), ("Task runs", TASK_RUN)):
        parts += [f"\n## {title}\n", _diagram(table), "\n| From | To | Because |\n|---|---|---|"]
        for start, ends in table.items():
            parts += [f"| {_name(start)} | {_name(end)} | {why} |" for end, why in ends.items()]
    parts.append("\n## Attempts\n")
    parts.append(
        "RUNNING, then SUCCESS, WARNING, FAILED, KILLED, SKIPPED or CANCELLED; RESUBMITTED when the worker was lost\n"
        "and the task run was assigned again with a higher epoch. A report with an older epoch changes nothing.\n"
    )
    return "\n".join(parts)


def _name(state: State) -> str:
    return f"**{state.value}**" if state.terminal else state.value


def _diagram(table: Mapping[State, Mapping[State, str]]) -> str:
    """The usual ways; the table below has all of them."""
    lines = ["```mermaid", "stateDiagram-v2"]
    for start, ends in table.items():
        if not start.terminal:
            lines += [f"  {start.value} --> {end.value}" for end in ends if _is_usual(start, end)]
    return "\n".join([*lines, "```"])


def _is_usual(start: State, end: State) -> bool:
    return end not in (State.RETRIED, State.CANCELLED, State.RESTARTED) and not (start is State.QUEUED and end.terminal)


if __name__ == "__main__":
    PAGE.write_text(render())
