"""The sections of `lanner.yaml` with their defaults (`decisions.md` 2). Reading files is in `load.py`.

Every field says its help in one sentence: `docs/reference/settings.md` is made from here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, field_validator, model_validator

from service.settings.base import Section
from service.settings.git import Git
from service.settings.values import Credential, Duration, ServiceUrl, Size

MIB = 2**20


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/lanner`, else `~/.local/share/lanner`."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "lanner"


class Environment(Section):
    name: str | None = Field(None, description="Shown in the page header and as `kestra.environment`.")
    color: str | None = Field(None, description="Colour of that name, `#rrggbb`.")


class Server(Section):
    """Where the server listens and how it is reached."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    url: str | None = Field(None, description="Address people use, for links; default made of host and port.")
    timezone: str | None = Field(None, description="Zone of schedules that name none; default the host's.")
    allow_http: bool = Field(False, description="Accept logins over plain HTTP from other machines.")
    trusted_proxies: list[str] = Field([], description="Addresses whose `X-Forwarded-*` headers count.")
    management_port: int | None = Field(None, ge=1, le=65535, description="Second port on loopback: health, metrics.")
    system_namespace: str = Field("system", description="Namespace of the operator's own flows.")
    environment: Environment = Field(default_factory=Environment, description="Label of this instance.")
    drain: Duration = Field("30s", validate_default=True, description="How long SIGTERM waits for running work.")
    threads: int = Field(64, ge=4, le=1024, description="Requests answered at once; each event stream holds one.")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        if value is not None:
            from zoneinfo import ZoneInfo

            try:
                ZoneInfo(value)
            except (ValueError, OSError, LookupError) as error:
                raise ValueError("must be a time zone such as Europe/Paris") from error
        return value


class DatabaseSettings(Section):
    """Where state lives."""

    url: ServiceUrl | None = Field(
        None, description="`sqlite:////path/lanner.db` or `postgresql://user@host/name`; default a file in `data_dir`."
    )

    @field_validator("url")
    @classmethod
    def _supported(cls, value: str | None) -> str | None:
        kind = (value or "sqlite:").partition(":")[0].partition("+")[0]
        if kind not in {"sqlite", "postgresql"}:
            raise ValueError(f"must begin with sqlite:/// or postgresql://, '{kind}' is not supported")
        return value


class Storage(Section):
    """Where files of executions live."""

    url: ServiceUrl | None = Field(None, description="Folder or object store; default `<data_dir>/storage`.")


class Dispatch(Section):
    """How attempts reach workers."""

    kind: Literal["inprocess", "celery"] = Field("inprocess", description="Threads of this process, or Celery.")
    broker_url: ServiceUrl | None = Field(None, description="`amqp://…` or `redis://…`, for Celery.")
    groups: list[Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]*$")]] = Field(
        [], max_length=5, description="Worker groups this process serves; `default` is work that names none."
    )

    @model_validator(mode="after")
    def _broker(self) -> Dispatch:
        if self.kind == "celery" and not self.broker_url:
            raise ValueError("kind celery needs broker_url")
        return self


class Admin(Section):
    username: str | None = Field(None, description="Administrator given by configuration, the way for containers.")
    password: Credential | None = Field(None, description="Reference to the password, 8 to 256 characters.")

    @model_validator(mode="after")
    def _both(self) -> Admin:
        if (self.username is None) != (self.password is None):
            raise ValueError("needs both username and password")
        return self


class Oidc(Section):
    issuer: str = Field(description="Address of the identity provider.")
    client_id: str = Field(description="Client registered there.")
    client_secret: Credential | None = Field(None, description="Reference to its secret.")
    scopes: list[str] = Field(["openid", "profile", "email"], description="Scopes asked for.")
    groups_claim: str = Field("groups", description="Claim that lists a person's groups.")


class AuthSettings(Section):
    """Who may come in."""

    mode: Literal["basic", "none"] = Field("basic", description="`none` is possible on a loopback address only.")
    admin: Admin = Field(default_factory=Admin, description="First administrator.")
    oidc: Oidc | None = Field(None, description="Single sign-on.")
    groups: dict[str, str] = Field({}, description="Group of the identity provider → team.")


class Docker(Section):
    host: str | None = Field(None, description="Socket of a Docker-compatible engine; default the usual ones.")
    volumes: bool = Field(False, description="Let flows mount host folders.")
    privileged: bool = Field(False, description="Let flows ask for privileged containers.")


