"""The tables of this room: sources, their inventory, requests, runs with results, push hooks and deliveries.

Written with Core statements in ``sync.store`` and ``sync.apply``; the lease of a source is in ``namespaces``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from namespaces.store.base import Instant, Json, RowId


class GitSourceRow(SQLModel, table=True):
    __tablename__ = "git_source"
    name: str = Field(primary_key=True)
    origin: str = "config"
    """``config``: from lanner.yaml, read-only in the API; ``api``: added by an administrator."""
    config: Any = Field(default=None, sa_column=Column(Json))
    """As written; credentials are references."""
    state: str = "Unknown"
    reason: str = ""
    message: str = Field(default="", sa_type=Text)
    applied_commit: str | None = None
    applied_tree: str | None = None
    applied_info: Any = Field(default=None, sa_column=Column(Json))
    applied_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    policy: str = ""
    """Hash of what made the applied plan apart from the commit."""
    judged: str = ""
    """``commit:policy`` that was decided upon last, whatever the decision: not looked at again until it differs."""
    version: int = 0
    """Rises with each change to the inventory: tells a cached copy that it is old."""
    generation: int = 0
    seen_commit: str | None = None
    seen_info: Any = Field(default=None, sa_column=Column(Json))
    seen_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    layout: str | None = None
    """What ``auto`` was resolved to."""
    paused: bool = False
    pinned_commit: str | None = None
    pin: Any = Field(default=None, sa_column=Column(Json))
    plan: Any = Field(default=None, sa_column=Column(Json))
    """The plan that waits: ``{hash, commit, reason, counts, actions}``."""
    approved_plan: str | None = None
    approved_by: str | None = None
    requested_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    """The newest request; one later than ``handled_at`` is still pending."""
    first_requested_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    request_full: bool = False
    request_trigger: str = ""
    requested_by: str = ""
    request_run: str | None = None
    """Id that the run of the pending request will have."""
    taken_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    """Requests up to here are being handled by a pass; a later one needs another pass."""
    handled_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    fetched_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    full_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    """When the whole tree was last compared with the inventory."""
    fail_count: int = 0
    next_poll_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    checked_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    """The last time the remote answered."""


class GitItemRow(SQLModel, table=True):
    """One file of a source: what is applied (``blob_oid``) and what the newest commit holds (``seen_oid``)."""

    __tablename__ = "git_item"
    __table_args__ = (Index("ix_git_item_key", "kind", "namespace", "key"),)
    source: str = Field(primary_key=True)
    path: str = Field(primary_key=True)
    kind: str
    namespace: str
    key: str
    """Flow id, or the path of a namespace file."""
    mode: str
    blob_oid: str | None = None
    seen_oid: str | None = None
    state: str = "ok"
    """``ok``, ``held`` (kept at last good, or never applied), ``kept`` (gone from Git, not pruned)."""
    problems: Any = Field(default=None, sa_column=Column(Json))
    tied: str | None = None
    """Path of the held item that this held one replaces."""


class SyncRunRow(SQLModel, table=True):
    __tablename__ = "sync_run"
    __table_args__ = (Index("ix_sync_run_source", "source", "started_at"),)
    id: str = Field(primary_key=True)
    source: str
    trigger: str
    requested_by: str = ""
    from_commit: str | None = None
    to_commit: str | None = None
    rewritten: bool = False
    started_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    ended_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    outcome: str
    reason: str = ""
    message: str = Field(default="", sa_type=Text)
    generation: int | None = None
    counts: Any = Field(default=None, sa_column=Column(Json))
    plan_hash: str | None = None
    durations: Any = Field(default=None, sa_column=Column(Json))


class SyncResultRow(SQLModel, table=True):
    __tablename__ = "sync_result"
    id: int | None = Field(default=None, sa_column=Column(RowId, primary_key=True, autoincrement=True))
    run_id: str = Field(index=True)
    path: str
    kind: str
    namespace: str
    key: str
    action: str
    code: str = ""
    line: int = 0
    col: int = 0
    message: str = Field(default="", sa_type=Text)
    severity: str = ""


class GitHookRow(SQLModel, table=True):
    """The address of a source's push hook: 128 random bits, an address and not a secret. Sources may share one."""

    __tablename__ = "git_hook"
    hook_id: str = Field(primary_key=True)
    source: str = Field(primary_key=True, index=True)
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class GitDeliveryRow(SQLModel, table=True):
    """A delivery that was accepted: the same id within seven days is a repeat."""

    __tablename__ = "git_delivery"
    hook_id: str = Field(primary_key=True)
    delivery_id: str = Field(primary_key=True)
    received_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    ref: str = ""
    event: str = ""
    result: str = ""
