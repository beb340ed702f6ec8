"""Which family a task type belongs to."""

from __future__ import annotations

from namespaces.flows.model import (
    AllowFailure,
    Approval,
    Dag,
    EachParallel,
    ForEach,
    ForEachItem,
    If,
    LoopUntil,
    Parallel,
    Pause,
    Sequential,
    Switch,
    TaskBase,
)
from runner.engine.flowable import (
    approval,
    branch,
    dag,
    eachparallel,
    foreach,
    loopuntil,
    parallel,
    pause,
    sequential,
    switch,
)
from runner.engine.flowable.family import Family

FAMILIES: dict[type[TaskBase], Family] = {
    Sequential: sequential.FAMILY,
    ForEachItem: sequential.FAMILY,
    AllowFailure: sequential.FAMILY,
    Parallel: parallel.FAMILY,
    Dag: dag.FAMILY,
    If: branch.FAMILY,
    Switch: switch.FAMILY,
    ForEach: foreach.FAMILY,
    EachParallel: eachparallel.FAMILY,
    LoopUntil: loopuntil.FAMILY,
    Pause: pause.FAMILY,
    Approval: approval.FAMILY,
}
