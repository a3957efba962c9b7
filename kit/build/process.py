"""Runs one pip command to its end: a log without credentials, how far a download is, nothing left behind."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

POLL = 0.2  # seconds between two looks
SAID = 3  # lines of pip's that an error repeats
_SIZE = re.compile(r"Downloading .*\(([\d.]+) (bytes|kB|MB|GB)\)$")
_UNITS = {"bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def watch(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    log: str,
    redact: Callable[[Any], Any],
    held: tuple[int, ...] = (),
    tell: Optional[Callable[[Sequence[str]], None]] = None,
) -> tuple[int, list[str]]:
    """Run a command without a shell; returns its exit status and what it said, redacted.

    It inherits the descriptors ``held``.  ``tell`` is called with what it has said so far, several times a second;
    where that raises, or Ctrl-C does, the command's whole process group is killed.  Raises OSError where the command
    cannot be started.
    """
    posix = os.name == "posix"
    _write(log, redact("$ " + " ".join(argv)))
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=posix,
        pass_fds=held if posix else (),
    )
    said: list[str] = []
    reader = threading.Thread(target=_listen, args=(process, said, log, redact), daemon=True)
    reader.start()
    try:
        while True:
            if tell is not None:
                tell(said)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
                break
        reader.join(5)
    except BaseException:
        _kill(process)
        raise
    return process.returncode, said


def downloaded(folder: str, said: Sequence[str]) -> tuple[int, Optional[int]]:
    """(bytes on disk, bytes in all as far as pip has said) of the wheels that pip is downloading below ``folder``."""
    done = 0
    for place, _, files in os.walk(folder):
        for file in files:
            if file.endswith(".whl"):
                with contextlib.suppress(OSError):
                    done += os.stat(os.path.join(place, file)).st_size
    sizes = [match for match in map(_SIZE.search, said) if match]
    total = int(sum(float(match[1]) * _UNITS[match[2]] for match in sizes))
    return done, max(done, total) if sizes else None


def last_words(said: Sequence[str], status: int) -> str:
    """Why pip failed, in its own words."""
    errors = [line.partition("ERROR:")[2].strip() for line in said if "ERROR:" in line]
    words = [line for line in errors if line] or [line.strip() for line in said if line.strip()][-1:]
    words += [line.strip() for line in said if re.match(r"\s+(Expected|Got)\s", line)]
    words += [f"the file {line[line.index('has inconsistent') :]}" for line in said if "has inconsistent" in line]
    return "; ".join(words[-SAID:])[:500] or f"exit status {status}"


def _listen(process: "subprocess.Popen[bytes]", said: list[str], log: str, redact: Callable[[Any], Any]) -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        for line in stream:
            said.append(redact(line.decode("utf-8", "replace").rstrip()))
            _write(log, said[-1])


def _write(log: str, line: str) -> None:
    with contextlib.suppress(OSError), open(log, "a", encoding="utf-8") as stream:  # a full disk stops no repair
        stream.write(line + "\n")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
