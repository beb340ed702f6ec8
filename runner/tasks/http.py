"""Tasks http.Request, http.Download, http.SseRequest (``flows.md`` 5.5); what may be reached: ``runner.egress``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from namespaces.blobs import safe_name
from runner.egress import Answer, Egress, Outgoing
from runner.plugin import Metric, Output, RunFailed
from runner.tasks import CORE, Implementation
from runner.worker.running import Running

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_http as types

_IDLE_S = 300.0


class _Sender:
    """One task's request, made from its properties."""

    def __init__(self, context: Running, task: types.Request | types.Download | types.SseRequest) -> None:
        self.context = context
        self.task = task
        self.options = task.options
        self.egress: Egress = context.services.egress or Egress()
        self._open = contextlib.ExitStack()

    def send(self, limit: int, **how: Any) -> Answer:
        """Send; raises ``RunFailed`` for a status from 400 on, unless the task accepts it."""
        with self._open:
            request = self._request(limit)
            self._say("REQUEST_HEADERS", json.dumps(dict(request.headers)))
            if request.content is not None:
                self._say("REQUEST_BODY", request.content.decode("utf-8", "replace"))
            answer = self.egress.send(request, cancelled=self.context.cancelled, **how)
        self._say("RESPONSE_HEADERS", json.dumps(answer.headers))
        self._say("RESPONSE_BODY", self.text(answer))
        if answer.code >= 400 and not self._accepted(answer.code):
            raise RunFailed(
                f"Failed http request with response code '{answer.code}' and body:\n{self.text(answer)[:2000]}",
                code="http_status",
            )
        return answer

    def text(self, answer: Answer) -> str:
        charset = answer.charset or (self.options.default_charset if self.options else "utf-8")
        try:
            return answer.body.decode(charset, "replace")
        except LookupError as error:
            raise RunFailed(f"unknown charset {charset!r}") from error

    def _accepted(self, code: int) -> bool:
        options = self.options
        return bool(
            self.task.allow_failed
            or (options is not None and (options.allow_failed or code in (options.allowed_response_codes or ())))
        )

    def _say(self, what: str, text: str) -> None:
        if self.options is not None and self.options.logs and what in self.options.logs:
            self.context.log("INFO", f"{what.lower().replace('_', ' ')}: {text}")

    def _request(self, limit: int) -> Outgoing:
        task, options = self.task, self.options
        headers = {str(name): _text(value) for name, value in (task.headers or {}).items() if value is not None}
        content, data, parts = self._body(headers)
        timeout = options.timeout if options else None
        connect = (timeout.connect_timeout if timeout else None) or (options.connect_timeout if options else None)
        flat = options.read_idle_timeout or options.read_timeout if options else None
        idle = (timeout.read_idle_timeout if timeout else None) or flat
        insecure = (options and options.ssl and options.ssl.insecure_trust_all_certificates) or (
            task.ssl_options and task.ssl_options.insecure_trust_all_certificates
        )
        return Outgoing(
            method=task.method.upper(),
            url=task.uri.strip().replace(" ", "%20"),
            headers=headers,
            params=_params(task.params),
            content=content,
            data=data,
            files=parts,
            auth=self._auth(headers),
            connect_s=connect.total_seconds() if connect else 30.0,
            idle_s=idle.total_seconds() if idle else _IDLE_S,
            follow_redirects=options.follow_redirects if options else True,
            verify=not insecure,
            proxy=self._proxy(),
            limit=(options.max_content_length if options else None) or limit,
        )

    def _body(self, headers: dict[str, str]) -> tuple[bytes | None, dict[str, Any] | None, Any]:
        task = self.task
        named = {name.lower() for name in headers}
        if task.form_data is not None:
            if task.body is not None:
                raise RunFailed("`body` and `formData` exclude each other")
            if (task.content_type or "").startswith("multipart/"):
                return None, None, [self._part(name, value) for name, value in task.form_data.items()]
            headers.setdefault("Content-Type", task.content_type or "application/x-www-form-urlencoded")
            return None, {name: _text(value) for name, value in task.form_data.items() if value is not None}, None
        if task.body is None:
            if task.content_type and "content-type" not in named:
                headers["Content-Type"] = task.content_type
            return None, None, None
        if "content-type" not in named:
            headers["Content-Type"] = task.content_type or "application/json"
        return task.body.encode(), None, None

    def _part(self, name: str, value: Any) -> tuple[str, Any]:
        if isinstance(value, Mapping) and "content" in value:
            file = self._open.enter_context(self.context.open(str(value["content"])))
            return name, (str(value.get("name") or name), file)
        text = _text(value)
        if text.startswith("kestra://"):
            file = self._open.enter_context(self.context.open(text))
            return name, (text.rpartition("/")[2], file)
        return name, (None, text)

    def _auth(self, headers: dict[str, str]) -> Any:
        import httpx2

        options = self.options
        auth = options.auth if options else None
        if auth is None:
            if options is not None and options.basic_auth_user:
                return (options.basic_auth_user, options.basic_auth_password or "")
            return None
        match auth.type:
            case "BEARER":
                headers["Authorization"] = f"Bearer {auth.token or ''}"
                return None
            case "DIGEST":
                return httpx2.DigestAuth(auth.username or "", auth.password or "")
            case _:
                return (auth.username or "", auth.password or "")

    def _proxy(self) -> str | None:
        options = self.options
        proxy = options.proxy if options else None
        kind = (proxy.type if proxy else options.proxy_type if options else None) or "DIRECT"
        address = proxy.address if proxy else options.proxy_address if options else None
        if kind == "DIRECT" or not address or options is None:
            return None
        if kind == "SOCKS":
            raise RunFailed("SOCKS proxies are not supported", hint="use an HTTP proxy")
        port = proxy.port if proxy else options.proxy_port
        user = proxy.username if proxy else options.proxy_username
        password = proxy.password if proxy else options.proxy_password
        login = f"{user}:{password or ''}@" if user else ""
        return f"http://{login}{address}:{port or 8080}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, Mapping | list) else str(value)


