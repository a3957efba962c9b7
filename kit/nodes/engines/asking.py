"""What all engines share: the arguments of the one file, how it is started on a node, and what its end says."""

import re
import signal
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, Optional, Union

from kit.collect.run import signal_name
from kit.errors import KitError
from kit.nodes import folder, onefile
from kit.nodes.records import Answer, Asked

GRACE = 5.0  # seconds beyond the limit for the way there and back

# In a shell of the node: $0 is the interpreter under test, $1 the one file (- for standard input), then come the one
# file's arguments.  The first Python that is new enough and starts within some seconds reads the node: the one under
# test where it can, for a python3 on PATH may be a script that changes the environment.
LAUNCH = (
    'file="$1"; shift; limit="$(command -v timeout)"; '
    'for p in "$0" python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do '
    '${limit:+"$limit" 5} "$p" -c "import sys; sys.exit(sys.version_info < (3, 8))" </dev/null >/dev/null 2>&1 '
    '&& exec "$p" -I "$file" "$@"; '
    "done; echo 'kit-node: no Python 3.8 or newer is on this node' >&2; exit 127"
)


@cache
def packed() -> bytes:
    """The one file, compressed."""
    return zlib.compress(onefile.text().encode("utf-8"), 6)


def arguments(asked: Asked, node: Optional[str] = None, python: Optional[str] = None) -> list[str]:
    """The arguments of the one file."""
    python = asked.python or python
    found = ["--limit", f"{asked.limit:g}"]
    found += ["--node", node] if node else []
    found += ["--python", python] if python else []
    found += ["--verify"] if asked.verify else []
    found += ["--bench"] if asked.bench else []
    found += [] if asked.probes else ["--no-probes"]
    return found


def answered(node: str, text: Union[str, bytes], asked: Asked) -> Answer:
    """What the one file wrote.  Later than the limit is late."""
    answer = folder.said(text, node)
    if answer.state == "answered" and answer.seconds is not None and answer.seconds > asked.limit:
        why = answer.why or f"{answer.seconds:.0f} s, and {asked.limit:g} s were given"
        return Answer(**{**vars(answer), "state": "late", "why": why})
    return answer


def ended(node: str, status: Optional[int], out: bytes, err: bytes, asked: Asked) -> Answer:
    """What came of the one file's process: its answer, else how it ended."""
    rows = [line for line in out.splitlines() if line.startswith(b"{")]  # after what a start-up file may print
    if status is not None and status >= 0 and rows:
        return answered(node, rows[-1], asked)
    if status is None:
        return Answer(node, "silent", why=f"no answer within {asked.limit:g} s")
    return died(node, status, err.decode("utf-8", "replace"))


def died(node: str, status: int, err: str) -> Answer:
    """A process that ended without an answer: by its status and the last thing that it said."""
    said = [line.strip() for line in err.splitlines() if line.strip()]
    last = f": {said[-1][:300]}" if said else ""
    name = signal_name(status) or (signal_name(128 - status) if 129 <= status <= 159 else None)
    if name in ("SIGKILL", "SIGTERM"):
        return Answer(node, "killed", why=f"{name}{' (often: out of memory)' if name == 'SIGKILL' else ''}{last}")
    if name:
        return Answer(node, "crashed", why=f"{name}{last}")
    if status in (126, 127):
        return Answer(node, "refused", why=f"nothing could be started there{last}")
    return Answer(node, "crashed", why=f"exit status {status}{last or ', without a word'}")


def one_line(error: object) -> str:
    """The first line of an error, with its kind, for a row."""
    said = str(error).strip().splitlines() or [""]
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {said[0]}")[:400]


def chosen(asked: Asked, there: Sequence[str]) -> list[str]:
    """Of the names that are there those that are asked for, in order; those that are not there besides."""
    if asked.nodes is None:
        return list(there)
    if isinstance(asked.nodes, int):
        if asked.nodes < 1:
            raise KitError(f"--nodes {asked.nodes}: ask for one node at least")
        return list(there[: asked.nodes])
    return list(dict.fromkeys(asked.nodes))


def missing(command: str, what: str, instead: str) -> KitError:
    """The scheduler's command is not on PATH."""
    return KitError(f"{command} was not found on PATH: {what}; {instead}")


def needs(module: str) -> Any:
    """An optional library, or KitError with how to get it.

    dask-jobqueue 0.9 sets a handler for SIGINT when it is imported, with which Ctrl-C would end a notebook's kernel:
    the one that was there is put back.
    """
    import importlib

    handler = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KitError(
            f"this engine needs {module.partition('.')[0]}, which cannot be imported here ({error}): "
            'in the kit\'s folder, pip install -e ".[nodes]"'
        ) from None
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)
