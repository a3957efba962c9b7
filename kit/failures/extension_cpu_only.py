"""A compiled extension was built without CUDA, although torch has it.

What it means
-------------
torch-scatter and its siblings are built with CUDA only where a GPU is visible during the build, or where
``FORCE_CUDA=1`` says so.  Built in a ``docker build``, on a login node, or from a ``+cpu`` wheel, they import
cleanly and even ``scatter_add`` works; ``scatter_max``, ``scatter_min`` and ``segment_coo`` on a GPU tensor raise
``RuntimeError: Not compiled with CUDA support``.

How it is found
---------------
torch is a CUDA build, and none of the extension's compiled files holds GPU code or needs ``libtorch_cuda.so``.
Where they could not be read: its folder holds ``*_cpu.so`` and no ``*_cuda.so``, or its version carries ``cpu`` as
its build tag.  Without a GPU in sight it is a warning, as nothing fails yet; with one, an error.

Example
-------
torch-scatter 2.1.2 compiled from source where no GPU was visible, beside torch 2.13.0+cu130.

Fix
---
The wheel for this torch and CUDA where one is published.  Else, for torch-scatter, the kit's replacement, which
computes with torch's own operators on any device (``kit shim enable torch_scatter --cover``); or a build with
``FORCE_CUDA=1`` and the GPU's architecture.  All replace only the extension.  The kernel has to be restarted.

Known limits
------------
Only packages whose purpose is CUDA code are judged by what their files hold; torchaudio, torchtext and torchcodec
have none by design.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.causes import calls_gpu
from kit.facts import Extension, Facts
from kit.findings import Finding
from kit.published import WITHOUT_GPU_CODE, extension_fixes
from kit.recorded import recorded

RANK = 40
# Their purpose is CUDA code: a build without it is half of them.
FOR_CUDA = frozenset(
    "torch-scatter torch-sparse torch-cluster torch-spline-conv pyg-lib torchvision xformers flash-attn mmcv "
    "mmcv-full detectron2 pytorch3d natten torchsparse mamba-ssm causal-conv1d tinycudann".split()
)
# Those whose build for the CPU lacks next to nothing.
NOT_FOR_CUDA = WITHOUT_GPU_CODE | {"torchaudio", "torchcodec"}
INSTEAD = "Reinstalling it with plain pip would compile the same CPU build again, and take pip's cached wheel first."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or not torch.cuda:
        return
    for extension in facts.extensions:
        evidence = _evidence(extension)
        if not evidence:
            continue
        gpu = f"the {facts.host.gpus[0].name}" if facts.host.gpus else "a GPU"
        built = "It was compiled where no GPU was visible." if extension.built_from_source else "It is a CPU build."
        yield Finding(
            "extension-cpu-only",
            "error" if facts.gpu_seen else "warning",
            extension.package,
            f"{extension.key} holds no GPU code. Your torch is built for CUDA {torch.cuda}, your {extension.key} "
            f"{extension.version} was built without CUDA, so it cannot compute on {gpu}. {built}",
            (f"torch/version.py: {torch.version}, CUDA {torch.cuda}", *evidence),
            tuple(extension_fixes(extension, facts)),
        )


def _evidence(extension: Extension) -> list[str]:
    if extension.key in NOT_FOR_CUDA or any(b.device_code or calls_gpu(b) for b in extension.binaries):
        return []
    if extension.built_for_cuda == "cpu":
        return [f"{extension.origin}: {extension.version}, a CPU build by its tag"]
    cpu = extension.libraries_for("cpu")
    read = [binary.path for binary in extension.binaries if binary.format == "ELF" and binary.machine]
    if not cpu and read and extension.key in FOR_CUDA:
        more = f"; nor do {len(read) - 1} more files" if len(read) > 1 else ""
        return [f"{read[0]}: holds no GPU code, and does not need libtorch_cuda{more}"]
    if not cpu or extension.libraries_for("cuda"):
        return []
    missing = re.sub(r"_cpu\.(so|pyd)$", r"_cuda.\1", cpu[0]).rpartition("/")[2]
    evidence = [f"{cpu[0]}: a CPU library; {missing} is not there"]
    if extension.built_from_source:
        evidence.append(
            f"{extension.origin}: wheel {extension.wheel_tags[0]} without a build tag, so compiled from source"
        )
    return evidence


def example() -> Facts:
    facts = recorded("healthy-gpu")
    extension = facts.extensions[0]
    cpu = tuple(f for f in extension.libraries if "_cuda" not in f)
    binaries = tuple(b for b in extension.binaries if "_cuda" not in b.path)
    built = dataclasses.replace(extension, libraries=cpu, binaries=binaries)
    return dataclasses.replace(facts, extensions=(built,))
