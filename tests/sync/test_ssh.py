"""Login by SSH key against a real sshd on loopback: it works, and what is wrong with it is said (gitops.md 2.4)."""

from __future__ import annotations

import getpass
import logging
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync.model import SyncRun
from tests.support import services
from tests.support.servers import free_port
from tests.support.waiting import until
from tests.sync import conftest
from tests.sync.conftest import World, at, flow

pytestmark = pytest.mark.slow

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


class SshServer:
    """An sshd of its own with one host key; it lets in who has ``login``'s key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.login = self.key("login")
        self.host = self.key("host")
        self.process: subprocess.Popen[bytes] | None = None

    def key(self, name: str) -> Path:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return path

    def known_hosts(self, host: Path | None = None) -> str:
        kind, public = host_key(host or self.host)
        return f"[127.0.0.1]:{self.port} {kind} {public}\n"

    def start(self) -> None:
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.host}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.login}.pub\nStrictModes no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nLogLevel VERBOSE\n"
        )
        if os.geteuid() == 0:
            # Where Debian's sshd keeps its unprivileged half; the service would make it.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = self.folder / "sshd.log"
        self.process = subprocess.Popen([SSHD, "-D", "-f", config, "-E", log])
        until(self._answers, f"sshd on port {self.port}: {log}")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "sshd.log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)


def host_key(path: Path) -> tuple[str, str]:
    kind, public = path.with_name(path.name + ".pub").read_text().split()[:2]
    return kind, public


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    for program in (SSHD, "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            services.missing("sshd", f"{program} is not installed (Debian: openssh-server, openssh-client)")
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = SshServer(folder)
    server.start()
    yield server
    server.stop()


class Remote:
    """The repository of a world behind an sshd. ``ssh`` notes every command line of the machine before it begins."""

    def __init__(self, world: World, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.server = server
        self.monkeypatch = monkeypatch
        self.seen = world.folder / "command lines"
        self.ssh = world.folder / "ssh-noting"
        self.ssh.write_text(
            f'#!/bin/sh\ncat /proc/[0-9]*/cmdline >> {shlex.quote(str(self.seen))} 2>/dev/null\nexec ssh "$@"\n'
        )
        self.ssh.chmod(0o755)

    def sync(self, key: Path | None = None, known_hosts: str | None = None) -> SyncRun:
        self.monkeypatch.setitem(conftest.SECRETS, "SSH_KEY", (key or self.server.login).read_text())
        self.monkeypatch.setitem(conftest.SECRETS, "SSH_HOSTS", known_hosts or self.server.known_hosts())
        world = self.world
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{self.server.port}{world.repo.remote}"
        auth = {"type": "ssh", "private_key": "${env:SSH_KEY}", "known_hosts": "${env:SSH_HOSTS}"}
        config = {**world.config, "url": url, "auth": auth}
        made = world.make(config, settings=replace(world.settings, ssh_program=str(self.ssh)))
        run = made.sync_now("data")
        assert run is not None
        made.stop()
        return run


@pytest.fixture
def remote(world: World, sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> Remote:
    return Remote(world, sshd, monkeypatch)


def test_a_source_is_synced_over_ssh(remote: Remote) -> None:
    world = remote.world
    world.push({at("company.data", "a"): flow("a")})
    first = remote.sync()
    world.push({at("company.data", "b"): flow("b")})

    second = remote.sync()

    assert (first.outcome, second.outcome) == ("applied", "applied")
    assert world.flows() == {"company.data.a": 1, "company.data.b": 1}


def test_a_key_that_is_not_let_in_is_named_as_the_reason(remote: Remote) -> None:
    remote.world.push({at("company.data", "a"): flow("a")})

    run = remote.sync(key=remote.server.key("other"))

    assert (run.outcome, run.reason) == ("failed", "AuthFailed")
    assert "Permission denied (publickey)" in run.message
    assert remote.world.flows() == {}


def test_a_text_that_is_no_key_is_refused(remote: Remote) -> None:
    broken = remote.world.folder / "no key"
    broken.write_text("this is no private key\n")

    run = remote.sync(key=broken)

    assert (run.outcome, run.reason) == ("failed", "AuthFailed")


def test_another_host_key_than_the_pinned_one_stops_the_sync_and_keeps_what_is_there(remote: Remote) -> None:
    world = remote.world
    world.push({at("company.data", "a"): flow("a")})
    remote.sync()
    world.push({at("company.data", "a"): flow("a", message="new")})

    changed = remote.sync(known_hosts=remote.server.known_hosts(remote.server.key("imposter")))
    unknown = remote.sync(known_hosts="[127.0.0.1]:1 ssh-ed25519 AAAA\n")

    assert [(run.outcome, run.reason) for run in (changed, unknown)] == [("failed", "HostKey")] * 2
    assert "host key" in changed.message.lower()
    assert world.flows() == {"company.data.a": 1}


def test_the_key_is_in_no_command_line_log_or_file_that_stays(
    remote: Remote, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    world = remote.world
    world.push({at("company.data", "a"): flow("a")})

    runs = [remote.sync(), remote.sync(key=remote.server.key("other"))]

    material = [
        line.encode() for name in ("login", "other") for line in (remote.server.folder / name).read_text().splitlines()
        if not line.startswith("-----")
    ]  # fmt: skip
    seen = remote.seen.read_bytes()
    assert b"git" in seen
    told = (caplog.text + "".join(run.message for run in runs)).encode()
    kept = b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and remote.server.folder not in path.parents
    )
    for line in material:
        assert line not in seen
        assert line not in told
        assert line not in kept
