"""The CUDA toolkit, its compiler nvcc or CUDA_HOME is missing where an extension is built.

What it means
-------------
CUDA code is compiled by nvcc, which comes with the CUDA toolkit: neither a driver nor the wheels of torch bring it.
``CUDA_HOME environment variable is not set``, ``nvcc: not found`` or ``cuda_runtime.h: No such file`` all say that
there is none, or that it is looked for in the wrong folder.

How it is found
---------------
In what a build said: torch's, apex's, DeepSpeed's or CMake's sentence for it, a command nvcc that could not be
started, or a header that only the toolkit has.  In pasted text the same; where the variable is set to two folders,
or to nvcc itself, that is said.

Example
-------
``pip install torch-cluster`` beside a torch for CUDA, in an image that holds only CUDA's runtime.

Fix
---
What needs no compiler: the wheel, where one is published, or for torch-scatter the kit's replacement
(``kit shim enable torch_scatter``).  Else the toolkit of the CUDA that torch was built with, and ``CUDA_HOME``.

Known limits
------------
``CUDA_HOME`` that is set, and still is said not to be: torch's build code also says so for a torch without CUDA.
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
from kit.report import Hit, Report, Told

RANK = 35
INSTEAD = "The driver does not bring nvcc, and a toolkit of another CUDA than torch's is refused in the next step."


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if found is None or found.failure != "nvcc-not-found":
        return
    name, torch = found.package or "the extension", facts.torch
    here = ", ".join(f"{toolkit.version} in {toolkit.path}" for toolkit in facts.host.toolkits)
    first = wheel_of(name, facts) or replacement(name, facts)
    yield Finding(
        "nvcc-not-found",
        "error",
        found.package or None,
        f"There is no CUDA toolkit to build {name} with. Its CUDA code is compiled by nvcc, which the build does not "
        "find; a driver alone does not bring it.",
        (
            f"the build of {name}: {found.line}",
            f"CUDA toolkits: {here or 'none found'}",
            *([f"torch/version.py: {torch.version}, {torch.build}"] if torch else []),
        ),
        tuple(filter(None, (first, _toolkit(torch.cuda if torch else None)))),
    )


def _toolkit(cuda: Optional[str]) -> Fix:
    which = f"the CUDA {cuda} toolkit" if cuda else "the CUDA toolkit of the CUDA that torch was built with"
    why = f"Install {which}, with nvcc (conda's cuda-nvcc, or NVIDIA's packages), and set CUDA_HOME to its folder"
    return Fix("install-toolchain", why)


# The variable is set, by a command or in so many words.
_STATED = (
    r"\b(?:set|export|setx|ENV|env:)[ \"']{0,3}\$?(?:env:)?(?:CUDA_HOME|CUDA_PATH)[ =]{1,3}\S|CUDA_HOME is set to"
)


# What a shell says to somebody who asks nvcc for its version.
_ASKED = (
    r"^\W*(?:-?(?:bash|sh|zsh)[^\n]{0,12}: )?"
    r"(?:command not found: nvcc|'?nvcc'?:? (?:command not found|not found|is not rec))"
)


def _building(report: Report, at: int) -> bool:
    around = "\n".join(report.lines[max(0, at - 12) : at + 12])
    return bool(
        re.search(r"running build|FAILED: |ninja|\berror: |Error building|cpp_extension|egg_info|Building", around)
    )


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "nvcc-not-found")
    if plain is not None:
        name, package = _told_build.called(report), _told_build.package(report)
        story = f"There is no CUDA toolkit to build {name} with. That is what the text speaks of."
        yield Told(plain[0], package or "cuda-toolkit", story, (plain[1],), (_toolkit(_cuda(report)),))
    found = next(_told_build.stopped(report, "nvcc-not-found"), None)
    name, package = _told_build.called(report), _told_build.package(report)
    if found is None:
        yield from _without(report, name, package)
        return
    stop, hit = found
    sure = stop.sure
    real = any(not error.warning for error in report.errors)
    if re.search(_ASKED, hit.line, re.I) and not _building(report, hit.at):
        sure = 0.15 if len(report.lines) > 2 else 0.7
    elif stop.kind in ("nvcc", "cmake") and real and not _told_build.in_build(report):
        sure = 0.35  # nvcc was asked for its version, and something else failed
    if _told_build.overlay(report) is not None:
        sure = 0.6
    stated = report.hit(_STATED)
    fixes = [_toolkit(_cuda(report))]
    if stop.kind == "malformed":
        story = "The path that was tried is no path: CUDA_HOME holds two folders, or nvcc itself"
        fixes = [Fix("install-toolchain", "Set CUDA_HOME to the one folder of the toolkit, without a colon or /bin")]
    elif stop.kind == "home" and stated is not None:
        sure = min(sure, 0.6)
        story = "CUDA_HOME was set, and torch takes it as not set, as it does where it is a build without CUDA"
        why = "Install a torch that was built for CUDA; then the CUDA_HOME that is set is looked at"
        fixes = [Fix("change-torch", why), *fixes]
    else:
        story = "Its CUDA code is compiled by nvcc, which the build does not find; a driver alone does not bring it"
    yield Told(
        sure,
        package or "cuda-toolkit",
        f"There is no CUDA toolkit to build {name} with. {story}.",
        (hit, *([stated] if stop.kind == "home" and stated is not None else [])),
        (*fixes, *_told_build.prebuilt(report))[:3],
        over=("gpu-not-visible", "not-environment") if sure > 0.8 else (),
    )


def _without(report: Report, name: str, package: Optional[str]) -> Iterator[Told]:
    """What only follows from it: headers that the toolkit has, and a path made of no CUDA_HOME."""
    for owner, header, hit in _told_build.missing_headers(report):
        if owner in ("nvcc", "cuda"):
            sure = 0.8 if owner == "nvcc" else 0.6
            yield Told(
                sure,
                package or "cuda-toolkit",
                f"There is no whole CUDA toolkit to build {name} with. The compiler looks for {header}, which comes "
                "with the toolkit, and does not find it.",
                (hit,),
                (_toolkit(_cuda(report)), *_told_build.prebuilt(report)),
                over=("headers-missing",) if owner == "nvcc" else (),
            )
            return
    if report.has("winerror 2]", "errno 2]") and report.has('nvcc"', "nvcc'", "bare_metal"):
        asked = report.hit(r"\[(?:WinError|Errno) 2\][^\n]*")
        if asked is not None and "nvcc" in "\n".join(report.lines[max(0, asked.at - 30) : asked.at + 1]):
            yield Told(
                0.85,
                package or "cuda-toolkit",
                f"There is no CUDA toolkit to build {name} with. The setup.py starts nvcc to ask for its version, "
                "and there is no such file.",
                (asked,),
                (_toolkit(_cuda(report)), *_told_build.prebuilt(report)),
                over=("compiler-unsupported", "not-environment"),
            )
            return
    if report.has("not nonetype") and report.has("_join_cuda_home", "cpp_extension", "cuda_home"):
        joined = report.hit(r"expected str, bytes or os\.PathLike object, not NoneType")
        if joined is not None:
            yield Told(
                0.85,
                package or "cuda-toolkit",
                f"There is no CUDA toolkit to build {name} with. torch puts the path of its headers together from "
                "CUDA_HOME, which is not set and not found.",
                (joined,),
                (_toolkit(_cuda(report)), *_told_build.prebuilt(report)),
                over=("not-environment",),
            )
            return
    if report.has("'nonetype' and 'str'") and report.has("nvcc", "cuda_dir", "cuda_home"):
        made: Optional[Hit] = report.hit(r"unsupported operand type\(s\) for \+: 'NoneType' and 'str'")
        if made is not None:
            yield Told(
                0.9,
                package or "cuda-toolkit",
                f"There is no CUDA toolkit to build {name} with. Its setup.py puts the path of nvcc together from "
                "CUDA_HOME, which is not set.",
                (made,),
                (_toolkit(_cuda(report)), *_told_build.prebuilt(report)),
            )


def _cuda(report: Report) -> Optional[str]:
    return report.facts.torch.cuda if report.facts.torch else None


def example() -> Facts:
    facts = recorded("healthy-gpu")
    said = (
        "Collecting torch-cluster",
        "  Downloading torch_cluster-1.6.3.tar.gz (54 kB)",
        "  Getting requirements to build wheel: finished with status 'error'",
        "      OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root.",
        "ERROR: Failed to build 'torch-cluster' when getting requirements to build wheel",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "--no-build-isolation", "torch-cluster")
    host = dataclasses.replace(facts.host, toolkits=())
    return dataclasses.replace(facts, host=host, attempt=Attempt(argv, 1, said))
