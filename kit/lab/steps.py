"""The steps that make .venv. Each leaves a stamp, a hash of what it depended on; a stale one: done again."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from kit.lab import browser, scatter, slurm
from kit.lab.place import Lab, LeftOut, StepFailed, Unusable, digest, read_page

# --- step 1: .venv --------------------------------------------------------------------------------


def venv_state(lab: Lab) -> str:
    """The version of .venv's Python; empty if it does not run, has no pip, or was moved here."""
    code = "import sys, importlib.util as u; print(sys.version) if u.find_spec('pip') else sys.exit(1)"
    answer = lab.runner.ask([lab.venv_python, "-I", "-c", code])
    script = lab.venv_bin / "pip"
    moved = script.is_file() and os.fsencode(lab.venv) not in script.read_bytes()
    return "" if answer is None or moved else answer.strip()


def make_venv(lab: Lab) -> None:
    if not venv_state(lab):
        if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
            raise Unusable(
                f"{lab.python} cannot make a virtual environment: it has no venv or no ensurepip module. "
                "On Debian and Ubuntu: apt install python3-venv. Then run the same command again."
            )
        left = {entry.name for entry in lab.venv.iterdir()} if lab.venv.is_dir() else set()
        if left - {"log", "stamps"} and "pyvenv.cfg" not in left:
            raise Unusable(f"{lab.venv} is no virtual environment: move it away, then run the same again.")
        if left:
            shutil.rmtree(lab.venv)
        lab.log("venv").parent.mkdir(parents=True)
        lab.command("venv", [lab.python, "-m", "venv", str(lab.venv)])
    lab.log("venv").parent.mkdir(exist_ok=True)
    lab.probed = {}
    # packaging, so that .venv can tell its own tags; setuptools and wheel, to build without isolation.
    lab.pip_install("venv", *lab.pins("pip", "setuptools", "wheel", "packaging"))


# --- step 2: torch --------------------------------------------------------------------------------


def gpu_visible(lab: Lab) -> bool:
    """Whether a driver or GPU of NVIDIA's can be seen here; cheap, and without any library."""
    device = lab.driver_file.exists() or any(lab.devices.glob("nvidia[0-9]*"))
    return device or lab.which("nvidia-smi") is not None


def install_torch(lab: Lab) -> None:
    where: list[str] = []
    if sys.platform.startswith("linux"):  # elsewhere the package index's own torch is a small one
        if gpu_visible(lab):
            lab.write("torch", "An NVIDIA driver or GPU is visible: torch with CUDA, from the package index.")
        else:
            page, why = read_page(lab.torch_cpu_page)
            # As a page of links only torch itself comes from there: X+cpu sorts above the index's own X.
            where = ["--find-links", lab.torch_cpu_page] if page else []
            more = f", but {why}: going on with pip's own configuration" if why else ": torch for CPU"
            lab.write("torch", f"No NVIDIA GPU is visible{more}.")
    lab.pip_install("torch", *where, *lab.pins("torch"))


def torch_depends(lab: Lab) -> str:
    return "".join([*lab.pins("torch"), *map(str, lab.torch())])


# --- step 3: the notebooks' packages --------------------------------------------------------------


# The first thing to see is the notebook, not a question about news.
JUPYTERLAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}


def install_packages(lab: Lab) -> None:
    lab.pip_install("packages", "--no-build-isolation", "-e", f"{lab.root}[lab,recipes,nodes,test]")
    # pip compiles what it copies; an editable package is compiled here, for a quick start everywhere.
    lab.command("packages", [lab.venv_python, "-m", "compileall", "-q", str(lab.root / "kit")])
    settings = lab.venv / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "overrides.json").write_text(json.dumps(JUPYTERLAB_SETTINGS, indent=1), encoding="utf-8")


def packages_depend(lab: Lab) -> str:
    return "".join(path.read_text("utf-8") for path in (lab.constraints, lab.root / "pyproject.toml"))


