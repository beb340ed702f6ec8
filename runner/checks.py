"""Checks of a flow (``flows.md`` 1.12): conditions on resolved inputs, before an execution comes into being."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from namespaces.errors import InvalidInput, LannerError
from namespaces.flows.model import Flow
from namespaces.masking import Masker
from runner.asking import truthy
from runner.context import flow_root, nested_labels
from runner.rendering import Rendering

BLOCK, FAIL, CREATE = "BLOCK_EXECUTION", "FAIL_EXECUTION", "CREATE_EXECUTION"
LEVELS = {"ERROR": "ERROR", "WARNING": "WARN"}
"""Style to the level of the log line that an execution gets; others are INFO."""


class CheckFailed(InvalidInput):
    """A check with BLOCK_EXECUTION did not pass: nothing is created."""

    code = "check_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A check that did not pass. ``style`` and ``behavior`` are words of ``flows.md`` 1.12."""

    message: str
    style: str
    behavior: str
    condition: str

    @property
    def level(self) -> str:
        return LEVELS.get(self.style, "INFO")


def failing(
    rendering: Rendering,
    flow: Flow,
    inputs: Mapping[str, Any],
    execution_id: str,
    trigger: Mapping[str, Any] | None = None,
) -> tuple[Failing, ...]:
    """The checks that do not pass with these resolved ``inputs`` (secrets sealed for ``execution_id``).

    A condition that cannot be rendered blocks, whatever its behavior: nobody knows what it would have said.
    """
    if not flow.checks:
        return ()
    secrets: set[str] = set()
    surroundings = rendering.surroundings
    roots: dict[str, Any] = {
        "flow": flow_root(flow),
        "inputs": rendering.vault.unseal(dict(inputs), execution_id, secrets),
        "labels": nested_labels(flow.labels),
        "envs": surroundings.environment,
        "globals": surroundings.globals,
        "kestra": surroundings.kestra,
    }
    if flow.variables:
        roots["vars"] = flow.variables
    if trigger is not None:
        roots["trigger"] = dict(trigger.get("variables") or {})
    ports = rendering.flow_ports(flow)
    found = []
    for check in flow.checks:
        try:
            if truthy(rendering.engine.render(check.condition, roots, ports)):
                continue
            made = Failing(message=check.message, style=check.style, behavior=check.behavior, condition=check.condition)
        except LannerError as error:
            message = f"{check.message} (the check cannot be evaluated: {Masker(secrets).mask(error.message)})"
            made = Failing(message=message, style="ERROR", behavior=BLOCK, condition=check.condition)
        found.append(made)
    return tuple(found)


def refuse(found: Sequence[Failing]) -> None:
    """Raise ``CheckFailed`` with the message of every blocking check, one a line."""
    blocking = [one.message for one in found if one.behavior == BLOCK]
    if blocking:
        raise CheckFailed("\n".join(blocking))


def failure(found: Sequence[Failing]) -> str | None:
    """Why the execution is created FAILED, None when it may run."""
    return "\n".join(one.message for one in found if one.behavior == FAIL) or None
