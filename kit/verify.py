"""Proves that an environment works: a fresh process for each check, real operators, values compared.

What is checked follows from the facts.  A check that fails, crashes or does not end is a result, and
what could not be checked says so: it never passes in silence.
"""

import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from kit.collect import collect, interpreter, redactor
from kit.collect.run import Outcome, run, side_by_side
from kit.errors import KitError
from kit.facts import Facts
from kit.record import Record

LIMIT = 120.0  # seconds for one check
AT_ONCE = 2
POLL = 0.2  # seconds between two calls of progress
REQUIREMENTS = ("cuda",)

# As in verify_child.py, which is not imported here: it is for the interpreter under test.
MARKER = "kit-verify-answer:"
OPERATORS = ("scatter_max", "scatter_min", "segment_coo", "segment_csr")
_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "verify_child.py")
# Not by path and not by import: the import path stays the one that the user's programs have.
_BOOTSTRAP = "f = {0!r}; exec(compile({1}, f, 'exec'))"

# Frames that only load or call compiled code for somebody else.
_PASSED_OVER = ("kit/verify_child.py", "ctypes/__init__.py", "torch/_ops.py")

Progress = Callable[[str, int, int], None]


class Check(Record):
    """One check.  ``ok`` is None where it was not made; ``detail`` then says why."""

    name: str
    ok: Optional[bool]
    detail: str
    seconds: float


class Verification(Record):
    """The checks of one environment, always in the same order; ``python`` is the interpreter under test."""

    checks: tuple[Check, ...]
    python: str

    @property
    def verdict(self) -> str:
        """``broken`` where a check failed."""
        return "broken" if any(check.ok is False for check in self.checks) else "healthy"

    def __getitem__(self, name: str) -> Check:
        """The check of this name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        checks = [{"name": c.name, "ok": c.ok, "detail": c.detail, "seconds": c.seconds} for c in self.checks]
        return {"schema": 1, "verdict": self.verdict, "checks": checks}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def verify(
    python: Optional[str] = None,
    *,
    require: Optional[str] = None,
    gpu: Optional[str] = None,
    limit: float = LIMIT,
    progress: Optional[Progress] = None,
    facts: Optional[Facts] = None,
) -> Verification:
    """Run the checks that fit this environment, each in a process of its own with a time limit.

    ``require="cuda"`` fails where torch cannot use a GPU, ``gpu="12.0"`` where no visible one has this
    compute capability.  ``progress(check, done, total)`` is called as a check begins and as it ends, and
    several times a second in between; where it raises, the checks that run are ended.
    ``facts`` saves collecting them.  Raises KitError where an argument cannot be used.
    """
    if require is not None and require not in REQUIREMENTS:
        raise KitError(f"cannot require {require!r}; what can be required: {', '.join(REQUIREMENTS)}")
    executable = sys.executable if python is None else interpreter(python)
    if facts is None:
        facts = collect(python, probes=False)
    capability = facts.with_gpu(gpu).host.gpus[0].capability if gpu is not None else None

    runner = _Runner(executable, limit, progress)
    torch, seen = _Task("import torch", "import-torch"), _Task("GPU", "devices")
    runner.total = 2 + len(_plan(facts, ["cpu"]))  # right from the start where there is no GPU
    runner.run([torch, seen])
    why_not = _judge_torch(runner.results[torch], facts, runner.name)
    if why_not:
        runner.results[seen] = _Result(None, why_not)
    else:
        _judge_gpu(runner.results[seen], require, capability, facts)
    devices = ["cpu", *(f"cuda:{i}" for i, _ in enumerate(runner.results[seen].answer.get("devices", ())))]

    tasks = _plan(facts, devices)
    skipped = [task for task in tasks if why_not and task.needs_torch]
    runner.results.update({task: _Result(None, why_not) for task in skipped})
    runner.done += len(skipped)
    runner.total = 2 + len(tasks)
    runner.run([task for task in tasks if task not in skipped])
    return Verification(tuple(runner.check(task) for task in (torch, seen, *tasks)), runner.name)


class _Task(Record):
    """One check to make: its name, and the check of verify_child.py with its arguments."""

    name: str
    child: str
    arguments: tuple[str, ...] = ()
    needs_torch: bool = True


@dataclass
class _Result:
    """What came of a task; ``answer`` is the child's JSON object, empty where it gave none."""

    ok: Optional[bool]
    detail: str
    answer: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def _plan(facts: Facts, devices: Sequence[str]) -> list[_Task]:
    """The checks after torch and GPU, in the order in which they are shown."""
    tasks = [_Task(f"matmul on {device}", "matmul", (device,)) for device in devices]
    if facts.extension("torch-scatter") or facts.distribution("torch-scatter"):
        tasks += [_Task(f"{op} on {d}", "scatter", (op, d)) for d in devices for op in OPERATORS]
    names = dict.fromkeys(_import_name(e.modules, e.key) for e in facts.extensions if e.modules)
    apart = ("torch", "torch_scatter", "torch_geometric", "transformers", "networkx")
    tasks += [_Task(f"import {n}", "import-extension", (n,)) for n in names if n not in apart]
    if _installed(facts, "transformers"):
        tasks.append(_Task("from transformers import Trainer", "import-transformers"))
    if _installed(facts, "torch_geometric"):
        tasks.append(_Task("import torch_geometric", "import-torch_geometric"))
    if _installed(facts, "networkx"):
        tasks.append(_Task("import networkx", "import-networkx", needs_torch=False))
    return tasks


