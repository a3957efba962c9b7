"""A healthy twin: a new environment with what the patient has, mended, and the patient left as it is."""

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Callable, Optional

from kit.build.process import last_words, watch
from kit.collect import interpreter, redactor
from kit.errors import KitError
from kit.facts import normalise
from kit.findings import Finding, Findings
from kit.published import PYG, PYG_PAGES, PYTORCH_INDEX, rebuild, token
from kit.record import Record
from kit.repair import Check, Examine, Receipt, apply, examine_with
from kit.repair.change import Progress, Tick, command
from kit.repair.installer import choose
from kit.repair.kernelspec import register
from kit.repair.places import new
from kit.repair.plan import Plan, Step
from kit.repair.shim import again
from kit.repair.tree import remove
from kit.verify import verify

MARK = ".kit-unfinished"  # as long as it lies there, the folder is nobody's environment
# What the session says of another environment than the twin is no failure of the twin.
_OF_THE_SESSION = ("wrong-interpreter", "stale-kernel")


class Contents(Record):
    """What a twin gets: ``pins`` from the patient, ``options`` that say where they come from, ``steps`` that are
    carried out in it, ``left`` failures that no environment of its own can mend, ``out`` what is left out."""

    pins: tuple[str, ...]
    options: tuple[str, ...]
    steps: tuple[Step, ...]
    left: tuple[Finding, ...]
    out: tuple[str, ...]


def contents(plan: Plan) -> Contents:
    """What the twin of a plan's patient holds."""
    facts, torch = plan.facts, plan.facts.torch
    moves = [step for step in plan.steps if command(step).action in ("mv", "rm")]
    steps = [step for step in plan.steps if command(step).action in ("install", "build", "shim")]
    left = [*plan.left, *(Finding(step.failure, "error", step.package, step.why) for step in moves)]
    seen = {"pip", *(name for step in plan.steps for name in command(step).names)}  # the twin has its own pip
    seen.update(normalise(step.package or "") for step in steps if "--cover" in step.argv)
    replaced = again(facts)
    pins: list[str] = []
    out: list[str] = []
    for dist in facts.distributions:
        if dist.leftover or not dist.complete or dist.key in seen:
            continue
        seen.add(dist.key)
        if dist.key in replaced:
            steps.insert(0, replaced[dist.key])
            continue
        extension = facts.extension(dist.key)
        built = rebuild(extension, facts) if extension is not None and extension.built_from_source else None
        if built is not None and built.argv is not None:
            mended = ("extension-broken", dist.key, built.kind, built.why, built.argv, built.env)
            steps.insert(0, Step(*mended, built.safety, built.cost))
        elif dist.direct_url is None:
            pins.append(f"{dist.key}=={dist.version}")
        elif dist.direct_url.startswith("http") and dist.direct_url.endswith(".whl"):
            pins.append(f"{dist.key} @ {dist.direct_url}")
        else:
            out.append(f"{dist.name} {dist.version}")
    options: list[str] = []
    if torch is not None and "+" in torch.version:
        options += ["--extra-index-url", PYTORCH_INDEX + token(torch.cuda)]
    if torch is not None and any("+pt" in pin and pin.partition("==")[0] in PYG for pin in pins):
        options += ["--find-links", f"{PYG_PAGES}torch-{torch.minor}.0+{token(torch.cuda)}.html"]
    return Contents(tuple(sorted(pins)), tuple(options), tuple(steps), tuple(left), tuple(sorted(out)))


def twin(
    plan: Plan,
    path: str,
    confirm: Callable[[Plan], bool],
    progress: Optional[Progress] = None,
    *,
    examine: Optional[Examine] = None,
    prove: Optional[Check] = None,
) -> Receipt:
    """Make a healthy twin of a plan's patient at ``path``, prove it, and offer it to Jupyter as a kernel.

    Where that fails, nothing is left of it.  Raises KitError where there is something at ``path`` already.
    """
    start, redact = time.monotonic(), redactor()
    patient = interpreter(plan.facts.python.executable)
    folder = os.path.abspath(os.path.expanduser(path))
    unfinished = os.path.exists(os.path.join(folder, MARK))
    if os.path.lexists(folder) and not unfinished and (not os.path.isdir(folder) or os.listdir(folder)):
        raise KitError(f"{redact(folder)} is there already; name a folder that is not")
    within = contents(plan)
    if not confirm(plan):
        return Receipt("", "", redact(patient), "nothing", why="not confirmed; nothing was made")
    judge = examine or examine_with(plan.facts)

    def fair(python: str) -> Findings:
        found = judge(python)
        return dataclasses.replace(found, findings=tuple(f for f in found if f.failure not in _OF_THE_SESSION))

    try:
        remove(folder)
        os.makedirs(folder)
        log = os.path.join(folder, "kit.log")
        with open(os.path.join(folder, MARK), "w", encoding="utf-8"):
            python = new(folder, patient)
        _fill(python, within, log, progress)
        if within.steps:
            steps = dataclasses.replace(plan, steps=within.steps, left=within.left)
            receipt = apply(steps, lambda _: True, progress, python, examine=fair, prove=prove)
        else:
            proof = (prove or verify)(python)
            why = "" if proof.verdict == "healthy" or within.left else "the twin is not healthy either"
            receipt = Receipt("", folder, redact(python), "undone" if why else "applied", (), why, proof)
        if receipt.state != "applied":
            remove(folder)
            return dataclasses.replace(receipt, path="", state="nothing", why=f"{receipt.why}; the twin was removed")
        notes = [f"left out, for it was installed from a folder: {name}" for name in within.out]
        if any(pin.startswith("ipykernel==") for pin in within.pins):
            notes.append(f"Jupyter offers it as the kernel {register(python, os.path.basename(folder))!r}")
        os.unlink(os.path.join(folder, MARK))
    except (KitError, OSError) as error:
        remove(folder)
        return Receipt("", "", redact(patient), "nothing", why=f"{redact(str(error))}; the twin was removed")
    except BaseException:
        remove(folder)
        raise
    seconds = round(time.monotonic() - start, 2)
    return dataclasses.replace(receipt, notes=(*receipt.notes, *notes), seconds=seconds)


def _fill(python: str, within: Contents, log: str, progress: Optional[Progress]) -> None:
    """Install what the patient has and no step brings."""
    if not within.pins:
        return
    to, redact, start = choose(python), redactor(), time.monotonic()
    pins = os.path.join(os.path.dirname(log), MARK)
    with open(pins, "w", encoding="utf-8") as stream:
        stream.writelines(f"{pin}\n" for pin in within.pins)

    def tell(said: Sequence[str]) -> None:
        if progress is not None:
            elapsed = time.monotonic() - start
            progress(Tick(0, len(within.steps), "installing", f"{len(within.pins)} packages", elapsed=elapsed))

    argv = [*to.argv, "install", "--no-deps", "--only-binary=:all:", *within.options, "-r", pins]
    status, said = watch(argv, to.environment(to.sources()), os.path.dirname(log), log, redact, (), tell)
    if status != 0:
        raise KitError(f"pip install failed: {last_words(said, status)}")
