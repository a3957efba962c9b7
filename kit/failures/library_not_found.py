"""A shared library that torch or an extension needs is not installed, or lies where the loader does not look.

What it means
-------------
``libcusparseLt.so.0: cannot open shared object file``: a compiled file names the libraries that it needs, and the
loader finds one of them nowhere.  An NVIDIA wheel was uninstalled, or another one took its files away; a system
library is not in this image; a library that a package bundles was removed; or there is no NVIDIA driver, which
brings ``libcuda.so.1``.

How it is found
---------------
Each compiled file is followed through all libraries that it brings in, by the loader's own rules.  What is missing
is looked up in the folders of NVIDIA's wheels too.  Libraries of torch's own, and CUDA libraries of another major,
are another failure; FFmpeg and sox are optional and none.  Where the import works without the file, it is a
warning.
In text: the loader's words, the library's name, and the file or the frames that ask for it.

Example
-------
torch 2.13.0+cu130 whose ``libcusparseLt.so.0`` is gone, although the wheel's metadata is there.

Fix
---
Install exactly the distribution that holds the library, in the version that torch asks for.  A library that lies
unseen is made visible to the loader.

Known limits
------------
A library that Python code loads by name when it is used (``ctypes``, ``triton``) is not seen.  A library of the
package itself is taken to be loaded before the file that needs it, as torchaudio does it.
"""

import dataclasses
import posixpath
import re
from collections.abc import Iterator
from typing import Optional

from kit.causes import is_nvidias, is_torchs
from kit.facts import Binary, Facts, Missing, Probe
from kit.failures import _compiled, _told, _told_prose, gpu_not_visible
from kit.failures._loading import Concerned, concerned
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.gpus import numbers
from kit.published import extension_fixes, pip, same_again
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 18
SHOWS = r"libkit_bundled-1a2b3c4d\.so\.1: cannot open shared object file"
INSTEAD = "A link under the missing name to another version, or a system CUDA on LD_LIBRARY_PATH, breaks what works."

DRIVER = "libcuda.so.1"
# NVIDIA's distributions whose names are not those of their libraries: nvidia-<this>, up to CUDA 12 with -cu12.
_NVIDIA = {
    "cublasLt": "cublas",
    "cudart": "cuda-runtime",
    "cupti": "cuda-cupti",
    "nvrtc": "cuda-nvrtc",
    "nvrtc-builtins": "cuda-nvrtc",
    "nvToolsExt": "nvtx",
    "nvshmem_host": "nvshmem",
}


def find(facts: Facts) -> Iterator[Finding]:
    hidden = []
    for it in concerned("library-not-found", facts):
        missing = it.missing
        if any(m.what == DRIVER for m in missing):
            hidden.append(it)
            continue
        names = ", ".join(dict.fromkeys(m.what for m in missing))
        here = next((m.here for m in missing if m.here), None)
        where = f"It lies in {here}, where the loader does not look." if here else "The loader finds it nowhere."
        yield Finding(
            "library-not-found",
            it.severity,
            it.package,
            f"A library that {it.package} needs is not found. {missing[0].by} needs {names}. "
            f"{where} {it.consequence}",
            (*it.evidence, *_metadata(missing, it, facts)),
            tuple(_fixes(missing, it, facts))[:3],
        )
    if hidden and not any(finding.severity == "error" for finding in gpu_not_visible.find(facts)):
        yield _without_driver(hidden, facts)


def _metadata(missing: list[Missing], it: Concerned, facts: Facts) -> Iterator[str]:
    own = it.extension.missing_files if it.extension else ()
    names = dict.fromkeys(m.what for m in missing)
    yield from (f"{f}: missing, although its RECORD lists it" for f in own if f.rpartition("/")[2] in names)
    pins = [_pin(name, facts) for name in names if is_nvidias(name)]
    yield from dict.fromkeys(f"{pin[0]}: {pin[1]}" for pin in pins if pin)


