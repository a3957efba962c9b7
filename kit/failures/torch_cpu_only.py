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

from kit.facts import Facts
from kit.findings import Finding
from kit.published import torch_fix
from kit.recorded import recorded

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


def example() -> Facts:
    facts = recorded("healthy-cpu")
    gpu = recorded("healthy-gpu").host
    host = dataclasses.replace(
        facts.host, gpus=gpu.gpus, driver=gpu.driver, pci_gpus=1, device_nodes=gpu.device_nodes
    )
    return dataclasses.replace(facts, host=host)
