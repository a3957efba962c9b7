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

from kit.causes import is_nvidias
from kit.facts import Binary, Facts, Missing, Probe
from kit.failures import _compiled, gpu_not_visible
from kit.failures._loading import Concerned, concerned
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import extension_fixes, pip, same_again
from kit.recorded import recorded

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
