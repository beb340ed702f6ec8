"""From the ``git`` section of the configuration to ``GitSource`` values; refuses what must never reach git.

Reading ``lanner.yaml`` itself, and what ``${env:…}`` means, belong to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from namespaces.durations import parse_config_duration
from namespaces.errors import ConfigurationError, did_you_mean
from namespaces.ownership import check_rules, why_not_a_namespace, why_not_a_pattern
from sync.addresses import check_commit_id, check_ref_name, check_tree_path, parse_address
from sync.model import (
    Apply,
    Atomicity,
    Auth,
    Credential,
    Fetch,
    GitSource,
    Guard,
    Layout,
    Limits,
    Ref,
    Settings,
    Webhook,
)

M = TypeVar("M", bound=BaseModel)
Resolve = Callable[[str], str]
Locate = Callable[[tuple[str | int, ...]], str]
"""Gives ``file:line:column`` of a key path within the list or section that is parsed."""

REFERENCE = re.compile(r"\$\{(env|file|secret):[^}\s]+\}")
NAME = re.compile(r"[a-z0-9-]{1,40}")
PROVIDERS = (
    "github", "gitlab", "gitea", "forgejo", "gogs", "bitbucket", "bitbucket-dc",
    "azure-devops", "generic", "standard", "bearer",
)  # fmt: skip
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|kB|MB|GB)?")
_UNITS = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def _size(value: object) -> int:
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValueError(f"not a size: {value!r}, expected a number or one such as 10MiB")
    return int(match[1]) * _UNITS[match[2]]


def _duration(value: object) -> timedelta:
    if value == 0 or value == "0":
        return timedelta()
    return parse_config_duration(value)


def _reference(value: object) -> str:
    if not isinstance(value, str) or not REFERENCE.fullmatch(value):
        raise ValueError("a credential is given as a reference: ${env:NAME}, ${file:/path} or ${secret:NAME}")
    return value


Size = Annotated[int, BeforeValidator(_size)]
Period = Annotated[timedelta, BeforeValidator(_duration)]
Reference = Annotated[str, BeforeValidator(_reference)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class _Ref(_Section):
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None
    name: str | None = None


class _Auth(_Section):
    type: Literal["none", "token", "ssh"] = "none"
    username: str = "x-access-token"
    token: Reference | None = None
    private_key: Reference | None = None
    passphrase: Reference | None = None
    known_hosts: Reference | None = None


class _Tls(_Section):
    ca: Reference | None = None


class _Fetch(_Section):
    depth: int = Field(default=0, ge=0)
    max_pack_bytes: Size = 2048 * 2**20
    fsck: Literal["strict"] = "strict"


class _Limits(_Section):
    max_files: int = Field(default=50_000, ge=1)
    max_flow_bytes: Size = 2**20
    max_file_bytes: Size = 10 * 2**20
    max_total_bytes: Size = 512 * 2**20


class _Guard(_Section):
    max_deletes: int = Field(default=20, ge=0)
    max_delete_percent: int = Field(default=30, ge=0, le=100)
    min_items_for_percent: int = Field(default=10, ge=1)


class _Apply(_Section):
    mode: Literal["auto", "manual"] = "auto"
    atomicity: Atomicity = Atomicity.NAMESPACE
    prune: bool = True
    guard: _Guard = _Guard()
    allow_empty: bool = False
    on_rewrite: Literal["apply", "block"] = "apply"
    adopt: bool = False
    # In the order of the settings: of two equal Literals Python keeps the first it sees, and the page shows that.
    namespace_mismatch: Literal["rewrite", "error", "yaml"] | None = None
    unresolved_reference: Literal["warn", "error"] = "warn"


class _Webhook(_Section):
    provider: Literal[PROVIDERS]  # type: ignore[valid-type]
    secrets: tuple[Reference, ...] = ()
    id: str | None = None
    username: str = ""
    header: str = ""


class _Source(_Section):
    name: str
    url: str
    ref: _Ref = _Ref(branch="main")
    path: str = ""
    layout: Layout = Layout.AUTO
    target_namespace: str | None = None
    namespaces: tuple[str, ...] = Field(min_length=1)
    deny: tuple[str, ...] = ()
    include: tuple[str, ...] = ("**",)
    ignore: tuple[str, ...] = ()
    auth: _Auth = _Auth()
    tls: _Tls = _Tls()
    proxy: Reference | None = None
    poll: Period | None = None
    timeout: Period | None = None
    fetch: _Fetch = _Fetch()
    limits: _Limits = _Limits()
    apply: _Apply = _Apply()
    webhook: _Webhook | None = None


class _Defaults(_Section):
    poll: Period = timedelta(seconds=60)
    timeout: Period = timedelta(minutes=5)


class _Git(_Section):
    mirror_dir: str | None = None
    allow_file_urls: bool = False
    allow_insecure_http: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    defaults: _Defaults = _Defaults()
    sources: tuple[dict[str, Any], ...] = ()


def parse_git(
    section: Mapping[str, Any], *, data_dir: Path, resolve_credential: Resolve, locate: Locate | None = None
) -> tuple[Settings, tuple[GitSource, ...]]:
    """The whole ``git`` section. Raises ``ConfigurationError`` naming place, value and nearest known key."""
    git = _validate(_Git, section, ("git",), locate)
    settings = Settings(
        mirror_dir=Path(git.mirror_dir) if git.mirror_dir else data_dir / "git",
        allow_file_urls=git.allow_file_urls,
        allow_insecure_http=git.allow_insecure_http,
        allowed_hosts=git.allowed_hosts,
    )

    def locate_source(path: tuple[str | int, ...]) -> str:
        return locate(("sources", *path)) if locate else _dotted(("git", "sources", *path))

    sources = parse_sources(
        list(git.sources),
        resolve_credential=resolve_credential,
        settings=settings,
        poll=git.defaults.poll,
        timeout=git.defaults.timeout,
        locate=locate_source,
    )
    return settings, sources


def parse_sources(
    sources: Sequence[Mapping[str, Any]],
    *,
    resolve_credential: Resolve,
    settings: Settings | None = None,
    poll: timedelta = timedelta(seconds=60),
    timeout: timedelta = timedelta(minutes=5),
    locate: Locate | None = None,
) -> tuple[GitSource, ...]:
    """Check a list of sources. Raises ``ConfigurationError``; no network, no file, no git is touched.

    ``poll`` and ``timeout`` are the defaults; ``locate`` gives ``file:line:column`` of a key path.
    """
    made: list[GitSource] = []
    for index, values in enumerate(sources):
        written = _validate(_Source, values, (index,), locate)
        made.append(_source(written, values, index, resolve_credential, settings, poll, timeout, locate))
    names = [source.name for source in made]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigurationError(
                f"two sources are named '{name}'", where=_where((index, "name"), locate), hint="give each its own name"
            )
    check_rules([source.rule for source in made])
    return tuple(made)


def _source(
    written: _Source,
    values: Mapping[str, Any],
    index: int,
    resolve: Resolve,
    settings: Settings | None,
    poll: timedelta,
    timeout: timedelta,
    locate: Locate | None,
) -> GitSource:
    def refuse(message: object, *path: str | int, hint: str = "") -> ConfigurationError:
        where = _where((index, *path), locate)
        return ConfigurationError(f"source '{written.name}': {message}", where=where, hint=hint)

    def credential(reference: str | None) -> Credential | None:
        return Credential(reference, resolve) if reference else None

    if not NAME.fullmatch(written.name):
        raise refuse("the name takes 1 to 40 of a-z, 0-9 and '-'", "name")
    try:
        address = parse_address(
            written.url,
            allow_file=settings.allow_file_urls if settings else False,
            insecure_hosts=settings.allow_insecure_http if settings else (),
            allowed_hosts=settings.allowed_hosts if settings else (),
        )
    except ValueError as error:
        raise refuse(error, "url") from None
    given = [(kind, value) for kind, value in written.ref.model_dump().items() if value is not None]
    if len(given) != 1:
        raise refuse("`ref` takes exactly one of branch, tag, commit and name", "ref")
    kind, value = given[0]
    try:
        if kind == "commit":
            check_commit_id(value)
        else:
            check_ref_name(value)
        if kind == "name" and not value.startswith("refs/"):
            raise ValueError("`name` is a full ref that begins with refs/")  # noqa: TRY301
    except ValueError as error:
        raise refuse(error, "ref", kind) from None
    try:
        path = check_tree_path(written.path)
    except ValueError as error:
        raise refuse(error, "path") from None
    for key in ("namespaces", "deny"):
        for position, pattern in enumerate(getattr(written, key)):
            why = why_not_a_pattern(pattern)
            if why:
                raise refuse(f"namespace pattern '{pattern}' {why}", key, position)
    target = written.target_namespace
    if target is not None and why_not_a_namespace(target):
        raise refuse(f"target_namespace '{target}' {why_not_a_namespace(target)}", "target_namespace")
    if written.layout is Layout.KESTRA_TASKS and target is None:
        raise refuse("the layout kestra-tasks needs target_namespace", "layout")
    auth = _checked_auth(written, address.scheme, refuse)
    mismatch = written.apply.namespace_mismatch or ("rewrite" if written.layout is Layout.KESTRA_TASKS else "error")
    hook = written.webhook
    return GitSource(
        name=written.name,
        address=address,
        ref=Ref(kind=kind, value=value),
        path=path,
        layout=written.layout,
        target_namespace=target,
        namespaces=written.namespaces,
        deny=written.deny,
        include=written.include,
        ignore=written.ignore,
        auth=Auth(
            type=auth.type,
            username=auth.username,
            token=credential(auth.token),
            private_key=credential(auth.private_key),
            passphrase=credential(auth.passphrase),
            known_hosts=credential(auth.known_hosts),
        ),
        tls_ca=credential(written.tls.ca),
        proxy=credential(written.proxy),
        poll=written.poll if written.poll is not None else poll,
        timeout=written.timeout if written.timeout is not None else timeout,
        fetch=Fetch(depth=written.fetch.depth, max_pack_bytes=written.fetch.max_pack_bytes),
        limits=Limits(**written.limits.model_dump()),
        apply=Apply(
            mode=written.apply.mode,
            atomicity=written.apply.atomicity,
            prune=written.apply.prune,
            guard=Guard(**written.apply.guard.model_dump()),
            allow_empty=written.apply.allow_empty,
            on_rewrite=written.apply.on_rewrite,
            adopt=written.apply.adopt,
            namespace_mismatch=mismatch,
            unresolved_reference=written.apply.unresolved_reference,
        ),
        webhook=Webhook(
            provider=hook.provider,
            secrets=tuple(Credential(reference, resolve) for reference in hook.secrets),
            hook_id=hook.id or "",
            username=hook.username,
            header=hook.header,
        )
        if hook
        else None,
        written=dict(values),
    )


def _checked_auth(written: _Source, scheme: str, refuse: Callable[..., ConfigurationError]) -> _Auth:
    auth = written.auth
    if auth.type == "token":
        if auth.token is None:
            raise refuse("auth type token needs `token`", "auth")
        if scheme not in ("https", "http"):
            raise refuse(f"auth type token is for https, the URL is {scheme}", "auth", "type")
    if auth.type == "ssh":
        if scheme != "ssh":
            raise refuse(f"auth type ssh is for ssh:// URLs, the URL is {scheme}", "auth", "type")
        if auth.private_key is None or auth.known_hosts is None:
            raise refuse("auth type ssh needs `private_key` and `known_hosts`: host keys are always checked", "auth")
    if scheme == "ssh" and auth.type != "ssh":
        raise refuse("an ssh URL needs auth type ssh", "auth", "type")
    if any(ord(character) < 33 or character in ":@/'" for character in auth.username):
        raise refuse("auth.username contains a blank or one of : @ / '", "auth", "username")
    return auth


def _validate(model: type[M], values: Mapping[str, Any], path: tuple[str | int, ...], locate: Locate | None) -> M:
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"expected a mapping, got {type(values).__name__}", where=_where(path, locate))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        inner = tuple(part for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-")))
        where = _where((*path, *inner), locate)
        named = f"'{values.get('name')}': " if "name" in values else ""
        key = ".".join(str(part) for part in inner)
        if first["type"] == "extra_forbidden":
            near = did_you_mean(str(inner[-1]), _keys(model, inner[:-1]))
            raise ConfigurationError(f"{named}unknown key '{key}'{near}", where=where) from None
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{named}{key}: {message}", where=where) from None


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys known at ``path`` below the model."""
    for part in path:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        for candidate in (inner, *getattr(inner, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
                break
    return list(model.model_fields)


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _where(path: tuple[str | int, ...], locate: Locate | None) -> str:
    return locate(path) if locate else _dotted(("sources", *path) if path and isinstance(path[0], int) else path)
