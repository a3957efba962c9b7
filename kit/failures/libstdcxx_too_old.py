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
In text: the version that is not found, the libstdc++ that was taken, and the file that asks for it.

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
import re
from collections.abc import Iterator
from itertools import islice
from typing import Optional

from kit.facts import Binary, Facts, Missing, Probe
from kit.failures import _compiled, _told
from kit.failures._place import Place
from kit.failures.libc_too_old import asks, findings
from kit.findings import Finding, Fix
from kit.gpus import numbers
from kit.recorded import recorded
from kit.report import Report, Told

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


def told(report: Report) -> Iterator[Told]:
    for lack in _told.symbols(report):
        if _told.judged(lack) == "libstdcxx-too-old":
            where = lack.file if re.search(r"conda|mamba|miniforge|/envs/", lack.file) else ""
            yield Told(
                0.78,
                lack.package,
                f"The C++ library that is loaded is too old for {lack.package or 'a compiled file'}. It needs "
                f"{lack.what[:60]}, a function of C++'s own library that a newer compiler built it with.",
                (lack.hit,),
                tuple(_newer(report, where, lack.package)),
            )
            return
    if not report.has("glibcxx_", "cxxabi_", "gcc_"):
        return
    pattern = r"version [`'\"‘]?(?P<version>(?:GLIBCXX|CXXABI|GCC)_[\d.]+)[`'\"’]?\s+not\s+found[^\n]*"
    hits = list(islice(report.hits(pattern), 20))
    hits = hits or list(islice(report.hits(r"(?P<version>(?:GLIBCXX|CXXABI)_[\d.]+)[`'\"’]?\s*not found"), 20))
    hits = hits or list(
        islice(
            report.hits(
                r"\b(?:not|n't|cannot|unable to|missing|lacks?|without|no|needs?|requires?|older? than)\b[^\n]{0,40}?"
                r"(?P<version>(?:GLIBCXX|CXXABI)_[\d.]*\d)|(?P<v2>(?:GLIBCXX|CXXABI)_[\d.]*\d)[^\n]{0,30}(?:missing|required)"
            ),
            5,
        )
    )
    hits = [
        hit if "version" in hit.groups else dataclasses.replace(hit, groups={"version": hit["v2"]}) for hit in hits
    ]
    if not hits:
        return
    newest = max(hits, key=lambda hit: (hit["version"].split("_")[0], numbers(hit["version"].partition("_")[2])))
    package = asks(report, newest)
    taken = re.search(r"(\S*libstdc\+\+\.so\S*|\S*libgcc_s\S*?):?\s", newest.line + " ")
    where = taken.group(1).rstrip(":") if taken else ""
    yield Told(
        0.94,
        package,
        f"The C++ library that is loaded is too old for {package or 'a compiled file'}. It needs "
        f"{newest['version']}, and {where[-80:] or 'the libstdc++ that the loader takes'} does not have it.",
        (newest,),
        tuple(_newer(report, where, package)),
    )


def _newer(report: Report, where: str, package: Optional[str]) -> Iterator[Fix]:
    conda = report.facts.python.conda or report.has("conda", "mamba", "miniforge")
    update = "Bring a newer libstdc++ into this conda environment: conda install -c conda-forge libstdcxx-ng"
    inside = re.search(r"conda|mamba|miniforge|/envs/", where + "/") or "torch/lib/../../../.." in where
    if conda and inside:
        yield _told.fix("change-package-version", update)
        yield _told.fix("fix-loader-path", "Or let the loader find the newer libstdc++ of the system first")
    elif conda:
        yield _told.fix(
            "fix-loader-path", "Let LD_LIBRARY_PATH begin with $CONDA_PREFIX/lib, whose libstdc++ is newer"
        )
        yield _told.fix("change-package-version", update)
    else:
        yield _told.fix(
            "change-package-version", "Install a newer libstdc++6 from the system, or take a newer base image"
        )
        yield _told.fix("rebuild-extension", f"Compile {package or 'the extension'} on this system")


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
