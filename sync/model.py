"""What a Git source is configured to be, and the facts and outcomes of a sync, as frozen values. No I/O.

Built from configuration by ``sync.config``; rows become these values in ``sync.store``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from namespaces.errors import Problem
from namespaces.ownership import SourceRule
from sync.addresses import Address

MIB = 1024 * 1024


class Layout(StrEnum):
    AUTO = "auto"
    LANNER = "lanner"
    KESTRA_TENANT = "kestra-tenant"
    KESTRA_TASKS = "kestra-tasks"
    FLAT = "flat"


class Atomicity(StrEnum):
    """The unit that is held back when something in it is invalid."""

    NAMESPACE = "namespace"
    COMMIT = "commit"
    FILE = "file"


class State(StrEnum):
    """``gitops.md`` 2.9, worst first."""

    UNKNOWN = "Unknown"
    ERROR = "Error"
    DEGRADED = "Degraded"
    OUT_OF_SYNC = "OutOfSync"
    SYNCED = "Synced"
    RELEASED = "Released"
    """No longer configured: its flows stay, nobody owns them any more."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A reference such as ``${env:TOKEN}``; the value is read each time it is needed and never kept or shown."""

    reference: str
    resolve: Callable[[str], str] = field(repr=False, compare=False)

    def value(self) -> str:
        """Raises ``ConfigurationError`` when the reference leads nowhere."""
        return self.resolve(self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """How to log in: ``none``, ``token`` (https) or ``ssh``."""

    type: str = "none"
    username: str = "x-access-token"
    token: Credential | None = None
    private_key: Credential | None = None
    passphrase: Credential | None = None
    known_hosts: Credential | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Push hook of a source. ``secrets`` are all accepted (rotation); ``header`` only for ``azure-devops``."""

    provider: str
    secrets: tuple[Credential, ...] = ()
    hook_id: str = ""
    username: str = ""
    header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    depth: int = 0
    """0: the full history of the ref."""
    max_pack_bytes: int = 2048 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    max_files: int = 50_000
    max_flow_bytes: int = MIB
    max_file_bytes: int = 10 * MIB
    max_total_bytes: int = 512 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Deletions above ``max_deletes``, or above the percentage of at least so many items, wait for approval."""

    max_deletes: int = 20
    max_delete_percent: int = 30
    min_items_for_percent: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    mode: str = "auto"
    atomicity: Atomicity = Atomicity.NAMESPACE
    prune: bool = True
    guard: Guard = Guard()
    allow_empty: bool = False
    on_rewrite: str = "apply"
    adopt: bool = False
    namespace_mismatch: str = "error"
    unresolved_reference: str = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """What is followed. ``kind`` is ``branch``, ``tag``, ``commit`` or ``name`` (a full ref)."""

    kind: str
    value: str

    @property
    def full_name(self) -> str | None:
        """The full ref name, None for a commit id."""
        prefixes = {"branch": "refs/heads/", "tag": "refs/tags/", "name": ""}
        return None if self.kind == "commit" else prefixes[self.kind] + self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """One (repository, ref, path) with its rights and policy; see ``gitops.md`` 2.3 for each field."""

    name: str
    address: Address
    ref: Ref
    path: str = ""
    layout: Layout = Layout.AUTO
    target_namespace: str | None = None
    namespaces: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    include: tuple[str, ...] = ("**",)
    ignore: tuple[str, ...] = ()
    auth: Auth = Auth()
    tls_ca: Credential | None = None
    proxy: Credential | None = None
    poll: timedelta = timedelta(seconds=60)
    timeout: timedelta = timedelta(minutes=5)
    fetch: Fetch = Fetch()
    limits: Limits = Limits()
    apply: Apply = Apply()
    webhook: Webhook | None = None
    written: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """The configuration as written; credentials in it are references."""

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def rule(self) -> SourceRule:
        return SourceRule(self.name, self.namespaces, self.deny)

    def policy_hash(self, *extra: str) -> str:
        """Changes when anything changes that may turn the same commit into another plan."""
        facts = [
            self.path, self.layout, self.target_namespace, self.namespaces, self.deny, self.include, self.ignore,
            [getattr(self.limits, name) for name in self.limits.__slots__],
            [str(getattr(self.apply, name)) for name in self.apply.__slots__],
            extra,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The ``git`` section apart from its sources."""

    mirror_dir: Path
    allow_file_urls: bool = False
    allow_insecure_http: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    git_program: str = ""
    """Absolute path; empty: looked up once in /usr/bin, /usr/local/bin, /bin."""
    ssh_program: str = "ssh"
    workers: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit's own words: raw bytes decoded with replacement, control characters stripped."""

    id: str
    tree: str
    parents: tuple[str, ...] = ()
    author_name: str = ""
    author_email: str = ""
    committed_at: datetime | None = None
    message: str = ""

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0][:200]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A source as people see it (``gitops.md`` 2.9)."""

    name: str
    url: str
    ref: str
    path: str
    layout: str
    state: State
    reason: str = ""
    message: str = ""
    stale: bool = False
    """Unreachable for fewer than three tries: still the state of before."""
    paused: bool = False
    origin: str = "config"
    namespaces: tuple[str, ...] = ()
    applied_commit: str | None = None
    applied: Mapping[str, Any] | None = None
    """``{subject, author, at}`` of the applied commit."""
    applied_at: datetime | None = None
    seen_commit: str | None = None
    seen: Mapping[str, Any] | None = None
    seen_at: datetime | None = None
    lag_seconds: float | None = None
    generation: int = 0
    last_success_at: datetime | None = None
    next_attempt_at: datetime | None = None
    fail_count: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    """Items by ``kind.state``, e.g. ``flow.ok``."""
    plan: Mapping[str, Any] | None = None
    """The plan that waits for approval: ``{hash, reason, counts, actions}``."""
    hook_id: str | None = None
    provider: str | None = None
    pinned_commit: str | None = None
    pin: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemView:
    """One file of the inventory."""

    path: str
    kind: str
    namespace: str
    key: str
    state: str
    mode: str
    blob_oid: str | None
    seen_oid: str | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One genuine push hook request."""

    delivery_id: str
    received_at: datetime
    event: str
    ref: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRun:
    """One pass over a source that did or decided something."""

    id: str
    source: str
    trigger: str
    requested_by: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    from_commit: str | None = None
    to_commit: str | None = None
    rewritten: bool = False
    reason: str = ""
    message: str = ""
    generation: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    plan_hash: str | None = None
    durations: Mapping[str, float] = field(default_factory=dict)
    """Seconds by phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What happened to one file in one run."""

    path: str
    kind: str
    namespace: str
    key: str
    action: str
    code: str = ""
    line: int = 0
    column: int = 0
    message: str = ""
    severity: str = ""
