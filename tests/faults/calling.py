"""Calls of an instance over HTTP, and the small flows that the bad inputs stand in."""

from __future__ import annotations

import json
import re
from typing import Any

from flask.testing import FlaskClient

from namespaces.ids import new_id

LOG = "io.kestra.plugin.core.log.Log"
RETURN = "io.kestra.plugin.core.debug.Return"
SCHEDULE = "io.kestra.plugin.core.trigger.Schedule"
WEBHOOK = "io.kestra.plugin.core.trigger.Webhook"
KEY = "a-key-of-more-than-thirty-two-characters"
NS = "bad.inputs"


class Caller:
    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def send(self, method: str, path: str, status: int | tuple[int, ...], **more: Any) -> str:
        answer = self.client.open(f"/api/v1/main/{path}", method=method, **more)
        text = answer.get_data(as_text=True)
        wanted = status if isinstance(status, tuple) else (status,)
        assert answer.status_code in wanted, (answer.status_code, text[:500])
        assert "Traceback" not in text
        return text

    def save(self, text: str | bytes, status: int = 200) -> str:
        return self.send("POST", "flows", status, data=text, content_type="application/x-yaml")

    def start(self, flow_id: str, status: int | tuple[int, ...] = 200, query: str = "", **more: Any) -> Any:
        text = self.send("POST", f"executions/{NS}/{flow_id}{query}", status, **more)
        return json.loads(text) if text else None


def flow(body: str = "", flow_id: str | None = None, tasks: str = f"[{{id: t, type: {LOG}, message: hi}}]") -> str:
    return f"id: {flow_id or 'f' + new_id()}\nnamespace: {NS}\n{body}\ntasks: {tasks}\n"


def name_of(text: str) -> str:
    found = re.search("^id: (.*)$", text, re.M)
    assert found is not None
    return found[1]


def hooked(api: Caller, more: str = "", tasks: str = "") -> str:
    """Save a flow with a webhook; returns the webhook's path."""
    text = flow(f"triggers: [{{id: h, type: {WEBHOOK}, key: {KEY}{more}}}]", **({"tasks": tasks} if tasks else {}))
    api.save(text)
    return f"executions/webhook/{NS}/{name_of(text)}/{KEY}"


def scheduled(cron: str, more: str = "") -> str:
    return flow(f"triggers: [{{id: s, type: {SCHEDULE}, cron: {json.dumps(cron)}{more}}}]")
