"""Who calls, and the one question everything asks: ``can(principal, permission, namespace)``."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g

from namespaces.errors import Forbidden, NotFound, Unauthorized

READS = frozenset({"flow.read", "execution.read", "file.read", "kv.read", "source.read"})


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. ``via`` is local (no login asked for), basic, session or management."""

    name: str
    admin: bool = False
    via: str = "basic"


LOCAL = Principal("local", admin=True, via="local")
"""Everybody, on a server with ``--auth none`` (loopback only)."""


def can(principal: Principal | None, permission: str, namespace: str | None = None) -> bool:  # noqa: ARG001
    """Whether the caller may do this in the namespace (None: on the instance).

    There is one role so far, the administrator's; teams with roles per namespace are decided here too once they exist.
    """
    return principal is not None and principal.admin


def caller() -> Principal | None:
    """The principal of this request, None before the gate has let one in (public routes)."""
    principal: Principal | None = g.get("principal")
    return principal


def require(permission: str, namespace: str | None = None) -> None:
    """Raise unless the caller may: ``NotFound`` for what he may not even see, ``Forbidden`` for what he sees."""
    principal = caller()
    if principal is None:
        raise Unauthorized("no or wrong credentials")
    if can(principal, permission, namespace):
        return
    if permission in READS or not can(principal, "flow.read", namespace):
        raise NotFound("Not Found")
    raise Forbidden(f"'{principal.name}' may not do this ({permission})", hint="ask an owner of the namespace")


def require_here(namespace: str) -> None:
    """``require`` for the permission of the route at work, now that the namespace of its object is known."""
    require(g.permission, namespace)