def _fixes(missing: list[Missing], it: Concerned, facts: Facts) -> Iterator[Fix]:
    unseen = next((lack for lack in missing if lack.here), None)
    if unseen is not None:
        yield _seen(unseen, facts)
    found = [_pin(lack.what, facts) for lack in missing if is_nvidias(lack.what) and not lack.here]
    pins = list(dict.fromkeys(pin[0] for pin in found if pin))
    # A part of cuda-toolkit is a requirement of it, so not without what it requires.
    parts, whole = [p for p in pins if "[" in p], [p for p in pins if "[" not in p]
    if whole:
        argv = pip(facts, "install", "--force-reinstall", "--no-deps", "--no-cache-dir", *whole)
        yield _install(whole, argv)
    if parts:
        yield _install(parts, pip(facts, "install", *parts))
    if pins:
        return
    if it.extension is not None and _bundled(missing, it):
        yield from same_again(it.extension, facts)
    elif unseen is None:
        what = ", ".join(dict.fromkeys(lack.what for lack in missing))
        source = "from conda-forge or the system" if facts.python.conda else "with the system's package manager"
        yield Fix("install-toolchain", f"Install what brings {what} {source}", cost=Cost(restart=True))
        if it.extension is not None:
            yield from extension_fixes(it.extension, facts)[:2]


def _install(what: list[str], argv: tuple[str, ...]) -> Fix:
    why = f"Install again what holds {'it' if len(what) == 1 else 'them'}: {', '.join(what)}"
    return Fix("change-package-version", why, argv, safety="changes-environment", cost=Cost(restart=True))


def _bundled(missing: list[Missing], it: Concerned) -> bool:
    own = {file.rpartition("/")[2] for file in it.extension.missing_files} if it.extension else set()
    return any(lack.what in own for lack in missing)


def _seen(lack: Missing, facts: Facts) -> Fix:
    folder = posixpath.dirname(lack.here or "")
    path = ":".join(filter(None, (folder, facts.variables.get("LD_LIBRARY_PATH"))))
    why = f"Let the loader see {lack.what}: start Python with {folder} first in LD_LIBRARY_PATH"
    return Fix("fix-loader-path", why, env={"LD_LIBRARY_PATH": path}, cost=Cost(restart=True))


def _pin(library: str, facts: Facts) -> Optional[tuple[str, str]]:
    """(requirement, what says so) of the distribution of NVIDIA's that holds this library, as torch wants it."""
    match = re.match(r"lib([A-Za-z_-]+?)(?:_\w+)?\.so", library)
    torch = facts.torch
    if match is None or torch is None or not torch.cuda:
        return None
    stem = _NVIDIA.get(match.group(1)) or _NVIDIA.get(library[3:].partition(".")[0]) or match.group(1).lower()
    names = (f"nvidia-{stem}", f"nvidia-{stem}-cu{torch.cuda.partition('.')[0]}")
    dist = facts.distribution("torch")
    requires = dist.requires if dist else ()
    for text in requires:
        asked = re.match(r"([\w.-]+)\s*\(?==\s*([\w.]+)", text)
        if asked and asked.group(1).lower() in names:
            return f"{asked.group(1)}=={asked.group(2)}", "required by torch" + _there(asked.group(1), facts)
    for name in names:
        installed = facts.distribution(name)
        if installed:
            return f"{installed.name}=={installed.version}", "installed, by its metadata"
    for text in requires:  # since torch 2.11: cuda-toolkit[cublas,cudart,...]==13.0.3
        asked = re.match(r"cuda-toolkit\[([\w,-]+)\]\s*\(?==\s*([\w.]+)", text)
        extra = {"cuda-runtime": "cudart"}.get(stem, stem.replace("cuda-", ""))
        if asked and extra in asked.group(1).split(","):
            return f"cuda-toolkit[{extra}]=={asked.group(2)}", "required by torch, and its part is not installed"
    return None


def _there(name: str, facts: Facts) -> str:
    dist = facts.distribution(name)
    return f", {dist.version} is installed by its metadata" if dist else ", and not installed"


