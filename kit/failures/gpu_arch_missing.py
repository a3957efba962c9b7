"""torch holds no code for this GPU: it is newer or older than the architectures torch was built for.

What it means
-------------
A CUDA build of torch contains machine code for a list of GPU architectures.  On a GPU outside that list the
first kernel fails with ``no kernel image is available for execution on the device``, although
``torch.cuda.is_available()`` is True.

How it is found
---------------
torch's own list, compiled into ``libtorch_python``, is read without a GPU and held against the GPU's compute
capability: code runs on the same major and a minor not below its own (so 8.6 code serves an 8.9 GPU, although
no wheel lists 8.9); PTX serves every newer GPU.  Rules: torch 2.15's ``torch/cuda/__init__.py``.

Example
-------
torch 2.13.0+cu130, built for sm_75 to sm_120, with a Tesla V100 (7.0).

Fix
---
A build of torch with code for this GPU: CUDA 12.8 or newer for Blackwell (12.0), CUDA 12.6 for Maxwell, Pascal
and Volta.  Compiled extensions have to follow.

Known limits
------------
What an extension holds is not read yet, and a list that cannot be read is no finding.
"""

import dataclasses
from collections.abc import Iterator

from kit.builds import torch_fix
from kit.facts import Facts, Gpu
from kit.findings import Finding
from kit.gpus import capability_of, served
from kit.recorded import recorded

RANK = 26
INSTEAD = (
    "Another driver or toolkit would change nothing; nor is a nightly needed where a stable build serves the GPU."
)


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or not torch.cuda or not torch.architectures:
        return
    seen = set()
    for gpu in facts.host.gpus:
        capability = gpu.capability or capability_of(gpu.name)
        if capability is None or capability in seen or served(torch.architectures, capability):
            continue
        seen.add(capability)
        yield Finding(
            "gpu-arch-missing",
            "error",
            "torch",
            f"torch holds no code for this GPU. The {gpu.name} has compute capability {capability}; torch "
            f"{torch.version} was built for {', '.join(torch.architectures)}.",
            (
                f"GPU: {gpu.name}, compute capability {capability}"
                + ("" if gpu.capability else " (by its name; the driver does not tell)"),
                f"torch/lib/libtorch_python.so: built for {' '.join(torch.architectures)}",
            ),
            (torch_fix(facts, "Install a torch that has code for this GPU"),),
        )


def example() -> Facts:
    facts = recorded("healthy-gpu")
    gpu = Gpu("Tesla V100-SXM2-16GB", "7.0", 16384)
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=(gpu,)))
