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
In text: CUDA symbols that torch's or NVIDIA's own files do not find, cuDNN's words on its version, two copies of
OpenMP.

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
from kit.failures import _compiled, _told
from kit.failures._loading import Concerned, concerned
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.recorded import recorded
from kit.report import Report, Told

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


def told(report: Report) -> Iterator[Told]:
    for lack in _told.symbols(report):
        if _told.judged(lack) == "library-shadowed":
            yield _taken(report, lack)
            return
    if report.has("undefined symbol") and report.has("ld_library_path"):
        hit = report.hit(r"ld_library_path[^\n]{0,200}libtorch|libtorch[^\n]{0,200}ld_library_path")
        if hit:
            yield Told(
                0.97,
                "torch",
                "Another torch's libraries are loaded than those of this Python. A libtorch on "
                "LD_LIBRARY_PATH comes before "
                "them, and what was compiled against this torch does not fit it.",
                (hit,),
                (
                    _told.fix(
                        "fix-loader-path", "Take libtorch's folder out of LD_LIBRARY_PATH where Python is started"
                    ),
                ),
                over=("extension-torch-mismatch", "torch-broken"),
            )
            return
    yield from _said(report)


def _taken(report: Report, lack: "_told.Lack") -> Told:
    symbol, file = lack.what or "a function", posixpath.basename(lack.file) or "torch"
    if "iJIT" in symbol or symbol.startswith("mkl_"):
        return Told(
            0.93,
            "mkl",
            f"The mkl that is loaded does not fit this torch. It lacks {symbol[:60]}, which {file} takes from it.",
            (lack.hit,),
            (
                _told.fix(
                    "change-package-version",
                    "Install the mkl that this torch was built with: conda install 'mkl<2024.1'",
                ),
                _told.fix("change-torch", "Install torch from PyPI, which brings its own mkl along"),
            ),
        )
    return Told(
        0.92,
        "torch",
        f"Another copy of a CUDA library is loaded than torch's own. {file} needs {symbol[:60]}, and the "
        "library that should have it is older or newer than the one that it came with.",
        (lack.hit,),
        tuple(_unset(report)),
    )


def _unset(report: Report) -> Iterator[Fix]:
    yield _told.fix(
        "fix-loader-path",
        "Take the system's CUDA out of LD_LIBRARY_PATH where it is set (shell profile, module, Dockerfile, "
        "kernel.json) and start Python again",
    )
    if report.has("conda", "mamba"):
        yield _told.fix(
            "change-package-version", "Update or remove the conda packages that bring CUDA beside a pip torch"
        )
    else:
        yield _told.fix(
            "uninstall-package", "Uninstall NVIDIA's wheels of another CUDA than torch's (pip list shows them)"
        )


def _said(report: Report) -> Iterator[Told]:
    if report.has("link time reference"):
        hit = report.hit(r"symbol (?P<symbol>\S+)[ ,]+version (?P<of>\S+) not defined in file (?P<file>\S+)")
        if hit:
            yield Told(
                0.9,
                "torch",
                f"Another {hit['file'][:60]} is loaded than the one that is needed. It does not have "
                f"{hit['symbol'][:60]}, so a copy from elsewhere comes first on the loader's path.",
                (hit,),
                tuple(_unset(report)),
            )
            return
    if report.has("cudnn"):
        hit = report.hit(
            r"cudnn version incompatib[^\n]*|CUDNN_STATUS_(?:SUBLIBRARY_)?VERSION_MISMATCH"
            r"|could not load symbol cudnn\w+|loaded runtime cudnn library: [\d.]+ but source was compiled with"
        )
        if hit:
            yield Told(
                0.9,
                "torch",
                "Another cuDNN is loaded than the one that torch was compiled with. torch brings its own, "
                "and a copy from the system or from conda comes before it.",
                (hit,),
                tuple(_unset(report)),
            )
            return
    if report.has("cublas_status_invalid_value", "get was unable to find an engine"):
        hit = report.hit(r"CUBLAS_STATUS_INVALID_VALUE[^\n]*|GET was unable to find an engine[^\n]*")
        if hit:
            yield Told(
                0.5,
                "torch",
                "Another copy of a CUDA library may be loaded than torch's own. Calls that torch's own "
                "tests make fail then "
                "with invalid values; indices out of range can do the same.",
                (hit,),
                tuple(_unset(report)),
            )
            return
    if report.has("omp: error #15", "incompatible with libgomp"):
        hit = report.hit(r"omp: error #15[^\n]*|MKL_THREADING_LAYER=\w+ is incompatible with libgomp")
        if hit:
            yield Told(
                0.75,
                None,
                "Two copies of OpenMP meet in one process. Packages from different sources each bring "
                "their own, and the second one refuses to start.",
                (hit,),
                (
                    _told.fix(
                        "change-package-version",
                        "Install numpy, mkl and torch from one source (all pip or all conda)",
                    ),
                    _told.fix("fix-loader-path", "Remove the second libiomp5 from the folder that it was copied to"),
                ),
            )
            return
    if report.has("static tls block"):
        hit = report.hit(r"(?P<file>\S+): cannot allocate memory in static TLS block")
        if hit:
            yield Told(
                0.6,
                _told.owner(hit["file"]),
                "A library comes too late to be loaded. It needs a place in memory that must be reserved "
                "at the start, and what was loaded before has taken it.",
                (hit,),
                (
                    _told.fix("fix-loader-path", "Let that library be loaded first"),
                    _told.fix("change-code-or-data", "Import the package that it belongs to before all others"),
                ),
            )
            return
    if report.has("not found (required by"):
        hit = report.hit(
            r"(?P<library>lib(?!c\.|m\.|stdc|gcc"
            r"|pthread)[\w+-]+\.so[\w.]*): version [`'‘]?(?P<version>(?!GLIBC|CXXABI|lib)\w[\w.]*)['’]? not found"
        )
        if hit:
            yield Told(
                0.7,
                _told.owner(hit.line.rpartition("required by")[2]),
                f"An older {hit['library'][:50]} is loaded than the one that is needed. It does not have "
                f"{hit['version'][:40]}, so another copy comes first on the loader's path.",
                (hit,),
                tuple(_unset(report)),
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