class Tasks(Section):
    """How scripts run."""

    default_task_runner: Literal["auto", "process", "docker"] = Field(
        "auto", description="Runner of scripts that name none; `auto`: a reachable engine, else a process."
    )
    inherit_env: list[str] = Field([], description="Variables of the host that scripts see.")
    allowed_paths: list[str] = Field([], description="Host folders that `file://` may read.")
    minimum_isolation: Literal["process", "bubblewrap", "container"] = Field(
        "process", description="Weakest isolation accepted."
    )
    docker: Docker = Field(default_factory=Docker, description="Container engine.")


class Egress(Section):
    """What HTTP tasks may reach."""

    loopback: Literal["auto", "allow", "deny"] = Field(
        "auto", description="Loopback addresses; `auto`: while the server itself listens on loopback only."
    )
    private: Literal["allow", "deny"] = Field("allow", description="Private address ranges.")
    allow: list[str] = Field([], description="`host:port` always allowed, metadata services too.")


class Secrets(Section):
    """Keys that secrets are encrypted with."""

    keys: list[Credential] = Field(
        [], description="References, newest first; default a file made at the first start in `data_dir`."
    )


class Limits(Section):
    """Reliability R21: overload is refused early and visibly."""

    executions: int = Field(100_000, ge=1, description="Unfinished executions of the instance.")
    executions_per_namespace: int = Field(20_000, ge=1, description="Unfinished executions of a namespace.")
    executions_per_flow: int = Field(10_000, ge=1, description="Unfinished executions of a flow.")
    subprocesses: int | None = Field(None, ge=1, description="Scripts at once; default twice the cores, at most 64.")
    body_bytes: Size = Field(10 * MIB, description="Request body.")
    upload_bytes: Size = Field(1024 * MIB, description="Multipart upload.")
    webhook_body_bytes: Size = Field(5 * MIB, description="Body of a webhook.")
    form_parts: int = Field(1_000, ge=1, description="Parts of a form.")
    input_bytes: Size = Field(MIB, description="One input value that is no file.")
    flow_bytes: Size = Field(MIB, description="YAML of one flow.")
    flow_nodes: int = Field(100_000, ge=1, description="Nodes of a flow after its aliases are expanded.")
    flow_depth: int = Field(64, ge=1, le=200, description="Nesting of a flow.")
    flow_aliases: int = Field(1_000, ge=0, description="Aliases in a flow.")
    tasks_per_flow: int = Field(5_000, ge=1, description="Tasks of a flow.")
    task_runs_per_execution: int = Field(50_000, ge=1, description="Task runs of an execution with its iterations.")
    subflow_depth: int = Field(100, ge=1, description="Subflows within subflows.")
    log_bytes: Size = Field(10 * MIB, description="Log of an attempt; the middle is dropped beyond it.")
    log_line_bytes: Size = Field(32 * 1024, description="One line of a log.")
    log_lines_per_second: int = Field(5_000, ge=1, description="Lines an attempt may log; mean of a minute.")
    output_row_bytes: Size = Field(256 * 1024, description="Outputs kept in the database; larger ones go to storage.")
    output_bytes: Size = Field(10 * MIB, description="Outputs of a task run.")
    task_cache_entries: int = Field(1_000, ge=1, description="Outputs kept for one task with `taskCache`.")
    context_bytes: Size = Field(32 * MIB, le=40 * MIB, description="Context of one rendering.")
    output_file_bytes: Size = Field(1024 * MIB, description="One output file.")
    output_files: int = Field(1_000, ge=1, description="Output files of a task.")
    output_files_bytes: Size = Field(10 * 1024 * MIB, description="Output files of an execution.")
    expression_bytes: Size = Field(64 * 1024, description="One `{{ }}` or tag.")
    template_bytes: Size = Field(MIB, description="One text with expressions.")
    rendered_bytes: Size = Field(MIB, description="What a rendering gives.")
    render_time: Duration = Field("2s", validate_default=True, description="Time of one rendering.")
    render_memory_bytes: Size = Field(128 * MIB, description="Memory of one rendering.")
    attempt_memory_bytes: Size | None = Field(None, description="Memory of a script.")
    attempt_cpu: Duration | None = Field(None, description="Processor time of a script.")
    attempt_processes: int = Field(512, ge=1, description="Processes of a script.")
    attempt_file_bytes: Size = Field(4 * 1024 * MIB, description="Largest file a script may write.")
    memory_bytes: Size = Field(1024 * MIB, description="Memory of the server above which new work waits.")
    webhook_rate: int | None = Field(None, ge=1, description="Webhook calls a minute and flow; none by default.")


