"""CUDA toolkits for compiling: where one lies that fits a torch, what its nvcc accepts, and what it can compile for.

What the files of a toolkit do not tell comes from the dated table ``data/nvcc.json``.  Standard library alone.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

from kit.collect.host import which
from kit.collect.run import run
from kit.data import table
from kit.errors import KitError
from kit.facts import Torch, compute_capability
from kit.record import Record

LIMIT = 60.0  # seconds for a short question to a program
USUAL_PLACE = "/usr/local"  # where NVIDIA's installers put toolkits: cuda, cuda-13.0
# What torch's headers for CUDA include, and the package on the index that has it.
HEADERS = {
    "cuda_runtime.h": "nvidia-cuda-runtime",
    "crt/host_config.h": "nvidia-cuda-crt",
    "nv/target": "nvidia-cuda-cccl",
    "cublas_v2.h": "nvidia-cublas",
    "cusparse.h": "nvidia-cusparse",
    "cusolverDn.h": "nvidia-cusolver",
}
OWN_HEADERS = ("cuda_runtime.h", "crt/host_config.h", "nv/target")  # they have to be of nvcc's version
LIBRARY = {"libcudart.so": "nvidia-cuda-runtime"}


class CannotBuild(KitError):
    """Nothing was tried, for something is missing here.  The message tells what was seen and what to do."""


class Toolkit(Record):
    """A CUDA toolkit; ``include`` and ``libraries`` are where they lie, which is not always where torch looks.

    ``more`` are folders of NVIDIA's wheels in the environment, with headers that this toolkit does not have: one of
    nvcc alone has no cuBLAS.
    """

    path: str
    version: str
    include: str
    libraries: str
    more: tuple[str, ...] = ()

    @property
    def usual(self) -> bool:
        """Whether torch finds all of it below ``path``."""
        if os.name == "nt":
            return True
        places = (os.path.join(self.path, "lib64"), os.path.join(self.path, "lib"))
        library = os.path.join(next(filter(os.path.isdir, places), ""), "libcudart.so")
        return self.include == os.path.join(self.path, "include") and os.path.exists(library)


def toolkit(torch: Torch, paths: Sequence[str], prefix: str, env: Mapping[str, str]) -> Toolkit:
    """The toolkit for this torch: the one that is named, else one of exactly torch's CUDA, else of its major version.

    ``paths`` and ``prefix`` are the environment's import path and folder.  CannotBuild where there is none.
    """
    wanted = torch.cuda or ""
    major = wanted.partition(".")[0]
    seen: dict[str, str] = {}
    for folder in _places(paths, prefix, env, major):
        version = _nvcc(folder)
        if version:
            seen.setdefault(folder, version)
    fitting = [folder for folder, version in seen.items() if version.partition(".")[0] == major]
    if not fitting:
        others = ", ".join(f"{version} in {folder}" for folder, version in seen.items())
        pip = f"pip install 'nvidia-cuda-nvcc=={wanted}.*' 'nvidia-cuda-cccl=={wanted}.*'"
        way = pip if int(major) >= 13 else "NVIDIA's installer"
        raise CannotBuild(
            f"torch {torch.version} has CUDA {wanted}, and no nvcc of CUDA {major} was found "
            + (f"(only {others})" if others else f"(CUDA_HOME, CUDA_PATH, PATH, {USUAL_PLACE}, site-packages)")
            + f"; a build without CUDA would fail on the GPU: get one with {way}, or set CUDA_HOME"
        )
    named = [folder for folder in fitting if folder in (env.get("CUDA_HOME"), env.get("CUDA_PATH"))]
    ordered = dict.fromkeys([*named, *(folder for folder in fitting if seen[folder] == wanted), *fitting])
    found = [_read(folder, seen[folder], paths) for folder in ordered]
    for kit, lacks in found:
        if not lacks:
            return kit
    kit, lacks = found[0]
    raise CannotBuild(
        f"the CUDA {kit.version} toolkit in {kit.path} lacks {', '.join(lacks)}; install the rest of it "
        f"({', '.join(dict.fromkeys(lacks.values()))}), or name another one with CUDA_HOME"
    )


def _read(folder: str, version: str, paths: Sequence[str]) -> tuple[Toolkit, dict[str, str]]:
    """A toolkit, and what it lacks: file -> the package on the index that has it."""
    include = _first(folder, "include", "cuda_runtime.h") or os.path.join(folder, "include")
    places = (
        [("lib/x64", "cudart.lib")] if os.name == "nt" else [("lib64", "libcudart.so*"), ("lib", "libcudart.so*")]
    )
    libraries = next(filter(None, (_first(folder, *place) for place in places)), "")
    lacks, more = {} if libraries else dict(LIBRARY), []
    for header, package in HEADERS.items():
        if any(_has(include, name) for name in (header, "cccl/" + header)):
            continue
        wheels = [os.path.join(glob.escape(path), "nvidia", "*", "include", header) for path in paths]
        other = next((file for pattern in wheels for file in sorted(glob.glob(pattern))), None)
        if other is None or header in OWN_HEADERS:
            lacks[header] = package
        else:
            more.append(os.path.dirname(other))
    return Toolkit(folder, version, include, libraries, tuple(dict.fromkeys(more))), lacks


def _places(paths: Sequence[str], prefix: str, env: Mapping[str, str], major: str) -> Iterator[str]:
    """Where a toolkit may lie: where torch looks, then what NVIDIA's wheels and conda put into the environment."""
    yield from filter(None, (env.get("CUDA_HOME"), env.get("CUDA_PATH")))
    nvcc = which("nvcc", env.get("PATH", os.defpath))
    if nvcc:
        yield os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))
    yield os.path.join(USUAL_PLACE, "cuda")
    versions = glob.glob(os.path.join(glob.escape(USUAL_PLACE), "cuda-*"))
    yield from sorted(versions, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], reverse=True)
    for path in paths:
        yield from (os.path.join(path, "nvidia", f"cu{major}"), os.path.join(path, "nvidia", "cuda_nvcc"))
    yield prefix


