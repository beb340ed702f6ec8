"""The outcome of one decision."""

from __future__ import annotations

from dataclasses import dataclass

from runner.engine.effects import Act, Ask
from runner.engine.values import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """``changed`` lists the ids of task runs created or changed, in order of creation.

    While ``asks`` is not empty the decision is unfinished: the shell answers each with an ``Answered`` event and
    only then writes. ``ignored`` says why an event changed nothing (late, duplicate, not possible in this state).
    """

    execution: Execution
    changed: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()
    asks: tuple[Ask, ...] = ()
    ignored: str = ""
