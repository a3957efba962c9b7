"""Runs one command with a time limit and returns what came of it; the only place that starts a process to read."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

from kit.record import Record

_POSIX = os.name == "posix"


class Outcome(Record):
    """``status`` is the exit status, negative for a signal, None when the time limit was reached."""

    status: Optional[int]
    out: str = ""
    err: str = ""

    @property
    def signal(self) -> Optional[str]:
        """``'SIGSEGV'`` for a process that a signal ended."""
        return signal_name(self.status)


def signal_name(status: Optional[int]) -> Optional[str]:
    """The name of the signal behind a negative exit status: -11 -> ``'SIGSEGV'``."""
    if status is None or status >= 0:
        return None
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def run(
    argv: Sequence[str],
    timeout: float,
    env: Optional[Mapping[str, str]] = None,
    started: Optional[Callable[["subprocess.Popen[bytes]"], object]] = None,
) -> Outcome:
    """Run ``argv`` without a shell and without input; at the time limit its whole process group is killed.

    ``started`` is called with the process, so that another thread can end it.  Raises OSError where the
    program cannot be started.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if env is None else dict(env),
        start_new_session=_POSIX,
    )
    if started is not None:
        started(process)
    try:
        out, err = process.communicate(timeout=timeout)
        status: Optional[int] = process.returncode
    except subprocess.TimeoutExpired:
        _kill(process)
        out, err = _rest(process)
        status = None
    except BaseException:  # Ctrl-C must not leave the child behind
        _kill(process)
        raise
    return Outcome(status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


@contextlib.contextmanager
def side_by_side(workers: int) -> Iterator[Any]:
    """A thread pool whose tasks call ``run(..., started=pool.started)``; an exception in the block, Ctrl-C
    above all, ends the processes that still run instead of waiting for them."""
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and most often not needed

    processes: list[subprocess.Popen[bytes]] = []
    stopped = False

    def started(process: "subprocess.Popen[bytes]") -> None:
        processes.append(process)
        if stopped:  # it was about to start meanwhile
            _kill(process)

    with ThreadPoolExecutor(workers) as pool:
        pool.started = started  # type: ignore[attr-defined]
        try:
            yield pool
        except BaseException:
            stopped = True
            # Python 3.8, which a node of a cluster may have, cannot cancel what waits: it is started and killed.
            pool.shutdown(wait=False, **({"cancel_futures": True} if sys.version_info >= (3, 9) else {}))
            for process in processes:
                _kill(process)
            raise


def _rest(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    """What a killed process had said.  A child that left its group may hold the pipes open: it is not waited for."""
    try:
        return process.communicate(timeout=2)
    except subprocess.TimeoutExpired as late:
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        return late.stdout or b"", late.stderr or b""


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if _POSIX:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