def _without_driver(hidden: list[Concerned], facts: Facts) -> Finding:
    it = hidden[0]
    names = ", ".join(other.package for other in hidden)
    inside = facts.host.container
    return Finding(
        "library-not-found",
        "error" if any(other.severity == "error" for other in hidden) else "warning",
        it.package,
        f"The NVIDIA driver's library is not here. {names} needs {DRIVER}, which comes with the driver and with no "
        f"package. {it.consequence}",
        (
            *(line for other in hidden for line in other.evidence),
            f"NVIDIA driver: {facts.host.driver.version if facts.host.driver else 'none here'}",
        ),
        (
            Fix(
                "expose-gpu",
                "Start the container with --gpus all and the compute capability (docker, podman) or --nv (apptainer)"
                if inside
                else "Run it on a machine with an NVIDIA driver, or install the driver here",
                cost=Cost(restart=True),
            ),
        ),
    )


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "library-not-found")
    if plain is not None and all("dlerror" in lack.hit.line for lack in _told.libraries(report)):
        library = (plain[1].groups.get("library") or plain[1].groups.get("w2", "")).rstrip(".")
        lack = _told.Lack(plain[1], library, "", _told.asking(report))
        if _told.judged_library(lack, report) == "library-not-found":
            yield dataclasses.replace(_lacking(report, lack), confidence=plain[0])
    seen = set()
    for lack in _told.libraries(report):
        if "dlerror" in lack.hit.line or "torch_extensions" in lack.hit.line:
            continue  # TensorFlow's log, which does without
        fits = is_nvidias(lack.what) and _told.same_cuda(report, lack.what)
        judged = _told.judged_library(lack, report)
        if lack.what in seen or (
            judged != "library-not-found" and not (fits and judged == "extension-cuda-mismatch")
        ):
            continue
        seen.add(lack.what)
        if len(seen) > 3:
            return
        yield _lacking(report, lack)
    yield from _windows(report) if not seen else ()
    yield from _said(report) if not seen else ()


def _lacking(report: Report, lack: "_told.Lack") -> Told:
    library, package = lack.what.rpartition("/")[2], lack.package
    if is_torchs(library):
        first = _told.fix("change-code-or-data", "Put `import torch` before the import that fails")
        built = _told.matching(report, package)
        raised = report.inside(lack.hit)
        # A package with Python code of its own has imported torch by then.
        own = raised is not None and any("-packages" in frame.file for frame in raised.frames)
        return Told(
            0.6,
            package,
            f"{library} is torch's own and was not loaded yet. A compiled extension finds torch's libraries "
            "only in a process that has imported torch, and only those of the torch that it was built for.",
            (lack.hit,),
            (*built[:2], first) if own else (first, *built[:1]),
        )
    who = package or "A program"
    return Told(
        0.7 if package in _told.LINKED else 0.85 if package else 0.8,
        package or ("cuda-toolkit" if is_nvidias(library) else None),
        f"The library {library[:60]} is not found. {who} needs it, and it is not installed, or lies where the loader "
        "does not look.",
        (lack.hit,),
        tuple(_bring(report, library, package))[:3],
    )


