"""The tables of this room: flows, revisions, trigger declarations, files, KV, leases, outbox, audit.

Rows never leave the room as table objects; functions beside the tables return plain values.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

from namespaces.store.base import Instant, Json, RowId, partial_index


class CounterRow(SQLModel, table=True):
    """Named counters; ``catalog_version`` is the generation of the registry (``gitops.md`` 2.1)."""

    __tablename__ = "counter"
    name: str = Field(primary_key=True)
    value: int = 0


class FlowRow(SQLModel, table=True):
    __tablename__ = "flow"
    namespace: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    revision: int
    """The newest revision."""
    source: str | None = Field(default=None, index=True)
    """Name of the Git source that owns the flow; None: managed through the API."""
    disabled: bool = False
    deleted: bool = False
    broken: str | None = Field(default=None, sa_type=Text)
    """Why the newest text no longer reads, e.g. after a plugin was removed."""
    description: str | None = Field(default=None, sa_type=Text)
    labels: Any = Field(default=None, sa_column=Column(Json))
    updated_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class RevisionRow(SQLModel, table=True):
    __tablename__ = "flow_revision"
    __table_args__ = (Index("ix_flow_revision_generation", "namespace", "flow_id", "from_generation"),)
    namespace: str = Field(primary_key=True)
    flow_id: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    text: str = Field(sa_type=Text)
    checksum: str
    """SHA-256 of the normalized text."""
    deleted: bool = False
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    from_generation: int
    to_generation: int | None = None
    source: str | None = None
    commit: str | None = None
    path: str | None = None
    blob_oid: str | None = None
    author_name: str | None = None
    author_email: str | None = None
    committed_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    message: str | None = Field(default=None, sa_type=Text)
    renamed_from: str | None = None


class TriggerRow(SQLModel, table=True):
    """A trigger as declared by the newest revision; run-time state belongs to the runner."""

    __tablename__ = "trigger_declaration"
    namespace: str = Field(primary_key=True)
    flow_id: str = Field(primary_key=True)
    trigger_id: str = Field(primary_key=True)
    type: str = Field(index=True)
    revision: int
    disabled: bool = False
    """Disabled by the trigger itself or by its flow."""
    declared: Any = Field(default=None, sa_column=Column(Json))
    generation: int = 0
    """Generation of the last change to this declaration."""


class NamespaceRow(SQLModel, table=True):
    __tablename__ = "namespace"
    name: str = Field(primary_key=True)
    source: str | None = None
    settings: Any = Field(default=None, sa_column=Column(Json))
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class FileRow(SQLModel, table=True):
    """One version of a namespace file, valid from one generation up to another."""

    __tablename__ = "file_entry"
    __table_args__ = (Index("ix_file_entry_path", "namespace", "path", "from_generation"),)
    id: int | None = Field(default=None, sa_column=Column(RowId, primary_key=True, autoincrement=True))
    namespace: str
    path: str
    """Begins with ``/``."""
    sha256: str = Field(index=True)
    size: int
    executable: bool = False
    source: str | None = None
    revision: int = 1
    from_generation: int
    to_generation: int | None = None
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class BlobRow(SQLModel, table=True):
    """Content of namespace files, shared by all namespaces."""

    __tablename__ = "blob"
    sha256: str = Field(primary_key=True)
    size: int
    content: bytes = Field(sa_type=LargeBinary)


class KvRow(SQLModel, table=True):
    """One version of a key; the newest has ``latest`` true."""

    __tablename__ = "kv"
    __table_args__ = (
        partial_index(
            "uq_kv_latest",
            "namespace",
            "key",
            unique=True,
            sqlite="latest = 1",
            postgresql="latest",
        ),
    )
    namespace: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    latest: bool = True
    deleted: bool = False
    type: str
    value: Any = Field(default=None, sa_column=Column(Json))
    description: str | None = Field(default=None, sa_type=Text)
    source: str | None = None
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=Column(Instant))


class SecretRow(SQLModel, table=True):
    """A secret encrypted at rest (AES-256-GCM); the value has no read path but the runner's."""

    __tablename__ = "secret"
    namespace: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    version: int = 1
    key_id: str
    ciphertext: bytes = Field(sa_type=LargeBinary)
    description: str | None = None
    updated_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class LeaseRow(SQLModel, table=True):
    """A named lease with a fencing token that rises with each new holder."""

    __tablename__ = "lease"
    name: str = Field(primary_key=True)
    holder: str | None = None
    host: Any = Field(default=None, sa_column=Column(Json))
    """Boot id, process id and process start time of the holder, so that a dead one on this host is replaced at once."""
    token: int = 0
    until: datetime = Field(sa_column=Column(Instant, nullable=False))


class OutboxRow(SQLModel, table=True):
    """An effect waiting to be carried out, written in the transaction that decided it."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due", "topic", "due_at", "id"),)
    id: int | None = Field(default=None, sa_column=Column(RowId, primary_key=True, autoincrement=True))
    topic: str
    key: str = ""
    payload: Any = Field(default=None, sa_column=Column(Json))
    due_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    """Not before; moved on when claimed, so that a claim that dies comes back by itself."""
    attempts: int = 0


class UserRow(SQLModel, table=True):
    """A person who can log in; the password is an argon2id hash."""

    __tablename__ = "user_account"
    username: str = Field(primary_key=True)
    password_hash: str
    admin: bool = True
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class SessionRow(SQLModel, table=True):
    """A browser session; only the SHA-256 of its id is kept."""

    __tablename__ = "user_session"
    id_hash: str = Field(primary_key=True)
    username: str = Field(index=True)
    csrf: str
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    seen_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class AuditRow(SQLModel, table=True):
    """Append-only, hash-chained record of who did what."""

    __tablename__ = "audit_log"
    seq: int | None = Field(default=None, sa_column=Column(RowId, primary_key=True, autoincrement=True))
    at: datetime = Field(sa_column=Column(Instant, nullable=False))
    actor: str
    address: str | None = None
    verb: str
    object: str
    result: str = "ok"
    detail: Any = Field(default=None, sa_column=Column(Json))
    previous_hash: str
    hash: str
