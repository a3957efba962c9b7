"""What compiling an extension for an environment needs: found, checked and named before anything is compiled.

torch with its version, Python's headers, a C++ compiler; where torch has CUDA also what :mod:`kit.build.nvcc` finds,
and a compiler that this nvcc accepts.  Standard library alone: the lab compiles with it.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from kit.build.nvcc import CannotBuild, Toolkit, accepted, architecture_list, toolkit
from kit.collect import inside
from kit.collect.host import which
from kit.collect.run import run
from kit.facts import Torch
from kit.record import Record

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
LIMIT = 60.0  # seconds for a short question to a program
# For one compiler with torch's headers; gcc as it is takes up to 1.3 GB, with room for its garbage 2.3 (measured).
JOB_BYTES, ROOMY_BYTES = 3 << 29, 3 << 30
WRAPPERS = ("ccache", "sccache", "distcc", "icecc")  # they stand before a compiler
FORCING = ("FORCE_CUDA", "FORCE_ONLY_CPU", "FORCE_ONLY_CUDA")


class Target(Record):
    """What an interpreter says of itself.  ``cxx`` is the C++ compiler that its setuptools would run; ``versions``
    are those of setuptools, wheel and pip, where they are installed."""

    python: str
    version: str
    prefix: str
    paths: tuple[str, ...]
    include: str
    headers: bool
    soabi: str
    platform: str
    cxx: str
    versions: Mapping[str, str]
    torch: Optional[Torch]


class Toolchain(Record):
    """What a build runs with: variables, and ``parts``, what besides flags makes one build differ from another."""

    env: Mapping[str, str]
    parts: tuple[str, ...]
    toolkit: Optional[Toolkit] = None


def target(python: str, env: Mapping[str, str]) -> Target:
    """Ask an interpreter.  CannotBuild where it does not answer."""
    try:
        outcome = run([python, CHILD, "probe"], LIMIT, env)
        said: dict[str, Any] = json.loads(outcome.out.strip().splitlines()[-1]) if outcome.status == 0 else {}
    except (OSError, ValueError, IndexError) as error:
        raise CannotBuild(f"{python} does not answer ({error}); name a Python that runs") from None
    if not said:
        words = (outcome.err.strip().splitlines() or [f"status {outcome.status}"])[-1]
        raise CannotBuild(f"{python} does not answer ({words}); name a Python that runs")
    origin = said.pop("torch")
    torch = None
    if origin and os.path.isfile(os.path.join(os.path.dirname(origin), "version.py")):
        file = inside.version_file(os.path.join(os.path.dirname(origin), "version.py"))
        torch = Torch(
            location=os.path.dirname(origin),
            version=file.get("__version__") or "unknown",
            cuda=file.get("cuda"),
            hip=file.get("hip"),
            git_version=file.get("git_version"),
        )
    return Target(python=python, torch=torch, paths=tuple(said.pop("paths")), **said)


def toolchain(package: str, to: Target, env: Mapping[str, str], architectures: Iterable[str] = ()) -> Toolchain:
    """What compiling ``package`` for ``to`` takes, so that it becomes the same kind of build as torch.

    An extension without CUDA under a torch with CUDA imports without a word and fails at its first use on a GPU: it
    is refused rather than built.  ``architectures`` are compute capabilities (``'12.0'``, ``'9.0+PTX'``); without
    any, ``TORCH_CUDA_ARCH_LIST`` counts, then the GPUs that are visible.  CannotBuild names what is missing.
    """
    torch = to.torch
    if torch is None:
        raise CannotBuild(f"{to.python} has no torch, and {package} is compiled against it; install torch first")
    if torch.hip:
        raise CannotBuild(
            f"torch {torch.version} is a ROCm build, for which this kit has no recipe; see {package}'s own"
        )
    if not to.headers:
        minor = ".".join(to.version.split(".")[:2])
        raise CannotBuild(
            f"Python's header files are missing ({os.path.join(to.include, 'Python.h')}); "
            f"on Debian and Ubuntu: apt install python{minor}-dev, on Fedora and RHEL: dnf install python3-devel"
        )
    plain = {name: value for name, value in env.items() if name not in FORCING}
    if torch.cuda is None:
        chosen, version = compiler(to, env, None)
        return Toolchain({**plain, **chosen, "FORCE_ONLY_CPU": "1"}, ("cpu", version))
    kit = toolkit(torch, [*to.paths], to.prefix, env)
    chosen, version = compiler(to, env, kit)
    named = architecture_list(kit, architectures, env)
    added = {"FORCE_CUDA": "1", "CUDA_HOME": kit.path, "TORCH_CUDA_ARCH_LIST": named}
    return Toolchain({**plain, **chosen, **added}, (f"nvcc {kit.version}", version, named), kit)


# --- the C++ compiler -----------------------------------------------------------------------------


def compiler(to: Target, env: Mapping[str, str], kit: Optional[Toolkit]) -> tuple[dict[str, str], str]:
    """(variables that name it where that is needed, its kind and version): the one that would be taken anyway, or
    else one on PATH that this nvcc accepts."""
    if os.name == "nt":
        return {}, "cl"
    asked = [word for word in shlex.split(env.get("CXX", "")) if os.path.basename(word) not in WRAPPERS]
    usual = asked[:1] or list(dict.fromkeys([*shlex.split(to.cxx)[:1], "g++", "c++", "clang++"]))
    newest = {"gcc": accepted("gcc", kit), "clang": accepted("clang", kit)} if kit else {}
    others = [] if asked else [f"g++-{major}" for major in range(newest.get("gcc") or 0, 6, -1)]
    refused = []
    for name in dict.fromkeys([*usual, *others]):
        program = which(name, env.get("PATH", os.defpath))
        kind, version = _kind(program) if program else ("", "")
        if not program or not version:
            continue
        limit = newest.get(kind)
        if limit is not None and int(version.partition(".")[0]) > limit:
            refused.append(f"{name} is {kind} {version}")
            continue
        named = {"CXX": program, "CC": env.get("CC") or _c_of(program)} if kit or name != usual[0] else {}
        return {} if asked else named, f"{kind} {version}"
    if refused and kit:
        raise CannotBuild(
            f"{refused[0]}, and nvcc {kit.version} accepts gcc up to {newest['gcc']}, clang up to {newest['clang']}; "
            f"on Debian and Ubuntu: apt install g++-{newest['gcc']}"
        )
    raise CannotBuild(f"no C++ compiler was found ({', '.join(usual)}); on Debian and Ubuntu: apt install g++")


def _kind(program: str) -> tuple[str, str]:
    """('gcc' or 'clang', version) of a compiler; ('', '') of what is none."""
    try:
        said = run([program, "--version"], LIMIT).out
        clang = re.search(r"clang version (\d[\d.]*)", said)
        if clang:
            return "clang", clang[1]
        full = run([program, "-dumpfullversion", "-dumpversion"], LIMIT).out.strip()
    except OSError:
        return "", ""
    return ("gcc", full) if re.match(r"\d", full) else ("", "")


def _c_of(program: str) -> str:
    """The C compiler beside a C++ compiler: g++-12 -> gcc-12, c++ -> cc, clang++ -> clang."""
    folder, name = os.path.split(program)
    c = re.sub(r"\bclang\+\+", "clang", re.sub(r"\bg\+\+", "gcc", re.sub(r"\bc\+\+", "cc", name)))
    found = os.path.join(folder, c)
    return found if os.path.isfile(found) else program


# --- how much at once ------------------------------------------------------------------------------


def how_many(env: Mapping[str, str]) -> int:
    """How many compilers run at once: one a core, as far as memory and ``MAX_JOBS`` allow."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = re.match(r"(\d+) (\d+)", _text("/sys/fs/cgroup/cpu.max"))
    limits = [cores, *([max(1, round(int(quota[1]) / int(quota[2])))] if quota else [])]
    free = memory()
    limits += [] if free is None else [free // JOB_BYTES]
    asked = env.get("MAX_JOBS", "")
    return max(1, min([*limits, *([int(asked)] if asked.isdigit() else [])]))


def memory() -> Optional[int]:
    """Bytes of memory that are free here, or None where that cannot be read."""
    free = re.search(r"^MemAvailable:\s*(\d+) kB", _text("/proc/meminfo"), re.M)
    found = [int(free[1]) << 10] if free else []
    for group, limit, used in (
        ("", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        place = os.path.join("/sys/fs/cgroup", group)
        numbers = [_text(os.path.join(place, name)).strip() for name in (limit, used)]
        cached = re.search(r"^(?:total_)?inactive_file (\d+)", _text(os.path.join(place, "memory.stat")), re.M)
        if all(map(str.isdigit, numbers)):
            found.append(int(numbers[0]) - int(numbers[1]) + (int(cached[1]) if cached else 0))
    return max(0, min(found)) if found else None


def _text(file: str) -> str:
    try:
        with open(file, encoding="ascii", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