def _import_name(modules: Sequence[str], key: str) -> str:
    return next((name for name in modules if name.lower() == key.replace("-", "_")), modules[0])


def _installed(facts: Facts, name: str) -> bool:
    module = facts.module(name)
    return facts.distribution(name) is not None or (module is not None and module.kind != "namespace")


def _judge_torch(result: _Result, facts: Facts, python: str) -> str:
    """Why nothing that needs torch can be checked; '' where torch was imported."""
    if result.answer.get("imported"):
        return ""  # perhaps with a complaint
    if result.answer.get("missing") == "torch" and facts.torch is None:
        result.detail = f"torch is not installed in {python}"
        return "not checked: torch is not installed"
    return "not checked: torch cannot be imported"


def _judge_gpu(result: _Result, require: Optional[str], capability: Optional[str], facts: Facts) -> None:
    """Turn what the devices check saw into the GPU check's outcome."""
    if not result.ok:
        return
    devices = result.answer["devices"]
    visible = [f"cuda:{i} {device['name']} ({device['capability']})" for i, device in enumerate(devices)]
    reason = result.answer.get("reason", "")
    if capability and capability not in [device["capability"] for device in devices]:
        shown = ", ".join(visible) or f"none; {reason}"
        result.ok = False
        result.detail = f"no visible GPU has compute capability {capability} (visible: {shown})"
    elif devices:
        result.detail = ", ".join(visible)
    elif require == "cuda":
        result.ok, result.detail = False, f"no GPU can be used: {reason}"
    else:
        here = ", ".join(gpu.name for gpu in facts.host.gpus if not gpu.wished)
        # A build for GPUs, a GPU, nobody hid it, and still torch cannot use it: that is broken.
        result.ok = False if here and result.answer["why"] == "error" else None
        result.detail = f"torch cannot use {here}: {reason}" if result.ok is False else "no GPU: not checked"
        if here and result.ok is None:
            result.detail += f", though this machine has {here} ({reason})"


