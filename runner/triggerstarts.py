"""From a trigger that fires to a request to start its flow: the expression context, rendered inputs and labels.

Which trigger fires when is decided elsewhere; nothing is written here but a log line for a label that is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from namespaces.errors import InvalidInput, LannerError
from namespaces.expressions import Ports
from namespaces.flows.model import Flow, Trigger
from runner.context import Surroundings, flow_root, nested_labels
from runner.starting import StartRequest
from runner.triggers.conditions import Render, label_pairs

log = logging.getLogger("lanner.triggers")

SCHEDULE = "io.kestra.plugin.core.trigger.Schedule"
ON_DATES = "io.kestra.plugin.core.trigger.ScheduleOnDates"
WEBHOOK = "io.kestra.plugin.core.trigger.Webhook"
FLOW = "io.kestra.plugin.core.trigger.Flow"
HTTP = "io.kestra.plugin.core.http.Trigger"


class Engine(Protocol):
    """The expression engine (``runner.renderer``)."""

    def render(self, text: str, context: Mapping[str, object], ports: Ports) -> str: ...

    def render_value(self, value: object, context: Mapping[str, object], ports: Ports) -> object: ...


PortsOf = Callable[[Flow, Mapping[str, Any]], Ports]
"""What templates of a flow's triggers may reach: its namespace's secrets, KV and files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRendering:
    """Renders for triggers, when no execution exists yet. Everything raises ``LannerError``."""

    engine: Engine
    ports_of: PortsOf
    surroundings: Surroundings = field(default_factory=Surroundings)
    country: str | None = None
    """ISO code that PublicHoliday takes when it names none."""

    def context(self, flow: Flow, trigger: Trigger, variables: Mapping[str, Any], **roots: Any) -> dict[str, Any]:
        """Root variables: flow, vars, labels, trigger, what is the same everywhere, and ``roots`` on top."""
        own = {"id": trigger.id, "type": trigger.type, **variables}
        own["_context"] = {"id": trigger.id, "type": trigger.type}
        found: dict[str, Any] = {
            "flow": flow_root(flow),
            "labels": nested_labels(flow.labels),
            "envs": self.surroundings.environment,
            "globals": self.surroundings.globals,
            "kestra": self.surroundings.kestra,
            "trigger": own,
        }
        if flow.variables:
            found["vars"] = flow.variables
        if trigger.type == SCHEDULE:
            found["schedule"] = own
        found.update(roots)
        return found

    def render_of(self, flow: Flow) -> Render:
        """A function that renders one text for this flow's triggers."""

        def render(text: str, context: Mapping[str, Any]) -> str:
            if "{" not in text:
                return text
            return self.engine.render(text, context, self.ports_of(flow, context))

        return render

    def value(self, flow: Flow, value: Any, context: Mapping[str, Any]) -> Any:
        """Maps and lists rendered element by element."""
        return self.engine.render_value(value, context, self.ports_of(flow, context)) if value else value

    def request(
        self,
        flow: Flow,
        trigger: Trigger,
        variables: Mapping[str, Any],
        context: Mapping[str, Any],
        *,
        error: str | None = None,
        strict: bool = False,
        **more: Any,
    ) -> StartRequest:
        """The request to start ``flow`` because ``trigger`` fired.

        ``error`` makes the execution FAILED from the start, as do inputs that do not render or convert; with
        ``strict`` those raise ``InvalidInput`` instead (webhooks).
        """
        inputs: Mapping[str, Any] = {}
        if error is None and trigger.inputs:
            try:
                inputs = self.value(flow, dict(trigger.inputs), context)
            except LannerError as failure:
                if strict:
                    raise InvalidInput(f"trigger '{trigger.id}': {failure.message}", where="inputs") from failure
                error = failure.message
        return StartRequest(
            namespace=flow.namespace,
            flow_id=flow.id,
            inputs={**inputs, **more.pop("inputs", {})},
            labels=(*self.labels(flow, trigger, context), *more.pop("labels", ())),
            trigger={"id": trigger.id, "type": trigger.type, "variables": dict(variables)},
            trigger_id=trigger.id,
            refuse_inputs_as_failed=not strict,
            failed_reason=error,
            **more,
        )

    def labels(self, flow: Flow, trigger: Trigger, context: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The trigger's labels; one that does not render is dropped with a warning (``flows.md`` 1.3)."""
        render = self.render_of(flow)
        found: list[tuple[str, str]] = []
        for key, written in label_pairs(trigger.labels):
            text = "true" if written is True else "false" if written is False else str(written)
            try:
                value = render(text, context)
            except LannerError as failure:
                log.warning(
                    "label '%s' of trigger %s.%s.%s is dropped: %s", key, flow.namespace, flow.id, trigger.id,
                    failure.message, extra={"action": "trigger_label_dropped"},
                )  # fmt: skip
                continue
            if key.startswith("system.") or not value:
                continue
            found.append((key, value))
        return tuple(found)
