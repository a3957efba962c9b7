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
In text: what CUDA, nvidia-smi and the container tools say of a GPU or driver that they cannot reach.

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

from kit import schedulers
from kit.facts import Facts
from kit.failures import _told, _told_prose
from kit.findings import Cost, Finding, Fix
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 24
INSTEAD = "Reinstalling torch would change nothing: it is built for CUDA."

_ASKED = "The container's image asks for GPUs and was started without them."


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
            f"No GPU here because this is a login node: {host.scheduler} is here and this process runs in none of "
            "its jobs.",
            f"scheduler: {host.scheduler}, no job",
            Fix(
                "expose-gpu",
                f"Ask {host.scheduler} for a GPU and run there",
                schedulers.interactive(host.scheduler, variables),
            ),
        )
    if host.container and variables.get("NVIDIA_VISIBLE_DEVICES"):
        yield (
            _ASKED,
            f"NVIDIA_VISIBLE_DEVICES: {variables['NVIDIA_VISIBLE_DEVICES']}, and no NVIDIA device in this container",
            Fix("expose-gpu", _into_container(facts)),
        )
    for what in _driver_trouble(facts):
        if host.container:
            advice = _into_container(facts)
        else:
            advice = "Install the NVIDIA driver or load its module (modprobe nvidia), then start again"
        yield (
            "There is NVIDIA hardware here, but its driver does not answer.",
            what,
            Fix("expose-gpu", advice),
        )


def _into_container(facts: Facts) -> str:
    if facts.host.container == "kubernetes":
        return (
            "Ask for a GPU in the pod's specification (resources, limits, nvidia.com/gpu: 1) and start the pod anew"
        )
    return "Start the container with --gpus all (docker, podman) or --nv (apptainer)"


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


_CONTAINER = "Start the container with --gpus all and the compute capability (docker, podman) or --nv (apptainer)"
_DRIVER = "Install the NVIDIA driver or load its module (modprobe nvidia), then start again"
_TOOLKIT = "Install the NVIDIA container toolkit on the host, run nvidia-ctk runtime configure, and restart docker"
_REBOOT = "Restart the machine, so that the driver's module and its library are of one version again"
_UNSET = "Unset CUDA_VISIBLE_DEVICES, or set it to the GPU's number, and start Python again"
_FABRIC = "Start NVIDIA's fabric manager (systemctl start nvidia-fabricmanager), of the driver's version"

