"""The process as Python's start and ``import torch`` leave it: what is mapped, or what is missing."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Optional

from kit.collect.loader import Files, Missing, Object, Process

# What torch loads from NVIDIA's wheels, in its order: torch/__init__.py, _preload_cuda_deps (2.13.0); (folder, file).
_PRELOADED = (
    ("cublas", "libcublasLt.so.*[0-9]"),
    ("cublas", "libcublas.so.*[0-9]"),
    ("cudnn", "libcudnn.so.*[0-9]"),
    ("cuda_nvrtc", "libnvrtc.so.*[0-9]"),
    ("cuda_nvrtc", "libnvrtc-builtins.so.*[0-9]"),
    ("cuda_runtime", "libcudart.so.*[0-9]"),
    ("cuda_cupti", "libcupti.so.*[0-9]"),
    ("cufft", "libcufft.so.*[0-9]"),
    ("curand", "libcurand.so.*[0-9]"),
    ("nvjitlink", "libnvJitLink.so.*[0-9]"),
    ("cusparse", "libcusparse.so.*[0-9]"),
    ("cusparselt", "libcusparseLt.so.*[0-9]"),
    ("cusolver", "libcusolver.so.*[0-9]"),
    ("nccl", "libnccl.so.*[0-9]"),
    ("nvshmem", "libnvshmem_host.so.*[0-9]"),
    ("cufile", "libcufile.so.*[0-9]"),
)


def start(
    executable: str, environ: Mapping[str, str], files: Files, folders: Iterable[str] = ()
) -> Optional[Process]:
    """A process in which the interpreter ``executable`` has started; None where it is no ELF file for glibc.

    ``folders`` is its import path, below which NVIDIA's wheels and torch keep libraries.
    """
    path = os.path.realpath(executable)
    elf = files.elf(path)
    if elf is None or elf.bits != 64 or not re.search("ld-linux|ld64", elf.interpreter):
        return None
    process = Process(files, environ.get("LD_LIBRARY_PATH", ""))
    process.places = [
        place
        for folder in folders
        for place in (*glob.glob(f"{glob.escape(folder)}/nvidia/*/lib"), f"{folder}/torch/lib")
    ]
    process.main = Object(path, elf)
    process.map(process.main, filter(None, re.split("[: ]+", environ.get("LD_PRELOAD", ""))))
    process.everywhere = process.objects[:]
    return process


def import_torch(process: Process, location: str, import_path: Iterable[str]) -> list[Missing]:
    """Load what ``import torch`` loads from the folder ``location``; what is missing where that fails.

    As ``torch/__init__.py`` does it: libtorch_global_deps for everybody, NVIDIA's libraries from their wheels where
    that fails or has brought libcudart, then ``torch._C``.
    """
    dependencies = os.path.join(location, "lib", "libtorch_global_deps.so")
    compiled = sorted(glob.glob(os.path.join(glob.escape(location), "_C.*.so")))[:1]
    if compiled or process.files.exists(dependencies):
        missing = process.open(dependencies, everywhere=True, symbols=False)
        if missing:
            said = f"{missing[0].what} {os.path.basename(missing[0].by)}"
            if not any(name.partition(".")[0] in said for _, name in _PRELOADED):
                return missing
            lacks = _preload(process, import_path)
            if lacks is None:
                return missing
            missing = lacks or process.open(dependencies, everywhere=True, symbols=False)
            if missing:
                return missing
        elif any(os.path.basename(o.path).startswith("libcudart.so") for o in process.objects):
            _preload(process, import_path)
    return process.open(compiled[0], symbols=False) if compiled else []


def _preload(process: Process, import_path: Iterable[str]) -> Optional[list[Missing]]:
    """Load NVIDIA's libraries from their wheels, up to the first that does not load; None where one is not there."""
    places = [place for entry in import_path for place in _places(entry)]
    for wheel, pattern in _PRELOADED:
        found = (
            os.path.join(folder, name)
            for folder, names, of in places
            if of in (wheel, None)
            for name in fnmatch.filter(names, pattern)
        )
        path = next(found, None)
        if path is None:
            return None
        missing = process.open(path, symbols=False)
        if missing:
            return missing
    return []


def _places(entry: str) -> Iterator[tuple[str, list[str], Optional[str]]]:
    """(folder, files in it, whose wheel: None for any) where torch looks below one entry of the import path."""
    wheels = list(dict.fromkeys(wheel for wheel, _ in _PRELOADED))
    names, nvidia = _names(entry), os.path.join(entry, "nvidia")
    inner = _names(nvidia) if "nvidia" in names else []
    found: list[tuple[str, Optional[str]]]
    found = [(os.path.join(nvidia, wheel), wheel) for wheel in wheels if wheel in inner]
    found += [(os.path.join(nvidia, name), None) for name in sorted(inner) if re.fullmatch("cu1[0-9]", name)]
    found += [(os.path.join(entry, wheel), wheel) for wheel in wheels if wheel in names]
    for folder, wheel in found:
        yield os.path.join(folder, "lib"), _names(os.path.join(folder, "lib")), wheel


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
