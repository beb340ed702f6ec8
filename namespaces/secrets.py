"""Secrets: where their values come from, and how secret values are kept at rest. Values never leave through an API.

Order of lookup (``gitops.md`` 2.14): the namespace, its parents, the instance; at one level the table before the
environment. Environment: ``LANNER_SECRET_<NS>__<NAME>``, ``LANNER_SECRET_<NAME>`` (plain), ``SECRET_<NAME>`` (base64).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from namespaces.errors import NotFound, StartRefused
from namespaces.store.db import Database
from namespaces.tables import SecretRow

secret_table = SecretRow.__table__  # type: ignore[attr-defined]

MARK = "$secret"
"""Key of the map that stands for an encrypted value inside inputs and outputs."""
KEY_BYTES = 32
NONCE_BYTES = 12


def load_or_create_key(path: Path) -> bytes:
    """The instance's key: 32 random bytes, base64, mode 0600; made at the first start.

    Raises ``StartRefused`` for a file that others may read, that is empty or does not hold 32 bytes.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            raise StartRefused(f"the key file {path} can be read by others", hint=f"chmod 600 {path}") from None
        try:
            key = base64.b64decode(path.read_bytes().strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES or len(set(key)) < 8:
            raise StartRefused(
                f"the key file {path} does not hold a key",
                hint="restore it from a backup; without it secrets stored before cannot be read",
            ) from None
        return key
    with os.fdopen(descriptor, "wb") as file:
        key = os.urandom(KEY_BYTES)
        file.write(base64.b64encode(key))
    return key


class Vault:
    """Encrypts single values with AES-256-GCM; what a value belongs to is authenticated with it."""

    def __init__(self, key: bytes, key_id: str = "k1") -> None:
        self._key = key
        self.key_id = key_id

    def seal(self, value: Any, belongs_to: str) -> dict[str, str]:
        """``{"$secret": base64}`` for any JSON value; only ``open`` with the same ``belongs_to`` gives it back."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(self._key).encrypt(nonce, orjson.dumps(value), belongs_to.encode())
        return {MARK: base64.b64encode(nonce + sealed).decode()}

    def open(self, sealed: Mapping[str, str], belongs_to: str) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        raw = base64.b64decode(sealed[MARK])
        return orjson.loads(AESGCM(self._key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], belongs_to.encode()))

    def unseal(self, value: Any, belongs_to: str, seen: set[str]) -> Any:
        """A copy of ``value`` with every sealed part opened; the opened texts are added to ``seen`` for masking."""
        if isinstance(value, dict):
            if MARK in value and isinstance(value[MARK], str):
                opened = self.open(value, belongs_to)
                seen.update(texts(opened))
                return opened
            return {key: self.unseal(item, belongs_to, seen) for key, item in value.items()}
        if isinstance(value, list):
            return [self.unseal(item, belongs_to, seen) for item in value]
        return value


def reseal(vault: Vault, value: Any, old: str, new: str) -> Any:
    """A copy of ``value`` whose sealed parts belong to ``new`` instead of ``old``."""
    if isinstance(value, dict):
        if MARK in value and isinstance(value[MARK], str):
            return vault.seal(vault.open(value, old), new)
        return {key: reseal(vault, item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [reseal(vault, item, old, new) for item in value]
    return value


def texts(value: Any) -> Iterator[str]:
    """Every text inside a value: what has to be masked when the value is secret."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def masked(value: Any, mask: str = "******") -> Any:
    """A copy of ``value`` with every sealed part replaced by stars (six, as Kestra 1.x shows inputs)."""
    if isinstance(value, dict):
        if MARK in value:
            return mask
        return {key: masked(item, mask) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, mask) for item in value]
    return value


def lineage(namespace: str) -> list[str]:
    """The namespace and its ancestors, nearest first: ``a.b`` gives ``["a.b", "a"]``."""
    parts = namespace.split(".")
    return [".".join(parts[:size]) for size in range(len(parts), 0, -1)]


class Secrets:
    """Values of secrets by name. The environment is read once, at the start, so that scripts cannot inherit it."""

    def __init__(self, database: Database, vault: Vault, environment: Mapping[str, str]) -> None:
        self._database = database
        self._vault = vault
        self._plain: dict[str, str] = {}
        for name, value in environment.items():
            if name.startswith("LANNER_SECRET_"):
                self._plain[name.removeprefix("LANNER_SECRET_").upper()] = value
            elif name.startswith("SECRET_"):
                try:
                    decoded = base64.b64decode(value, validate=False).decode()
                except (binascii.Error, UnicodeDecodeError):
                    continue
                self._plain.setdefault(name.removeprefix("SECRET_").upper(), decoded)

    def get(self, namespace: str, key: str) -> str:
        """The value for a flow in this namespace. Raises ``NotFound`` with Kestra's words."""
        name = key.upper()
        rows = self._database.read(
            lambda connection: connection.execute(
                sa.select(secret_table).where(
                    secret_table.c.namespace.in_(lineage(namespace)), secret_table.c.key.in_({key, name})
                )
            ).all()
        )
        stored = {row.namespace: row for row in rows}
        for level in lineage(namespace):
            if level in stored:
                row = stored[level]
                sealed = {MARK: base64.b64encode(row.ciphertext).decode()}
                return str(self._vault.open(sealed, f"{level}/{row.key}/{row.version}"))
            scoped = f"{level.upper().replace('.', '_').replace('-', '_')}__{name}"
            if scoped in self._plain:
                return self._plain[scoped]
        if name in self._plain:
            return self._plain[name]
        raise NotFound(f"Cannot find secret for key '{key}'.", code="secret_not_found")

    def names(self) -> list[str]:
        """Names of the environment's secrets."""
        return sorted(self._plain)
