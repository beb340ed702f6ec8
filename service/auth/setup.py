"""The first run (``reliability.md`` S2): the configured administrator, or a one-time token printed on the console."""

from __future__ import annotations

from typing import Any

from service.auth.accounts import Accounts


def accounts_of(lanner: Any) -> Accounts:
    """The accounts of a wired server, one object for its whole life: it remembers logins and the setup token."""
    found = getattr(lanner, "accounts", None)
    if not isinstance(found, Accounts):
        found = Accounts(lanner.database, lanner.clock)
        lanner.accounts = found
    return found


def prepare_first_run(lanner: Any) -> str | None:
    """Create the configured administrator; returns the setup token to print while there is no user, else None."""
    accounts = accounts_of(lanner)
    admin = lanner.settings.auth.admin
    if admin.username and admin.password is not None:
        accounts.ensure_admin(admin.username, admin.password.resolve())
    return accounts.setup_token()
