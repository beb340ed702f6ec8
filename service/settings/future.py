"""Settings that are agreed on and have no effect yet. Changing one is an error, because silence would be a lie.

A test looks in the code: what is read nowhere must stand here, and what is read must not.
"""

from __future__ import annotations

NOT_YET = frozenset(
    {
        "auth.groups",
        "auth.oidc.client_id",
        "auth.oidc.client_secret",
        "auth.oidc.groups_claim",
        "auth.oidc.issuer",
        "auth.oidc.scopes",
    }
)
