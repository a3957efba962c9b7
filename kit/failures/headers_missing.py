"""A header that the compiler needs is not installed: Python.h, or that of a library.

What it means
-------------
A source distribution is compiled, and stops at ``fatal error: Python.h: No such file or directory``.  The Python of
a Linux distribution comes without its headers, which are a package of their own; so do those of other libraries.

How it is found
---------------
In what a build said: the compiler names a header that it does not find.  Headers of CUDA and of torch itself are
other failures.  In pasted text:
the compiler's line, in whatever language it speaks.

Example
-------
``Python.h``, with the system's Python.

Fix
---
What needs no compiler: the wheel, where one is published, or for torch-scatter the kit's replacement
(``kit shim enable torch_scatter``).  Else the package with the headers, from the system or from conda.

Known limits
------------
Which package holds a header other than Python's is not looked up.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.facts import Attempt, Facts
from kit.failures import _compiled, _stops, _told_build
from kit.failures._installing import cause, wheel_of
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.published import python_minor, replacement
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 36
INSTEAD = "Copying headers from another Python compiles, and crashes when it is used."

SHOWS = r"Python\.h"


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if found is None or found.failure != "headers-missing":
        return
    name, header = found.package or "the extension", found.what
    pythons = header.rpartition("/")[2] in ("Python.h", "pyconfig.h", "patchlevel.h")
    of = f"Python {python_minor(facts)}" if pythons else "a library"
    yield Finding(
        "headers-missing",
        "error",
        found.package or None,
        f"A header is missing to compile {name}. The compiler looks for {header}, of {of}, and does not find it.",
        (f"the build of {name}: {found.line}", f"{facts.python.executable}: Python {facts.python.version}"),
        tuple(_fixes(name, header, pythons, facts)),
    )


def _fixes(name: str, header: str, pythons: bool, facts: Facts) -> Iterator[Fix]:
    first = wheel_of(name, facts) or replacement(name, facts)
    if first is not None:
        yield first
    minor = python_minor(facts)
    if not pythons:
        yield Fix("install-toolchain", f"Install the development package that holds {header}, then try again")
    elif facts.python.conda or facts.python.base_prefix not in ("/usr", ""):
        why = (
            f"Make an environment with another Python {minor} (conda-forge, uv, python.org): this one has no headers"
        )
        yield Fix("install-toolchain", why)
    else:
        package = f"python{minor}-dev (Debian, Ubuntu) or python{minor}-devel (Fedora, RHEL)"
        yield Fix("install-toolchain", f"Install {package} with the system's package manager, then try again")


_SURE = {"python": 0.95, "library": 0.84, "cuda": 0.76, "nvcc": 0.55, "system": 0.55, "omp": 0.6}
# Headers of sources that come with a package's repository, as a submodule of it.
_SUBMODULES = r"glm/|cutlass/|cute/|tiny-cuda-nn/|tcnn|pybind11/|fmt/|spdlog/|third_party|ck/|json/json"


def told(report: Report) -> Iterator[Told]:
    name, package = _told_build.called(report), _told_build.package(report)
    found = [(_SURE[owner], owner, header, hit) for owner, header, hit in _headers(report) if owner in _SURE]
    if not found:
        yield from _of_triton(report)
        return
    sure, owner, header, hit = max(found, key=lambda f: f[0])
    if owner == "library" and not re.search(r"\.(?:h|hh|hpp|hxx|cuh|inl)$|/", header):
        return
    submodule = re.match(_SUBMODULES, header)
    of = {"python": "Python", "cuda": "CUDA's libraries", "nvcc": "the CUDA toolkit"}.get(owner, "a library")
    yield Told(
        sure,
        package,
        f"A header is missing to compile {name}. The compiler looks for {header}, of {of}, and does not find it.",
        (hit,),
        (
            Fix("install-toolchain", _where(owner, header, report)),
            *([Fix("change-code-or-data", _CLONE)] if submodule else []),
            *_told_build.prebuilt(report),
        )[:3],
        over=("wheel-not-published",),
    )


_CLONE = "Get the submodules of the source with it: git submodule update --init --recursive"


def _of_triton(report: Report) -> Iterator[Told]:
    """A compiler that triton starts fails, and what it said is not shown."""
    if not report.has("cuda_utils.c", "__triton_launcher.c") or report.has(
        " error:", "cannot find", "undefined", "fatal"
    ):
        return
    hit = report.hit(r"[^\s']*(?:cuda_utils|__triton_launcher)\.c\b")
    if hit is not None:
        story = "A header is probably missing to compile triton's launcher. Most often it is Python.h"
        why = _where("python", "Python.h", report)
        yield Told(
            0.5, "triton", f"{story}; what the compiler said is cut off.", (hit,), (Fix("install-toolchain", why),)
        )


def _headers(report: Report) -> Iterator[tuple[str, str, Hit]]:
    yield from _told_build.missing_headers(report)
    if report.has("lpython", ".lib'"):
        hit = report.hit(
            r"(?:cannot find|library not found for) -l(?P<what>python[\d.]+\w*)|'(?P<w2>python\d+(?:_d)?\.lib)'"
        )
        if hit is not None:
            yield "python", _stops.what(hit.groups), hit


def _where(owner: str, header: str, report: Report) -> str:
    minor = python_minor(report.facts)
    if owner == "python":
        of = f"python{minor}-dev" if minor else "python3-dev"
        return f"Install Python's headers: {of} (Debian, Ubuntu), python3-devel (Fedora, RHEL), or a conda Python"
    if owner in ("cuda", "nvcc"):
        return f"Install the whole CUDA toolkit of torch's CUDA, with the development files that hold {header}"
    if re.match(r"glm/", header):
        return "Install libglm-dev (Debian, Ubuntu) or conda's glm, which holds it; or clone the source recursively"
    return f"Install the development package that holds {header}, then try again"


def example() -> Facts:
    facts = recorded("healthy-cpu")
    said = (
        "Collecting torch-cluster",
        "  Downloading torch_cluster-1.6.3.tar.gz (54 kB)",
        "  Building wheel for torch-cluster (pyproject.toml): finished with status 'error'",
        "      /opt/venv/lib/python3.11/site-packages/torch/include/torch/csrc/python_headers.h:12:10: fatal error: "
        "Python.h: No such file or directory",
        "      error: command '/usr/bin/g++' failed with exit code 1",
        "  ERROR: Failed building wheel for torch-cluster",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "--no-build-isolation", "torch-cluster")
    return dataclasses.replace(facts, attempt=Attempt(argv, 1, said))


def reproduce(place: Place) -> Attempt:
    _compiled.prepared(place)
    _compiled.source(place, "torch-spline-conv", f"#include <Python.h>\n{_compiled.SOURCE}", headers=False)
    return place.pip("install", "--no-build-isolation", "torch-spline-conv")
