"""What has to agree for a GPU program to run, and whether it does: pairs of facts, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from kit.facts import Extension, Facts
from kit.failures._loading import other_torch, probe_of
from kit.failures.gpu_arch_missing import unserved
from kit.gpus import capabilities, capability_of, driver_runs, minimum_driver, served
from kit.requirements import plain


@dataclass(frozen=True)
class Pair:
    """Two facts that have to agree.  ``agrees`` is None where it cannot be told from files."""

    what: str
    one: str
    other: str
    agrees: Optional[bool]


@dataclass(frozen=True)
class Agreement:
    """All pairs of one environment."""

    pairs: tuple[Pair, ...]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)


def agreement(facts: Facts) -> Agreement:
    """The pairs that have to agree: torch and each extension, torch and the driver, torch's code and each GPU."""
    return Agreement(tuple(_pairs(facts)))


def _pairs(facts: Facts) -> Iterator[Pair]:
    torch, host = facts.torch, facts.host
    if torch is None:
        return
    if torch.metadata_version:
        same = torch.metadata_version.partition("+")[0] == torch.version.partition("+")[0]
        yield Pair("torch's files and metadata", torch.version, torch.metadata_version, same and not torch.damaged)
    compiled = [extension for extension in facts.extensions if facts.replacement(extension.key) is None]
    for extension in compiled:
        yield _built_for_torch(extension, facts)
        yield _built_for_cuda(extension, facts)
    if torch.cuda and host.driver:
        needed = minimum_driver(torch.cuda, host.system)
        runs = driver_runs(host.driver.version, torch.cuda, host.system)
        yield Pair("torch's CUDA and the driver", f"CUDA {torch.cuda} needs {needed}", host.driver.version, runs)
    for gpu in host.gpus:
        capability = gpu.capability or capability_of(gpu.name)
        if not torch.cuda:
            yield Pair("torch and the GPU", torch.build, gpu.name, bool(torch.hip) or False)
        elif capability and torch.architectures:
            code = " ".join(torch.architectures)
            yield Pair(
                "torch's GPU code and the GPU",
                code,
                f"{gpu.name}, {capability}",
                served(torch.architectures, capability),
            )
    for extension in compiled if torch.cuda else ():
        yield from _gpu_code(extension, facts)


def _built_for_torch(extension: Extension, facts: Facts) -> Pair:
    assert facts.torch is not None
    probe = probe_of(extension, facts)
    built = extension.built_for_torch or (plain(extension.requires_torch[0]) if extension.requires_torch else None)
    agrees: Optional[bool] = None
    if other_torch(extension, facts):
        agrees = False
    elif probe is not None:
        agrees = probe.ok
    elif built:
        agrees = True
    if agrees is None and extension.binaries and all(b.loads for b in extension.binaries):
        agrees = True  # every library, version and symbol that its files need is there
    said = f"for torch {built.replace('torch ', '')}" if built else "does not state its torch"
    return Pair(f"torch and {extension.key}", facts.torch.version, f"{extension.version}, {said}", agrees)


def _gpu_code(extension: Extension, facts: Facts) -> Iterator[Pair]:
    """What the extension holds for GPUs, and each GPU."""
    code = " ".join(dict.fromkeys(c for b in extension.binaries for c in (*b.architectures, *b.ptx)))
    lacking = {it.capability for it in unserved(extension, facts)}
    for capability, gpu in capabilities(facts.host.gpus).items() if code else ():
        what = f"{extension.key}'s GPU code and the GPU"
        yield Pair(what, code, f"{gpu.name}, {capability}", capability not in lacking)


def _built_for_cuda(extension: Extension, facts: Facts) -> Pair:
    assert facts.torch is not None
    cuda = facts.torch.cuda
    built = extension.built_for_cuda
    agrees: Optional[bool]
    read = [b for b in extension.binaries if b.format == "ELF"]
    stated = {b.cuda for b in read if b.cuda}
    versions = sorted(v for v in stated if not any(other.startswith(v + ".") for other in stated))
    if read and versions:
        said = "CUDA " + ", ".join(versions)
        agrees = {v.partition(".")[0] for v in versions} == {(cuda or "cpu").partition(".")[0]}
    elif built is None:
        gpu, cpu = (bool(extension.libraries_for(device)) for device in ("cuda", "cpu"))
        said = "GPU and CPU libraries" if gpu else "CPU libraries only" if cpu else "not stated"
        agrees = None if not (gpu or cpu) else gpu == bool(cuda)
    else:
        said = "CPU" if built == "cpu" else f"CUDA {built}"
        agrees = built.partition(".")[0] == (cuda or "cpu").partition(".")[0]
    return Pair(f"torch's CUDA and {extension.key}", facts.torch.build, said, agrees)
