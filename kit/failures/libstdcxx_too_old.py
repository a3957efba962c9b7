"""The C++ library is older than a compiled file needs: GLIBCXX or CXXABI not found.

What it means
-------------
An extension that was compiled with a newer compiler than this system's asks for a newer ``libstdc++.so.6``, and
loading stops at ``version `GLIBCXX_3.4.32' not found`` or ``CXXABI_1.3.13``.  So it is with an extension that was
built in another image, or with conda's compiler, and then runs with the system's library.

How it is found
---------------
The versions that each compiled file asks of ``libstdc++.so.6`` are held against those that the library defines
which the loader takes.  Where a newer copy is here and another one wins over it, library-shadowed says so.

Example
-------
torch-scatter, compiled by gcc 13 in another image, on Debian 12, whose libstdc++ ends at GLIBCXX_3.4.30.

Fix
---
In a conda environment a newer ``libstdcxx`` from conda-forge.  Elsewhere compile the extension on this system, or
take a release that was built on an older one; else a newer system or base image.

Known limits
------------
Only torch and the files of extensions that link against it are read.
"""

import dataclasses
from collections.abc import Iterator

from kit.facts import Binary, Facts, Missing, Probe
from kit.failures import _compiled
from kit.failures._place import Place
from kit.failures.libc_too_old import findings
from kit.findings import Finding
from kit.recorded import recorded

RANK = 16
SHOWS = r"version `GLIBCXX_3\.4\.99' not found"
INSTEAD = "Preloading or copying another system's libstdc++ trades this error for crashes elsewhere."

# Systems that have a version, to name one that is new enough.
SYSTEMS = {
    "GLIBCXX_3.4.28": "Debian 11, Ubuntu 20.04",
    "GLIBCXX_3.4.29": "RHEL 9",
    "GLIBCXX_3.4.30": "Debian 12, Ubuntu 22.04",
    "GLIBCXX_3.4.33": "Debian 13, Ubuntu 24.04, RHEL 10",
    "CXXABI_1.3.12": "Debian 11, Ubuntu 20.04",
    "CXXABI_1.3.13": "Debian 12, Ubuntu 22.04, RHEL 9",
    "CXXABI_1.3.15": "Debian 13, Ubuntu 24.04, RHEL 10",
}


def find(facts: Facts) -> Iterator[Finding]:
    return findings("libstdcxx-too-old", "C++ library", ("GLIBCXX_", "CXXABI_", "GCC_"), SYSTEMS, facts)


def example() -> Facts:
    facts = recorded("healthy-cpu")
    scatter = facts.extensions[0]
    file = "torch_scatter/_scatter_cpu.so"
    library = Binary(
        file,
        machine="x86_64",
        needs=("libc10.so", "libtorch.so", "libtorch_cpu.so", "libstdc++.so.6", "libc.so.6"),
        missing=(Missing("version", "GLIBCXX_3.4.32", "_scatter_cpu.so", "libstdc++.so.6", "GLIBCXX_3.4.30"),),
        glibcxx="3.4.32",
        loads=False,
        why=("needs GLIBCXX_3.4.32 of libstdc++.so.6, which ends at GLIBCXX_3.4.30",),
    )
    said = f"OSError: /lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by {file})"
    return dataclasses.replace(
        facts,
        extensions=(dataclasses.replace(scatter, binaries=(library,)),),
        probes=(Probe("torch", 0), Probe("torch_scatter", 1, said)),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    file = _compiled.library(place, _compiled.CALLS, _compiled.stub(place, "libstdc++.so.6", "GLIBCXX_3.4.99"))
    return _compiled.installed(place, "torch-spline-conv", "", file)
