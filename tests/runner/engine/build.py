"""Short builders of flow values for engine tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from namespaces.flows.model import (
    AllowFailure,
    Approval,
    Dag,
    EachParallel,
    Flow,
    FlowOutput,
    ForEach,
    If,
    Loop,
    LoopUntil,
    Parallel,
    Pause,
    Retry,
    RetryBehavior,
    RetryType,
    Runnable,
    Sequential,
    Subflow,
    Switch,
    Task,
    WorkingDirectory,
)


def flow(*tasks: Task, **more: Any) -> Flow:
    return Flow(namespace="tests", id="f", tasks=tasks, **more)


def t(task_id: str, **more: Any) -> Runnable:
    return Runnable(id=task_id, type="test.Task", **more)


def ts(names: str) -> tuple[Runnable, ...]:
    return tuple(t(name) for name in names.split())


def seq(task_id: str, *tasks: Task, **more: Any) -> Sequential:
    return Sequential(id=task_id, type="Sequential", tasks=tasks, **more)


def par(task_id: str, *tasks: Task, **more: Any) -> Parallel:
    return Parallel(id=task_id, type="Parallel", tasks=tasks, **more)


def dag(task_id: str, *tasks: Task, depends: dict[str, tuple[str, ...]] | None = None, **more: Any) -> Dag:
    return Dag(id=task_id, type="Dag", tasks=tasks, depends_on=depends or {}, **more)


def if_(task_id: str, *then: Task, **more: Any) -> If:
    return If(id=task_id, type="If", tasks=then, **more)


def switch(task_id: str, cases: dict[str, tuple[Task, ...]], **more: Any) -> Switch:
    return Switch(id=task_id, type="Switch", cases=cases, **more)


def each(task_id: str, *tasks: Task, limit: int = 1, **more: Any) -> ForEach:
    return ForEach(id=task_id, type="ForEach", tasks=tasks, concurrency_limit=limit, **more)


def eachpar(task_id: str, *tasks: Task, **more: Any) -> EachParallel:
    return EachParallel(id=task_id, type="EachParallel", tasks=tasks, **more)


def loop(task_id: str, *tasks: Task, **more: Any) -> Loop:
    return Loop(id=task_id, type="Loop", tasks=tasks, **more)


def until(task_id: str, *tasks: Task, **more: Any) -> LoopUntil:
    return LoopUntil(id=task_id, type="LoopUntil", tasks=tasks, **more)


def pause(task_id: str, *tasks: Task, **more: Any) -> Pause:
    return Pause(id=task_id, type="Pause", tasks=tasks, **more)


def approve(task_id: str, **more: Any) -> Approval:
    return Approval(id=task_id, type="Approval", **more)


def allow(task_id: str, *tasks: Task, **more: Any) -> AllowFailure:
    return AllowFailure(id=task_id, type="AllowFailure", tasks=tasks, **more)


def sub(task_id: str, **more: Any) -> Subflow:
    return Subflow(id=task_id, type="Subflow", **more)


def wd(task_id: str, *tasks: Task, **more: Any) -> WorkingDirectory:
    return WorkingDirectory(id=task_id, type="WorkingDirectory", tasks=tasks, **more)


def retry(attempts: int | None = 3, seconds: float = 1, **more: Any) -> Retry:
    more.setdefault("type", RetryType.CONSTANT)
    return Retry(interval=timedelta(seconds=seconds), max_attempts=attempts, **more)


def new_execution(attempts: int = 3) -> Retry:
    return retry(attempts, behavior=RetryBehavior.CREATE_NEW_EXECUTION)


def output(name: str) -> FlowOutput:
    return FlowOutput(id=name, type="STRING", value="{{ x }}")
