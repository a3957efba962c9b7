"""There is a GPU, or there should be one, and this process cannot reach it.

What it means
-------------
torch is built for CUDA and would work, but the GPU is out of reach: hidden by a variable, not passed into the
container, without its kernel module, or on another node of the cluster than this one.

How it is found
---------------
torch has CUDA, no GPU is visible, and something says that there should be one: an NVIDIA device on the PCI bus
without a driver, ``CUDA_VISIBLE_DEVICES`` that hides all, a container whose NVIDIA variables ask for GPUs or
leave out ``compute``, device nodes or a driver that answers nothing, or a scheduler's login node.

Example
-------
An NVIDIA device on the PCI bus and no driver loaded.

Fix
---
Depends on the evidence: unset the variable, start the container with ``--gpus all`` and the ``compute``
capability, load the kernel module, or ask the scheduler for a GPU.  None of them touches the environment.

Known limits
------------
An image that asks for GPUs by default, and was started without, is only a note: it may be meant so.  A machine
on which nothing speaks of a GPU is taken for a machine without one, and is no finding.
"""

import dataclasses
from collections.abc import Iterator

from kit.facts import Facts
from kit.findings import Finding, Fix
from kit.recorded import recorded

RANK = 24
INSTEAD = "Reinstalling torch would change nothing: it is built for CUDA."

_ASKED = "The container's image asks for GPUs and was started without them."
_JOB = {
    "slurm": ("srun", "--gres=gpu:1", "--pty", "bash"),
    "pbs": ("qsub", "-I", "-l", "select=1:ngpus=1", "-l", "walltime=1:00:00"),
    "lsf": ("bsub", "-Is", "-gpu", "num=1", "bash"),
}


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or not torch.cuda or any(g.wished for g in facts.host.gpus):
        return
    reasons = list(_reasons(facts))
    if not reasons:
        return
    reason = reasons[0][0]
    # An image that asks for GPUs by default says little: it is also started where there is none, on purpose.
    only_asked = [title for title, _, _ in reasons] == [_ASKED]
    yield Finding(
        "gpu-not-visible",
        "note" if only_asked else "error",
        "torch",
        f"{'This container has no GPU' if only_asked else 'The GPU cannot be reached from here'}. {reason}",
        (f"torch/version.py: {torch.version}, CUDA {torch.cuda}", *(e for _, e, _ in reasons)),
        tuple(fix for _, _, fix in reasons[:3]),
    )


def _reasons(facts: Facts) -> Iterator[tuple[str, str, Fix]]:
    """(what is the matter, evidence, what helps), the most certain first."""
    host, variables = facts.host, facts.variables
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        value = variables.get(name)
        hides = value is not None and value.strip() in ("", "-1", "void", "none", "NoDevFiles")
        if hides and (name == "CUDA_VISIBLE_DEVICES" or host.container):
            yield (
                f"The variable {name} hides every GPU.",
                f"{name}: {value!r}",
                Fix("expose-gpu", f"Unset {name}, or set it to the GPU's number, and start Python again"),
            )
    if host.gpus:
        return
    capabilities = variables.get("NVIDIA_DRIVER_CAPABILITIES")
    if capabilities is not None and not {"all", "compute"} & set(capabilities.replace(" ", "").split(",")):
        yield (
            "The container was given the driver without its compute part.",
            f"NVIDIA_DRIVER_CAPABILITIES: {capabilities}",
            Fix("expose-gpu", "Start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
        )
    if host.scheduler and not host.job:
        yield (
            f"This is a login node: {host.scheduler} is here and this process runs in none of its jobs.",
            f"scheduler: {host.scheduler}, no job",
            Fix("expose-gpu", f"Ask {host.scheduler} for a GPU and run there", _JOB.get(host.scheduler)),
        )
    if host.container and variables.get("NVIDIA_VISIBLE_DEVICES"):
        yield (
            _ASKED,
            f"NVIDIA_VISIBLE_DEVICES: {variables['NVIDIA_VISIBLE_DEVICES']}, and no NVIDIA device in this container",
            Fix("expose-gpu", "Start the container with --gpus all (docker, podman) or --nv (apptainer)"),
        )
    for what in _driver_trouble(facts):
        if host.container:
            advice = "Start the container with --gpus all (docker, podman) or --nv (apptainer)"
        else:
            advice = "Install the NVIDIA driver or load its module (modprobe nvidia), then start again"
        yield (
            "There is NVIDIA hardware here, but its driver does not answer.",
            what,
            Fix("expose-gpu", advice),
        )


def _driver_trouble(facts: Facts) -> list[str]:
    host = facts.host
    said = [f"{u.what}: {u.why}" for u in facts.unread if u.what in ("NVML", "nvidia-smi")]
    if host.pci_gpus:
        return [
            f"PCI bus: {host.pci_gpus} NVIDIA display device{'s' * (host.pci_gpus > 1)}, no GPU visible",
            *said,
        ]
    if host.driver or host.device_nodes:
        return ["NVIDIA's driver files: present, no GPU visible", *said]
    return []


def example() -> Facts:
    facts = recorded("healthy-gpu")
    host = dataclasses.replace(facts.host, gpus=(), driver=None, device_nodes=(), pci_gpus=1)
    return dataclasses.replace(facts, host=host)
