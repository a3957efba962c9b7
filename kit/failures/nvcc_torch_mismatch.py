"""The CUDA of nvcc is not the one that torch was built with, and the build of an extension stops.

What it means
-------------
An extension is compiled with the nvcc of the machine, and runs with the CUDA libraries that torch brings.  Where
their major versions differ, torch's build code stops: ``The detected CUDA version (11.8) mismatches the version that
was used to compile PyTorch (12.1)``.  apex and DeepSpeed compare the whole version.

How it is found
---------------
In what a build said: the sentence of torch, apex, DeepSpeed, FlashAttention or CMake in which the two versions stand.
In pasted text the same.  A difference in the minor version that torch only warns of is none.

Example
-------
nvcc 11.8 and a torch that was built for CUDA 13.0.

Fix
---
The wheel, where one is published: it needs no nvcc.  Else one of the two is changed: the torch that was built for
this CUDA, or the toolkit of torch's CUDA with ``CUDA_HOME`` set to it.  The driver's CUDA, which nvidia-smi shows,
plays no part.

Known limits
------------
Which of several toolkits a build takes is told by its own words only.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Optional

from kit.facts import Attempt, Facts
from kit.failures import _told_build, _told_prose
from kit.failures._installing import cause, wheel_of
from kit.findings import Finding, Fix
from kit.published import replacement
from kit.recorded import recorded
from kit.report import Report, Told

RANK = 34
INSTEAD = "The check guards against an extension that compiles and then does not load, or crashes."


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if found is None or found.failure != "nvcc-torch-mismatch":
        return
    name, torch = found.package or "the extension", facts.torch
    said = re.search(r"detected CUDA version \(?([\d.]+)", "\n".join(facts.attempt.said) if facts.attempt else "")
    nvcc = said.group(1) if said else ""
    here = ", ".join(f"{toolkit.version} in {toolkit.path}" for toolkit in facts.host.toolkits)
    first = wheel_of(name, facts) or replacement(name, facts)
    yield Finding(
        "nvcc-torch-mismatch",
        "error",
        found.package or None,
        f"nvcc is of another CUDA than torch, so that {name} is not built. "
        + _story(nvcc, torch.cuda if torch else None),
        (
            f"the build of {name}: {found.line}",
            f"CUDA toolkits: {here or 'none found'}",
            *([f"torch/version.py: {torch.version}, {torch.build}"] if torch else []),
        ),
        (*([first] if first else []), *_fixes(nvcc, torch.cuda if torch else None))[:3],
    )


def _story(nvcc: str, torch: Optional[str]) -> str:
    mine = f"nvcc is that of CUDA {nvcc}" if nvcc else "nvcc has its own CUDA"
    return f"{mine}, and torch was built for {f'CUDA {torch}' if torch else 'another one'}."


def _fixes(nvcc: str, torch: Optional[str]) -> Iterator[Fix]:
    which = f"CUDA {nvcc}" if nvcc else "the CUDA of this nvcc"
    yield Fix(
        "change-torch", f"Install a torch that was built for {which}, where one is published, with its companions"
    )
    which = f"the CUDA {torch} toolkit" if torch else "the toolkit of the CUDA that torch was built with"
    yield Fix("install-toolchain", f"Or install {which}, and set CUDA_HOME to its folder before the build")


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "nvcc-torch-mismatch")
    if plain is not None:
        name, package = _told_build.called(report), _told_build.package(report)
        story = f"nvcc is of another CUDA than torch, so that {name} is not built. That is what the text speaks of."
        yield Told(plain[0], package or "nvcc", story, (plain[1],), tuple(_fixes("", None))[:2])
    for stop, hit in _told_build.stopped(report, "nvcc-torch-mismatch"):
        if stop.kind == "differs" and "minor version mismatch" in hit.line:
            continue
        name, package = _told_build.called(report), _told_build.package(report)
        nvcc = hit.groups.get("nvcc") or hit.groups.get("nvcc2") or ""
        torch = (
            hit.groups.get("torch")
            or hit.groups.get("torch2")
            or (report.facts.torch.cuda if report.facts.torch else None)
        )
        change, toolkit = _fixes(nvcc.rstrip("."), torch.rstrip(".") if torch else None)
        yield Told(
            0.7 if _told_build.overlay(report) is not None else stop.sure,
            package or "nvcc",
            f"nvcc is of another CUDA than torch, so that {name} is not built. "
            + _story(nvcc.rstrip("."), torch.rstrip(".") if torch else None),
            (hit,),
            (change, toolkit, *_told_build.prebuilt(report))[:3],
            over=("nvcc-not-found", "compiler-unsupported", "not-environment"),
        )
        return


def example() -> Facts:
    facts = recorded("healthy-gpu")
    assert facts.torch is not None
    said = (
        "Collecting torch-cluster",
        "  Downloading torch_cluster-1.6.3.tar.gz (54 kB)",
        "  Building wheel for torch-cluster (pyproject.toml): finished with status 'error'",
        "      RuntimeError:",
        "      The detected CUDA version (11.8) mismatches the version that was used to compile",
        f"      PyTorch ({facts.torch.cuda}). Please make sure to use the same CUDA versions.",
        "  ERROR: Failed building wheel for torch-cluster",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "--no-build-isolation", "torch-cluster")
    return dataclasses.replace(facts, attempt=Attempt(argv, 1, said))
