"""The spawner: keeps forked supervisors waiting, so that a script starts without a fork in its way."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import traceback
from typing import NoReturn

from runner.worker.bare.script import LIBC, PR_SET_NAME, Supervisor

IDLE = 2
"""Supervisors that wait, forked already, for their script."""


def supervise(control: socket.socket, taken: int) -> NoReturn:
    """In the forked process: wait for one request, carry it out, end. Never returns."""
    code, folder = 1, ""
    try:
        supervisor = Supervisor()
        data, fds, _, _ = socket.recv_fds(control, 65536, 1)
        if not data:
            os._exit(0)
        with contextlib.suppress(OSError):
            os.write(taken, b".")
        os.close(taken)
        control.close()
        folder = data.decode()
        os.set_inheritable(fds[0], False)
        supervisor.run(folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fds[0]))
        code = 0
    except BaseException as error:  # noqa: BLE001 - this process has nobody to raise to; its folder gets it
        with contextlib.suppress(OSError), open(os.path.join(folder, "crash"), "w") as file:
            file.write(f"{type(error).__name__}: {error}\n")
            traceback.print_exc(file=file)
    finally:
        os._exit(code)


def main(fd: int) -> None:
    """The spawner: keeps two forked supervisors waiting on the socket.

    One request is one datagram: a folder's path, with the attempt's socket attached.
    """
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    LIBC.prctl(PR_SET_NAME, b"lanner-spawner", 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    taken_read, taken_write = os.pipe()
    poll = select.poll()
    poll.register(control, 0)
    poll.register(taken_read, select.POLLIN)
    gc.collect()
    gc.freeze()
    missing = IDLE
    while True:
        for _ in range(missing):
            if os.fork() == 0:
                os.close(taken_read)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                supervise(control, taken_write)
        missing = 0
        for fd, event in poll.poll():
            if fd == taken_read:
                missing += len(os.read(taken_read, 64))
            elif event & select.POLLHUP:
                return
