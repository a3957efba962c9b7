"""What runs on one node: reads its facts, redacts them there, and says in one JSON object what came of it.

This is the main program of the one file that :mod:`kit.nodes.onefile` makes: standard library and the modules that
read a machine, Python 3.8 and newer.  A node that cannot be read says so: an object without facts has a ``state`` and
a reason.
"""

import argparse
import base64
import dataclasses
import errno
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any, Callable, NoReturn, Optional

from kit.collect import PROBE_LIMIT, collect, host, interpreter, probe, redactor
from kit.errors import KitError
from kit.facts import Facts

LIMIT = 60.0  # seconds, for all of it
MARKER = "kit-node:"  # begins the lines that --lines prints
WIDTH = 800  # characters of a line: schedulers mix the lines of nodes, and cut long ones
_SIGNALS = {"SIGTERM": "killed", "SIGHUP": "killed", "SIGXCPU": "killed"}


class Stopped(BaseException):
    """The time is up, or somebody ends this process: ``state`` and why.  No ``except Exception`` holds it up."""

    def __init__(self, state: str, why: str):
        super().__init__(why)
        self.state, self.why = state, why


def main(argv: Optional[list[str]] = None) -> int:
    """Read this node.  Exit status 0 with facts, 1 without, 2 where the arguments cannot be used."""
    arguments = parser().parse_args(argv)
    node = arguments.node or own_name(os.environ)
    say = _Output(node, arguments.output, arguments.lines)
    say.begin()
    return say.row(read(node, arguments))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="kit-node", description="reads one node of a cluster")
    top.add_argument("--python", metavar="EXE", help="the interpreter to examine; the one that runs this by default")
    top.add_argument("--node", metavar="NAME", help="its name; by default the scheduler's, else the machine's")
    top.add_argument("-o", "--output", metavar="FILE", default="-", help="a file, a folder (NODE.json), - for stdout")
    top.add_argument("--limit", metavar="S", type=float, default=LIMIT, help="seconds that all of it may take")
    top.add_argument("--verify", action="store_true", help="also run real operators in fresh processes")
    top.add_argument("--bench", action="store_true", help="also measure the GPUs, or the processor, for some seconds")
    top.add_argument("--no-probes", action="store_true", help="do not try doubtful imports")
    top.add_argument("--lines", action="store_true", help="on stdout in short lines that may be mixed with others'")
    return top


def own_name(env: Any) -> str:
    """The scheduler's name of this node, where it tells one; else the machine's, without its domain."""
    return env.get("SLURMD_NODENAME") or host.uname()[1].partition(".")[0]


def read(node: str, arguments: Any) -> dict[str, Any]:
    """The row of this node.  Whatever goes wrong becomes one: nobody sees a node that says nothing."""
    begun = time.monotonic()
    row: dict[str, Any] = {"schema": 1, "node": node}
    hide = redactor()
    try:
        with _watched(arguments.limit):
            _stages(arguments, row)
    except Stopped as stopped:
        doing = f" while {row['doing']}" if row.get("doing") else ""
        row.update(state="late" if "facts" in row else stopped.state, why=stopped.why + doing)
    except KitError as error:
        row.update(state="refused", why=str(error))
    except MemoryError:
        row.update(state="killed", why="out of memory")
    except OSError as error:
        row.update(state="crashed", why=f"{type(error).__name__}: {error.strerror or error}: {error.filename or ''}")
    except Exception as error:  # the border: a node that says nothing helps nobody
        row.update(state="crashed", why=f"{type(error).__name__}: {error}")
    row.pop("doing", None)
    if row.get("why"):
        row["why"] = hide(" ".join(str(row["why"]).split())[:500])
    full = host.full_disk(os.environ)
    if full and not row.get("why"):
        row["why"] = hide(full)
    row["seconds"] = round(time.monotonic() - begun, 2)
    return row


def _stages(arguments: Any, row: dict[str, Any]) -> None:
    """Facts first: what comes after them may take long, and then they are there.  ``row`` is filled on the way."""
    row["doing"] = "reading files"
    executable = interpreter(arguments.python or sys.executable)
    facts = collect(executable, probes=False, limit=min(30.0, arguments.limit))
    row["facts"] = facts.to_dict()
    if not arguments.no_probes:
        row["doing"] = "trying imports"
        row["facts"] = _with_probes(facts, executable, arguments.limit).to_dict()
    if arguments.verify:
        from kit.verify import verify

        row["doing"] = "verifying"
        row["verified"] = verify(executable, limit=arguments.limit, facts=facts).to_dict()
    if arguments.bench:
        from kit.nodes.measure import measure

        row["doing"] = "measuring"
        measured, why = measure(executable, facts, arguments.limit)
        row.update({"measured": measured} if measured else {"why": why})