def _bring(report: Report, library: str, package: Optional[str]) -> Iterator[Fix]:
    """What makes a library known to the loader, for what it is and for who needs it."""
    conda = report.facts.python.conda or report.has("conda", "mamba")
    see = _told.fix(
        "fix-loader-path", f"Let the loader find {library}: name the one folder that holds it in LD_LIBRARY_PATH"
    )
    if is_nvidias(library):
        if "cudnn" in library or "nccl" in library or "cusparseLt" in library:
            yield _told.fix(
                "change-package-version", f"Install NVIDIA's wheel that brings {library}, as torch requires it"
            )
            yield see
        elif package == "torch" and _told.arm(report):
            mounted = "Start the container with --runtime nvidia: its CUDA libraries are those of the Jetson's host"
            if report.has("l4t", "docker", "container", "balena"):
                yield _told.fix("expose-gpu", mounted)
            yield _told.fix("change-torch", "Install the torch that NVIDIA built for this JetPack and its CUDA")
            yield _told.fix("install-toolchain", f"Install the JetPack, or its CUDA packages, that bring {library}")
        elif package == "torch" and numbers(report.version("torch") or "9")[:2] < ((1, 0) if conda else (1, 13)):
            yield _told.fix("change-torch", "Install a torch that brings its CUDA libraries along, as its wheels do")
            yield _told.fix("install-toolchain", f"Install the CUDA runtime that brings {library}")
        elif package == "torch":
            what = "cudatoolkit (pytorch-cuda)" if conda else "wheels of NVIDIA's"
            brought = _told.fix("change-package-version", f"Install the {what} that this torch was built with")
            again = _told.fix("change-torch", "Install torch again together with what it requires")
            yield from (brought, again) if conda else (again, brought)
        elif package == "bitsandbytes" or (package is None and report.has("bitsandbytes")):
            yield _told.fix("fix-loader-path", f"Let LD_LIBRARY_PATH begin with the folder of torch's own {library}")
            yield _told.fix("change-torch", "Install a torch for the CUDA that bitsandbytes loads")
        elif report.has("-cu11", "-cu12", "-cu13", "rapids", "cuml", "cudf", "cupy"):
            yield _told.fix(
                "install-matching-wheel", "Install the builds for the CUDA that is here (-cu11, -cu12, ...)"
            )
            yield see
        elif package is not None and not _told.same_cuda(report, library):
            yield _told.fix(
                "change-package-version", f"Install the {package} that was built for the CUDA that is here"
            )
            yield see
        else:
            yield see
            yield _told.fix("install-toolchain", f"Install the CUDA runtime whose number is in {library}")
    elif library.endswith(".dylib"):
        yield _told.fix("install-toolchain", f"Install what brings {library}: brew install {library.split('.')[0]}")
        yield _told.fix("change-package-version", f"Install {package or 'the package'} from a source that brings it")
    elif re.match(r"lib(mkl|openblas|iomp|blas|lapack|gfortran|omp|tbb|cblas)", library):
        yield _told.fix(
            "change-package-version", f"Install the package that brings {library}, in the version asked for"
        )
        yield see
    elif library.startswith("libpython"):
        yield _told.fix(
            "fix-loader-path" if conda else "install-toolchain",
            f"Start with the folder of this Python's own {library} in LD_LIBRARY_PATH, or install it from the system",
        )
    else:
        yield _told.fix("install-toolchain", f"Install the system's package that brings {library}{_SYSTEMS(library)}")
        if package == "opencv-python":
            yield _told.fix("change-package-version", "Install opencv-python-headless instead, which does without")
        if package is not None:
            yield _told.fix("change-package-version", f"Install {package} from a source that brings its libraries")


def _SYSTEMS(library: str) -> str:
    known = {
        "libGL.so": "libgl1",
        "libgthread": "libglib2.0-0",
        "libglib": "libglib2.0-0",
        "libgomp": "libgomp1",
        "libSM": "libsm6",
        "libXext": "libxext6",
        "libXrender": "libxrender1",
        "libsndfile": "libsndfile1",
        "libsox": "sox",
        "libavutil": "ffmpeg",
        "libavcodec": "ffmpeg",
        "libavformat": "ffmpeg",
        "libEGL": "libegl1",
        "libibverbs": "libibverbs1",
        "libaio": "libaio-dev",
        "libnuma": "libnuma1",
        "libmpi": "openmpi or mpich",
    }
    return next((f": {name}" for begin, name in known.items() if library.startswith(begin)), "")