# --- all steps ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What a step does, how long it usually takes, and the text that its stamp is a hash of.

    ``work`` may answer with what there is to say when it is done.
    """

    name: str
    title: str
    usual: int  # seconds; measured on two cores, with a package index near by
    work: Callable[[Lab], str | None]
    depends: Callable[[Lab], str]


STEPS = (
    Step("venv", "Making .venv", 10, make_venv, lambda lab: str(lab.venv) + venv_state(lab)),
    Step("torch", "Installing torch", 60, install_torch, torch_depends),
    Step("packages", "Installing the notebooks' packages", 50, install_packages, packages_depend),
    Step("scatter", "Getting torch-scatter", 5, scatter.get_scatter, scatter.depends),
)
# Who tests needs a browser and a cluster besides.
TEST_STEPS = (
    *STEPS,
    Step("browser", "Getting a browser", 60, browser.get_browser, browser.depends),
    Step("slurm", "Getting Slurm", 30, slurm.get_slurm, slurm.depends),
)


def prepare(lab: Lab, steps: Sequence[Step] = STEPS) -> None:
    """Do the steps that are not yet done, or whose inputs have changed since."""
    before = ""  # each stamp hashes the one before: what follows a step that was done again is done again
    for number, step in enumerate(steps, 1):
        stamp = lab.venv / "stamps" / step.name
        key = stamp_key(lab, step, before)
        if not stamp.is_file() or stamp.read_text("utf-8") != key:
            lab.progress.begin(f"[{number}/{len(steps) + 1}] {step.title}", step.usual)
            key = do(lab, step, stamp, before)
        before = key or before


def stamp_key(lab: Lab, step: Step, before: str) -> str:
    """Empty, and so equal to no stamp, where what the step depends on cannot be read."""
    try:
        return digest(before, step.depends(lab))
    except (OSError, StepFailed):
        return ""


def do(lab: Lab, step: Step, stamp: Path, before: str) -> str:
    """Do one step and stamp it. A step that was left out, failed or was stopped has no stamp."""
    try:
        stamp.unlink(missing_ok=True)
        lab.log(step.name).unlink(missing_ok=True)
        said = step.work(lab)
        key = stamp_key(lab, step, before)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(key, encoding="utf-8")
        lab.progress.end(said or "")
        return key
    except LeftOut as reason:
        lab.write(step.name, f"Left out: {reason}")
        lab.progress.end(f"left out: {reason}")
        return ""
    except (StepFailed, OSError) as error:
        lab.progress.end("failed")
        raise StepFailed(failure_text(step, error, lab.log(step.name))) from error
    except BaseException:
        lab.progress.end("stopped")
        raise


def failure_text(step: Step, error: Exception, log: Path) -> str:
    """What failed, the log and what it says, and how to go on."""
    lines = [f"The step '{step.title}' failed: {error}", f"Its log, {log}, says:"]
    lines += [f"    {line}" for line in telling_lines(log)]
    lines += ["Mend what is named there, then run the same command again: finished steps are not repeated."]
    if step.name == "scatter":
        lines += ["Or go on with the kit's own: make lab; or without torch-scatter: make lab SCATTER=no"]
    return "\n".join(lines)


def telling_lines(log: Path, errors: int = 3, last: int = 8) -> list[str]:
    """The first lines near a log's end that name an error, and its last lines."""
    if not log.is_file():
        return []
    lines = [line.rstrip()[:300] for line in log.read_text("utf-8", "replace").splitlines() if line.strip()][-200:]
    word = re.compile(r"\b(error|fatal|killed|no space)\b|Error\b", re.IGNORECASE)
    before = [line for line in lines[:-last] if word.search(line)][:errors]
    return before + lines[-last:]


def check(lab: Lab, steps: Sequence[Step] = STEPS) -> None:
    """The last step: what the kit says about its own environment. A finding is shown, and stops nothing."""
    lab.progress.begin(f"[{len(steps) + 1}/{len(steps) + 1}] Checking", 2)
    log = lab.log("check")
    log.unlink(missing_ok=True)
    argv = [lab.venv_python, "-m", "kit", "doctor"]
    status = lab.runner.run(argv, log, lab.run_env(), lab.progress.tick)
    said = log.read_text("utf-8", "replace").splitlines()[1:]  # without the command
    if status == 0:
        lab.progress.end(next(filter(str.strip, said), "nothing found").strip())
    elif status == 1:
        lab.progress.end("something was found")
        lab.progress.say("\n".join(said))
    else:
        lab.progress.end(f"could not be done: status {status}, {log}")


@contextlib.contextmanager
def alone(lab: Lab) -> Iterator[None]:
    """Only one process at a time changes .venv: a second one waits."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.open(lab.root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lab.progress.say("Another make is at work on .venv: waiting for it.")
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(folder)