def _with_probes(facts: Facts, executable: str, limit: float) -> Facts:
    hide = redactor()
    # The same number on every node: it stands in the facts where an import gives no answer.
    tried = probe.run_probes(facts, executable, min(PROBE_LIMIT, limit / 2))
    return dataclasses.replace(facts, probes=tuple(dataclasses.replace(p, error=hide(p.error)) for p in tried))


class _watched:
    """Within it, the time limit and the signals with which schedulers end a job are :class:`Stopped`."""

    def __init__(self, limit: float):
        self.limit = limit
        self.before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if not hasattr(signal, "setitimer"):
            return
        for name, state in _SIGNALS.items():
            self._on(name, state, f"{name}: ended from outside")
        self._on("SIGALRM", "silent", f"not done within {self.limit:g} s,")
        signal.setitimer(signal.ITIMER_REAL, max(0.1, self.limit))

    def _on(self, name: str, state: str, why: str) -> None:
        def stop(number: int, frame: Any) -> NoReturn:
            raise Stopped(state, why)

        number = getattr(signal, name)
        self.before[number] = signal.signal(number, stop)

    def __exit__(self, *_: object) -> None:
        if self.before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self.before.items():
            signal.signal(number, handler)


class _Output:
    """Where the row goes: stdout, stdout in short lines, or a file that is whole or not there."""

    def __init__(self, node: str, output: str, lines: bool):
        folder = output != "-" and os.path.isdir(output)
        self.node, self.lines = node, lines
        self.file = os.path.join(output, f"{node}.json") if folder else None if output == "-" else output

    def begin(self) -> None:
        if self.lines:
            self.write(f"{MARKER}{self.node}:begins\n")

    def row(self, row: dict[str, Any]) -> int:
        if self.file is not None:
            row = self.to_file(row) or {}
            if not row:
                return 0
        text = json.dumps(row, sort_keys=True)
        try:
            self.write("".join(lines(self.node, text)) if self.lines else text + "\n")
        except OSError as error:
            sys.stderr.write(f"kit-node: {self.node}: the answer cannot be written: {error.strerror or error}\n")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is buffered would fail again at exit
            return 1
        return int("facts" not in row)

    def to_file(self, row: dict[str, Any]) -> Optional[dict[str, Any]]:
        """Write the file; what is to be said on stdout instead where that fails, or where there are no facts."""
        file = self.file or ""
        part = file if os.path.exists(file) and not os.path.isfile(file) else f"{file}.part"
        try:
            with open(part, "w", encoding="utf-8") as stream:
                json.dump(row, stream, sort_keys=True)
                stream.write("\n")
                stream.flush()
            if part != file:
                os.replace(part, file)
        except OSError as error:
            why = f"{file} cannot be written: {error.strerror or error}"
            sys.stderr.write(f"kit-node: {self.node}: {why}\n")
            if part != file and os.path.isfile(part):
                os.unlink(part)
            state = "crashed" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else "refused"
            return {"schema": 1, "node": self.node, "state": state, "why": redactor()(why), "seconds": row["seconds"]}
        return None if "facts" in row else row

    @staticmethod
    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def lines(node: str, text: str) -> Iterator[str]:
    """``text`` as lines that can be put together again when those of other nodes stand between them."""
    packed = base64.b64encode(zlib.compress(text.encode("utf-8"))).decode("ascii")
    parts = [packed[at : at + WIDTH] for at in range(0, len(packed), WIDTH)]
    for number, part in enumerate(parts):
        yield f"{MARKER}{node}:{number}:{len(parts)}:{part}\n"


class Lines:
    """Puts the lines of many nodes together; ``began`` is called with each node that begins."""

    def __init__(self, began: Callable[[str], object]):
        self.began = began
        self.parts: dict[str, dict[int, str]] = {}

    def take(self, line: str) -> Optional[tuple[str, str]]:
        """(node, text) where this line is the last one that was missing."""
        at = line.find(MARKER)  # a label of the scheduler may stand before it
        fields = line[at + len(MARKER) :].strip().split(":") if at >= 0 else []
        if len(fields) == 2 and fields[1] == "begins":
            self.began(fields[0])
        if len(fields) != 4 or not (fields[1].isdigit() and fields[2].isdigit()):
            return None
        node, parts = fields[0], self.parts.setdefault(fields[0], {})
        parts[int(fields[1])] = fields[3]
        if len(parts) < int(fields[2]):
            return None
        whole = "".join(parts[number] for number in sorted(self.parts.pop(node)))
        try:
            return node, zlib.decompress(base64.b64decode(whole, validate=True)).decode("utf-8")
        except (ValueError, zlib.error):
            return node, ""  # which no reader of facts takes for facts