def _nvcc(folder: str) -> Optional[str]:
    """The CUDA of the nvcc in a toolkit, ``'13.0'``."""
    program = os.path.join(folder, "bin", "nvcc.exe" if os.name == "nt" else "nvcc")
    if not os.path.isfile(program):
        return None
    try:
        release = re.search(r"release (\d+\.\d+)", run([program, "--version"], LIMIT).out)
    except OSError:
        return None
    return release[1] if release else None


def _first(root: str, name: str, holds: str) -> Optional[str]:
    """The folder of this name in a toolkit (its own, or conda's below ``targets``) that holds such a file."""
    places = [os.path.join(root, name), *sorted(glob.glob(os.path.join(glob.escape(root), "targets", "*", name)))]
    return next((p for p in places if glob.glob(os.path.join(glob.escape(p), holds))), None)


def _has(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, *name.split("/")))


def view(kit: Toolkit, folder: str) -> str:
    """A toolkit as torch expects one, made of links in ``folder``: ``lib64`` with ``libcudart.so``, all of it in one
    place.  NVIDIA's wheels have ``lib`` and only ``libcudart.so.13``, conda's packages have ``targets``."""
    libraries = os.path.join(folder, "lib64")
    os.makedirs(libraries)
    for name in ("bin", "nvvm"):
        if os.path.isdir(os.path.join(kit.path, name)):
            os.symlink(os.path.join(kit.path, name), os.path.join(folder, name))
    os.symlink(kit.include, os.path.join(folder, "include"))
    names = sorted(os.listdir(kit.libraries))
    for name in names:
        os.symlink(os.path.join(kit.libraries, name), os.path.join(libraries, name))
    for name in names:
        plain = re.match(r"lib.+?\.so(?=\.\d)", name)
        if plain and plain[0] not in names:
            names.append(plain[0])
            os.symlink(os.path.join(kit.libraries, name), os.path.join(libraries, plain[0]))
    return folder