def _windows(report: Report) -> Iterator[Told]:
    """Windows names the file that was to be loaded, and not what that one lacks."""
    if report.has("visual c++ redistributable is not installed"):
        hit = report.hit(r"visual c\+\+ redistributable is not installed")
        if hit:
            yield _redistributable(report, hit, 0.85, "torch")
            return
    for lack in _told.dlls(report):
        file = re.split(r"[\\/]", lack.file)[-1]
        if lack.of_torch and lack.what == "126":
            yield _redistributable(report, lack.hit, 0.5, "torch")
        elif lack.what in ("126", "1114") and lack.package not in _told.LINKED and lack.package is not None:
            yield _redistributable(report, lack.hit, 0.6, lack.package)
        elif lack.what == "126" and lack.package in _told.LINKED:
            yield Told(
                0.45,
                lack.package,
                f"A library that {lack.package} needs is not found. Windows names only {file or 'its own file'}, "
                "and not the library that is missing.",
                (lack.hit,),
                tuple(_told.matching(report, lack.package)[:2]),
            )
        else:
            continue
        return


def _redistributable(report: Report, hit: Hit, confidence: float, package: str) -> Told:
    return Told(
        confidence,
        package,
        f"A library that {package} needs is not found on this Windows. Usually it is the runtime of Visual "
        "C++, which Windows does not bring along.",
        (hit,),
        (
            _told.fix("install-toolchain", "Install Microsoft's Visual C++ Redistributable (vc_redist.x64.exe)"),
            _told.fix("change-torch", "Install another release of torch")
            if package == "torch"
            else _told.fix("change-package-version", f"Install another release of {package}"),
        ),
    )


# How programs say it that load a library by name.
_BY_NAME = (
    r"could not load library (?P<a>libcud\w+\.so[\w.]*|libnv\w+\.so[\w.]*)|could not locate (?P<b>\w+\.dll)"
    r"|unable to load any of \{(?P<c>lib\w+\.so[\w.]*)|unable to load dynamic library '(?P<h>lib\w+[\w.]*)"
    r"|failed to open (?P<d>(?:lib)?nvrtc-builtins[\w.-]*)|(?P<e>libcudart\.so[\w.]*) not found"
    r"|(?P<f>sndfile|portaudio|libsndfile) library not found|cannot load (?P<g>libmkl_\w+\.so[\w.]*)"
)


