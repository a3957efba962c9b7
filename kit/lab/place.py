"""One lab: its folders, pins, Python and torch, and its ways out of this process."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, NamedTuple

from kit.build import cache_folder
from kit.collect.inside import version_file
from kit.lab.console import Progress, Runner

NETWORK_SECONDS = 5
PROBE = """
import json, sysconfig
from packaging.tags import sys_tags
tags = [str(tag) for tag in sys_tags()]
print(json.dumps({
    "site": sysconfig.get_path("purelib"),
    "tags": tags,
}))
"""


class Unusable(Exception):
    """The input cannot be used: one line, exit status 2."""


class StepFailed(Exception):
    """A step could not be finished; its log tells more. Exit status 1."""


class LeftOut(Exception):
    """An optional step was left out, for a reason that is no failure."""


class Torch(NamedTuple):
    """The installed torch, as its version.py tells it."""

    version: str
    cuda: str | None
    hip: str | None

    @property
    def token(self) -> str:
        """`cpu`, `cu130`, ...: how package indexes name this build."""
        return "cu" + self.cuda.replace(".", "") if self.cuda else "rocm" if self.hip else "cpu"

    @property
    def release(self) -> tuple[int, int] | None:
        """(2, 13) for any 2.13.x; None for a pre-release, for which nobody publishes wheels."""
        match = re.fullmatch(r"(\d+)\.(\d+)\.\d+(\+.*)?", self.version)
        return (int(match[1]), int(match[2])) if match else None


def read_torch(site: Path) -> Torch:
    """The torch in ``site``, by its version.py; nothing of it is imported.  OSError where there is none."""
    file = site / "torch" / "version.py"
    file.stat()
    said = version_file(str(file))
    return Torch(said.get("__version__") or "unknown", said.get("cuda"), said.get("hip"))


@dataclass
class Lab:
    """The folders of one lab, and its ways out: commands, the network, the terminal."""

    root: Path
    environ: dict[str, str]
    progress: Progress
    runner: Runner = field(default_factory=Runner)
    python: str = sys.executable
    scatter: str = "any"  # which torch_scatter is wanted: "any", "compiled", or "no"
    torch_cpu_page: str = "https://download.pytorch.org/whl/cpu/torch/"
    pyg_pages: str = "https://data.pyg.org/whl"
    driver_file: Path = Path("/proc/driver/nvidia/version")
    devices: Path = Path("/dev")
    probed: dict[str, Any] = field(default_factory=dict)

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def venv_bin(self) -> Path:
        return self.venv / ("Scripts" if os.name == "nt" else "bin")

    @property
    def venv_python(self) -> str:
        return str(self.venv_bin / ("python.exe" if os.name == "nt" else "python"))

    @property
    def constraints(self) -> Path:
        return self.root / "constraints.txt"

    @property
    def wheels(self) -> Path:
        """The kit's own cache of compiled wheels, outside the clone."""
        return Path(cache_folder(self.environ))

    def log(self, step: str) -> Path:
        return self.venv / "log" / f"{step}.log"

    def write(self, step: str, text: str) -> None:
        with self.log(step).open("a", encoding="utf-8") as out:
            out.write(text + "\n")

    def pins(self, *names: str) -> list[str]:
        """The lines of constraints.txt for these packages."""
        lines = self.constraints.read_text(encoding="utf-8").splitlines()
        return [line for name in names for line in lines if line.startswith(f"{name}==")]

    def probe(self) -> dict[str, Any]:
        """What .venv's Python says about itself: site-packages and tags."""
        if not self.probed:
            answer = self.runner.ask([self.venv_python, "-I", "-c", PROBE])
            if answer is None:
                raise StepFailed(f"{self.venv_python} does not run, or has no `packaging`")
            self.probed = json.loads(answer)
        return self.probed

    def torch(self) -> Torch:
        return read_torch(Path(self.probe()["site"]))

    def which(self, name: str) -> str | None:
        return shutil.which(name, path=self.environ.get("PATH", os.defpath))

    def run_env(self) -> dict[str, str]:
        """The environment for what is used in .venv: as if it were activated."""
        path = os.pathsep.join([str(self.venv_bin), self.environ.get("PATH", os.defpath)])
        return {**self.environ, "VIRTUAL_ENV": str(self.venv), "PATH": path}

    def install_env(self) -> dict[str, str]:
        """The environment for installing: nothing outside .venv may be taken for what is in it."""
        outside = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX")
        env = {name: value for name, value in self.run_env().items() if name not in outside}
        return {**env, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def command(
        self,
        step: str,
        argv: Sequence[str],
        env: dict[str, str] | None = None,
        tick: Callable[[], None] | None = None,
    ) -> None:
        """Run one command of a step; the step fails with its first failing command."""
        env, tick = env or self.install_env(), tick or self.progress.tick
        status = self.runner.run(argv, self.log(step), env, tick)
        if status != 0:
            raise StepFailed(f"{' '.join([Path(argv[0]).name, *argv[1:4]])} ... ended with status {status}")

    def attempt(self, step: str, argv: Sequence[str], env: dict[str, str] | None = None) -> bool:
        """Run one command that may fail, and say whether it succeeded."""
        try:
            return self.runner.run(argv, self.log(step), env or self.install_env(), self.progress.tick) == 0
        except OSError as error:
            self.write(step, str(error))
            return False

    def pip_install(self, step: str, *arguments: str) -> None:
        head = [self.venv_python, "-m", "pip", "install", "--progress-bar=off"]
        self.command(step, [*head, "-c", str(self.constraints), *arguments])


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def read_page(url: str) -> tuple[str | None, str]:
    """A page's text, or None and why not. Proxies are honoured; after 5 s there is no answer."""
    found: list[tuple[str | None, str]] = []

    def read() -> None:
        request = urllib.request.Request(url, headers={"User-Agent": "jupyter-troubleshooting-kit"})
        try:
            with urllib.request.urlopen(request, timeout=NETWORK_SECONDS) as answer:
                found.append((answer.read().decode("utf-8", "replace"), ""))
        except urllib.error.HTTPError as error:
            found.append((None, f"{url} answers {error.code}"))
        except Exception as error:  # whatever the network does, it is only "no answer"
            found.append((None, f"{url} cannot be read: {getattr(error, 'reason', error)}"))

    thread = threading.Thread(target=read, daemon=True)  # looking up a name can hang past any time limit
    thread.start()
    thread.join(NETWORK_SECONDS)
    return found[0] if found else (None, f"{url} does not answer within {NETWORK_SECONDS} s")
