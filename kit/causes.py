"""Why a package's compiled files would not load: one cause, told from the X-ray in the facts.

A package can hold files that are not meant to load here: plug-ins for an FFmpeg that is not installed, one file for
each torch, CUDA or Python, and files that its own Python code loads in the right order.  They are left out.
"""

import re
from collections.abc import Iterable
from typing import Optional

from kit.facts import Binary, Extension, Facts, Missing, Torch

# What comes first decides, for the build that cures it replaces the file with all else that it lacks.
ORDER = (
    "extension-torch-mismatch",
    "extension-cuda-mismatch",
    "library-shadowed",
    "libc-too-old",
    "libstdcxx-too-old",
    "library-not-found",
    "extension-broken",
)

# Patterns, compiled where they are first needed: in a healthy environment none is.
# torchaudio, torchcodec and torchvision try one plug-in for each FFmpeg, and do without any.
_OPTIONAL = r"lib(av(codec|device|filter|format|util)|sw(scale|resample)|postproc|sox)\b"
_TORCHS = (
    r"lib(torch(_(cpu|cuda\w*|hip\w*|xpu\w*|python|nvshmem|global_deps))?|c10(_(cuda|hip|xpu))?|caffe2\w*|shm)\.so"
)
_ROCM = r"lib(torch_hip|c10_hip|amdhip|hip|roc|rccl|MIOpen)\w*\.so"
_CUDA = (
    r"lib(cudart|cublas|cublasLt|cudnn\w*|cufft\w*|cufile|cupti|curand|cusolver\w*|cusparse\w*|nvrtc|nvrtc-builtins"
    r"|nvJitLink|nvToolsExt|nccl|nvshmem_host|nvjpeg|npp\w+)(?:[.-][0-9a-f]{8})?\.so\b"
)
# Those whose number is CUDA's own.
_NUMBERED = r"lib(?:cudart|cublas|cublasLt|nvrtc|nvJitLink)\.so\.(\d+)"
# Besides the C++ names: how Python's objects come to torch, and its stable interface in C.
_OF_TORCH_IN_C = r"(_Z\d+)?THP|aoti_torch_|torch_(?!npu)"

# Which torch or CUDA a file is for, in its own name or its folder's: torch-2.10/, _torch24-cpu.so, _cuda118.so.
_FOR_TORCH = r"torch[-_]?(\d+\.\d+|\d\d\d?)(?![\da-f])"
_FOR_CUDA = r"(?<![a-z])cu(?:da)?[-_]?(1[0-4])(?:\.?\d)?(?!\d)"
_FOR_OTHERS = r"_(rocm|hip|xpu)(?![a-z])"


# mkl 2024.1 took it out, and conda's builds of torch take it from whichever mkl is there (pytorch/pytorch#123097).
MKL_HOOK = "iJIT_NotifyEvent"


def is_nvidias(library: str) -> bool:
    """Whether a library is one of NVIDIA's CUDA libraries, by its name."""
    return bool(re.match(_CUDA, library))


def is_torchs(library: str) -> bool:
    """Whether a library is one of torch's own, by its name."""
    return bool(re.match(_TORCHS, library))


def links_torch(needs: Iterable[str]) -> bool:
    """Whether a file that needs these libraries links against torch."""
    return any(map(is_torchs, needs))


def calls_gpu(binary: Binary) -> bool:
    """Whether it needs a library that computes on GPUs: the driver's, NVIDIA's, AMD's, or torch's own for them."""
    return any(re.match(rf"libcuda\.|lib(torch|c10)_cuda|{_ROCM}|{_CUDA}", name) for name in binary.needs)


def cause(extension: Extension, facts: Facts) -> Optional[tuple[str, tuple[Binary, ...]]]:
    """(failure, files) that keeps this extension's files from loading; None where all load that are meant to, or none
    was read."""
    if facts.torch is None or all(binary.loads is not False for binary in extension.binaries):
        return None
    found: dict[str, list[Binary]] = {}
    for binary in failing(extension, facts):
        found.setdefault(_why(binary, extension, facts.torch), []).append(binary)
    first = next((failure for failure in ORDER if failure in found), None)
    return None if first is None else (first, tuple(found[first]))


def failing(extension: Extension, facts: Facts) -> list[Binary]:
    """Its files that would not load, though they are meant for this torch, CUDA and Python."""
    return [
        binary
        for binary in extension.binaries
        if binary.loads is False and meant(binary, facts) and not _does_without(binary, extension)
    ]


