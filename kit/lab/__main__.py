"""python3 -m kit.lab: complete the lab's environment, then open it, test it or measure it."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from kit.lab.console import Progress, running
from kit.lab.place import Lab, StepFailed, Unusable
from kit.lab.steps import STEPS, TEST_STEPS, alone, check, prepare, telling_lines

OLDEST = (3, 10)
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
# Which torch_scatter each wants: the tests and benchmarks compare the kit's own with the compiled one.
VERBS = {
    "lab": "any",
    "scatter": "compiled",
    "test": "compiled",
    "image": "any",
    "bench": "compiled",
    "lint": "any",
}


def check_python(version: Sequence[int], executable: str) -> None:
    """One clear line for a Python that is too old, with the name of a newer one where there is one."""
    if tuple(version)[:2] >= OLDEST:
        return
    newer = [name for name in (f"python3.{minor}" for minor in range(14, 9, -1)) if shutil.which(name)]
    advice = f"a newer one is here, make lab PYTHON={newer[0]}" if newer else "install a newer one"
    seen = ".".join(map(str, version))
    raise Unusable(f"{executable} is Python {seen}, and the lab needs {OLDEST[0]}.{OLDEST[1]} or newer: {advice}")


def free_port(wanted: int | None) -> int:
    for port in [wanted] if wanted is not None else range(8888, 8988):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError, OverflowError):
                trial.bind(("127.0.0.1", port))
                return port
    taken = "ports 8888 to 8987 are" if wanted is None else f"port {wanted} is"
    raise Unusable(f"{taken} taken or cannot be used: choose another, as in make lab PORT=9999")


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def open_lab(lab: Lab, browser: bool, wanted: int | None) -> int:
    """Run JupyterLab in the foreground until Ctrl-C, and say its address once it answers."""
    port, token = free_port(wanted), lab.environ.get("JUPYTER_TOKEN") or secrets.token_hex(24)
    page = f"/lab/tree/{FIRST_NOTEBOOK}" if (lab.root / FIRST_NOTEBOOK).is_file() else "/lab"
    argv = [lab.venv_python, "-m", "jupyterlab", f"--ServerApp.root_dir={lab.root}"]
    argv += [f"--LabApp.default_url={page}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    argv += [] if browser else ["--no-browser"]
    argv += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    # The token in the environment, which other users cannot list; this lab's kernel before the home folder's.
    env = {**lab.run_env(), "JUPYTER_TOKEN": token, "JUPYTER_PREFER_ENV_PATH": "1"}
    log = lab.log("jupyterlab")
    lab.progress.say("Opening JupyterLab")
    with log.open("wb") as out, running(argv, out, env) as child:
        while not answers(port):
            if child.poll() is not None:
                raise StepFailed("\n    ".join([f"JupyterLab did not start. {log} says:", *telling_lines(log)]))
            time.sleep(0.1)
        lab.progress.say(f"\n    http://127.0.0.1:{port}{page}?token={token}\n\nCtrl-C ends it. Its log: {log}")
        with contextlib.suppress(KeyboardInterrupt):
            return child.wait()
        lab.progress.say("\nStopping JupyterLab")
        return 0


def test_commands() -> list[list[str]]:
    """All tests, papermill's among them; then nbval: does each notebook still show what is stored in it?"""
    nbval = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=120"]
    return [
        ["-m", "pytest", "-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadgroup", "--durations=12"],
        ["-m", "pytest", *nbval, "--nbval-sanitize-with", "tests/nbval.cfg", "notebooks/"],
    ]


def run_all(lab: Lab, commands: Iterable[Sequence[str]]) -> int:
    """Run every command, also after one that failed; 1 if any did."""
    env = {"KIT_SCREENSHOTS": str(lab.venv / "log" / "screenshots"), **lab.run_env()}
    failed = False
    for argv in commands:
        lab.progress.say(f"$ {shlex.join(['.venv/bin/python', *argv])}")
        status = subprocess.call([lab.venv_python, *argv], cwd=lab.root, env=env)
        failed = failed or status != 0
    return 1 if failed else 0


class Arguments(argparse.ArgumentParser):
    """Refuses with one line."""

    def error(self, message: str) -> NoReturn:
        raise Unusable(f"{message} (python3 -m kit.lab --help tells the arguments)")


def arguments() -> Arguments:
    parser = Arguments(prog="python3 -m kit.lab", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("verb", choices=[*VERBS], help="what to do in the environment")
    parser.add_argument("--no-browser", action="store_true", help="lab: only print the address")
    parser.add_argument("--port", type=int, help="lab: the port to listen on")
    parser.add_argument("--no-scatter", action="store_true", help="go on without torch-scatter")
    return parser


def interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    for name in (
        "SIGINT",
        "SIGTERM",
        "SIGHUP",
    ):  # SIGINT too: a background shell starts its children deaf to it
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)
    try:
        check_python(sys.version_info[:3], sys.executable)
        chosen = arguments().parse_args(argv)
        root = Path(__file__).resolve().parents[2]
        wanted = "no" if chosen.no_scatter else VERBS[chosen.verb]
        lab = Lab(root, dict(os.environ), Progress(sys.stdout), scatter=wanted)
        steps = TEST_STEPS if chosen.verb == "test" else STEPS
        with alone(lab):
            prepare(lab, steps)
            check(lab, steps)
        if chosen.verb == "lab":
            return open_lab(lab, not chosen.no_browser, chosen.port)
        if chosen.verb == "scatter":
            return 0
        if chosen.verb == "test":
            status = run_all(lab, test_commands())
            lab.progress.say(f"Pictures of every notebook: {lab.venv / 'log' / 'screenshots'}")
            return status
        if chosen.verb == "image":
            return run_all(lab, [["-m", "pytest", "-m", "image", "-s"]])
        if chosen.verb == "bench":
            return run_all(lab, [[str(path)] for path in sorted((root / "tests").glob("bench_*.py"))])
        return run_all(lab, [["-m", "ruff", "check"], ["-m", "ruff", "format", "--check"], ["-m", "mypy"]])
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    except StepFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here: finished steps are not repeated.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
