"""One repair of an environment at a time: a lock that the system lets go when its last holder ends."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator

from kit.errors import KitError
from kit.repair.tree import FOLDER, look, restamp

PATIENCE = 120.0  # seconds for the pip of a repair that was killed to come to its end
_SIZE = 96  # bytes: the note is as long each time, so that it needs no room on a full disk

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # a byte that nobody reads
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def lock(root: str, patience: float = PATIENCE) -> Iterator[int]:
    """Hold the lock of the environment at ``root``; yields its descriptor, which a child process inherits in order to
    hold it as well.  Raises KitError with the other's process and start where a repair is under way.
    """
    before = look(root)
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.join(root, FOLDER))
        if before is not None:
            restamp(root, before)
    with _opened(root, os.O_RDWR | os.O_CREAT) as descriptor:
        _wait(descriptor, patience)
        with contextlib.suppress(OSError):
            note = json.dumps({"pid": os.getpid(), "since": time.time()}).ljust(_SIZE).encode()
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, note)
        yield descriptor


def check(root: str) -> None:
    """Raise the KitError that :func:`lock` would, and write nothing."""
    with contextlib.suppress(FileNotFoundError), _opened(root, os.O_RDWR) as descriptor:
        _wait(descriptor, 0)


@contextlib.contextmanager
def _opened(root: str, flags: int) -> Iterator[int]:
    descriptor = os.open(os.path.join(root, FOLDER, "lock"), flags | getattr(os, "O_BINARY", 0), 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            return _take(descriptor)
        except OSError:
            pid, since = _holder(descriptor)
        if _runs(pid):
            when = time.strftime("%H:%M", time.localtime(since))
            raise KitError(f"a repair of this environment is under way (pid {pid}, since {when}); wait for its end")
        if time.monotonic() >= end:
            raise KitError("pip still runs for a repair that was killed; wait for its end, then: kit undo")
        time.sleep(0.1)


def _holder(descriptor: int) -> tuple[int, float]:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        note = json.loads(os.read(descriptor, _SIZE))
        return int(note["pid"]), float(note["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0.0  # it has the lock, and has not written its note


def _runs(pid: int) -> bool:
    if pid <= 0 or os.name != "posix":
        return pid > 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    file = f"/proc/{pid}/stat"  # a process that ended and was not waited for is none
    with contextlib.suppress(OSError, IndexError), open(file, encoding="ascii", errors="replace") as stream:
        return stream.read().rpartition(")")[2].split()[0] != "Z"
    return True
