"""Notebook parameters, checked and converted, and the papermill gate that fails with its findings."""

import json
import os
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import kit
from kit.errors import KitError
from kit.facts import Facts, compute_capability
from kit.findings import Findings
from kit.requirements import contradicts

KNOWN = ("machine", "python", "gpu", "require", "findings")
# Names that IPython itself puts into a notebook's namespace.
_IPYTHON = {"In", "Out", "get_ipython", "exit", "quit", "open"}


class CheckFailed(Exception):
    """The gate's verdict; a notebook shows exactly its lines, and papermill's message is exactly them."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class BadParameter(KitError):
    """A parameter that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """The checked parameters of a notebook.  See :func:`settings`."""

    machine: str = kit.LIVE
    python: Optional[str] = None
    gpu: Optional[str] = None
    require: tuple[str, ...] = ()
    findings: Optional[str] = None
    more: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """A parameter of this notebook alone, as text."""
        return self.more[name]

    def facts(self) -> Facts:
        """The facts that these parameters name: live ones, or those of a recorded machine."""
        facts = kit.collect(self.python) if self.machine == kit.LIVE else kit.machine(self.machine)
        return facts.with_gpu(self.gpu) if self.gpu else facts

    def __repr__(self) -> str:
        rows = [
            ("machine", self.machine),
            (
                "python",
                self.python or ("the kernel's own" if self.machine == kit.LIVE else "the machine's own"),
            ),
            ("gpu", self.gpu or "as found"),
        ]
        if self.require:
            rows.append(("require", ", ".join(self.require)))
        rows += [(name, value or "not given") for name, value in self.more.items()]
        return "\n".join(f"{name:<8} {value}" for name, value in rows)


def settings(namespace: Mapping[str, Any], *more: str) -> Settings:
    """Check and convert the parameters of a notebook: call it as ``settings(globals())`` right after them.

    ``machine``  ``"live"``, or the name of a recorded machine
    ``python``   an interpreter to examine instead of the kernel's own (live only)
    ``gpu``      a compute capability: ``"12.0"``, or 12.0 as papermill's ``-p`` delivers it
    ``require``  what has to be there: ``"cuda"`` and requirements such as ``"torch>=2.9"``, comma-separated
    ``findings`` where the gate writes its JSON; empty: beside papermill's output, else in the working directory

    ``more`` are names of further parameters, which are text.  Raises BadParameter for an unknown name (papermill only
    warns), and for a value that cannot be used.
    """
    given = {name: value for name, value in namespace.items() if not _of_python(name, value)}
    unknown = sorted(set(given) - set(KNOWN) - set(more))
    if unknown:
        raise BadParameter(f"unknown parameter {unknown[0]!r}; there are {', '.join((*KNOWN, *more))}")
    for name, value in given.items():
        if isinstance(value, bool) or not (
            isinstance(value, str) or (name == "gpu" and isinstance(value, (int, float)))
        ):
            raise BadParameter(f"{name} must be text, this is {value!r}; pass it with papermill's -r {name} ...")
    text = {name: str(value).strip() for name, value in given.items()}
    machine, python = text.get("machine") or kit.LIVE, text.get("python") or None
    if machine != kit.LIVE and machine not in kit.machines():
        raise BadParameter(f"machine: none is called {machine!r}; live, or one of {', '.join(kit.machines())}")
    if python and machine != kit.LIVE:
        raise BadParameter(f"python: only with machine='live', not with the recorded machine {machine!r}")
    gpu = text.get("gpu") or None
    try:
        gpu = compute_capability(gpu) if gpu else None
    except KitError as error:
        raise BadParameter(f"gpu: {error}") from None
    require = tuple(part.strip() for part in text.get("require", "").split(",") if part.strip())
    _check_requirements(require)
    further = {name: text.get(name, "") for name in more}
    return Settings(machine, python, gpu, require, text.get("findings") or None, further)


def _of_python(name: str, value: Any) -> bool:
    return name.startswith("_") or name in _IPYTHON or isinstance(value, (types.ModuleType, types.FunctionType, type))


def _check_requirements(require: Sequence[str]) -> None:
    from packaging.requirements import InvalidRequirement, Requirement

    for part in require:
        try:
            Requirement(part)
        except InvalidRequirement:
            raise BadParameter(f"require: {part!r} is neither cuda nor a requirement such as torch>=2.9") from None


@dataclass(frozen=True)
class Passed:
    """An open gate."""

    diagnosis: Findings

    def __repr__(self) -> str:
        return "check passed: nothing wrong was found"


def check(settings: Settings) -> Passed:
    """Diagnose, write the JSON, and raise CheckFailed with the findings as its message where anything is wrong."""
    facts = settings.facts()
    diagnosis = kit.diagnose(facts)
    unmet = tuple(_unmet(settings.require, facts))
    _write(settings.findings or _beside_papermill_output(), {**diagnosis.to_dict(), "unmet": list(unmet)})
    if diagnosis.verdict == "broken" or unmet:
        from kit import show

        lines = [*(f"required: {problem}" for problem in unmet), show.text(diagnosis)]
        raise CheckFailed("\n".join(lines))
    return Passed(diagnosis)


def _unmet(require: Sequence[str], facts: Facts) -> list[str]:
    problems = contradicts([r for r in require if r != "cuda"], facts)
    if "cuda" in require:
        if facts.torch is None or not facts.torch.cuda:
            problems.append(f"cuda: {'torch is a CPU build' if facts.torch else 'torch is not installed'}")
        if not facts.gpu_seen:
            problems.append("cuda: no GPU is visible")
    return problems


def _write(file: str, data: dict[str, Any]) -> None:
    try:
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=1)
            stream.write("\n")
    except OSError as error:
        raise BadParameter(f"findings: {file} cannot be written: {error.strerror or error}") from None


def _beside_papermill_output() -> str:
    """``findings.json`` in the folder of papermill's output notebook.

    papermill does not tell a notebook where its output goes; its command line, that of the kernel's parent
    process, does: ``papermill IN.ipynb OUT.ipynb``.
    """
    try:
        with open(f"/proc/{os.getppid()}/cmdline", encoding="utf-8", errors="replace") as stream:
            words = stream.read().split("\0")
    except OSError:
        words = []  # not Linux
    notebooks = [w for w in words if w.endswith(".ipynb") and "://" not in w]
    papermill = any(os.path.basename(word) == "papermill" for word in words[:3])
    folder = os.path.dirname(notebooks[1]) if papermill and len(notebooks) > 1 else ""
    return os.path.join(folder, "findings.json")