# (words to look for, pattern, confidence, what it means, what helps).
_SIGNS = (
    (
        (
            "could not select device driver",
            "unknown runtime specified",
            "unknown or invalid runtime name",
            "cdi device",
        ),
        r"could not select device driver[^\n]*|unknown (?:or invalid )?runtime (?:specified|name)[^\n]*"
        r"|cdi device[^\n]*",
        0.95,
        "docker does not know how to pass a GPU on.",
        _TOOLKIT,
    ),
    (
        ("nvidia-container-cli", "nvidia-container-runtime"),
        r"nvidia-container-(?:cli|runtime)[^\n]*(?:error|failed)[^\n]*",
        0.85,
        "The container tools do not reach the host's driver.",
        _DRIVER,
    ),
    (
        ("driver/library version mismatch",),
        r"driver/library version mismatch",
        0.85,
        "The driver was updated, and the module of the old one still runs.",
        _REBOOT,
    ),
    (
        ("system not yet initialized", "systemnotready", "error 802"),
        r"system not yet initialized|cudaErrorSystemNotReady|error 802",
        0.92,
        "The switches between its GPUs are not set up: their fabric manager does not run.",
        _FABRIC,
    ),
    (
        (
            "couldn't communicate with the nvidia driver",
            "failed to initialize nvml",
            "no devices were found",
            "nvml_error",
            "couldn't find libnvidia-ml",
            "nvml: driver not loaded",
            "driver is not loaded",
        ),
        r"couldn.t communicate with the nvidia driver|failed to initialize nvml[^\n]*|no devices were found"
        r"|nvml_error\w*"
        r"|couldn.t find libnvidia-ml[^\n]*|nvml: driver not loaded"
        r"|nvidia driver is not loaded",
        0.85,
        "The driver does not answer.",
        _DRIVER,
    ),
    (
        ("found no nvidia driver", "nvidia driver was not detected", "no nvidia driver"),
        r"found no nvidia driver[^\n]*|nvidia driver was not detected[^\n]*|no nvidia driver[^\n]*",
        0.9,
        "No NVIDIA driver is reachable from this process.",
        _DRIVER,
    ),
    (
        ("gpu access blocked by the operating system", "os call failed or operation not supported"),
        r"gpu access blocked by the operating system|os call failed or operation not supported on this os[^\n]*",
        0.85,
        "The system under it does not give access to the GPU.",
        "Update WSL and the Windows driver (wsl --update), or give this process access to /dev/nvidia*",
    ),
    (
        (
            "no cuda gpus are available",
            "no cuda-capable device",
            "no rocm-capable device",
            "hiperrornodevice",
            "cuda_error_no_device",
            "cudaerrornodevice",
            "devicesunavailable",
            "busy or unavailable",
            "no gpu found",
            "no gpus found",
            "no gpus available",
            "cuda driver initialization failed",
        ),
        r"devices are busy or unavailable"
        r"|no cuda gpus are available|no (?:cuda|rocm)-capable device[^\n]*|hipErrorNoDevice|CUDA_ERROR_NO_DEVICE"
        r"|cudaErrorNoDevice"
        r"|no gpus? (?:found|available)[^\n]*|cuda driver initialization failed[^\n]*|cudaErrorDevicesUnavailable",
        0.88,
        "The driver shows no GPU to this process.",
        "",
    ),
    (
        (
            "cuda unknown error",
            "cuda error: unknown error",
            "cuda_error_unknown",
            "runtime error (30)",
            "runtime error (999)",
            "error 999",
            "error 101",
            "named symbol not found",
            "initialization error",
        ),
        r"cuda unknown error[^\n]*|cuda error: unknown error|CUDA_ERROR_UNKNOWN|cuda runtime error \((?:30"
        r"|999)\)[^\n]*|error 999[^\n]*"
        r"|error 101: invalid device ordinal|named symbol not found|cuda error: initialization error",
        0.75,
        "CUDA cannot be started in this process, though torch has it.",
        "Load the driver's module again (nvidia_uvm after a suspend), or restart; leave "
        "CUDA_VISIBLE_DEVICES alone afterwards",
    ),
    (
        ("ptx jit compiler library not found", "jitcompilernotfound"),
        r"ptx jit compiler library not found|cudaErrorJitCompilerNotFound",
        0.7,
        "The container was given the driver without all its libraries.",
        "Start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility and a current NVIDIA container toolkit",
    ),
)


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "gpu-not-visible")
    if plain is not None:
        if _told.cpu_torch(report) is None and not _told.macos(report):
            yield _hidden(report, plain[0], plain[1], "That is what the text says of it.", "")
    if not report.has("nvidia", "cuda", "gpu", "nvml", "runtime", "rocm"):
        return
    for words, pattern, confidence, says, advice in _SIGNS:
        if not report.has(*words):
            continue
        hit = report.last(pattern)
        if hit is None:
            continue
        if "30)" in pattern and report.has("forked subprocess", "initialization error") and not report.has("unknown"):
            confidence = 0.35  # a process that was forked after CUDA had been started
        if "error 30" in hit.line and not report.has("unknown"):
            continue
        yield _hidden(report, confidence, hit, says, advice)
        return
    for lack in _told.libraries(report):
        if _told.judged_library(lack, report) == "gpu-not-visible":
            yield _hidden(report, 0.75, lack.hit, f"{lack.what} comes with the driver, which is not here.", "")
            return
    if report.has(
        "is_available", "is_available()", "device_count", "not able to use gpu", "cuda available"
    ) and report.has("false", "not able", " 0"):
        hit = report.hit(
            r"is_available\(\)[^\n]{0,30}?false|is_available\(\)\W{0,12}\n\W{0,8}(?:out\[\d+\]:\s*)?false"
            r"|is cuda available:?\s*(?:false|no)|cuda available:?\s*false|torch is not able to use gpu"
            r"|device_count\(\)(?:\W| returns?| is| gives| =){1,20}0\b"
        )
        if hit and _told.cpu_torch(report) is None and not _told.macos(report):
            if hit.line.lower().startswith(("is cuda", "cuda available")) and report.errors:
                return  # collect_env beside another failure: perhaps there is no GPU, and none is missed
            built = _told.token(report).startswith("cu")
            yield _hidden(
                report,
                0.75 if built else 0.6 if _inside(report) else 0.45,
                hit,
                "torch has CUDA, and sees no GPU.",
                "",
            )


def _hidden(report: Report, confidence: float, hit: Hit, says: str, advice: str) -> Told:
    return Told(
        confidence,
        "container" if _inside(report) else "driver",
        f"The GPU cannot be reached from here. {says}",
        (hit,),
        tuple(Fix("expose-gpu", why, cost=Cost(restart=True)) for why in dict.fromkeys(_advice(report, advice))),
    )


def _inside(report: Report) -> bool:
    return report.has("docker", "container", "podman", "singularity", "apptainer", "kubernetes", "nvcr.io")


def _advice(report: Report, advice: str) -> Iterator[str]:
    if advice and advice != _DRIVER:
        yield advice
    if report.has("cuda_visible_devices=", "cuda_visible_devices'", 'cuda_visible_devices"'):
        yield _UNSET
    if report.has("slurm", "srun", "sbatch", "login node", "qsub", "pbs"):
        yield "Ask the scheduler for a GPU (srun --gres=gpu:1) and run there, not on the login node"
    if report.has("colab", "kaggle"):
        yield "Choose a runtime with a GPU (Runtime, Change runtime type)"
    if _inside(report):
        yield _CONTAINER
    elif not advice or advice == _DRIVER:
        yield _DRIVER


def example() -> Facts:
    facts = recorded("healthy-gpu")
    host = dataclasses.replace(facts.host, gpus=(), driver=None, device_nodes=(), pci_gpus=1)
    return dataclasses.replace(facts, host=host)
