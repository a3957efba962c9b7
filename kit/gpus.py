"""GPUs and compiled code: which architecture runs on which compute capability, and which driver a CUDA needs."""

import re
from collections.abc import Iterable
from typing import Optional

from kit.data import table
from kit.facts import Binary, Driver, Gpu


def capability_of(name: str) -> Optional[str]:
    """The compute capability of a product name, e.g. ``'NVIDIA GeForce RTX 4090'`` -> ``'8.9'``; None if unknown."""
    wanted = _words(name)
    best: tuple[int, Optional[str]] = (0, None)
    for row in table("gpus")["gpus"]:
        for product in row["names"]:
            words = _words(product)
            if words and words <= wanted:
                best = max(best, (len(words), row["capability"]))  # "RTX 4070 Ti" before "RTX 4070"
    return best[1]


def _words(name: str) -> frozenset:  # type: ignore[type-arg]
    return frozenset(re.findall(r"[a-z0-9]+", name.lower())) - {"nvidia", "geforce", "tesla", "quadro", "gpu"}


def numbers(version: str) -> tuple[int, ...]:
    """``'12.0'`` -> ``(12, 0)``, ``'570.133.07'`` -> ``(570, 133, 7)``: for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def serves(architecture: str, capability: str) -> bool:
    """Whether code built for ``architecture`` (``sm_90``, ``compute_90``) runs on ``capability`` (``9.0``).

    Machine code runs on the same major and a minor not below its own; ``a`` code only on exactly its own;
    PTX (``compute_``) on anything not older.  Tegra's exceptions as in torch 2.15's
    ``torch/cuda/__init__.py`` (DEVICE_REQUIREMENT), copied in ``data/gpus.json``.
    """
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
    if not match:
        return False
    kind, major, minor, suffix = match.groups()
    built, gpu = (int(major), int(minor)), numbers(capability)
    if suffix == "a":
        return built == gpu
    if kind == "compute" and not suffix:
        return built <= gpu
    only = table("gpus")["sass_only"]
    for exact in (f"{major}.{minor}", capability):
        if exact in only:
            return capability in only[exact] and f"{major}.{minor}" in only[exact]
    return built[0] == gpu[0] and built[1] <= gpu[1]


def served(architectures: Iterable[str], capability: str) -> bool:
    """Whether any of ``architectures`` runs on ``capability``."""
    return any(serves(a, capability) for a in architectures)


def cuda_of_ptx(version: str) -> Optional[str]:
    """The CUDA release that writes a PTX version and whose driver is the oldest to compile it: 9.0 -> ``'13.0'``."""
    found: Optional[str] = table("ptx")["ptx"].get(version)
    return found


def runs_on(binary: Binary, capability: str, driver: Optional[str] = None) -> tuple[bool, str]:
    """Whether the device code of a file runs on a GPU of ``capability`` (``'12.0'``), and a sentence that says why.

    ``driver`` is the newest CUDA that the driver supports, None where that is not known: then it is taken to be new
    enough for the file's PTX.  What only the smaller part of its kernels has (``partial``) does not count: the others
    would still fail.
    """
    fitting = [a for a in binary.architectures if serves(a, capability)]
    whole = [a for a in fitting if a not in binary.partial]
    if whole:
        return True, f"its {whole[-1]} code runs on a GPU of compute capability {capability}"
    held = " ".join([*binary.architectures, *binary.ptx])
    compiled = [p for p in binary.ptx if serves(p, capability) and p not in binary.partial]
    if fitting and not compiled:
        return False, f"holds {held}, but {fitting[-1]} for a few of its kernels only"
    if not compiled:
        return False, f"holds {held}: nothing that runs on a GPU of compute capability {capability}"
    needed = cuda_of_ptx(binary.ptx_isa) if binary.ptx_isa else None
    if driver and needed and numbers(driver) < numbers(needed):
        return (
            False,
            f"its {compiled[-1]} PTX needs a driver for CUDA {needed} or newer; this one is for CUDA {driver}",
        )
    with_driver = f" by a driver for CUDA {needed} or newer" if needed else " by the driver"
    return True, f"its {compiled[-1]} PTX is compiled for compute capability {capability}{with_driver}"


def capabilities(gpus: Iterable[Gpu]) -> dict[str, Gpu]:
    """The compute capabilities of these GPUs, each with the first of it; one that is not known is left out."""
    found: dict[str, Gpu] = {}
    for gpu in gpus:
        capability = gpu.capability or capability_of(gpu.name)
        if capability is not None:
            found.setdefault(capability, gpu)
    return found


def driver_for(gpu: Gpu, driver: Optional[Driver]) -> Optional[str]:
    """The newest CUDA of the driver that serves this GPU; None of one that was only asked for, whatever is here."""
    return driver.cuda if driver and not gpu.wished else None


def minimum_driver(cuda: str, system: str = "Linux") -> Optional[str]:
    """The oldest driver that runs a program built with this CUDA, e.g. ``'12.8'`` -> ``'525.60.13'``."""
    major = cuda.partition(".")[0]
    for row in table("drivers")["drivers"]:
        if row["cuda_major"] == major:
            oldest: str = row["windows" if system == "Windows" else "linux"]
            return oldest
    return None


def driver_runs(driver: str, cuda: str, system: str = "Linux") -> Optional[bool]:
    """Whether ``driver`` (``'535.104.05'``) runs programs built with ``cuda``; None where the table does not tell."""
    oldest = minimum_driver(cuda, system)
    return None if oldest is None or not numbers(driver) else numbers(driver) >= numbers(oldest)
