"""What a failed import, or the metadata, says of the torch and the CUDA an extension was built for."""

import re
from typing import Optional

from kit.collect.run import signal_name
from kit.facts import Extension, Facts, Probe
from kit.requirements import contradicts

# torch_scatter's own check, or the loader missing a CUDA library: the CUDA differs.
_CUDA = (
    r"different CUDA versions|lib(cudart|cublas|cusparse|cufft|curand|cusolver|nvrtc)\S*: cannot open"
    r"|lib(torch_cuda|c10_cuda)\S*: cannot open"
)
# Linux, macOS, Windows, and an operator whose library did not register it: compiled code does not fit.
_SYMBOLS = r"undefined symbol|symbol not found|WinError 127|operator \S+ does not exist|cannot open shared"


def probe_of(extension: Extension, facts: Facts) -> Optional[Probe]:
    """The import of this extension in a child process, where it was tried."""
    return next((p for name in extension.modules for p in facts.probes if p.imports == name), None)


def says_cuda(probe: Optional[Probe]) -> bool:
    """Whether a failed import speaks of CUDA."""
    return probe is not None and not probe.ok and bool(re.search(_CUDA, probe.error))


def says_symbols(probe: Optional[Probe]) -> bool:
    """Whether a failed import speaks of compiled code that does not fit: symbols, operators, or a crash."""
    if probe is None or probe.ok or says_cuda(probe):
        return False
    return signal_name(probe.status) is not None or bool(re.search(_SYMBOLS, probe.error, re.I))


def outcome(probe: Probe) -> str:
    """What a failed import came to, for a person."""
    crash = signal_name(probe.status)
    return f"killed by {crash}" if crash else probe.error


def other_torch(extension: Extension, facts: Facts) -> list[str]:
    """What its files say of the torch it was built for, where that is another one: evidence."""
    torch = facts.torch
    if torch is None:
        return []
    said = []
    if extension.built_for_torch not in (None, torch.minor):
        said.append(f"{extension.origin}: {extension.version}, built for torch {extension.built_for_torch}")
    for problem in contradicts(extension.requires_torch, facts):
        if "not installed" not in problem:
            said.append(f"{extension.package} {extension.version}: requires {problem}")
    return said


def other_cuda(extension: Extension, facts: Facts) -> bool:
    """Whether its tag names another CUDA major than torch's, or it has GPU libraries beside a CPU build of torch."""
    torch, built = facts.torch, extension.built_for_cuda
    if torch is None or torch.hip:
        return False
    if built is None:
        return torch.cuda is None and bool(extension.libraries_for("cuda"))
    return built != "cpu" and built.partition(".")[0] != (torch.cuda or "").partition(".")[0]
