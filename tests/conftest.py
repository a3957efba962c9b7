"""Throwaway environments for the tests: real venvs, real packages, sharing the files of the lab's own torch."""

import csv
import importlib.metadata
import os
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


class Environment:
    """A virtual environment of its own, with pip's help from outside (``pip --python``)."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.site = next((folder / "lib").glob("python3.*")) / "site-packages"

    def run(self, *argv: str, cwd: "Path | None" = None, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run this environment's Python as if it were activated, from an empty folder unless ``cwd`` is given."""
        where = cwd or self.folder / "empty"
        where.mkdir(exist_ok=True)
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        active = {**os.environ, "VIRTUAL_ENV": str(self.folder), "PATH": path, **env}
        command = [str(self.python), *argv]
        return subprocess.run(command, cwd=where, env=active, capture_output=True, text=True, timeout=300)

    def pip_install(self, *arguments: str) -> None:
        """Real pip, real packages from the package index."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", *arguments]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr

    def share(self, *names: str) -> None:
        """Bring the lab's own copy of these distributions, with all that they need, as hard links.

        The files are the real ones and removing one here leaves the lab's own; that is how an
        environment with a real torch takes a second instead of a minute.
        """
        for dist in closure(names):
            for row in csv.reader((dist.read_text("RECORD") or "").splitlines()):
                file = Path(row[0])
                if file.is_absolute() or ".." in file.parts:
                    continue
                target = self.site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    link_or_copy(Path(str(dist.locate_file(file))), target)


def refusal(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a command of the kit whose input or arguments could not be used."""
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("kit: ") and "Traceback" not in line
    return line


def link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        target.write_bytes(source.read_bytes())


def closure(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """These distributions and what they require, without extras."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            for text in found[name].requires or []:
                requirement = Requirement(text)
                if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                    waiting.append(requirement.name)
    return list(found.values())


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An empty virtual environment."""
    return Environment(tmp_path / "venv")


@pytest.fixture(scope="session")
def lab_python() -> str:
    """The interpreter of the lab, which runs the tests."""
    return sys.executable
