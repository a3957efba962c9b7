"""torch itself is a CPU build, or was replaced by one.

What it means
-------------
There is a GPU, and the torch that runs was built without CUDA: ``torch.cuda.is_available()`` is False and
``.cuda()`` raises ``Torch not compiled with CUDA enabled``.  Often another install replaced a CUDA build:
a requirements file with a bare ``torch`` on Windows, a CPU index left in the pip configuration, conda.

How it is found
---------------
``torch/version.py`` says ``cuda = None`` (and ``hip = None``), and the machine has an NVIDIA GPU or one was
asked for with ``--gpu``.
In text: what such a build says when it is asked for CUDA, and versions such as ``+cpu``.

Example
-------
torch 2.13.0+cpu on a machine with a GeForce RTX 4090.

Fix
---
Install a CUDA build that has code for this GPU and that its driver runs.  It changes torch, so compiled
extensions have to follow.  Not needed where the GPU is not meant to be used.

Known limits
------------
Intel (XPU) and Apple (MPS) devices are not looked at.
"""

import dataclasses
from collections.abc import Iterator
from typing import Optional

from kit.facts import Facts
from kit.failures import _told, _told_prose
from kit.findings import Finding
from kit.published import torch_fix
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 20
INSTEAD = "A newer driver or a system CUDA toolkit would change nothing: the CUDA code is missing from torch itself."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or torch.cuda or torch.hip or not torch.readable or not facts.gpu_seen:
        return
    gpu = facts.host.gpus[0]
    evidence = [f"torch/version.py: {torch.version}, cuda = None", f"GPU: {gpu.name}" + _driver(facts)]
    evidence += [
        f"{e.origin}: {e.package} {e.version} was built for CUDA {e.built_for_cuda}"
        for e in facts.extensions
        if e.built_for_cuda not in (None, "cpu")
    ]
    yield Finding(
        "torch-cpu-only",
        "error",
        "torch",
        f"torch is a CPU build. There is a GPU here ({gpu.name}), but torch {torch.version} was built without CUDA "
        "and cannot use it."
        if not gpu.wished
        else f"torch is a CPU build. torch {torch.version} was built without CUDA and can use no GPU.",
        tuple(evidence),
        (torch_fix(facts, "Install a torch with CUDA"),),
    )


def _driver(facts: Facts) -> str:
    return f", driver {facts.host.driver.version}" if facts.host.driver else ""


# What a torch without CUDA says when it is asked for it.
_SAYS = (
    r"torch not compiled with cuda enabled|pytorch (?:is|was) not compiled with (?:cuda|gpu)"
    r"|without aten_cuda library"
    r"|module 'torch\._C' has no attribute '_cuda\w*'|tried to instantiate dummy base class \w+"
    r"|could not run 'aten::[\w.]+' with arguments from the 'CUDA' backend"
    r"|name '_cuda_\w+' is not defined|cannot import name '_cuda\w*' from 'torch\._C'"
)
# What programs say where torch sees no GPU, whatever the reason.
_NONE = (
    r"\d\.\d+(?:\.\d+)?\+cpu['\")\s,]{1,12}false|"
    r"cuda\.is_available\(\)[^\n]{0,30}?(?:\bfalse\b|is false)"
    r"|is_available\(\)\W{0,12}\n\W{0,8}(?:out\[\d+\]:\s*)?false"
    r"|is cuda available:?\s*(?:false|no)|cuda available:?\s*false|torch is not able to use gpu"
    r"|user provided device_type of 'cuda', but cuda is not available|cuda is not available|cuda not available"
    r"|fp16 (?:half|mixed) precision[^\n]{0,80}(?:cuda|gpu)|doesn't have nccl built in"
    r"|torch\.version\.cuda\W{1,8}none"
)
# Build code takes torch.version.cuda apart, which is None in a build for the CPU.
_NO_CUDA_VERSION = (
    r"torch\.version\.cuda[^\n]*\n(?:[^\n]{0,200}\n){0,8}?[^\n]{0,40}(?:'NoneType' object|expected string or bytes|"
    r"must be (?:a |real )?(?:str|number)|InvalidVersion|argument must be a string)"
    r"|(?:torch_binary_major|check_cuda_torch_binary_vs_bare_metal)[^\n]*\n(?:[^\n]{0,200}\n){0,8}?"
    r"[^\n]{0,40}'NoneType' object has no attribute 'split'"
)


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "torch-cpu-only")
    if plain is not None and not report.cuda_available:
        yield _built(report, 0.8 if report.has("is_available") else plain[0], [plain[1]])
    if not report.has("cuda", "gpu", "nccl", "dummy base class"):
        return
    cpu = _told.cpu_torch(report)
    yield from _says(report, cpu)
    if cpu is not None:
        yield from _stated(report, cpu)