class Retention(Section):
    """How long things are kept."""

    executions: Duration | None = Field(None, description="Finished executions; by default for ever.")
    audit: Duration = Field(
        "365d", ge=timedelta(days=365), validate_default=True, description="Audit log; at least a year."
    )
    idempotency_keys: Duration = Field("7d", validate_default=True, description="Idempotency keys.")
    sync_runs: Duration = Field("90d", validate_default=True, description="Records of syncs.")


class Settings(Section):
    """The whole configuration."""

    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of everything Lanner keeps.")
    globals: dict[str, Any] = Field({}, description="Values that expressions see as `globals`.")
    env_prefix: str = Field("ENV_", min_length=1, description="Variables with this prefix are seen as `envs`.")
    flow_language: Literal["auto", 1, 2] = Field("auto", description="Language of flows that declare none.")
    flow_language_unmarked: Literal[1, 2] = Field(1, description="With `auto`, language of flows without a marker.")
    strict: Literal[1, 2] | None = Field(None, description="Refuse constructs of the other language.")
    trigger_errors: Literal["execution", "log"] = Field(
        "execution", description="Flow trigger whose inputs do not render: a failed execution, or a log entry."
    )
    plugin_defaults: list[dict[str, Any]] = Field([], description="Defaults of task types for all flows.")
    policies: list[dict[str, Any]] = Field([], description="Policies for all flows (how-to: policies).")
    recover_missed_schedules: Literal["ALL", "LAST", "NONE"] = Field(
        "ALL", description="Fires missed while the server was down."
    )
    subflow_pin: Literal["run", "latest"] = Field("run", description="Revision a subflow starts with.")
    recursive_rendering: bool = Field(False, description="Render results again, as Kestra before 0.14.")
    server: Server = Field(default_factory=Server)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    storage: Storage = Field(default_factory=Storage)
    dispatch: Dispatch = Field(default_factory=Dispatch)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    git: Git = Field(default_factory=Git)
    tasks: Tasks = Field(default_factory=Tasks)
    egress: Egress = Field(default_factory=Egress)
    secrets: Secrets = Field(default_factory=Secrets)
    limits: Limits = Field(default_factory=Limits)
    retention: Retention = Field(default_factory=Retention)

    _credentials: dict[str, Credential] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> Settings:
        if self.auth.mode == "none" and not is_loopback(self.server.host):
            raise ValueError(
                f"auth.mode none is possible on a loopback address only, not on server.host {self.server.host}"
            )
        if self.dispatch.kind == "celery" and self.database_url.startswith("sqlite"):
            raise ValueError("dispatch.kind celery needs PostgreSQL: set database.url")
        self._credentials.update((credential.reference, credential) for credential in _credentials_in(self))
        return self

    def resolve(self, reference: str, secret: Callable[[str], str] | None = None) -> str:
        """The value behind a reference that stands in this configuration. Raises ``ConfigurationError``.

        Variables answer with what they held when the settings were read; files are read again each time.
        """
        return self._credentials.get(reference, Credential(reference)).resolve(secret)

    @property
    def environment_names(self) -> frozenset[str]:
        """Variables that credentials of this configuration come from."""
        names = (reference.removeprefix("${env:").removesuffix("}") for reference in self._credentials)
        return frozenset(name for name in names if not name.startswith("$"))

    def git_section(self) -> dict[str, Any]:
        """The `git` section as plain values, references as written: what ``sync.config.parse_git`` takes."""
        return self.git.model_dump(mode="json", exclude_none=True)

    @property
    def database_url(self) -> str:
        """The database of this instance; a file in the data folder unless set."""
        return self.database.url or f"sqlite:///{(self.data_dir / 'lanner.db').absolute()}"

    @property
    def sqlite_file(self) -> Path | None:
        """The SQLite file, or None with another database."""
        if not self.database_url.startswith("sqlite"):
            return None
        return Path(self.database_url.partition(":///")[2])

    @property
    def storage_url(self) -> str:
        return self.storage.url or str((self.data_dir / "storage").absolute())

    @property
    def mirror_dir(self) -> Path:
        return Path(self.git.mirror_dir) if self.git.mirror_dir else self.data_dir / "git"

    @property
    def public_url(self) -> str:
        """Address for links, without a slash at its end."""
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        return (self.server.url or f"http://{host}:{self.server.port}").rstrip("/")

    @property
    def subprocesses(self) -> int:
        return self.limits.subprocesses or min(64, 2 * (os.cpu_count() or 1))


def is_loopback(host: str) -> bool:
    """True for `localhost` and loopback addresses; no name is looked up."""
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _credentials_in(value: Any) -> Iterator[Credential]:
    if isinstance(value, Credential):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _credentials_in(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            yield from _credentials_in(item)
