"""The environment of a git process, and how secrets reach it: through an inherited pipe or a private file.

Secrets never appear in arguments, URLs, environment variables or the mirror's configuration.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from namespaces.errors import LannerError
from sync.errors import SyncFailed
from sync.model import Credential, GitSource, Settings

# Answers only for the host it was made for, whoever asks: a redirect or a submodule gets nothing.
_ASKPASS = """#!/bin/sh
case "$1" in
  "Username for '$LANNER_ASKPASS_ORIGIN': ") printf '%s\\n' "$LANNER_ASKPASS_USER" ;;
  "Password for '$LANNER_ASKPASS_LOGIN': ") exec cat "/proc/self/fd/$LANNER_ASKPASS_FD" ;;
  "Enter passphrase for key '$LANNER_ASKPASS_KEY': ") exec cat "/proc/self/fd/$LANNER_ASKPASS_FD" ;;
  *) exit 1 ;;
esac
"""


_PREPARED: set[Path] = set()
"""Folders this process has looked at; one that was removed meanwhile is made again."""


@dataclass(slots=True)
class Access:
    """What one network command needs: variables, inherited descriptors, and the secrets to hide in its output."""

    environment: dict[str, str]
    pass_fds: tuple[int, ...] = ()
    secrets: tuple[str, ...] = ()
    extra: list[tuple[str, str]] = field(default_factory=list)


def prepare_folder(settings: Settings) -> None:
    """Make the private folder that holds mirrors, an empty home and the askpass program (0700, ours)."""
    folder = settings.mirror_dir
    if folder in _PREPARED and (folder / "home").is_dir():
        return
    try:
        _prepare(folder)
    except OSError as error:
        raise SyncFailed("Mirror", f"the mirror folder {folder} cannot be made: {error.strerror}") from error


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise SyncFailed("Mirror", f"the mirror folder {folder} belongs to another user")
    if status.st_mode & 0o077:
        folder.chmod(0o700)
    (folder / "home").mkdir(exist_ok=True, mode=0o700)
    program = folder / "askpass"
    if not program.exists() or program.read_text(encoding="ascii") != _ASKPASS:
        fresh = folder / f"askpass.{os.getpid()}"
        fresh.write_text(_ASKPASS, encoding="ascii")
        fresh.chmod(0o700)
        fresh.replace(program)
    _PREPARED.add(folder)


def base_environment(settings: Settings, mirror: Path | None, config: list[tuple[str, str]]) -> dict[str, str]:
    """The whole environment of a git process, built from nothing (``gitops.md`` 2.4)."""
    folder = settings.mirror_dir
    pairs = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.symlinks", "false"),
        ("core.protectHFS", "true"),
        ("core.protectNTFS", "true"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("protocol.version", "2"),
        ("fetch.fsckObjects", "true"),
        ("fetch.fsck.zeroPaddedFilemode", "warn"),
        ("fetch.fsck.badTimezone", "warn"),
        ("fetch.fsck.missingSpaceBeforeDate", "warn"),
        ("fetch.recurseSubmodules", "false"),
        ("transfer.bundleURI", "false"),
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", "30"),
        ("http.sslVerify", "true"),
        ("credential.helper", ""),
        *config,
    ]
    if mirror is not None:
        pairs.append(("safe.directory", str(mirror)))
    protocols = ["https", "ssh", *(["file"] if settings.allow_file_urls else [])]
    if settings.allow_insecure_http:
        protocols.append("http")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": str(folder / "askpass"),
        "SSH_ASKPASS": str(folder / "askpass"),
        "SSH_ASKPASS_REQUIRE": "force",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_CEILING_DIRECTORIES": str(folder),
        "GIT_CONFIG_COUNT": str(len(pairs)),
    }
    for index, (name, value) in enumerate(pairs):
        environment[f"GIT_CONFIG_KEY_{index}"] = name
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    if mirror is not None:
        environment["GIT_DIR"] = str(mirror)
    return environment


@contextlib.contextmanager
def access(settings: Settings, source: GitSource, mirror: Path | None) -> Iterator[Access]:
    """Everything one network command needs; pipes are closed and private files removed at the end.

    Raises ``SyncFailed`` (``AuthFailed``) when a credential's reference leads nowhere.
    """
    auth = source.auth
    secrets: list[str] = []
    config: list[tuple[str, str]] = []
    extra: dict[str, str] = {}
    fds: list[int] = []
    with contextlib.ExitStack() as cleanup:

        def private_file(text: str) -> Path:
            descriptor, name = tempfile.mkstemp(prefix=".private-", dir=settings.mirror_dir)  # created 0600
            path = Path(name)
            cleanup.callback(path.unlink, missing_ok=True)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text if text.endswith("\n") else text + "\n")
            return path

        def secret_pipe(text: str) -> None:
            read_end, write_end = os.pipe()
            cleanup.callback(os.close, read_end)
            try:
                os.write(write_end, text.rstrip("\n").encode() + b"\n")
            finally:
                os.close(write_end)
            extra["LANNER_ASKPASS_FD"] = str(read_end)
            fds.append(read_end)

        if source.tls_ca is not None:
            config.append(("http.sslCAInfo", str(private_file(_value(source, source.tls_ca)))))
        if source.proxy is not None:
            config.append(("http.proxy", _value(source, source.proxy)))
        if auth.type == "token" and auth.token is not None:
            token = _value(source, auth.token)
            if "\n" in token.strip() or len(token) > 32_000:
                raise SyncFailed("AuthFailed", f"the token of source '{source.name}' has several lines")
            token = token.strip()
            secrets.append(token)
            user = source.address.user or auth.username
            origin = f"{source.address.scheme}://{source.address.origin}"
            login = f"{source.address.scheme}://{quote(user, safe='')}@{source.address.origin}"
            extra["LANNER_ASKPASS_ORIGIN"] = origin
            extra["LANNER_ASKPASS_LOGIN"] = login
            extra["LANNER_ASKPASS_USER"] = user
            secret_pipe(token)
        if auth.type == "ssh" and auth.private_key is not None and auth.known_hosts is not None:
            key = private_file(_value(source, auth.private_key))
            hosts = private_file(_value(source, auth.known_hosts))
            extra["GIT_SSH_COMMAND"] = _ssh_command(settings, key, hosts, batch=auth.passphrase is None)
            if auth.passphrase is not None:
                passphrase = _value(source, auth.passphrase)
                secrets.append(passphrase.strip())
                extra["LANNER_ASKPASS_KEY"] = str(key)
                secret_pipe(passphrase)
        environment = base_environment(settings, mirror, config) | extra
        yield Access(environment, tuple(fds), tuple(secrets))


def _value(source: GitSource, credential: Credential) -> str:
    try:
        return credential.value()
    except LannerError as error:
        raise SyncFailed(
            "AuthFailed", f"credential {credential.reference} of source '{source.name}': {error.message}"
        ) from error


def _ssh_command(settings: Settings, key: Path, hosts: Path, *, batch: bool) -> str:
    """git hands this to a shell: every value in it is ours, and the paths are quoted."""
    options = [
        f"BatchMode={'yes' if batch else 'no'}",
        "NumberOfPasswordPrompts=1",
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={_quoted(str(hosts), inner=True)}",
        "GlobalKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "ConnectTimeout=15",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
    ]
    words = [settings.ssh_program, "-F", "/dev/null", "-i", str(key)]
    for option in options:
        words += ["-o", option]
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str, *, inner: bool = False) -> str:
    if inner:
        return f'"{word}"' if " " in word else word
    return "'" + word.replace("'", "'\\''") + "'"