def _said(report: Report) -> Iterator[Told]:
    if report.has("find -lcuda") and report.has("triton", "inductor", "torch.compile", "cuda_utils"):
        hit = report.hit(r"cannot find -lcuda\b[^\n]*")
        if hit:
            why = "Name the folder of the driver's libcuda.so in LIBRARY_PATH, or in TRITON_LIBCUDA_PATH"
            yield Told(
                0.85,
                "triton",
                "The driver's libcuda.so is not found by the linker. triton links against it when it compiles its "
                "first kernel, and there is only libcuda.so.1, or none.",
                (hit,),
                (_told.fix("fix-loader-path", why), _told.fix("expose-gpu", "Start the container with --gpus all")),
                over=("nvcc-not-found", "compiler-unsupported"),
            )
            return
    if report.has(
        "could not load lib", "could not locate", "unable to load", "nvrtc-builtins", "not found", "cannot load"
    ):
        hit = report.hit(_BY_NAME)
        if hit and not report.has("undefined symbol"):
            library = next(iter(hit.groups.values())).rstrip(".")
            package = "bitsandbytes" if report.has("bitsandbytes") else None
            yield Told(
                0.8,
                package or ("torch" if report.has("torch") else None),
                f"The library {library} is not found. It is loaded by its name when it is first used, and is not "
                "installed, or lies where the loader does not look.",
                (hit,),
                tuple(_by_name(report, library, package)),
            )
            return
    if report.has("cuda setup failed", "cuda detection failed") and report.has(
        "bitsandbytes", "setup failed despite"
    ):
        hit = report.hit(r"cuda (?:setup|detection) failed[^\n]*")
        if hit:
            yield Told(
                0.6,
                "bitsandbytes",
                "bitsandbytes does not find the CUDA runtime. It looks for libcudart, and loads its file for the CPU "
                "where there is none.",
                (hit,),
                (
                    _told.fix(
                        "fix-loader-path", "Let LD_LIBRARY_PATH begin with the folder of torch's own libcudart"
                    ),
                    _told.fix(
                        "change-package-version", "Install a newer bitsandbytes, which takes torch's CUDA runtime"
                    ),
                ),
            )
            return
    if report.has("libcuda.so cannot found", "libcuda.so cannot be found"):
        hit = report.hit(r"libcuda\.so cannot (?:be )?found")
        if hit:
            why = (
                "Let LD_LIBRARY_PATH begin with the folder of the driver's libcuda.so, or TRITON_LIBCUDA_PATH name it"
            )
            yield Told(
                0.75,
                "triton",
                "The driver's libcuda.so is not where triton looks. It looks into the loader's cache, and there "
                "the driver's libraries are not listed.",
                (hit,),
                (_told.fix("fix-loader-path", why), _told.fix("expose-gpu", "Start the container with --gpus all")),
            )
    if report.has("could not load libtorchcodec", "ffmpeg is not properly installed"):
        hit = report.hit(r"could not load libtorchcodec|ffmpeg is not properly installed")
        if hit:
            yield Told(
                0.65,
                "torchcodec",
                "The libraries of FFmpeg are not found. torchcodec loads those of FFmpeg 4 to 8 and brings "
                "none of them.",
                (hit,),
                (
                    _told.fix(
                        "install-toolchain", "Install FFmpeg with its shared libraries (conda-forge or the system)"
                    ),
                    *_told.matching(report, "torchcodec")[:1],
                ),
            )
    if report.has("couldn't find appropriate backend", "no audio backend"):
        hit = report.hit(r"couldn't find appropriate backend|no audio backend")
        if hit:
            yield Told(
                0.6,
                "torchaudio",
                "torchaudio has no library to read this file with. It takes sox, FFmpeg or soundfile, and "
                "none is here.",
                (hit,),
                (
                    _told.fix("change-package-version", "Install soundfile (pip install soundfile)"),
                    _told.fix("install-toolchain", "Install FFmpeg or sox with the system's package manager"),
                ),
            )


def _by_name(report: Report, library: str, package: Optional[str]) -> Iterator[Fix]:
    if "builtins" in library:
        yield _told.fix("fix-loader-path", f"Let LD_LIBRARY_PATH begin with the folder of torch's own {library}")
        yield _told.fix("change-torch", "Install a newer release of torch, which brings it where it looks")
    elif library.endswith(".dll"):
        yield _told.fix(
            "change-package-version", f"Install the package that brings {library}, in the version asked for"
        )
        yield _told.fix("fix-loader-path", f"Put the folder of {library} on PATH, where it is here")
    else:
        yield from _bring(report, library, package)


def example() -> Facts:
    facts = recorded("healthy-gpu")
    assert facts.torch is not None
    library = "libcusparseLt.so.0"
    core = Binary(
        "torch/_C.cpython-311-x86_64-linux-gnu.so",
        machine="x86_64",
        python_tag="cp311",
        needs=("libtorch_python.so", "libpthread.so.0", "libc.so.6"),
        missing=(Missing("library", library, "libtorch_cuda.so"),),
        loads=False,
        why=(f"libtorch_cuda.so needs {library}, which is not found",),
    )
    return dataclasses.replace(
        facts,
        torch=dataclasses.replace(facts.torch, binaries=(core,)),
        probes=(
            Probe("torch", 1, f"ImportError: {library}: cannot open shared object file: No such file or directory"),
        ),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    bundled = _compiled.stub(place, "libkit_bundled-1a2b3c4d.so.1")
    file = _compiled.library(place, _compiled.CALLS, bundled, "-Wl,-rpath,$ORIGIN/../torch_cluster.libs")
    shown = _compiled.installed(place, "torch-cluster", "", file, **{f"torch_cluster.libs/{bundled.name}": bundled})
    place.remove(place.site / "torch_cluster.libs" / bundled.name)
    return shown
