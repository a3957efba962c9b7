"""Compiles an extension of torch from source into a wheel that fits one environment, and keeps the wheel.

    build("torch-scatter", "2.1.2", "/path/to/python") -> Built(path="....whl", ...)

Against the torch that is installed there (no build isolation), with the variables that make it the same kind of
build as torch, past pip's own cache, which would hand the wheel to any other torch.  The wheel is kept under
everything that makes one build differ from another, and appears there complete or not at all.

:mod:`kit.build.toolchain` and :mod:`kit.build.nvcc` find what compiling takes; :mod:`kit.build.child` compiles, in
the other interpreter, and tells there why it is quick.  Standard library alone: the lab compiles before anything is
installed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Callable, Optional

from kit.build import nvcc, toolchain
from kit.build.nvcc import CannotBuild
from kit.build.process import last_words, watch
from kit.build.sources import DAMAGED, copy, digest
from kit.build.toolchain import CHILD, Target, Toolchain
from kit.collect import redactor
from kit.errors import KitError
from kit.facts import normalise
from kit.record import Record

RECIPE = "1"  # another number where this module builds something else from the same things
# The variables that change what is compiled.
_FLAGS = re.compile(
    r"FORCE_(CUDA|ONLY_CPU|ONLY_CUDA)|(WITH|NVCC)_\w+|TORCH_CUDA_ARCH_LIST|BUILD_DOCS|(C|CXX|CPP|LD|ARCH)FLAGS|CC|CXX"
    r"|LDSHARED|CPATH|C_INCLUDE_PATH|CPLUS_INCLUDE_PATH|LIBRARY_PATH"
)
# pip's settings that would fetch or put elsewhere what a build fetches.
PIP_SETTINGS = ("TARGET", "PREFIX", "ROOT", "USER", "ONLY_BINARY", "NO_BINARY", "REQUIRE_VIRTUALENV", "DRY_RUN")
# Seconds on one idle core, torch 2.13.0's headers (measured): a C++ file; a CUDA file; one architecture of it.
START, FILE_SECONDS, CUDA_SECONDS, ARCHITECTURE_SECONDS = 20.0, 38.0, 60.0, 60.0
_ERROR = re.compile(r"\berror\b|\bfatal\b|Error: |command not found", re.IGNORECASE)
_COUNT = re.compile(r"kit: (\d+) of (\d+) files compiled(?:, (\d+) of them CUDA, (\d+) at once)?")


class BuildFailed(KitError):
    """A build that was tried and failed.  The message tells the first error and names the log."""


class Moment(Record):
    """How far a build is: ``what`` is ``checking``, ``waiting``, ``fetching`` or ``compiling``; ``done`` of ``total``
    files are compiled; ``elapsed`` and ``usual`` are seconds, the latter None as long as nothing is known of it."""

    what: str
    done: Optional[int]
    total: Optional[int]
    elapsed: float
    usual: Optional[float]


class Built(Record):
    """A wheel: its path, the seconds that it took, and whether it was there already."""

    path: str
    seconds: float
    from_cache: bool


def build(
    package: str,
    version: str,
    python: str,
    cache: Optional[str] = None,
    *,
    env: Optional[Mapping[str, str]] = None,
    architectures: Iterable[str] = (),
    source: Optional[str] = None,
    sha256: Optional[str] = None,
    origin: str = "",
    pip: Sequence[str] = (),
    progress: Optional[Callable[[Moment], object]] = None,
    log: Optional[str] = None,
) -> Built:
    """The wheel of ``package``, compiled for the interpreter ``python``, or kept from an earlier call.

    ``cache`` is the folder of wheels (:func:`cache_folder`); ``env`` the variables of all processes (this process's).
    ``architectures`` are compute capabilities, needed where torch has CUDA and no GPU is visible.  ``source`` is an
    sdist or a folder with a ``setup.py``; without it pip (``pip`` begins its command, that of ``python`` by default)
    fetches the sdist of ``version``; ``sha256`` is what it must be, and ``origin`` anything that tells pip's indexes
    from others: what comes from elsewhere is kept apart.  ``log`` is a file to which all output is
    added.  ``progress`` is called several times a second; where it raises, or Ctrl-C does, the processes are ended
    and nothing is left.  Raises :class:`~kit.build.nvcc.CannotBuild` where something is missing and nothing was
    tried, :class:`BuildFailed` where fetching or compiling failed.
    """
    began, env = time.monotonic(), dict(os.environ if env is None else env)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", package) or not re.fullmatch(r"[\w.!+-]+", version):
        raise CannotBuild(f"{package} {version} is no name and version; write them as torch-scatter and 2.1.2")

    def tell(
        what: str, done: Optional[int] = None, total: Optional[int] = None, usual: Optional[float] = None
    ) -> None:
        if progress is not None:
            progress(Moment(what, done, total, time.monotonic() - began, usual))

    tell("checking")
    to = toolchain.target(python, env)
    tools = toolchain.toolchain(package, to, env, architectures)
    folder = os.path.join(cache or cache_folder(env), key(package, version, to, tools, source, sha256, origin))
    try:
        os.makedirs(folder, exist_ok=True)
        with _alone(folder, lambda: tell("waiting")) as alone:
            kept = _kept(folder)
            if kept is None:
                with _work(folder, alone) as work:
                    job = _Job(package, version, to, tools, work, log or os.path.join(folder, "build.log"))
                    job.pip, job.tell = tuple(pip) or job.pip, tell
                    made = job.wheel(source, sha256)
                    kept = os.path.join(folder, os.path.basename(made))
                    os.replace(made, kept)
                return Built(kept, time.monotonic() - began, False)
            return Built(kept, time.monotonic() - began, True)
    except OSError as error:
        raise BuildFailed(
            f"{package} could not be built: {error}; free or repair that place, then try again"
        ) from error


def cache_folder(env: Mapping[str, str]) -> str:
    """Where compiled wheels are kept: the kit's own folder in the user's cache."""
    base = env.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "jupyter-troubleshooting-kit", "wheels")


def key(
    package: str,
    version: str,
    to: Target,
    tools: Toolchain,
    source: Optional[str] = None,
    sha256: Optional[str] = None,
    origin: str = "",
) -> str:
    """The name under which a wheel is kept: everything that makes one build differ from another."""
    torch = to.torch
    assert torch is not None
    torches = [torch.cuda or "", torch.git_version or ""]
    parts = [
        RECIPE,
        *torches,
        *tools.parts,
        *flags(tools.env),
        sha256 or "",
        origin,
        digest(source) if source else "",
    ]
    told = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    kind = "cu" + torch.cuda.replace(".", "") if torch.cuda else "cpu"
    names = [normalise(package), version, "torch" + torch.version, kind, to.soabi, to.platform, told]
    return "-".join(re.sub(r"[^\w.+]", "_", name) for name in names)


def flags(env: Mapping[str, str]) -> list[str]:
    """Those of the variables that change what is compiled, as ``NAME=value``."""
    return [f"{name}={env[name]}" for name in sorted(env) if _FLAGS.fullmatch(name)]


# --- one build ------------------------------------------------------------------------------------


class _Job:
    """One build in its own folder ``work``, which is on the device of the cache."""

    tell: Callable[..., None]

    def __init__(self, package: str, version: str, to: Target, tools: Toolchain, work: str, log: str) -> None:
        self.package, self.version, self.to, self.tools, self.work, self.log = package, version, to, tools, work, log
        self.pip: tuple[str, ...] = (to.python, "-m", "pip")
        self.redact = redactor()
        dropped = {"PIP_" + name for name in PIP_SETTINGS}
        self.env = {name: value for name, value in tools.env.items() if name not in dropped}
        self.env.update(TMPDIR=self.folder("tmp"), PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_USER="0")

    def wheel(self, source: Optional[str], sha256: Optional[str]) -> str:
        """The path of the finished wheel."""
        kit = self.tools.toolkit
        if kit and not kit.usual:
            self.env["CUDA_HOME"] = nvcc.view(kit, os.path.join(self.work, "cuda"))
        if kit and kit.more:
            self.env["CPATH"] = os.pathsep.join([*filter(None, [self.env.get("CPATH")]), *kit.more])
        self._bring_tools()
        project = self._project(source, sha256)
        out, jobs, free = self.folder("out"), toolchain.how_many(self.env), toolchain.memory()
        roomy = free is None or free // jobs >= toolchain.ROOMY_BYTES
        asked = {"out": out, "work": self.folder("objects"), "folder": self.work, "jobs": jobs, "roomy": roomy}
        self._run([self.to.python, CHILD, "wheel", json.dumps(asked)], project, "compiling")
        wheels = [os.path.join(out, name) for name in os.listdir(out) if name.endswith(".whl")]
        if len(wheels) != 1 or not _whole(wheels[0]):
            raise BuildFailed(f"{self.package} made no wheel; its log is {self.log}")
        with open(wheels[0], "rb+") as stream:
            os.fsync(stream.fileno())
        return wheels[0]

    def folder(self, name: str) -> str:
        path = os.path.join(self.work, name)
        os.makedirs(path, exist_ok=True)
        return path

    def _bring_tools(self) -> None:
        """setuptools for this build alone, where the environment has none; wheel, where its setuptools needs that."""
        have = self.to.versions
        number = [int(n) for n in re.findall(r"\d+", have.get("setuptools", "0"))[:2]]
        lacking = [] if "setuptools" in have else ["setuptools"]
        if lacking or (number < [70, 1] and "wheel" not in have):  # since then it makes wheels by itself
            place = self.folder("tools")
            argv = ["install", "--quiet", "--target", place, "--only-binary=:all:", *lacking, "wheel"]
            self._run([*self.pip, *argv], self.work, "fetching")
            paths = [place, *filter(None, [self.env.get("PYTHONPATH")])]
            self.env["PYTHONPATH"] = os.pathsep.join(paths)

    def _project(self, source: Optional[str], sha256: Optional[str]) -> str:
        """The folder with the unpacked source."""
        place = source or self._fetched(sha256)
        if sha256 and digest(place) != sha256.lower():
            raise BuildFailed(f"{os.path.basename(place)} is not what was asked for: its sha256 is {digest(place)}")
        try:
            return copy(place, os.path.join(self.work, "source"))
        except DAMAGED as error:
            why = str(error).partition(":\n")[0]
            raise BuildFailed(f"{os.path.basename(place)} is damaged ({why}); fetch it again") from None

    def _fetched(self, sha256: Optional[str]) -> str:
        """The sdist, by pip: with its indexes, proxies and certificates.  pip reads its metadata, for which it runs
        its ``setup.py``, and that imports torch: so without isolation, and only after the hash was found right."""
        sdist, wanted = self.folder("sdist"), os.path.join(self.work, "wanted.txt")
        with open(wanted, "w", encoding="utf-8") as stream:
            stream.write(
                f"{self.package}=={self.version}" + (f" --hash=sha256:{sha256.lower()}" if sha256 else "") + "\n"
            )
        options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--progress-bar=off"]
        argv = ["download", *options, f"--no-binary={self.package}", "--dest", sdist, "-r", wanted]
        self._run([*self.pip, *argv], self.work, "fetching")
        return os.path.join(sdist, os.listdir(sdist)[0])

    def _run(self, argv: Sequence[str], cwd: str, what: str) -> None:
        """One command.  BuildFailed with its first error where it fails."""
        usual: list[Optional[float]] = [None]

        def tell(said: Sequence[str]) -> None:
            counts = [match for match in map(_COUNT.match, said) if match]
            if counts and counts[0][3]:
                files, cuda, jobs = (int(counts[0][group]) for group in (2, 3, 4))
                codes = self.env.get("TORCH_CUDA_ARCH_LIST", "").count(";") + 1
                work = (files - cuda) * FILE_SECONDS + cuda * (CUDA_SECONDS + ARCHITECTURE_SECONDS * codes)
                usual[0] = START + work / jobs
            self.tell(what, *(map(int, counts[-1].group(1, 2)) if counts else (None, None)), usual[0])

        status, said = watch(argv, self.env, cwd, self.log, self.redact, tell=tell)
        tell(said)  # the last words, which come as the process ends
        if status != 0:
            errors = [line.strip() for line in said if _ERROR.search(line) and not line.startswith("$")]
            words = last_words(said, status) if what == "fetching" else (errors or said[-1:] or ["no word"])[0]
            raise BuildFailed(f"{what} {self.package} {self.version} failed: {words[:500]}; its log is {self.log}")


# --- the cache ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(folder: str, waiting: Callable[[], None]) -> Iterator[bool]:
    """Only one process at a time builds this; another one waits, and then finds the wheel.  False where there are no
    locks: then both build, and the later wheel replaces the other."""
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    descriptor, locked = os.open(folder, os.O_RDONLY), False
    try:
        while not locked:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                waiting()
                time.sleep(0.2)
            except OSError:
                break  # this file system has none
        yield locked
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _work(folder: str, alone: bool) -> Iterator[str]:
    """A folder for one build; what a build that was killed left is removed first."""
    for entry in os.scandir(folder):
        if entry.name.startswith(".part-") and (alone or time.time() - entry.stat().st_mtime > 86400):
            shutil.rmtree(entry.path, ignore_errors=True)
    work = tempfile.mkdtemp(prefix=".part-", dir=folder)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _kept(folder: str) -> Optional[str]:
    """The wheel in a folder of the cache; one that is damaged is removed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.endswith(".whl"):
            if _whole(entry.path):
                return entry.path
            os.unlink(entry.path)
    return None


def _whole(file: str) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError):
        return False
