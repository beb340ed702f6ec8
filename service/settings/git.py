"""The `git` section of `lanner.yaml` (`gitops.md` 2.3): what may be synced, from where, under which rules.

Only the shape and its own contradictions are checked here; `sync` turns a source into its frozen model.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from service.settings.base import Section
from service.settings.values import Credential, Duration, Size

Names = list[str]


class Ref(Section):
    """Exactly one of these."""

    branch: str | None = Field(None, description="Branch to follow.")
    tag: str | None = Field(None, description="Tag to follow.")
    commit: str | None = Field(None, description="Full commit SHA; never moves.")
    name: str | None = Field(None, description="Full name, `refs/…`.")

    @model_validator(mode="after")
    def _one(self) -> Ref:
        if sum(value is not None for value in (self.branch, self.tag, self.commit, self.name)) != 1:
            raise ValueError("must name exactly one of branch, tag, commit, name")
        return self


class Auth(Section):
    type: Literal["none", "token", "ssh"] = Field("none", description="Kind of credential.")
    username: str = Field("x-access-token", description="User name that goes with the token.")
    token: Credential | None = Field(None, description="Reference to an access token.")
    private_key: Credential | None = Field(None, description="Reference to an SSH private key.")
    passphrase: Credential | None = Field(None, description="Reference to the passphrase of the key.")
    known_hosts: Credential | None = Field(None, description="Reference to the pinned host keys; required for ssh.")

    @model_validator(mode="after")
    def _complete(self) -> Auth:
        needs = {
            "token": ("token",),
            "ssh": ("private_key", "known_hosts"),
        }.get(self.type, ())
        missing = [name for name in needs if not getattr(self, name)]
        if missing:
            raise ValueError(f"type {self.type} needs {' and '.join(missing)}")
        return self


class Tls(Section):
    ca: Credential | None = Field(None, description="Reference to a CA bundle.")


class Fetch(Section):
    depth: int = Field(0, ge=0, description="Commits of history; 0 fetches the whole history of the ref.")
    max_pack_bytes: Size = Field(2 * 2**30, description="Largest pack accepted.")
    fsck: Literal["strict"] = Field("strict", description="Check objects on arrival.")


class SourceLimits(Section):
    max_files: int = Field(50_000, ge=1, description="Files under `path`.")
    max_flow_bytes: Size = Field(2**20, description="One flow file.")
    max_file_bytes: Size = Field(10 * 2**20, description="One namespace file.")
    max_total_bytes: Size = Field(512 * 2**20, description="All files together.")


class Guard(Section):
    max_deletes: int = Field(20, ge=0, description="Deletions in one plan that need no approval.")
    max_delete_percent: int = Field(30, ge=0, le=100, description="The same as a share of what is applied.")
    min_items_for_percent: int = Field(10, ge=0, description="Below this many items the share is not looked at.")


class Apply(Section):
    mode: Literal["auto", "manual"] = Field("auto", description="`manual` plans, then waits for approval.")
    atomicity: Literal["namespace", "commit", "file"] = Field(
        "namespace", description="Unit held back when something in it is invalid."
    )
    prune: bool = Field(True, description="Delete what left the repository.")
    guard: Guard = Field(default_factory=Guard, description="Deletions that need approval.")
    allow_empty: bool = Field(False, description="Accept a tree without any flow.")
    on_rewrite: Literal["apply", "block"] = Field("apply", description="After a force push or a moved tag.")
    adopt: bool = Field(False, description="Take over flows managed through the API.")
    namespace_mismatch: Literal["rewrite", "error", "yaml"] | None = Field(
        None, description="When folder and YAML disagree; default by layout."
    )
    unresolved_reference: Literal["warn", "error"] = Field("warn", description="Reference to an unknown flow.")


class Hook(Section):
    provider: Literal[
        "github",
        "gitlab",
        "gitea",
        "forgejo",
        "gogs",
        "bitbucket",
        "bitbucket-dc",
        "azure-devops",
        "generic",
        "standard",
        "bearer",
    ] = Field(description="Who sends the push webhook; never guessed.")
    secrets: list[Credential] = Field([], description="References; several during rotation.")
    id: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{16,64}$", description="Address of the hook; made if absent.")
    username: str = Field("", description="User name that Azure DevOps sends.")
    header: str = Field("", description="Header that carries the secret, where the provider lets one choose.")


class SourceDefaults(Section):
    poll: Duration = Field("60s", validate_default=True, description="How often a remote is asked; 0: hooks only.")
    timeout: Duration = Field("5m", validate_default=True, description="Longest fetch.")


class Source(Section):
    """One repository, ref and path with its credentials and policy."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,40}$", description="Name of the source: a-z, 0-9 and -, at most 40.")
    url: str = Field(description="https or ssh address (file with `git.allow_file_urls`).")
    ref: Ref = Field(default_factory=lambda: Ref(branch="main"), description="What to follow.")
    path: str = Field("", description="Folder in the repository.")
    layout: Literal["auto", "lanner", "kestra-tenant", "kestra-tasks", "flat"] = Field(
        "auto", description="How files map to namespaces."
    )
    target_namespace: str | None = Field(None, description="Root namespace of layout `kestra-tasks`.")
    namespaces: Names = Field(min_length=1, description="Namespaces this source may write; no default.")
    deny: Names = Field([], description="Namespaces it may not; wins over `namespaces`.")
    include: Names = Field(["**"], description="Globs on paths below `path`.")
    ignore: Names = Field([], description="Globs of files to leave out.")
    auth: Auth = Field(default_factory=Auth, description="Credentials.")
    tls: Tls = Field(default_factory=Tls, description="Certificates.")
    proxy: Credential | None = Field(None, description="Reference to a proxy address.")
    poll: Duration | None = Field(None, description="Default `git.defaults.poll`; each poll is spread by ±20 %.")
    timeout: Duration | None = Field(None, description="Default `git.defaults.timeout`.")
    fetch: Fetch = Field(default_factory=Fetch, description="How much is fetched.")
    limits: SourceLimits = Field(default_factory=SourceLimits, description="How much is accepted.")
    apply: Apply = Field(default_factory=Apply, description="How plans are applied.")
    webhook: Hook | None = Field(None, description="Push webhook.")

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        if self.layout == "kestra-tasks" and not self.target_namespace:
            raise ValueError("layout kestra-tasks needs target_namespace")
        return self


