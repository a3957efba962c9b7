"""The C++ compiler is missing, or is one that this build or this nvcc does not take.

What it means
-------------
A source distribution needs gcc, clang or MSVC: there is none, and the build stops at ``command 'gcc' failed: No such
file or directory`` or ``Microsoft Visual C++ 14.0 or greater is required``.  Or it is newer than nvcc knows, with
``unsupported GNU version! gcc versions later than 14 are not supported``; or too old for the C++ of this torch.

How it is found
---------------
In what a build said: the compiler that could not be started, or the sentence with which nvcc, torch's headers or
torch's build refuse it.  In pasted text: these and what nvcc
says in headers of a compiler that is newer than it knows.

Example
-------
A container without gcc.

Fix
---
What needs no compiler: the wheel, where one is published, or for torch-scatter the kit's replacement
(``kit shim enable torch_scatter``).  Else a compiler that fits: an older one beside the system's for nvcc, named by
``CC`` and ``CXX``.

Known limits
------------
An error in the code itself is not told from a compiler that reads it differently.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Optional

from kit.facts import Attempt, Facts
from kit.failures import _compiled, _stops, _told_build, _told_prose
from kit.failures._installing import cause, wheel_of
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.published import replacement
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 35
INSTEAD = "Telling nvcc to allow the compiler all the same gives code that fails or computes wrong values."

SHOWS = r"No such file or directory: 'gcc'|command 'gcc' failed"


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if found is None or found.failure != "compiler-unsupported":
        return
    kind, _, what = found.what.partition(": ")
    missing = kind == "missing"
    name = found.package or "the extension"
    title = f"There is no compiler to build {name} with" if missing else f"{name} cannot be built with this compiler"
    story = f"The build asks for {what}, which is not here." if missing else f"The build says: {what.rstrip('.')}."
    here = facts.host.compiler
    yield Finding(
        "compiler-unsupported",
        "error",
        found.package or None,
        f"{title}. {story}",
        (f"the build of {name}: {found.line}", f"compiler: {here or 'none found on PATH'}"),
        tuple(_fixes(name, what, missing, facts)),
    )


def _fixes(name: str, what: str, missing: bool, facts: Facts) -> Iterator[Fix]:
    first = wheel_of(name, facts) or replacement(name, facts)
    if first is not None:
        yield first
    if facts.host.system == "Windows":
        yield Fix(
            "install-toolchain",
            "Install the Build Tools of Visual Studio 2022 with C++, and start again from its prompt",
        )
        return
    limit = re.search(r"later than (\d+)", what)
    if limit:
        newest = limit.group(1)
        why = f"Install gcc {newest} beside the system's and build with CC=gcc-{newest} CXX=g++-{newest}"
        yield Fix("install-toolchain", why, env={"CC": f"gcc-{newest}", "CXX": f"g++-{newest}"})
    elif missing:
        yield Fix("install-toolchain", "Install gcc and g++ (build-essential, gcc-c++, or conda's cxx-compiler)")
    else:
        yield Fix("install-toolchain", "Install a compiler that this build takes, and name it with CC and CXX")


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "compiler-unsupported")
    if plain is not None:
        missing = re.search(r"not found|required|missing|need", plain[1].line, re.I) is not None
        kind, name = "missing" if missing else "unsupported", _told_build.called(report)
        yield _answer(kind, "", plain[0], plain[1], name, _told_build.package(report), report)
    name, package = _told_build.called(report), _told_build.package(report)
    for stop, hit in _told_build.stopped(report, "compiler-unsupported"):
        what = _stops.what(hit.groups)
        sure = stop.sure
        if stop.kind == "missing" and "nvcc" in what:
            continue
        if stop.kind != "unsupported" and not _told_build.in_build(report) and not report.has("triton", "inductor"):
            sure = min(sure, 0.7)
        yield _answer(stop.kind, what, sure, hit, name, package, report)
        return
    for owner, header, hit in _told_build.missing_headers(report):
        if owner in ("c++17", "omp", "system"):
            sure = {"c++17": 0.85, "omp": 0.7, "system": 0.66}[owner]
            yield _answer("unsupported", f"there is no {header}", sure, hit, name, package, report)
            return
    if report.has("winerror 2]", "codec can't decode byte") and report.has("cpp_extension", "setup.py"):
        started = report.hit(r"\[WinError 2\][^\n]*|'utf-8' codec can't decode byte 0x[a-f\d]{2}[^\n]*")
        if started is not None and "nvcc" not in started.line:
            sure = 0.6 if "WinError" in started.line else 0.45
            yield _answer("missing", "Visual C++ (cl.exe)", sure, started, name, package, report)
            return
    if report.has(
        "ninja: build stopped",
        "compiling objects for extension",
        "error building extension",
        "failed with exit",
        "'ninja'",
        "torch_extensions",
    ):
        cut = report.hit(
            r"ninja: build stopped[^\n]*|Error (?:compiling objects for|building) extension[^\n]*|"
            r"Command '\['ninja'[^\n]*returned non-zero|torch_extensions[/\\][^\s:]{1,300}: cannot open shared[^\n]*|"
            r"command '[^'\n]*(?:gcc|g\+\+|cc|clang|nvcc|cl\.exe)' failed with exit (?:code|status)[^\n]*"
        )
        if cut is not None:
            yield _answer("cut", "", 0.3, cut, name, package, report)


def _answer(kind: str, what: str, sure: float, hit: Hit, name: str, package: Optional[str], report: Report) -> Told:
    if kind == "cut":
        summary = (
            f"A compiler failed in the build of {name}. What it said stands further up, and is not in this text."
        )
        fixes = [_other_compiler(what, report)]
    elif kind == "tool":
        summary = (
            f"A tool that builds {name} is not installed. The build asks for Ninja or CMake and does not find it."
        )
        tool = "ninja" if "ninja" in hit.line.lower() else "cmake"
        fixes = [Fix("install-toolchain", f"Install {tool} into this environment, and a C++ compiler where none is")]
    elif kind == "missing":
        which = f"{what} could not be started or found" if what else "None was found"
        summary = f"There is no compiler to build {name} with. {which}; the build needs one that is on PATH."
        fixes = [_compiler(report)]
    else:
        said = (
            f"It stops at: {what[:150].rstrip('. ')}"
            if what
            else "The compiler stops in headers that are not its own"
        )
        summary = f"{name[0].upper()}{name[1:]} cannot be built with this compiler. {said}."
        fixes = [_other_compiler(what, report)]
    summary = re.sub(r"\s+", " ", summary)
    return Told(
        sure,
        package or ("gcc" if kind == "unsupported" else None),
        summary,
        (hit,),
        (*fixes, *_told_build.prebuilt(report))[:3],
        over=("headers-missing", "nvcc-not-found", "not-environment") if kind == "unsupported" and sure > 0.8 else (),
    )


def _windows(report: Report) -> bool:
    return report.facts.host.system == "Windows" or report.has(
        "cl.exe", "msvc", "microsoft visual", "winerror", "c:\\"
    )


def _compiler(report: Report) -> Fix:
    if _windows(report):
        why = "Install the Build Tools of Visual Studio 2022 with C++, and build in its x64 Native Tools prompt"
    elif report.facts.host.system == "Darwin" or report.has("xcrun", "darwin", "macos"):
        why = "Install Apple's command line tools (xcode-select --install), then try again"
    else:
        why = "Install gcc and g++ (build-essential, gcc-c++, or conda's cxx-compiler), then try again"
    return Fix("install-toolchain", why)


def _other_compiler(what: str, report: Report) -> Fix:
    limit = re.search(r"later than (\d+)", what)
    if limit:
        newest = limit.group(1)
        why = f"Install gcc {newest} beside the system's and build with CC=gcc-{newest} CXX=g++-{newest}"
        return Fix("install-toolchain", why, env={"CC": f"gcc-{newest}", "CXX": f"g++-{newest}"})
    if _windows(report):
        why = "Install the version of Visual C++ that this CUDA toolkit takes, or a CUDA toolkit that takes yours"
    elif re.search(r"C\+\+\d+|-std=|std\b|there is no", what):
        why = "Build with a compiler that has this C++ standard (gcc 9 or newer for C++17), named with CC and CXX"
    else:
        why = "Build with a gcc that this CUDA toolkit takes, named with CC and CXX, or with a newer CUDA toolkit"
    return Fix("install-toolchain", why)


def example() -> Facts:
    facts = recorded("healthy-cpu")
    said = (
        "Collecting torch-cluster",
        "  Downloading torch_cluster-1.6.3.tar.gz (54 kB)",
        "  Building wheel for torch-cluster (pyproject.toml): finished with status 'error'",
        "      building 'torch_cluster._fps_cpu' extension",
        "      error: command 'gcc' failed: No such file or directory",
        "  ERROR: Failed building wheel for torch-cluster",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "--no-build-isolation", "torch-cluster")
    host = dataclasses.replace(facts.host, compiler=None)
    return dataclasses.replace(facts, host=host, attempt=Attempt(argv, 1, said))


def reproduce(place: Place) -> Attempt:
    _compiled.prepared(place)
    _compiled.source(place, "torch-cluster")
    place.variables["PATH"] = str(place.site.parents[2] / "bin")  # as in an image without a compiler
    return place.pip("install", "--no-build-isolation", "torch-cluster")
