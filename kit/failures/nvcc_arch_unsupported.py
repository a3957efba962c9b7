"""A GPU architecture was asked for that this nvcc, or this torch's build code, does not know.

What it means
-------------
Every nvcc compiles for a range of GPUs: CUDA 12 dropped compute capability 3.5, CUDA 13 everything below 7.5, and
12.0 (Blackwell, RTX 50) needs CUDA 12.8.  ``nvcc fatal : Unsupported gpu architecture 'compute_35'`` names one
outside of it.  torch's build code has a list too, and says ``Unknown CUDA arch (12.0) or GPU not supported``; where
no GPU is visible and none is named it ends with ``IndexError: list index out of range``.

How it is found
---------------
In what a build said: the architecture that nvcc, ptxas or torch's build code refuses.  In pasted text the same.

Example
-------
``compute_35``, fixed in a setup.py, and nvcc 12.

Fix
---
Architectures that this nvcc knows, in ``TORCH_CUDA_ARCH_LIST`` or where the package fixes them.  For a GPU that is
newer than nvcc: a newer toolkit, and a torch that was built for that CUDA.

Known limits
------------
Where a setup.py fixes the architectures, the variable changes nothing.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Optional

from kit.data import table
from kit.facts import Attempt, Facts
from kit.failures import _stops, _told_build
from kit.failures._installing import cause, wheel_of
from kit.findings import Finding, Fix
from kit.gpus import numbers
from kit.published import replacement
from kit.recorded import recorded
from kit.report import Report, Told

RANK = 35
INSTEAD = "A build for another architecture than the GPU's compiles, and then has no code that the GPU can run."


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if found is None or found.failure != "nvcc-arch-unsupported":
        return
    name, (kind, _, what) = found.package or "the extension", found.what.partition(": ")
    here = ", ".join(f"{toolkit.version} in {toolkit.path}" for toolkit in facts.host.toolkits)
    first = wheel_of(name, facts) or replacement(name, facts)
    yield Finding(
        "nvcc-arch-unsupported",
        "error",
        found.package or None,
        _summary(kind, what, name),
        (f"the build of {name}: {found.line}", f"CUDA toolkits: {here or 'none found'}"),
        (*([first] if first else []), *_fixes(kind, what, name))[:3],
    )


def _capability(what: str) -> Optional[tuple[int, int]]:
    """``(12, 0)`` of ``compute_120a``, ``sm_120`` or ``12.0+PTX``; None of what is none."""
    found = re.search(r"(\d+)\.(\d)|_(\d{1,2})(\d)", what)
    if not found:
        return None
    major, minor = (found.group(1), found.group(2)) if found.group(1) else (found.group(3), found.group(4))
    return int(major), int(minor)


def _summary(kind: str, what: str, name: str) -> str:
    if kind == "none":
        return (
            f"No GPU architecture is named to build {name} for. No GPU is visible to the build, and "
            "TORCH_CUDA_ARCH_LIST does not say which one it is for."
        )
    if kind == "low":
        which = f": {what} is the least" if what.startswith("sm") else ""
        return (
            f"{name} is built for GPUs that are too old for its code. "
            f"An instruction needs a newer architecture{which}."
        )
    who = "torch's build code" if kind == "torch" else "this nvcc"
    return (
        f"The build of {name} asks for a GPU architecture that {who} does not know. It is "
        f"{what or 'not named'}: newer than what it was made for, or dropped since."
    )


def _first_cuda(capability: tuple[int, int]) -> str:
    """The first CUDA of the table whose nvcc compiles for it; '' where none does."""
    rows: list[dict[str, Any]] = table("nvcc")["nvcc"]
    named = f"{capability[0]}.{capability[1]}"
    ordered = sorted(rows, key=lambda row: numbers(row["cuda"]))
    return next((str(row["cuda"]) for row in ordered if named in row["capabilities"]), "")


# The first CUDA for a capability that the table has in all its CUDAs.
_FIRST = {(6, 0): "8.0", (6, 1): "8.0", (6, 2): "8.0", (7, 0): "9.0", (7, 2): "9.2", (7, 5): "10.0"}


def _too_old(report: Report, capability: Optional[tuple[int, int]]) -> str:
    """The first CUDA for a capability that every newer one knows, where the nvcc that runs is an older one."""
    first = _FIRST.get(capability) if capability is not None else None
    if first is None:
        return ""
    stated = [numbers(toolkit.version)[:2] for toolkit in report.facts.host.toolkits if toolkit.version]
    if any(version < numbers(first) for version in stated):
        return first
    # /usr/bin/nvcc is the distribution's, years older than what it was released with.
    return first if report.has("/usr/bin/nvcc") and not any(version >= (13,) for version in stated) else ""


def _fixes(kind: str, what: str, name: str, first: str = "") -> Iterator[Fix]:
    capability = _capability(what)
    listed = "Build again with TORCH_CUDA_ARCH_LIST set to the compute capability of your GPU"
    if kind == "none":
        yield Fix("rebuild-extension", f"{listed}, such as 8.6; the build needs no GPU then")
        yield Fix("expose-gpu", "Or build where the GPU is visible")
        return
    if kind == "low":
        yield Fix("rebuild-extension", f"{listed}, and to no older one")
        yield Fix("change-package-version", f"For an older GPU: a release of {name} that still serves it")
        return
    new = bool(first) or (capability is not None and capability >= (8, 0))
    if kind == "torch":
        move = Fix(
            "change-torch", "Install a torch that knows this GPU: for Blackwell 2.7 or newer, built for CUDA 12.8"
        )
        again = Fix("rebuild-extension", f"{listed}, in numbers that this torch knows, such as 8.6+PTX for 8.9")
        yield from (move, again) if capability is None or capability >= (9, 0) else (again, move)
        return
    if new and capability is not None:
        cuda = first or _first_cuda(capability)
        newest = f"CUDA {cuda} or newer knows it" if cuda else "a newer CUDA knows it"
        yield Fix("install-toolchain", f"Install a newer CUDA toolkit: {newest}; its CUDA has to be torch's")
        yield Fix("rebuild-extension", f"Or leave {what} out: {listed[0].lower()}{listed[1:]}")
        yield Fix("change-torch", "Or install a torch that was built for such a CUDA, and build with that toolkit")
        return
    yield Fix("rebuild-extension", f"{listed}, without {what or 'the architecture'}")
    yield Fix(
        "change-code-or-data", f"Where the setup.py or CMake file of {name} fixes {what or 'it'}: take it out there"
    )
    yield Fix("install-toolchain", "Or build with an older CUDA toolkit that still knows it, if torch has that CUDA")


def told(report: Report) -> Iterator[Told]:
    for stop, hit in _told_build.stopped(report, "nvcc-arch-unsupported"):
        name, package = _told_build.called(report), _told_build.package(report)
        what = _stops.what(hit.groups)
        if "ptxas" in hit.line.lower() and report.has("triton"):
            return  # triton's own
        yield Told(
            stop.sure,
            package or "nvcc",
            _summary(stop.kind, what, name),
            (hit,),
            tuple(_fixes(stop.kind, what, name, _too_old(report, _capability(what))))[:3],
            over=("gpu-arch-missing", "compiler-unsupported", "gpu-not-visible", "not-environment")
            if stop.sure > 0.75
            else (),
        )
        return


def example() -> Facts:
    facts = recorded("healthy-gpu")
    said = (
        "Collecting torch-cluster",
        "  Downloading torch_cluster-1.6.3.tar.gz (54 kB)",
        "  Building wheel for torch-cluster (pyproject.toml): finished with status 'error'",
        "      /usr/local/cuda/bin/nvcc -gencode=arch=compute_35,code=sm_35 -c csrc/cuda/fps_cuda.cu",
        "      nvcc fatal   : Unsupported gpu architecture 'compute_35'",
        "  ERROR: Failed building wheel for torch-cluster",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "--no-build-isolation", "torch-cluster")
    return dataclasses.replace(facts, attempt=Attempt(argv, 1, said))