class Git(Section):
    """Repositories that flows come from."""

    mirror_dir: str | None = Field(None, description="Bare mirrors; default `<data_dir>/git`.")
    allow_file_urls: bool = Field(False, description="Admit `file://` remotes.")
    allow_insecure_http: Names = Field([], description="Hosts for which http:// is accepted.")
    allowed_hosts: Names = Field([], description="When given, no other host is contacted.")
    defaults: SourceDefaults = Field(default_factory=SourceDefaults, description="For sources that say nothing else.")
    sources: list[Source] = Field([], description="The repositories.")

    @model_validator(mode="after")
    def _addresses(self) -> Git:
        seen: set[str] = set()
        for source in self.sources:
            if source.name in seen:
                raise ValueError(f"two sources are called '{source.name}'")
            seen.add(source.name)
            problem = url_problem(source.url, self)
            if problem:
                raise ValueError(f"source '{source.name}': url {problem}")
        return self


_SCP = re.compile(r"^[A-Za-z0-9._-]+@[A-Za-z0-9][A-Za-z0-9.-]*:[^:].*$")


def url_problem(url: str, git: Git) -> str:
    """Why this address is refused, or an empty text (reliability S14; `sync` checks again before each use)."""
    if any(ord(char) < 32 or ord(char) == 127 for char in url) or "::" in url or url.startswith("-"):
        return "has characters that are not allowed"
    if _SCP.match(url):
        return ""
    scheme, found, rest = url.partition("://")
    host = rest.split("/")[0].rsplit("@", 1)[-1].split(":")[0]
    if not found:
        return "must begin with https:// or ssh://"
    if scheme == "file":
        return "" if git.allow_file_urls else "file:// needs git.allow_file_urls: true"
    if scheme == "http":
        return "" if host in git.allow_insecure_http else f"http:// needs '{host}' in git.allow_insecure_http"
    if scheme not in {"https", "ssh"}:
        return f"has the scheme '{scheme}'; https and ssh are accepted"
    if not host or host.startswith("-"):
        return "has no host"
    user = rest.split("/")[0].rsplit("@", 1)[0] if "@" in rest.split("/")[0] else ""
    if ":" in user:
        return "holds a password; give it as auth.token, a reference"
    return ""
