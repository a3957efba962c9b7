"""Tries doubtful imports in a child process with a time limit; the exit status is a fact."""

import re
from functools import partial
from typing import Callable, Optional

from kit import causes
from kit.collect.run import Outcome, run, side_by_side
from kit.facts import Extension, Facts, Probe
from kit.requirements import contradicts

_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b(: |$)")  # not indented: no source line


def run_probes(facts: Facts, executable: str, limit: float, run: Callable[..., Outcome] = run) -> list[Probe]:
    """Import in ``executable`` what the files leave in doubt.  torch goes first: where it does not load,
    no extension can, and trying them would only repeat its error."""
    doubtful = doubts(facts)
    if not doubtful:
        return []
    torch = _probe("torch", executable, limit, run)
    names = [name for name in doubtful if name != "torch"] if torch.ok else []
    with side_by_side(2) as pool:
        in_pool = partial(run, started=pool.started)
        return [torch, *pool.map(lambda name: _probe(name, executable, limit, in_pool), names)]


def doubts(facts: Facts) -> list[str]:
    """The import names that the files on disk make doubtful; empty for a healthy environment."""
    torch = facts.torch
    if torch is None:
        return []
    doubtful = [import_name(e) for e in facts.extensions if _doubtful(e, facts)]
    names = [name for name in doubtful if name]
    if "apex" not in names and _old_apex(facts):
        names.append("apex")
    lacking = [d for d in facts.distributions if d.key == "torch" and contradicts(d.requires, facts)]
    if names or torch.damaged or lacking or _mixed(facts) or causes.cause_in_torch(torch):
        return ["torch", *names]
    return []


def import_name(extension: Extension) -> Optional[str]:
    """What to import of this extension: of the names that its metadata states, the one that has its libraries."""
    folders = [file.partition("/")[0] for file in (*extension.libraries, *extension.missing_files)]
    stated = [name for name in extension.modules if name in folders]
    if stated:
        return stated[0]
    own = extension.key.replace("-", "_")
    if own in extension.modules or not extension.modules:
        return own if extension.modules else None
    # Some wheels state "benchmarks" or "dist", which setuptools found beside the package.
    return next((name for name in folders if name.isidentifier()), extension.modules[0])


def _doubtful(extension: Extension, facts: Facts) -> bool:
    torch = facts.torch
    if torch is None:
        return False
    other_torch = extension.built_for_torch not in (None, torch.minor)
    other_cuda = extension.built_for_cuda not in (None, "cpu", torch.cuda)
    other_cuda |= torch.cuda is None and bool(extension.libraries_for("cuda"))
    pinned_other = contradicts(extension.requires_torch, facts)
    if other_torch or other_cuda or pinned_other or extension.missing_files:
        return True
    if causes.cause(extension, facts) or causes.for_others_only(extension, facts):
        return True
    if causes.of_another_cuda(extension, facts):
        return True
    # The age of files is a doubt only where they were not read themselves.
    read = bool(torch.binaries) and all(binary.loads is not None for binary in extension.binaries)
    return extension.older_than_torch and not read


def _old_apex(facts: Facts) -> bool:
    """Whether an apex with amp, all of which are from before May 2025, may be older than torch allows.  Its Python
    files are of the time of its libraries: where those were read and load, so does it."""
    module, extension = facts.module("apex"), facts.extension("apex")
    if module is None or "amp" not in module.children or facts.replacement("apex"):
        return False
    return extension is None or not extension.binaries or not all(binary.loads for binary in extension.binaries)


def _mixed(facts: Facts) -> bool:
    """Whether torch's metadata and its files are of different versions."""
    torch = facts.torch
    if torch is None or not torch.metadata_version or not torch.readable:
        return False
    return torch.metadata_version.partition("+")[0] != torch.version.partition("+")[0]


def _probe(name: str, executable: str, limit: float, run: Callable[..., Outcome]) -> Probe:
    # torch first, as a program does: an extension finds torch's libraries only once torch has loaded them.
    outcome = run([executable, "-c", f"import torch, {name}" if name != "torch" else "import torch"], limit)
    if outcome.status is None:
        return Probe(name, None, f"no answer within {limit:.0f} s")
    return Probe(name, outcome.status, "" if outcome.status == 0 else last_error(outcome))


def last_error(outcome: Outcome) -> str:
    """The line that tells most: the first exception of a chain, which is the cause of those after it, else
    the end of stderr, else the signal's name."""
    lines = [line.strip() for line in outcome.err.splitlines() if line.strip()]
    raised = [line for line in outcome.err.splitlines() if _RAISED.match(line)]
    said = raised[0] if raised else lines[-1] if lines else ""
    return said.strip()[:500] or outcome.signal or f"exit status {outcome.status}"
