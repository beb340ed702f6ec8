"""Task types http.Request, http.Download and http.SseRequest (``flows.md`` 5.5): properties and outputs only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from namespaces.flows.types.fields import Part, TaskOutputs
from namespaces.flows.types.tasks_core import CORE
from namespaces.plugin import (
    Dynamic,
    DynamicBool,
    DynamicDuration,
    DynamicInt,
    DynamicMap,
    DynamicText,
    PluginType,
    TaskType,
)


class Timeouts(Part):
    connect_timeout: DynamicDuration | None = None
    read_idle_timeout: DynamicDuration | None = None


class Auth(Part):
    type: Annotated[Literal["BASIC", "BEARER", "DIGEST"], Dynamic] = "BASIC"
    username: DynamicText | None = None
    password: DynamicText | None = None
    token: DynamicText | None = None


class Proxy(Part):
    type: Annotated[Literal["DIRECT", "HTTP", "SOCKS"], Dynamic] = "DIRECT"
    address: DynamicText | None = None
    port: DynamicInt | None = None
    username: DynamicText | None = None
    password: DynamicText | None = None


class Ssl(Part):
    insecure_trust_all_certificates: DynamicBool = False


class HttpOptions(Part):
    timeout: Timeouts | None = None
    auth: Auth | None = None
    proxy: Proxy | None = None
    ssl: Ssl | None = None
    follow_redirects: DynamicBool = True
    allow_failed: DynamicBool = False
    allowed_response_codes: Annotated[list[DynamicInt], Dynamic] | None = None
    default_charset: DynamicText = "UTF-8"
    logs: (
        list[Annotated[Literal["REQUEST_HEADERS", "REQUEST_BODY", "RESPONSE_HEADERS", "RESPONSE_BODY"], Dynamic]] | None
    ) = None
    # Flat forms of 0.x, still written by many flows.
    connect_timeout: DynamicDuration | None = None
    read_timeout: DynamicDuration | None = None
    read_idle_timeout: DynamicDuration | None = None
    connection_pool_idle_timeout: DynamicDuration | None = None
    max_content_length: DynamicInt | None = None
    proxy_type: DynamicText | None = None
    proxy_address: DynamicText | None = None
    proxy_port: DynamicInt | None = None
    proxy_username: DynamicText | None = None
    proxy_password: DynamicText | None = None
    basic_auth_user: DynamicText | None = None
    basic_auth_password: DynamicText | None = None
    log_level: DynamicText | None = None


class SslOptions(Part):
    insecure_trust_all_certificates: DynamicBool = False


class RequestProperties(PluginType):
    """What all tasks and triggers that send a request take."""

    uri: DynamicText = Field(min_length=1)
    method: DynamicText = "GET"
    params: DynamicMap | None = None
    body: DynamicText | None = None
    form_data: DynamicMap | None = None
    content_type: DynamicText | None = None
    headers: DynamicMap | None = None
    encrypt_body: DynamicBool = False
    allow_failed: DynamicBool | None = None
    options: HttpOptions | None = None
    ssl_options: SslOptions | None = None


class Response(TaskOutputs):
    uri: str
    code: int
    headers: dict[str, list[str]]
    body: str | None = None
    encrypted_body: dict[str, Any] | None = None
    form_data: dict[str, Any] | None = None


class Request(RequestProperties, TaskType):
    type_name = CORE + "http.Request"
    title = "Send an HTTP request."
    outputs = Response


class Downloaded(TaskOutputs):
    uri: str
    code: int
    length: int
    headers: dict[str, list[str]]


class Download(RequestProperties, TaskType):
    type_name = CORE + "http.Download"
    title = "Download a file over HTTP."
    outputs = Downloaded
    fail_on_empty_response: DynamicBool = True
    save_as: DynamicText | None = None


class Events(TaskOutputs):
    uri: str
    events: list[Any] | None = None
    size: int
    result: str | None = None


class SseRequest(RequestProperties, TaskType):
    type_name = CORE + "http.SseRequest"
    title = "Read a stream of server-sent events."
    outputs = Events
    concat_jq_expression: DynamicText | None = None
    failed_on_missing_jq: DynamicBool = True
    max_events: DynamicInt | None = None


TYPES: tuple[type[TaskType], ...] = (Request, Download, SseRequest)
