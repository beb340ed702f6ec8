"""Why a sync could not go on: what the loop does next is decided by the reason, not by the message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from namespaces.errors import Conflict, LannerError

if TYPE_CHECKING:
    from sync.model import SyncRun

SLOW_REASONS = frozenset({"AuthFailed", "HostKey", "NotFound", "Redirect", "NotAllowed"})
"""A person has to act: tried again from five minutes on, so that no account is locked out."""

PATIENT_REASONS = frozenset({"Unreachable", "Timeout"})
"""Passes by itself: shown as Error only after three tries."""


class SyncFailed(LannerError):
    """The remote, the mirror or the repository's shape stops this sync; what is applied stays.

    ``reason`` is one of ``gitops.md`` 2.8 and 2.9 (``AuthFailed``, ``RefMissing`` …). The message is redacted.
    """

    code = "sync_failed"
    status = 409

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.run: SyncRun | None = None
        """The pass that failed, as far as it got."""
        self.values: dict[str, Any] = {}
        """Columns of the source that became known before the failure."""


class MirrorBroken(SyncFailed):
    """The local mirror is damaged: rebuild it once, then give up."""

    def __init__(self, message: str) -> None:
        super().__init__("Mirror", message, hint="lanner source rebuild makes a new mirror")


class Stopped(LannerError):
    """The service is stopping; the pass left everything as it was."""

    code = "stopping"
    status = 503


class Overtaken(Conflict):
    """Another process took the lease or applied another commit in the meantime; nothing was written."""

    code = "lease_lost"