def architecture_list(kit: Toolkit, asked: Iterable[str], env: Mapping[str, str]) -> str:
    """``'9.0;12.0'`` for torch.  CannotBuild where none is known, or this nvcc does not know one of them."""
    listed = [word for word in re.split(r"[;,\s]+", env.get("TORCH_CUDA_ARCH_LIST", "")) if word]
    named = list(map(capability, asked)) or ([] if listed == ["native"] else listed) or visible(env)
    if not named:
        raise CannotBuild(
            f"torch has CUDA {kit.version.partition('.')[0]} and no GPU is visible here; "
            "name the one to compile for by its compute capability: TORCH_CUDA_ARCH_LIST=9.0"
        )
    known = _known(kit)
    for word in named:
        match = re.fullmatch(r"(\d+\.\d)[af]?(\+PTX)?", word)
        if match and known and match[1] not in known:
            able = [row["cuda"] for row in table("nvcc")["nvcc"] if match[1] in row["capabilities"]]
            which_can = f"CUDA {able[0]} to {able[-1]} can" if able else "the kit's table knows no CUDA that can"
            raise CannotBuild(
                f"nvcc {kit.version} cannot compile for compute capability {match[1]} (it knows {' '.join(known)}); "
                f"{which_can}: take a torch built with such a CUDA, or leave {match[1]} out"
            )
    return ";".join(sorted(set(named), key=lambda word: ([int(n) for n in re.findall(r"\d+", word)], word)))


def visible(env: Mapping[str, str]) -> list[str]:
    """The compute capabilities of the GPUs that ``nvidia-smi`` sees."""
    program = which("nvidia-smi", env.get("PATH", os.defpath))
    try:
        said = run([program, "--query-gpu=compute_cap", "--format=csv,noheader"], LIMIT, env).out if program else ""
    except OSError:
        said = ""
    return sorted(set(re.findall(r"^\d+\.\d+$", said, re.M)))


def _known(kit: Toolkit) -> list[str]:
    """The compute capabilities that an nvcc compiles for: as it says, else as the table does."""
    try:
        said = run([os.path.join(kit.path, "bin", "nvcc"), "--list-gpu-code"], LIMIT).out
    except OSError:
        said = ""
    found = [f"{major}.{minor}" for major, minor in re.findall(r"^sm_(\d+)(\d)$", said, re.M)]
    row = _row(kit.version)
    return found or (list(row["capabilities"]) if row else [])


def _row(version: str) -> Optional[dict[str, Any]]:
    """The table's row for a CUDA, or the one before it."""

    def number(text: str) -> list[int]:
        return [int(part) for part in text.split(".")]

    rows = [row for row in table("nvcc")["nvcc"] if number(row["cuda"]) <= number(version)]
    return rows[-1] if rows else None


def capability(text: str) -> str:
    """A compute capability in torch's form, from what people write (``sm_90``, ``12``, ``9.0+PTX``)."""
    plain, plus, more = text.partition("+")
    return (plain if re.fullmatch(r"\d+\.\d[af]?", plain) else compute_capability(plain)) + plus + more


def accepted(kind: str, kit: Toolkit) -> Optional[int]:
    """The newest major version of gcc or clang that an nvcc accepts: as its header says, else as the table does."""
    words = {"gcc": r"gcc versions later than (\d+)", "clang": r"clang version must be less than (\d+)"}[kind]
    try:
        with open(os.path.join(kit.include, "crt", "host_config.h"), encoding="utf-8", errors="replace") as stream:
            found = re.search(words, stream.read())
    except OSError:
        found = None
    if found:
        return int(found[1]) - (kind == "clang")
    row = _row(kit.version)
    return int(row[f"{kind}_max"]) if row else None
