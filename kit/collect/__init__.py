"""Reads a machine into facts.  The files of this folder are the only readers of one."""

import dataclasses
import json
import os
import sys
from typing import Any, Optional

from kit import redact
from kit.collect import binary, host, inside, kernel, probe
from kit.collect.run import run
from kit.errors import KitError
from kit.facts import Facts
from kit.symbols import printable

INSIDE_LIMIT = 30.0  # seconds; reading takes well under one
PROBE_LIMIT = 120.0  # seconds for one import in a child process


def collect(
    python: Optional[str] = None,
    *,
    probes: bool = True,
    probe_limit: float = PROBE_LIMIT,
    limit: float = INSIDE_LIMIT,
) -> Facts:
    """Read an environment without importing anything of it.

    ``python`` is an interpreter (a path, or a command on PATH); None is the one that runs this.  Where the
    files leave a doubt (a build tag of another torch, a missing library), the doubtful import is tried in
    a child process with a time limit, and its outcome is a fact; ``probes=False`` leaves that out.  Raises
    KitError when ``python`` is not an interpreter that answers.
    """
    own = python is None
    executable = sys.executable if python is None else interpreter(python)
    data = inside.collect() if own else _inside(executable, limit)
    read_binaries(data)
    machine = host.collect(data["python"]["prefix"], data["python"]["path"])
    data["unread"] += machine.pop("unread")
    data["host"] = machine
    data["about"] = {"name": "live", "source": "collected", "note": ""}
    if own:
        data["kernel"] = kernel.read(data)
    redact = redactor()
    facts = Facts.from_dict({"schema": 1, **redact(data)}, executable)
    if not probes:
        return facts
    tried = probe.run_probes(facts, executable, probe_limit)
    return dataclasses.replace(facts, probes=tuple(dataclasses.replace(p, error=redact(p.error)) for p in tried))


def read_inside(python: Optional[str] = None, limit: float = INSIDE_LIMIT) -> dict[str, Any]:
    """What :mod:`kit.collect.inside` says in the interpreter ``python``, or of this process; nothing is redacted."""
    data: dict[str, Any] = inside.collect() if python is None else _inside(interpreter(python), limit)
    return data


def read_binaries(data: dict[str, Any]) -> None:
    """Add the X-ray of torch and of its extensions: of files that link against torch or hold code for GPUs."""
    torch = data["torch"]
    if torch is None or sys.platform != "linux":
        return
    target = binary.Target.of(data)
    torch["binaries"] = list(target.torch(torch["location"]))
    for extension in data["extensions"]:
        files = [(os.path.join(extension["location"], name), name) for name in extension["libraries"]]
        extension["binaries"] = [printable(row) for path, name in files for row in target.extension(path, name)]


def redactor() -> Any:
    """The redaction for this user on this machine."""
    user = os.environ.get("USER") or os.environ.get("USERNAME") or os.path.basename(os.path.expanduser("~"))
    return redact.redactor(os.path.expanduser("~"), user, host.uname()[1])


def interpreter(python: str) -> str:
    """The absolute path of an interpreter that was named by path or command; KitError says what is wrong."""
    import shutil  # with the compression libraries; only this needs it

    given = os.path.expanduser(python)
    if os.path.isdir(given):
        inner = [os.path.join(given, *p) for p in (("bin", "python"), ("Scripts", "python.exe"), ("python.exe",))]
        hint = next((f"; did you mean {p}?" for p in inner if os.path.isfile(p)), "; name the python inside it")
        raise KitError(f"{python} is a directory, not a Python interpreter{hint}")
    found = shutil.which(given)
    if found is None:
        if os.path.lexists(given):
            what = "cannot be executed" if os.path.exists(given) else "is a link to a file that is gone"
            raise KitError(f"{python} {what}; name a Python interpreter, e.g. --python /opt/venv/bin/python")
        raise KitError(f"no such interpreter: {python}; name one, e.g. --python /opt/venv/bin/python")
    return os.path.abspath(found)


def _inside(executable: str, limit: float) -> Any:
    """Run inside.py in ``executable``.  Importing it keeps its byte code cached; the working directory is off the
    path meanwhile, lest a ``json.py`` that lies there is run.  Where it is no file, as in the one that is sent to the
    nodes of a cluster, its text is the command."""
    code = "import sys; p = sys.path[:]; sys.path[:] = [{}*filter(None, p)]; {}inside.main(p)"
    folder = os.path.dirname(os.path.abspath(inside.__file__))
    if os.path.isdir(folder):
        code = code.format(f"{folder!r}, ", "import inside; ")
    else:
        text = inside.__loader__.get_source(inside.__name__)  # type: ignore[union-attr]
        code = code.format("", f"inside = type(sys)('inside'); exec({text!r}, vars(inside)); ")
    try:
        outcome = run([executable, "-c", code], limit)
    except OSError as error:
        raise KitError(f"{executable} cannot be started: {error.strerror or error}") from None
    if outcome.status is None:
        raise KitError(
            f"{executable} gave no answer within {limit:.0f} s: it hangs at start-up; try {executable} -S -c pass"
        )
    try:
        # Its first key, for anything may be printed before and after it by what runs at start-up and exit.
        start = outcome.out.index('{"distributions": ') if outcome.status == 0 else -1
        data = json.JSONDecoder().raw_decode(outcome.out, start)[0] if start >= 0 else None
    except ValueError:
        data = None
    if not isinstance(data, dict) or "python" not in data:
        raise KitError(f"{executable} does not answer as Python 3.8 or newer does: {_last_words(outcome)}")
    return data


def _last_words(outcome: Any) -> str:
    lines = (outcome.err or outcome.out).strip().splitlines()
    said = lines[-1].strip()[:200] if lines else "no output"
    return f"{said} ({outcome.signal or f'exit status {outcome.status}'})"
