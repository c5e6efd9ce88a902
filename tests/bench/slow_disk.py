"""The server on a disk that needs 3 ms more for each fsync: `python -m tests.bench.slow_disk serve`.

The kernel stops this process at fsync and fdatasync (a seccomp filter with user notification) until
a watching process lets it go on. So nothing of the server is touched, no interpreter lock is in the
way, and only these two calls cost more.
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import time

DELAY_SECONDS = 0.003

# From linux/seccomp.h, linux/filter.h, linux/prctl.h and the system call tables.
_CALLS = {"x86_64": (317, 74, 75), "aarch64": (277, 82, 83)}  # seccomp, fsync, fdatasync
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _FLAG_NEW_LISTENER = 1, 8
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ASK, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_NOTIFICATION_BYTES = 80
_CONTINUE = 1


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("first", ctypes.POINTER(_Instruction)))


def slow_down_fsync() -> None:
    """From here on each fsync of this process takes `DELAY_SECONDS` more.

    Raises:
        OSError: this kernel or container does not allow it.
    """
    ours, watchers = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _watch(watchers)
        os._exit(0)
    watchers.close()
    listener = _listener()
    socket.send_fds(ours, [b"x"], [listener])
    os.close(listener)
    ours.close()


def _listener() -> int:
    seccomp, *slowed = _CALLS[platform.machine()]
    instructions = (_Instruction * 5)(
        _Instruction(_LOAD_WORD, 0, 0, 0),
        _Instruction(_JUMP_IF_EQUAL, 1, 0, slowed[0]),
        _Instruction(_JUMP_IF_EQUAL, 0, 1, slowed[1]),
        _Instruction(_RETURN, 0, 0, _ASK),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(instructions), instructions)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    listener: int = libc.syscall(
        seccomp, _SET_MODE_FILTER, _FLAG_NEW_LISTENER, ctypes.byref(program)
    )
    if listener < 0:
        raise OSError(ctypes.get_errno(), "a seccomp filter with notification is not allowed here")
    return listener


def _watch(control: socket.socket) -> None:
    """Let each stopped call go on after its delay, until the slowed process is gone."""
    _, [listener], _, _ = socket.recv_fds(control, 1, 1)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        [(_, event)] = poll.poll()
        if event & select.POLLHUP:
            return
        notification = bytearray(_NOTIFICATION_BYTES)
        try:
            fcntl.ioctl(listener, _RECEIVE, notification)
            time.sleep(DELAY_SECONDS)
            (number,) = struct.unpack_from("Q", notification)
            fcntl.ioctl(listener, _ANSWER, struct.pack("QqiI", number, 0, 0, _CONTINUE))
        except OSError as error:
            if error.errno != errno.ENOENT:  # ENOENT: the caller was killed meanwhile
                raise


if __name__ == "__main__":
    slow_down_fsync()
    from miss_server.cli import main

    sys.argv[0] = "miss-server"
    main()