def _params(written: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not written:
        return None
    return {
        name: [_text(item) for item in value] if isinstance(value, list) else _text(value)
        for name, value in written.items()
        if value is not None
    }


def request(context: Running, task: types.Request) -> Output:
    sender = _Sender(context, task)
    answer = sender.send(context.services.limits.response)
    context.metric(Metric(name="response.length", type="counter", value=answer.length))
    body = sender.text(answer)
    outputs: dict[str, Any] = {"uri": answer.url, "code": answer.code, "headers": answer.headers}
    if task.encrypt_body:
        context.hide(body)
        outputs |= {"body": None, "encryptedBody": {"value": body}}
    else:
        outputs["body"] = body
    if task.form_data is not None:
        outputs["formData"] = dict(task.form_data)
    return Output(values=outputs)


def download(context: Running, task: types.Download) -> Output:
    target = context.home / "download"
    with target.open("wb") as sink:
        answer = _Sender(context, task).send(context.services.limits.download, sink=sink)
    context.metric(Metric(name="response.length", type="counter", value=answer.length))
    if answer.length == 0:
        if task.fail_on_empty_response:
            raise RunFailed("No response from server", hint="failOnEmptyResponse: false accepts an empty answer")
        context.log("WARN", "the answer is empty")
    name = task.save_as or _named(answer)
    return Output(
        values={
            "uri": context.store(safe_name(name), target),
            "code": answer.code,
            "length": answer.length,
            "headers": answer.headers,
        }
    )


def _named(answer: Answer) -> str:
    """A file name from the answer: Content-Disposition, else the last part of the URL's path."""
    from email.message import Message

    for value in answer.headers.get("content-disposition", ()):
        message = Message()
        message["Content-Disposition"] = value
        name = message.get_filename()
        if name:
            return name
    return unquote(urlsplit(answer.url).path.rpartition("/")[2]) or "download"


def server_sent_events(context: Running, task: types.SseRequest) -> Output:
    from namespaces.expressions import to_json

    events: list[dict[str, Any]] = []
    current: dict[str, Any] = {}

    def take(line: str) -> bool:
        nonlocal current
        if line == "":
            if current:
                events.append(current)
                current = {}
            return task.max_events is None or len(events) < task.max_events
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            current["data"] = f"{current['data']}\n{value}" if "data" in current else value
        elif name in ("event", "id", "retry"):
            current[name] = value
        return True

    answer = _Sender(context, task).send(context.services.limits.response, on_line=take)
    if current:
        events.append(current)
    for event in events:
        with contextlib.suppress(ValueError, KeyError):
            event["data"] = json.loads(event["data"])
    lines = "".join(to_json(event) + "\n" for event in events)
    outputs: dict[str, Any] = {"uri": context.store("events.ion", lines.encode()), "size": len(events)}
    if task.concat_jq_expression:
        outputs["result"] = _concatenated(events, task.concat_jq_expression, task.failed_on_missing_jq)
    else:
        outputs["events"] = events
    outputs["code"] = answer.code
    return Output(values=outputs)


def _concatenated(events: list[dict[str, Any]], expression: str, strict: bool) -> str:
    import jq

    try:
        program = jq.compile(expression)
        found: list[str] = []
        for event in events:
            try:
                values = [value for value in program.input_value(event.get("data")).all() if value is not None]
            except ValueError as error:
                if strict:
                    raise RunFailed(f"the jq expression failed: {error}") from error
                continue
            if not values and strict:
                raise RunFailed("the jq expression gave nothing for an event", hint="failedOnMissingJq: false skips it")
            found.extend(value if isinstance(value, str) else json.dumps(value) for value in values)
    except ValueError as error:
        raise RunFailed(f"bad jq expression: {error}") from error
    return "".join(found)


TASKS = {
    CORE + "http.Request": Implementation(run=request),
    CORE + "http.Download": Implementation(run=download),
    CORE + "http.SseRequest": Implementation(run=server_sent_events),
}
