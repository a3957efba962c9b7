"""torch or an extension holds no code for this GPU: it is newer or older than the architectures they were built for.

What it means
-------------
A CUDA build of torch, and each extension with kernels of its own, contains machine code for a list of GPU
architectures.  On a GPU outside that list the first kernel fails with ``no kernel image is available for execution
on the device``, or silently computes nothing, although ``torch.cuda.is_available()`` is True.

How it is found
---------------
torch's own list, compiled into ``libtorch_python``, is read without a GPU, and the GPU code in the files of each
extension; both are held against the GPU's compute capability: code runs on the same major and a minor not below its
own (so 8.6 code serves an 8.9 GPU, although no wheel lists 8.9); PTX serves every newer GPU whose driver can
compile it.  Rules: torch 2.15's ``torch/cuda/__init__.py``.

Example
-------
torch 2.13.0+cu130, built for sm_75 to sm_120, with a Tesla V100 (7.0).

Fix
---
A build of torch with code for this GPU: CUDA 12.8 or newer for Blackwell (12.0), CUDA 12.6 for Maxwell, Pascal and
Volta.  Compiled extensions have to follow.  Where torch has the code and an extension lacks it, that is compiled
for this GPU; torch-scatter can be replaced by the kit's, which runs torch's own code (``kit shim enable
torch_scatter``).

Known limits
------------
An extension of many files is judged as a whole: one whose every kernel is in files for other GPUs is found, one
that lacks a single kernel is not.  A list that cannot be read, and a GPU whose capability is not known, are no
finding.
"""

import dataclasses
from collections.abc import Iterator

from kit.causes import meant
from kit.facts import Binary, Extension, Facts, Gpu, Torch
from kit.failures._loading import judge
from kit.findings import Finding, Fix
from kit.gpus import capabilities, driver_for, runs_on, served
from kit.published import extension_fixes, replacement, torch_fix
from kit.record import Record
from kit.recorded import recorded

RANK = 26
INSTEAD = (
    "Another driver or toolkit would change nothing; nor is a nightly needed where a stable build serves the GPU."
)


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or not torch.cuda or not facts.host.gpus:
        return
    where, architectures = _architectures(torch)
    lacking = set()
    for capability, gpu in capabilities(facts.host.gpus).items():
        if not architectures or served(architectures, capability):
            continue
        lacking.add(capability)
        yield Finding(
            "gpu-arch-missing",
            "error",
            "torch",
            f"torch holds no code for this GPU. The {gpu.name} has compute capability {capability}; torch "
            f"{torch.version} was built for {', '.join(architectures)}.",
            (described(gpu, capability), f"{where}: built for {' '.join(architectures)}"),
            (torch_fix(facts, "Install a torch that has code for this GPU"),),
        )
    for extension in facts.extensions:
        for it in unserved(extension, facts):
            # Where torch lacks the code too, it is changed first, and the extension has to follow.
            if it.for_driver or it.capability in lacking or judge(extension, facts).failure:
                continue
            yield Finding(
                "gpu-arch-missing",
                "error",
                extension.package,
                f"{extension.key} holds no code for this GPU. The {it.gpu.name} has compute capability "
                f"{it.capability}; {extension.key} {extension.version} was compiled for {it.held}.",
                it.evidence,
                tuple(fixes(extension, facts, it.capability)),
            )


def _architectures(torch: Torch) -> tuple[str, tuple[str, ...]]:
    """(file, architectures) of torch: its own list, else what its largest library holds."""
    if torch.architectures:
        return "torch/lib/libtorch_python.so", torch.architectures
    for binary in torch.binaries:
        if "libtorch_cuda" in binary.path and binary.device_code:
            return binary.path, (*binary.architectures, *binary.ptx)
    return "", ()


class Unserved(Record):
    """A GPU on which none of an extension's files runs.

    ``held`` is the code in them.  ``for_driver``: they have PTX for it, which its driver is too old to compile.
    """

    gpu: Gpu
    capability: str
    evidence: tuple[str, ...]
    held: str
    for_driver: bool


def described(gpu: Gpu, capability: str) -> str:
    """A GPU as evidence."""
    guessed = "" if gpu.capability else " (by its name; the driver does not tell)"
    return f"GPU: {gpu.name}, compute capability {capability}{guessed}"


def unserved(extension: Extension, facts: Facts) -> Iterator[Unserved]:
    """The GPUs here that this extension has no code for.  Nothing where it has no GPU code of its own at all."""
    holding = [b for b in extension.binaries if b.device_code and _its_own(b) and meant(b, facts)]
    # Code for one GPU alone (sm_90a) comes on top of what serves the others.
    if not any(code[-1].isdigit() for b in holding for code in (*b.architectures, *b.ptx)):
        return
    held = " ".join(dict.fromkeys(code for b in holding for code in (*b.architectures, *b.ptx)))
    for capability, gpu in capabilities(facts.host.gpus).items():
        driver = driver_for(gpu, facts.host.driver)
        answers = [(b, *runs_on(b, capability, driver)) for b in holding]
        if any(runs for _, runs, _ in answers):
            continue
        newer = any(runs_on(b, capability)[0] for b in holding)
        said = (described(gpu, capability), *(f"{b.path}: {why}" for b, _, why in answers[:3]))
        yield Unserved(gpu, capability, said, held, newer)


def _its_own(binary: Binary) -> bool:
    """Whether it is the package's own code, and no library of NVIDIA's that it bundles."""
    return ".libs/" not in binary.path and not binary.path.rpartition("/")[2].startswith(("libcu", "libnv", "libnpp"))


def fixes(extension: Extension, facts: Facts, capability: str) -> list[Fix]:
    """What brings code for this capability into an extension that fits its torch: never the wheel that is here."""
    torch = facts.torch
    found = extension_fixes(extension, facts)
    if torch and (extension.built_for_torch, extension.built_for_cuda) == (torch.minor, torch.cuda):
        ours = replacement(extension.key, facts)
        kept = [fix for fix in found if fix.kind not in ("install-matching-wheel", "use-replacement")]
        found = kept if ours is None else [ours, *kept]
    compiled = f"Compile {extension.key} with TORCH_CUDA_ARCH_LIST={capability}"
    return found or [Fix("rebuild-extension", compiled, env={"TORCH_CUDA_ARCH_LIST": capability})]


def example() -> Facts:
    facts = recorded("healthy-gpu")
    gpu = Gpu("Tesla V100-SXM2-16GB", "7.0", 16384)
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=(gpu,)))