def _says(report: Report, cpu: Optional[Hit]) -> Iterator[Told]:
    mac = _told.macos(report) and not report.has("winerror", "nvidia-smi")
    if report.has(
        "torch not compiled",
        "pytorch is not",
        "pytorch was not",
        "aten_cuda",
        "'_cuda",
        "dummy base class",
        "could not run 'aten",
    ):
        hit = report.last(_SAYS)
        if hit and not mac:
            yield _built(report, 0.93, [hit, *([cpu] if cpu else [])])
            return
    if report.has(
        "is_available", "cuda available", "not available", "not able to use gpu", "fp16", "nccl built", "none"
    ):
        hit = report.hit(_NONE)
        if hit and not mac:
            yield _built(report, _without(report, hit, cpu), [hit, *([cpu] if cpu else [])])
            return
    if report.has("torch.version.cuda", "torch_binary_major", "bare_metal"):
        hit = report.hit(_NO_CUDA_VERSION)
        if hit and not mac:
            yield _built(report, 0.93, [hit, *([cpu] if cpu else [])])
            return
    if report.has("deserialize object on a cuda device"):
        hit = report.hit(r"deserialize object on a cuda device")
        if hit and not mac:
            yield _built(report, 0.75 if cpu else 0.35, [hit, *([cpu] if cpu else [])])


def _without(report: Report, hit: Hit, cpu: Optional[Hit]) -> float:
    """How sure it is that torch sees no GPU because it is a build for the CPU."""
    if hit.line.lower().startswith(("is cuda", "cuda available")) and report.errors:
        return 0.3  # collect_env beside another failure: perhaps there is no GPU, and none is missed
    if cpu is not None:
        return 0.9
    if "nccl" in hit.line.lower() and _told.windows(report):
        return 0.3  # no build for Windows has it
    if (
        _on_windows(report)
        and report.has("pip install torch", "pip3 install torch")
        and not report.has("whl/cu", "+cu")
    ):
        return 0.75  # the package index serves builds for the CPU there
    return 0.2 if _told.token(report).startswith("cu") else 0.3 if report.has("docker", "container") else 0.5


def _on_windows(report: Report) -> bool:
    return _told.windows(report) or report.has("windows 1", "windows 7", "win10", "win11")


def _stated(report: Report, cpu: Hit) -> Iterator[Told]:
    """Something else fails, and the text says that torch is a build for the CPU."""
    for lack in _told.libraries(report):
        if _told.judged_library(lack, report) == "torch-cpu-only":
            yield _built(report, 0.75, [cpu, lack.hit])
            return
    if not report.errors and _told.gpu_named(report)[0] and not _told.macos(report):
        yield _built(report, 0.5, [cpu])  # a GPU, a build for the CPU, and nothing else that fails
        return
    if report.has("(you have") and "(you have" in cpu.line.lower():
        yield _built(report, 0.93, [cpu])


def _built(report: Report, confidence: float, hits: "list[Hit]") -> Told:
    torch = report.facts.torch
    which = f"torch {torch.version}" if torch and torch.version else "The torch that runs"
    return Told(
        confidence,
        "torch",
        f"torch is a build for the CPU. {which} was built without CUDA and can use no GPU, whatever driver "
        "and toolkit are here.",
        tuple(hits),
        (_told.torch_for(report, "Install a torch with CUDA"),),
        over=("extension-cuda-mismatch", "gpu-not-visible") if confidence > 0.7 else (),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    gpu = recorded("healthy-gpu").host
    host = dataclasses.replace(
        facts.host, gpus=gpu.gpus, driver=gpu.driver, pci_gpus=1, device_nodes=gpu.device_nodes
    )
    return dataclasses.replace(facts, host=host)