class _Runner:
    """Runs tasks, at most two at once, and keeps their results."""

    def __init__(self, executable: str, limit: float, progress: Optional[Progress]):
        self.executable, self.limit, self.progress = executable, limit, progress
        self.redact = redactor()
        self.name: str = self.redact(executable)
        self.results: dict[_Task, _Result] = {}
        text = "open(f, encoding='utf-8').read()"
        if not os.path.isfile(_CHILD):  # in the one file that is sent to the nodes of a cluster
            text = repr(__spec__.loader.get_source("kit.verify_child"))  # type: ignore[union-attr]
        self.bootstrap = _BOOTSTRAP.format(_CHILD, text)
        self.done = self.total = 0

    def run(self, tasks: Iterable[_Task]) -> None:
        from concurrent.futures import FIRST_COMPLETED, Future, wait  # slow to import

        waiting = deque(tasks)
        running: dict[Future[_Result], _Task] = {}
        with side_by_side(AT_ONCE) as pool:
            while waiting or running:
                while waiting and len(running) < AT_ONCE:
                    task = waiting.popleft()
                    self.tell(task)
                    running[pool.submit(self.child, task, pool.started)] = task
                done = wait(running, timeout=POLL, return_when=FIRST_COMPLETED).done
                if not done:
                    self.tell(next(iter(running.values())))
                for future in done:
                    task = running.pop(future)
                    self.results[task] = future.result()
                    self.done += 1
                    self.tell(task)

    def tell(self, task: _Task) -> None:
        if self.progress is not None:
            self.progress(task.name, self.done, self.total)

    def child(self, task: _Task, started: Callable[[Any], object]) -> _Result:
        start = time.monotonic()
        try:
            outcome = run(
                [self.executable, "-c", self.bootstrap, task.child, *task.arguments], self.limit, started=started
            )
        except OSError as error:
            return _Result(False, f"{self.name} cannot be started: {error.strerror or error}")
        result = _judge(outcome, self.limit)
        result.seconds = time.monotonic() - start
        return result

    def check(self, task: _Task) -> Check:
        """Its detail is one line, the same in every run, without what must not leave the machine."""
        result = self.results[task]
        detail = str(self.redact(re.sub(r"0x[0-9a-fA-F]{6,}", "0x...", " ".join(result.detail.split()))))
        detail = detail if len(detail) <= 500 else detail[:497] + "..."
        return Check(task.name, result.ok, detail, round(result.seconds, 2))


def _judge(outcome: Outcome, limit: float) -> _Result:
    """A child's outcome as a result.  A crash as Python exits counts: users' programs have it too."""
    answer = _answer(outcome.out)
    if answer.get("ok") is False:
        return _Result(False, answer["detail"], answer)
    then = " as Python exits, after the check" if answer else ""
    if outcome.status is None:
        return _Result(False, f"no answer within {limit:g} s{then}", answer)
    if outcome.signal:
        hint = " (often: out of memory)" if outcome.signal == "SIGKILL" else ""
        return _Result(False, f"killed by {outcome.signal}{_place(outcome.err)}{then}{hint}", answer)
    if outcome.status != 0:
        return _Result(False, f"exit status {outcome.status}{then or _last_line(outcome.err)}", answer)
    if not answer:
        return _Result(False, f"Python ended without an answer{_last_line(outcome.err)}", answer)
    return _Result(True, answer["detail"], answer)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""


def _answer(out: str) -> dict[str, Any]:
    """The child's JSON object, {} where it gave none."""
    lines = [line for line in out.splitlines() if line.startswith(MARKER)]
    try:
        answer = json.loads(lines[-1][len(MARKER) :]) if lines else {}
    except ValueError:  # killed while it wrote
        return {}
    return answer if isinstance(answer, dict) else {}


def _place(err: str) -> str:
    """Where a signal struck, by faulthandler's traceback: `` in torch_scatter/scatter.py line 72``, or ''."""
    stack = err.rpartition("Current thread ")[2].partition("\n\n")[0]
    for file, line in re.findall(r'^  File "(.+)", line (\d+) in ', stack, re.M):
        end = "/".join(file.replace("\\", "/").split("/")[-2:])
        if not file.startswith("<") and end not in _PASSED_OVER:
            return f" in {end} line {line}"
    return ""
