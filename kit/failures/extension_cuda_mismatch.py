"""A compiled extension was built for another CUDA than the torch that runs.

What it means
-------------
The extension was compiled for one CUDA major and torch for another: importing it raises ``Detected that
PyTorch and torch_scatter were compiled with different CUDA versions``, or the loader misses
``libcudart.so.12``; on a CPU build of torch it misses ``libtorch_cuda.so``.

How it is found
---------------
The build tag in its version (``+pt213cu126``) against ``torch.version.cuda``: only the major is compared, as
torch_scatter does itself; or ``*_cuda.so`` among its files beside a CPU build of torch.  The import in a child
process confirms it and gives the error text.

Example
-------
torch-scatter 2.1.2+pt213cu126 beside torch 2.13.0+cu130.

Fix
---
The wheel for this torch and CUDA, or a build from source.  Both replace only the extension.

Known limits
------------
A build without a tag is judged only by what its import says.  A difference in the minor alone
(cu126 on cu128) works and is no finding.
"""

import dataclasses
from collections.abc import Iterator
from typing import Optional

from kit.builds import extension_fixes
from kit.facts import Facts, Probe
from kit.failures._loading import other_cuda, other_torch, outcome, probe_of, says_cuda
from kit.findings import Finding
from kit.recorded import recorded

RANK = 42
INSTEAD = "Another CUDA toolkit or driver would change nothing: both were fixed when the packages were built."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or torch.hip:
        return
    for extension in facts.extensions:
        if other_torch(extension, facts):
            continue  # extension-torch-mismatch says more
        probe = probe_of(extension, facts)
        if not (other_cuda(extension, facts) or says_cuda(probe)):
            continue
        if torch.cuda is None and facts.gpu_seen:
            continue  # torch-cpu-only is the cause
        gpu = [f"{file}: GPU code" for file in extension.libraries_for("cuda")[:1] if torch.cuda is None]
        built = f"CUDA {extension.built_for_cuda}" if extension.built_for_cuda else "CUDA" if gpu else "another CUDA"
        yield Finding(
            "extension-cuda-mismatch",
            "error",
            extension.package,
            f"{extension.key} was built for another CUDA than torch. It was built for {built}; your torch "
            f"{torch.version} is {'built for CUDA ' + torch.cuda if torch.cuda else 'a CPU build'}.",
            (
                f"torch/version.py: {torch.version}, {torch.build}",
                f"{extension.origin}: {extension.package} {extension.version}",
                *gpu,
                *_confirmation(probe),
            ),
            tuple(extension_fixes(extension, facts)),
        )


def _confirmation(probe: Optional[Probe]) -> Iterator[str]:
    if probe is not None and not probe.ok:
        yield f"import {probe.imports}, in a process of its own: {outcome(probe)}"


def example() -> Facts:
    facts = recorded("healthy-gpu")
    tagged = dataclasses.replace(
        facts.extensions[0],
        version="2.1.2+pt213cu126",
        origin="torch_scatter-2.1.2+pt213cu126.dist-info",
        built_for_torch="2.13",
        built_for_cuda="12.6",
        wheel_tags=("cp311-cp311-linux_x86_64",),
    )
    said = (
        "RuntimeError: Detected that PyTorch and torch_scatter were compiled with different CUDA versions. "
        "PyTorch has CUDA version 13.0 and torch_scatter has CUDA version 12.6."
    )
    return dataclasses.replace(
        facts, extensions=(tagged,), probes=(Probe("torch", 0), Probe("torch_scatter", 1, said))
    )