def meant(binary: Binary, facts: Facts) -> bool:
    """Whether a file is meant for this torch, CUDA and Python, as far as its name tells."""
    torch, path = facts.torch, binary.path
    if torch is None or binary.python_tag not in (None, "abi3", facts.python.abi):
        return False
    for label in re.findall(_FOR_TORCH, path):
        if (label if "." in label else f"{label[0]}.{label[1:]}") != torch.minor:
            return False
    if re.search(_FOR_OTHERS, path) and not torch.hip:
        return False
    major = torch.cuda.partition(".")[0] if torch.cuda else None
    return all(label == major for label in re.findall(_FOR_CUDA, path))


def for_others_only(extension: Extension, facts: Facts) -> bool:
    """Whether each of its files is for another torch, CUDA or Python: a CPU build of torch needs none for CUDA."""
    others = [b for b in extension.binaries if b.loads is False and not meant(b, facts)]
    if not others or len(others) < len(extension.binaries):
        return False
    torch = facts.torch
    return bool(torch and (torch.cuda or any(not re.search(_FOR_CUDA, b.path) for b in others)))


def of_another_cuda(extension: Extension, facts: Facts) -> Optional[Binary]:
    """A file of it that links against torch and is for another CUDA major: it loads where both are installed."""
    torch = facts.torch
    if torch is None or not torch.cuda:
        return None
    for binary in extension.binaries:
        if binary.cuda and binary.cuda.partition(".")[0] != torch.cuda.partition(".")[0]:
            if links_torch(binary.needs) and meant(binary, facts):
                return binary
    return None


def lacking(binary: Binary, extension: Optional[Extension]) -> list[Missing]:
    """The libraries that it lacks, less those of its own package, which are loaded before it."""
    own = {file.rpartition("/")[2] for file in extension.libraries} if extension else set()
    return [missing for missing in binary.lacks("library") if missing.what not in own]


def _does_without(binary: Binary, extension: Extension) -> bool:
    libraries = binary.lacks("library")
    return bool(libraries) and (
        any(re.match(_OPTIONAL, missing.what) for missing in libraries) or not lacking(binary, extension)
    )


def _why(binary: Binary, extension: Extension, torch: Torch) -> str:
    libraries = [missing.what for missing in lacking(binary, extension)]
    if libraries:
        reasons = [_of_library(name, binary, torch) for name in libraries]
        return min(reasons, key=ORDER.index)
    beyond = _beyond(binary)
    if beyond:
        return beyond
    from kit import symbols

    if any(symbols.of_torch(m.what) or re.match(_OF_TORCH_IN_C, m.what) for m in binary.lacks("symbol")):
        return "extension-torch-mismatch"
    return "extension-broken"


def _of_library(name: str, binary: Binary, torch: Torch) -> str:
    if not torch.hip and re.match(_ROCM, name):
        return "extension-cuda-mismatch"
    if re.match(_TORCHS, name):
        of_cuda = ("cuda" in name and not torch.cuda) or "xpu" in name
        return "extension-cuda-mismatch" if of_cuda else "extension-torch-mismatch"
    if re.match(_CUDA, name):
        number = re.match(_NUMBERED, name)
        built = number.group(1) if number else (binary.cuda or "").partition(".")[0]
        here = (torch.cuda or "").partition(".")[0]
        if not here or (built and built != here):
            return "extension-cuda-mismatch"
    return "library-not-found"


def _beyond(binary: Binary) -> Optional[str]:
    """The cause in the libraries around it: another copy wins, or the system's own is too old."""
    if binary.shadows:
        return "library-shadowed"
    versions = [missing.what for missing in binary.lacks("version")]
    if any(version.startswith("GLIBC_") for version in versions):
        return "libc-too-old"
    if any(version.startswith(("GLIBCXX_", "CXXABI_", "GCC_")) for version in versions):
        return "libstdcxx-too-old"
    return None


def cause_in_torch(torch: Torch) -> Optional[str]:
    """The failure that keeps torch itself from loading, by the X-ray; None where it loads or was not read."""
    core = torch.binaries[0] if torch.binaries else None
    if core is None or core.loads is not False:
        return None
    own = {file.rpartition("/")[2] for file in torch.missing_files}
    if any(missing.what == MKL_HOOK for missing in core.lacks("symbol")):
        return "library-shadowed"
    libraries = [missing.what for missing in core.lacks("library")]
    if any(name in own or re.match(_TORCHS, name) for name in libraries):
        return "torch-broken"
    return "library-not-found" if libraries else _beyond(core) or "torch-broken"
