"""The right library is installed, but the loader takes another copy of it.

What it means
-------------
Two libraries have the same name, and the loader takes the first one on its way: from a folder on
``LD_LIBRARY_PATH``, from a system CUDA, from conda.  That copy is older or of another build, so that importing
torch or an extension stops at ``undefined symbol: __nvJitLinkComplete_12_4, version libnvJitLink.so.12`` or at
``version `GLIBCXX_3.4.29' not found``.

How it is found
---------------
Each compiled file is followed through the libraries that it brings in, by the loader's own rules and in this
session's environment, without loading one.  Where something is missing that another copy of the same library has,
the copy that wins is named, with the way by which it wins.

Example
-------
torch 2.13.0+cu130, and ``LD_LIBRARY_PATH=/usr/local/cuda-12.1/lib64`` from a shell profile.

Fix
---
Take that folder off the path by which it wins.  Nothing has to be installed.  Where it is conda's own copy, update
that one.

Known limits
------------
A copy that has every symbol and behaves differently is not noticed.  Variables that are set only where the program
runs (a job script, a kernel's ``kernel.json``) are seen only there.
"""

import dataclasses
import posixpath
from collections.abc import Iterator

from kit.causes import MKL_HOOK
from kit.facts import Binary, Facts, Missing, Probe, Shadow
from kit.failures import _compiled
from kit.failures._loading import Concerned, concerned
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.recorded import recorded

RANK = 12
SHOWS = r"libc10\.so.*undefined symbol|undefined symbol"
INSTEAD = "Reinstalling torch or the extension would change nothing: their own libraries are right, and not taken."

# conda-forge's packages of the libraries that are most often taken from a conda environment.
_CONDA = {
    "libstdc++.so.6": "libstdcxx",
    "libgcc_s.so.1": "libgcc",
    "libgomp.so.1": "libgomp",
    "libnvJitLink.so.12": "libnvjitlink",
    "libiomp5.so": "intel-openmp",
}


def find(facts: Facts) -> Iterator[Finding]:
    places: dict[tuple[str, str], list[tuple[Concerned, Shadow]]] = {}
    for it in concerned("library-shadowed", facts):
        shadows = [shadow for binary in it.verdict.binaries for shadow in binary.shadows]
        if not shadows:
            yield _mkl(it, facts)
            continue
        first = shadows[0]
        places.setdefault((posixpath.dirname(first.taken), first.how), []).append((it, first))
    for (folder, how), hits in places.items():  # one folder on the way is one cause, whatever stumbles over it
        it, shadow = hits[0]
        others = sorted({other.package for other, _ in hits[1:]})
        yield Finding(
            "library-shadowed",
            "error" if any(other.severity == "error" for other, _ in hits) else "warning",
            it.package,
            f"Another {shadow.name} is loaded than the one that {it.package} needs. It comes from {folder} "
            f"({_by(how)}); the right one is {shadow.hidden}. {it.consequence}"
            + (f" The same holds for {', '.join(others)}." if others else ""),
            (
                *it.evidence,
                f"{shadow.taken}: taken, {_by(how)}",
                f"{shadow.hidden}: has what is missing",
                *(f"{binary.path}: the same" for other, _ in hits[1:] for binary in other.verdict.binaries[:1]),
            ),
            _fixes(shadow, it, facts),
        )


def _by(how: str) -> str:
    if how in ("RPATH", "RUNPATH"):
        return f"by the {how} of what needs it"
    return f"by {how}" if how == "LD_LIBRARY_PATH" or "ld.so.cache" in how else f"in {how}"


def _fixes(shadow: Shadow, it: Concerned, facts: Facts) -> tuple[Fix, ...]:
    folder, python = posixpath.dirname(shadow.taken), facts.python
    if shadow.how == "LD_LIBRARY_PATH":
        imported = "torch" if it.extension is None or it.verdict.probe is None else it.verdict.probe.imports
        code = "import torch" if imported == "torch" else f"import torch, {imported}"
        return (
            Fix(
                "fix-loader-path",
                f"Take {folder} out of LD_LIBRARY_PATH where it is set (shell profile, module, Dockerfile, "
                "kernel.json) and start Python again; without the variable at all it is this",
                ("env", "-u", "LD_LIBRARY_PATH", python.executable, "-c", code),
                cost=Cost(restart=True),
            ),
        )
    if python.conda and shadow.taken.startswith(python.prefix + "/"):
        if shadow.name in _CONDA:
            return (_conda(facts, _CONDA[shadow.name], f"Update conda's {shadow.name}, which wins"),)
        return (Fix("change-package-version", f"Update or remove the conda package that brings {shadow.taken}"),)
    if shadow.how in ("RPATH", "RUNPATH"):
        return (Fix("rebuild-extension", f"Compile {it.package} without a search path into {folder}"),)
    why = f"Take {folder} out of /etc/ld.so.conf.d and run ldconfig (administrator)"
    right, env = posixpath.dirname(shadow.hidden), {}
    if "/site-packages/" in right or right.startswith(python.prefix + "/"):  # this environment's own, no system's
        why += f", or let LD_LIBRARY_PATH begin with {right}"
        env = {"LD_LIBRARY_PATH": right}
    return (Fix("fix-loader-path", why, env=env, cost=Cost(restart=True)),)


def _conda(facts: Facts, package: str, why: str) -> Fix:
    argv = ("conda", "install", "--prefix", facts.python.prefix, "--channel", "conda-forge", package)
    return Fix("change-package-version", why, argv, safety="changes-environment", cost=Cost(restart=True))


def _mkl(it: Concerned, facts: Facts) -> Finding:
    return Finding(
        "library-shadowed",
        it.severity,
        it.package,
        f"conda's mkl is too new for this torch. mkl 2024.1 no longer has {MKL_HOOK}, which this build of torch "
        f"takes from it. {it.consequence}",
        tuple(it.evidence),
        (_conda(facts, "mkl<2024.1", "Install the mkl from before 2024.1"),),
    )


def example() -> Facts:
    facts = recorded("healthy-gpu")
    assert facts.torch is not None
    nvidia = f"{facts.torch.location[:-5]}nvidia/cu13/lib"
    taken, hidden = "/usr/local/cuda-13.0/lib64/libnvJitLink.so.13", f"{nvidia}/libnvJitLink.so.13"
    symbol, version = "__nvJitLinkComplete_13_3", "libnvJitLink.so.13"
    core = Binary(
        "torch/_C.cpython-311-x86_64-linux-gnu.so",
        machine="x86_64",
        python_tag="cp311",
        needs=("libtorch_python.so", "libpthread.so.0", "libc.so.6"),
        missing=(Missing("symbol", symbol, "libcusparse.so.12", version),),
        shadows=(Shadow("libnvJitLink.so.13", taken, "LD_LIBRARY_PATH", hidden),),
        loads=False,
        why=(
            f"libcusparse.so.12: undefined symbol {symbol}",
            f"libnvJitLink.so.13 is taken from {taken} (LD_LIBRARY_PATH); {hidden} has it",
        ),
    )
    said = f"ImportError: {nvidia}/libcusparse.so.12: undefined symbol: {symbol}, version {version}"
    return dataclasses.replace(
        facts,
        torch=dataclasses.replace(facts.torch, binaries=(core,)),
        variables={"LD_LIBRARY_PATH": "/usr/local/cuda-13.0/lib64"},
        probes=(Probe("torch", 1, said),),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    front = place.copy(_compiled.stub(place, "libc10.so"), place.work.parent / "front" / "libc10.so")
    place.variables["LD_LIBRARY_PATH"] = str(front.parent)
    return "import torch"
