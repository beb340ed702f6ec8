"""The spawner: keeps supervisors waiting, so that a script starts without a fork in its way."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import select
import signal
import socket
import struct
import traceback
from typing import NoReturn

from runner.worker.bare.script import LIBC, PR_SET_NAME, Home, Supervisor, ignore

MOST_IDLE = 2
"""A supervisor that has done its work waits for more, unless so many wait already."""
_NEWS = struct.Struct("<cI")
_TAKEN, _BACK = b"-", b"+"
_COLLECT_EVERY = 50


def supervise(control: socket.socket, news: int, idle: mmap.mmap) -> NoReturn:
    """In the forked process: one request after the other, as long as each ends clean. Never returns."""
    code, folder, served = 1, "", 0
    try:
        # Whoever reads the server's messages from a pipe must see their end with the server's, not with ours.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
        home = Home()
        while True:
            data, fds, _, _ = socket.recv_fds(control, 65536, 1)
            if not data:
                os._exit(0)
            with contextlib.suppress(OSError):
                os.write(news, _NEWS.pack(_TAKEN, os.getpid()))
            folder = data.decode()
            os.set_inheritable(fds[0], False)
            owner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fds[0])
            clean = Supervisor(home, folder, owner).run()
            if not clean or idle[0] >= MOST_IDLE:
                break
            os.write(news, _NEWS.pack(_BACK, os.getpid()))
            served += 1
            if served % _COLLECT_EVERY == 0:
                gc.collect()
        code = 0
    except BaseException as error:  # noqa: BLE001 - this process has nobody to raise to; its folder gets it
        with contextlib.suppress(OSError), open(os.path.join(folder, "crash"), "w") as file:
            file.write(f"{type(error).__name__}: {error}\n")
            traceback.print_exc(file=file)
    finally:
        os._exit(code)


class Spawner:
    """Knows which of its children wait, and sees to it that one always does."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.waiting: set[int] = set()
        self.idle = mmap.mmap(-1, mmap.PAGESIZE)
        self.news, self.news_write = os.pipe()
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, ignore)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self) -> None:
        """Until the owner's end of the socket closes."""
        poll = select.poll()
        poll.register(self.control, 0)
        poll.register(self.news, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while True:
            while not self.waiting:
                self.fork()
            for fd, event in poll.poll():
                if fd == self.news:
                    self.hear(os.read(self.news, 64 * _NEWS.size))
                elif fd == self.wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake, 512)
                    self.bury()
                elif event & select.POLLHUP:
                    return
            self.idle[0] = min(len(self.waiting), 255)

    def fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for fd in (self.news, self.wake):
                os.close(fd)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            supervise(self.control, self.news_write, self.idle)
        self.waiting.add(pid)

    def hear(self, words: bytes) -> None:
        for kind, pid in _NEWS.iter_unpack(words):
            if kind == _BACK:
                self.waiting.add(pid)
            else:
                self.waiting.discard(pid)

    def bury(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.waiting.discard(pid)


def main(fd: int) -> None:
    """Serve requests on this socket. One is one datagram: a folder's path, with the attempt's socket attached."""
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    LIBC.prctl(PR_SET_NAME, b"lanner-spawner", 0, 0, 0)
    os.umask(0o077)
    spawner = Spawner(control)
    gc.collect()
    gc.freeze()
    spawner.run()
