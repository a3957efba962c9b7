"""Throwaway environments: a venv in a temporary folder with real packages and an index of its own, gone when left.

Distributions are shared with the environment that runs the kit, as hard links: torch is there within a second or two,
and whatever replaces or removes its files here replaces and removes links.  Nothing writes into a file in place:
neither pip, nor Python for its byte code, nor the kit.
"""

import contextlib
import csv
import dataclasses
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Optional, Union

from kit import failures, packing
from kit.collect import attempt, collect, redactor
from kit.collect.run import Outcome, run
from kit.errors import KitError
from kit.facts import Attempt, Facts, normalise
from kit.packing import Content
from kit.throwaway.index import LocalIndex

LIMIT = 600.0  # seconds for one command
ANY = "py3-none-any"

# Variables of the session that would reach into the environment.
_OUTSIDE = ("PIP_", "PYTHON", "LD_", "CONDA_", "UV_", "NO_PROXY", "CC", "CXX", "CFLAGS")
# What pip wrote about an installation, which is not in the wheel.
_LEFT_OUT = re.compile(r"__pycache__/|\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$")


class Throwaway:
    """A virtual environment without pip, whose pip knows one index, ``index``; a context manager.

    ``python`` is its interpreter, ``site`` its site-packages, ``work`` an empty folder to start programs in, and
    ``variables`` what is added to their environment.  ``path`` is where distributions to share are looked for, by
    default the import path of the kit.  Raises KitError where the machine lacks what it takes (a compiler, pip).
    """

    def __init__(self, path: Optional[Sequence[str]] = None) -> None:
        self.path = path
        self.variables: dict[str, str] = {}
        self.shown: Union[str, Attempt] = ""  # what shows the failure: code to run, or an installation
        with contextlib.ExitStack() as closing:
            self.folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="kit-"))).resolve()
            prefix = self.folder / "venv"
            venv.create(prefix, with_pip=False, symlinks=os.name != "nt")
            self.python = str(prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
            self.site = next(prefix.glob("lib/python3*/site-packages"), prefix / "Lib" / "site-packages")
            self.work = self.folder / "work"
            self.work.mkdir()
            self.index = LocalIndex()
            closing.callback(self.index.close)
            configuration = (prefix / "pip.conf", prefix / "pip.ini")[os.name == "nt"]
            self.write(configuration, _PIP.format(index=self.index.simple, proxy=self.index.address))
            self._closing = closing.pop_all()

    def close(self) -> None:
        """Stop the index and remove the folder."""
        self._closing.close()

    def __repr__(self) -> str:
        tried = shlex.join(self.shown.argv) if isinstance(self.shown, Attempt) else f"{self.python} -c {self.shown!r}"
        return f"a throwaway environment in which this fails:\n{tried}"

    def __enter__(self) -> "Throwaway":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- files

    def share(self, *names: str) -> None:
        """Bring these distributions of the base and all that they require, as hard links (copies across devices)."""
        folders: set[str] = set()
        for dist in self._closure(names):
            for name, source in _files(dist):
                target = f"{self.site}/{name}"
                folder = os.path.dirname(target)
                if folder not in folders:
                    os.makedirs(folder, exist_ok=True)
                    folders.add(folder)
                _link(source, target)

    def write(self, path: Path, content: Content) -> Path:
        """A file with this content, in place of the one that is there; its folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # never into a file that is shared
        path.write_bytes(packing.content(content))
        return path

    def copy(self, source: Path, target: Path) -> Path:
        return Path(shutil.copytree(source, target)) if source.is_dir() else self.write(target, source)

    def remove(self, *paths: Path) -> None:
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def compile(self, source: str, name: str, *options: "str | Path") -> Path:
        """A shared library of this name, compiled from C; ``options`` go to the compiler, libraries among them."""
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None:
            raise KitError("no C compiler (cc, gcc, clang) is on PATH; a library that fails has to be compiled")
        folder = self._new()
        code = self.write(folder / "code.c", source)
        command = [compiler, "-shared", "-fPIC", "-o", str(folder / name), str(code), *map(str, options)]
        outcome = run(command, LIMIT)
        if outcome.status != 0:
            raise KitError(f"{name} was not compiled: {outcome.err.strip()[-500:]}")
        return folder / name

    # -- packages

    @property
    def tag(self) -> str:
        """The tag of a wheel with compiled code for this Python and platform, as PyG tags its own."""
        python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
        return f"{python}-{python}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def wheel(
        self, name: str, version: str, files: Mapping[str, Content], *, tag: str = ANY, requires: Sequence[str] = ()
    ) -> Path:
        """A wheel with these files, to install or to serve (``index.add``)."""
        return packing.wheel(self._new(), name, version, files, tag, requires)

    def sdist(self, name: str, version: str, files: Mapping[str, Content]) -> Path:
        """A source distribution with these files, a ``setup.py`` among them, to serve."""
        return packing.sdist(self._new(), name, version, files)

    def repack(self, name: str) -> Path:
        """The wheel of a distribution of the base, out of its installed files."""
        dist = self._distribution(name)
        tags = [line for line in (dist.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
        files = ((file, Path(source)) for file, source in _files(dist) if not _LEFT_OUT.search(file))
        tag = tags[0].partition(": ")[2] if tags else ANY
        return packing.pack(self._new(), dist.metadata["Name"], dist.version, tag, files)

    def _new(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def install(self, *wheels: Path) -> None:
        """Install these wheels with pip, and nothing that they require."""
        tried = self.pip("install", "--no-index", "--no-deps", *map(str, wheels))
        if tried.status != 0:
            raise KitError(f"pip did not install {wheels[0].name}: {tried.said[-1] if tried.said else 'no answer'}")

    # -- programs

    def pip(self, *arguments: str) -> Attempt:
        """What pip says to these arguments, as a person would have run it in this environment."""
        outcome = self._run([*_pip(self.python), *arguments])
        typed = (self.python, "-m", "pip", *arguments)
        said = attempt.parse(f"{outcome.out}\n{outcome.err}").said
        redact = redactor()
        return Attempt(tuple(map(redact, typed)), outcome.status, tuple(map(redact, said)))

    def run(self, code: str) -> Outcome:
        """Run Python code in this environment, from the folder ``work``."""
        return self._run([self.python, "-c", code])

    def show(self) -> str:
        """Let what ``reproduce`` made fail (again), and return what it says."""
        if isinstance(self.shown, Attempt):
            return "\n".join(self.pip(*self.shown.argv[3:]).said)
        return self.run(self.shown).err

    def facts(self) -> Facts:
        """The facts of this environment, with the installation that failed where that is the failure."""
        with self.active():
            facts = collect(self.python)
        tried = self.shown if isinstance(self.shown, Attempt) else None
        return dataclasses.replace(facts, attempt=tried)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """This process as a session in which the environment is activated: its variables, and ``work``."""
        before, folder = dict(os.environ), os.getcwd()
        try:
            os.chdir(self.work)
            os.environ.clear()
            os.environ.update(self._environment())
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            os.chdir(folder)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_OUTSIDE)}
        path = f"{os.path.dirname(self.python)}{os.pathsep}{kept.get('PATH', os.defpath)}"
        own = {"VIRTUAL_ENV": str(self.folder / "venv"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return {**kept, "PATH": path, **own, **self.variables}

    def _run(self, argv: Sequence[str]) -> Outcome:
        with self.active():
            return run(argv, LIMIT)

    # -- the base

    @cached_property
    def _base(self) -> dict[str, importlib.metadata.Distribution]:
        where = sys.path if self.path is None else list(self.path)
        found = [(dist.metadata["Name"], dist) for dist in importlib.metadata.distributions(path=where)]
        return {normalise(name): dist for name, dist in reversed(found) if name}

    def _distribution(self, name: str) -> importlib.metadata.Distribution:
        if normalise(name) not in self._base:
            raise KitError(f"{name} is not installed where the kit runs, so it cannot be shared; install it there")
        return self._base[normalise(name)]

    def _closure(self, names: Iterable[str]) -> list[importlib.metadata.Distribution]:
        from packaging.requirements import Requirement

        found: dict[str, importlib.metadata.Distribution] = {}
        waiting = list(names)
        while waiting:
            name = normalise(waiting.pop())
            if name not in found:
                found[name] = self._distribution(name)
                for requirement in map(Requirement, found[name].requires or []):
                    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                        waiting.append(requirement.name)
        return list(found.values())


def reproduce(id: str) -> Throwaway:
    """A throwaway environment in which the failure ``id`` is real; ``show()`` lets it happen, ``close()`` removes it.

    KitError where there is no such failure, or none that a machine like this one can have for real.
    """
    able = {failure.id: failure.reproduce for failure in failures.catalogue() if failure.reproduce is not None}
    if id not in able:
        raise KitError(f"{id} cannot be reproduced; what can: {', '.join(sorted(able))}")
    place = Throwaway()
    try:
        place.shown = able[id](place)
    except BaseException:
        place.close()
        raise
    return place


_PIP = """\
# The environment knows one index, and no network: the proxy refuses every other host.
[global]
index-url = {index}
extra-index-url =
find-links =
proxy = {proxy}
retries = 0
no-cache-dir = true
disable-pip-version-check = true
"""


def _pip(python: str) -> list[str]:
    """The kit's own pip at work in another environment, else the one that Python brings along."""
    # Not importlib.util: where this process has imported distutils, as torch.compile does, setuptools' finder warns.
    if importlib.machinery.PathFinder.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--python", python]
    bundled = importlib.util.find_spec("ensurepip")
    folder = os.path.dirname(bundled.origin or "") if bundled else ""
    wheel = next(Path(folder, "_bundled").glob("pip-*.whl"), None)
    if wheel is None:
        raise KitError(f"{sys.executable} has no pip; install it with: {sys.executable} -m ensurepip")
    return [python, f"{wheel}/pip"]


def _files(dist: importlib.metadata.Distribution) -> Iterator[tuple[str, str]]:
    """(name, path) of the files of a distribution that are there, without scripts: those name their interpreter."""
    root = str(dist.locate_file(""))
    for row in csv.reader((dist.read_text("RECORD") or "").splitlines()):
        name = row[0]
        if not os.path.isabs(name) and not name.startswith("..") and os.path.isfile(os.path.join(root, name)):
            yield name, os.path.join(root, name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another device, or one without links
        shutil.copy2(source, target)
