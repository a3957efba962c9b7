"""The C++ compiler is missing, or is one that this build or this nvcc does not take.

What it means
-------------
A source distribution needs gcc, clang or MSVC: there is none, and the build stops at ``command 'gcc' failed: No such
file or directory`` or ``Microsoft Visual C++ 14.0 or greater is required``.  Or it is newer than nvcc knows, with
``unsupported GNU version! gcc versions later than 14 are not supported``; or too old for the C++ of this torch.

How it is found
---------------
In what a build said: the compiler that could not be started, or the sentence with which nvcc, torch's headers or
torch's build refuse it.

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

from kit.facts import Attempt, Facts
from kit.failures import _compiled
from kit.failures._installing import cause, wheel_of
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.published import replacement
from kit.recorded import recorded

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
