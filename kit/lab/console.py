"""Running the lab's long commands, and showing on one line how far they are."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Callable, TextIO


class Runner:
    """Runs commands. Tests put another one in its place."""

    def run(self, argv: Sequence[str], log: Path, env: dict[str, str], tick: Callable[[], None]) -> int:
        """Run a long command with its output at the end of `log`; call `tick` while it lasts."""
        with log.open("ab") as out:
            out.write(f"$ {shlex.join(argv)}\n".encode())
            out.flush()
            with running(argv, out, env) as child:
                while True:
                    try:
                        return child.wait(timeout=0.25)
                    except subprocess.TimeoutExpired:
                        tick()

    def ask(self, argv: Sequence[str]) -> str | None:
        """What a short command prints, or None if it cannot be run, fails or hangs."""
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=30
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout if done.returncode == 0 else None


@contextlib.contextmanager
def running(argv: Sequence[str], out: IO[bytes], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own; however the block ends, none of the group is left behind."""
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=os.name == "posix",
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            _signal(child, signal.SIGTERM)
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                _signal(child, getattr(signal, "SIGKILL", signal.SIGTERM))
                child.wait()


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(child.pid, number)
        else:
            child.terminate()


def minutes(seconds: float) -> str:
    """95 is 1:35."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """One line for the step that runs: updated in place on a terminal, repeated every 30 s elsewhere."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.in_place = stream.isatty()
        self.label, self.usual, self.note = "", 0, ""
        self.began = self.shown = clock()

    def begin(self, label: str, usual: int) -> None:
        self.label, self.usual, self.note = label, usual, ""
        self.began = self.shown = self.clock()
        self._show(label if self.in_place else f"{label}   usually about {minutes(usual)}")

    def tick(self) -> None:
        """Called several times a second while a command runs."""
        if self.clock() - self.shown >= (1 if self.in_place else 30):
            self.shown = self.clock()
            self._show(self.line())

    def line(self) -> str:
        elapsed = self.clock() - self.began
        late = ", usually" if elapsed > self.usual else " of"
        note = f", {self.note}" if self.note else ""
        return f"{self.label}   {minutes(elapsed)}{late} about {minutes(self.usual)}{note}"

    def end(self, text: str = "") -> None:
        text = text or f"done in {minutes(self.clock() - self.began)}"
        self._show(f"{self.label}   {text}", last=True)

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _show(self, line: str, last: bool = False) -> None:
        if not self.in_place:
            self.stream.write(line + "\n")
        elif last:
            self.stream.write(f"\r\x1b[K{line}\n")
        else:
            self.stream.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
        self.stream.flush()
