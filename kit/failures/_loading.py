"""Why an extension does not fit or load: one failure for each, from the X-ray, the metadata and its import."""

import re
from collections.abc import Iterator
from typing import Optional

from kit import causes
from kit.collect.probe import import_name
from kit.collect.run import signal_name
from kit.facts import Binary, Extension, Facts, Missing, Probe
from kit.failures._apex import GONE
from kit.gpus import numbers
from kit.record import Record
from kit.requirements import contradicts

# torch_scatter's own check, or the loader missing a CUDA library: the CUDA differs.
_CUDA = (
    r"different CUDA versions|lib(cudart|cublas|cusparse|cufft|curand|cusolver|nvrtc)\S*: cannot open"
    r"|lib(torch_cuda|c10_cuda)\S*: cannot open"
)
# What the loader of Linux says of what it misses.
_LIBRARY = r"(lib[^\s:/]+): cannot open shared object file"
_VERSION = r"([^\s/]+): version `((?:GLIBC|GLIBCXX|CXXABI|GCC)_[\w.]+)' not found \(required by [^)]*?([^/)]+)\)"
# Linux, macOS, Windows, and an operator whose library did not register it: compiled code does not fit.
_SYMBOLS = r"undefined symbol|symbol not found|WinError 127|operator \S+ does not exist|cannot open shared"


class Verdict(Record):
    """The failure of an extension, its import where that was tried, and the files that it keeps from loading."""

    failure: Optional[str]
    probe: Optional[Probe] = None
    binaries: tuple[Binary, ...] = ()

    @property
    def imports(self) -> bool:
        """Whether its import was tried and works, perhaps without some of its files."""
        return self.probe is not None and self.probe.ok

    def missing(self, extension: Optional[Extension]) -> list[Missing]:
        """What is missing, by the X-ray, else in the words of the import."""
        found = [
            lack
            for binary in self.binaries
            for lack in (*causes.lacking(binary, extension), *binary.lacks("version"))
        ]
        said = None if found or self.probe is None else said_missing(self.probe)
        return found if said is None else [said]

    def confirmation(self) -> Iterator[str]:
        """What its import said, where that failed: evidence."""
        if self.probe is not None and not self.probe.ok:
            yield f"import {self.probe.imports}, in a process of its own: {outcome(self.probe)}"


def judge(extension: Extension, facts: Facts) -> Verdict:
    """The one failure that explains why this extension does not fit or does not load.

    What a file lacks is certain; the tag of its build or a pinned torch say more where they differ as well; the words
    of an import are asked last, for they are the same for many causes.
    """
    probe = probe_of(extension, facts)
    found = causes.cause(extension, facts)
    if found is not None and probe is not None and _does_not_matter(*found, extension, facts, probe):
        found = None
    failure = _failure(extension, facts, probe, found and found[0])
    # Files of another torch's build may lack what another CUDA explains as well: they say that it does not load.
    tells = found is not None and failure in (found[0], "extension-torch-mismatch")
    return Verdict(failure, probe, found[1] if found is not None and tells else ())


class Concerned(Record):
    """What a failure of libraries concerns: torch itself (``extension`` is None) or an extension."""

    package: str
    extension: Optional[Extension]
    verdict: Verdict

    @property
    def evidence(self) -> list[str]:
        return [*lacks(self.verdict.binaries, self.extension), *self.verdict.confirmation()]

    @property
    def missing(self) -> list[Missing]:
        return self.verdict.missing(self.extension)

    @property
    def severity(self) -> str:
        return "warning" if self.verdict.imports else "error"

    @property
    def consequence(self) -> str:
        """What follows, as the end of a summary."""
        if self.verdict.imports:
            return f"{self.package} can be imported, but without {self.verdict.binaries[0].path.rpartition('/')[2]}."
        return f"So {self.package} cannot be imported."


def concerned(failure: str, facts: Facts) -> Iterator[Concerned]:
    """torch, else the extensions, that would not load because of this failure."""
    torch = facts.torch
    if torch is None:
        return
    if torch.binaries and causes.cause_in_torch(torch) == failure:
        probe = facts.probe("torch")
        if probe is None or not probe.ok:
            yield Concerned("torch", None, Verdict(failure, probe, torch.binaries[:1]))
    for extension in facts.extensions:
        if facts.probes or any(binary.loads is False for binary in extension.binaries):
            verdict = judge(extension, facts)
            if verdict.failure == failure:
                yield Concerned(extension.key, extension, verdict)


def _failure(extension: Extension, facts: Facts, probe: Optional[Probe], found: Optional[str]) -> Optional[str]:
    torch = facts.torch
    if torch is None:
        return None
    works = probe is not None and probe.ok
    if other_torch(extension, facts) and (found is None or _one_torch(extension)):
        return "extension-torch-mismatch"
    if found == "extension-torch-mismatch":
        return found
    if other_cuda(extension, facts) and not (works and loads(extension)):
        return "extension-cuda-mismatch"
    if found is not None:
        return found
    if says_cuda(probe) or (not works and causes.of_another_cuda(extension, facts)):
        return "extension-cuda-mismatch"
    if probe is None or probe.ok:
        # Where the import works, what is missing is not needed.
        return "extension-broken" if extension.missing_files and not works else None
    lack = said_missing(probe)
    if lack is not None and lack.kind == "version":
        return "libc-too-old" if lack.what.startswith("GLIBC_") else "libstdcxx-too-old"
    if lack is not None and extension.binaries and not causes.is_torchs(lack.what):
        return "library-not-found"  # of a file that is none of those that were read
    if for_another_python(extension, facts):
        return "extension-broken"
    if says_symbols(probe) or causes.for_others_only(extension, facts):
        return "extension-torch-mismatch"
    if extension.key == "apex" and re.search(GONE, probe.error):
        return "apex-version-mismatch"
    return "extension-broken"


def _one_torch(extension: Extension) -> bool:
    """Whether it says for which torch it was compiled, and not only which range it was tried with."""
    return extension.built_for_torch is not None or any("==" in text for text in extension.requires_torch)


def loads(extension: Extension) -> bool:
    """Whether its files were read and all of them load."""
    return bool(extension.binaries) and all(binary.loads for binary in extension.binaries)


def _does_not_matter(
    failure: str, binaries: tuple[Binary, ...], extension: Extension, facts: Facts, probe: Probe
) -> bool:
    """Whether the import shows that what a file lacks is brought by another package, or not needed here."""
    if failure == "extension-broken":
        return probe.ok
    if failure != "library-not-found":
        return False
    own = {file.rpartition("/")[2] for file in extension.missing_files}
    for binary in binaries:
        for missing in causes.lacking(binary, extension):
            if missing.what == "libcuda.so.1":
                matters = not probe.ok or facts.host.driver is not None  # no driver, no use for it
            elif missing.what in own or missing.here or causes.is_nvidias(missing.what):
                matters = True
            elif re.fullmatch(r"lib[\w+]+\.so", missing.what):
                # Without a version or a hash it is no system's: libmetatensor.so, which the package metatensor loads.
                matters = missing.what in probe.error
            else:
                matters = True
            if matters:
                return False
    return True


def for_another_python(extension: Extension, facts: Facts) -> tuple[Binary, ...]:
    """Its compiled modules, where this Python looks for none of them."""
    tagged = tuple(binary for binary in extension.binaries if binary.python_tag)
    return () if any(binary.python_tag in ("abi3", facts.python.abi) for binary in tagged) else tagged


def lacks(binaries: "tuple[Binary, ...]", extension: Optional[Extension] = None) -> list[str]:
    """What these files lack, for a person: evidence.  Two lines of the one that lacks most, of others one."""
    most = sorted(binaries, key=lambda binary: -len(binary.missing))
    said = [_lacks(binary, extension) for binary in most[:3]]
    lines = [*said[0][:2], *(other[0] for other in said[1:])] if said else []
    if len(most) > 3:
        others = len(most) - 4
        more = f", nor {'does 1 other' if others == 1 else f'do {others} others'}" if others else ""
        lines.append(f"{most[3].path}: does not load either{more}")
    return lines


def _lacks(binary: Binary, extension: Optional[Extension]) -> list[str]:
    said = []
    for missing in causes.lacking(binary, extension):
        by = f", needed by {missing.by}," if missing.by != binary.path.rpartition("/")[2] else ""
        there = f", though it lies in {missing.here}" if missing.here else ""
        said.append(f"{binary.path}: {missing.what}{by} is not found{there}")
    newest: dict[tuple[Optional[str], str], Missing] = {}
    for missing in sorted(binary.lacks("version"), key=lambda m: numbers(m.what.partition("_")[2])):
        newest[missing.of, missing.what.partition("_")[0]] = missing
    for missing in newest.values():
        here = f", which ends at {missing.here}" if missing.here else ""
        said.append(f"{binary.path}: {missing.by} needs {missing.what} of {missing.of}{here}")
    if said:
        return list(dict.fromkeys(said))
    return [f"{binary.path}: {line}" for line in binary.why] or [f"{binary.path}: would not load"]


def probe_of(extension: Extension, facts: Facts) -> Optional[Probe]:
    """The import of this extension in a child process, where it was tried."""
    names = (import_name(extension), *extension.modules)
    return next((p for name in names for p in facts.probes if p.imports == name), None)


def says_cuda(probe: Optional[Probe]) -> bool:
    """Whether a failed import speaks of CUDA."""
    return probe is not None and not probe.ok and bool(re.search(_CUDA, probe.error))


def says_symbols(probe: Optional[Probe]) -> bool:
    """Whether a failed import speaks of compiled code that does not fit: symbols, operators, or a crash."""
    if probe is None or probe.ok or says_cuda(probe):
        return False
    return signal_name(probe.status) is not None or bool(re.search(_SYMBOLS, probe.error, re.I))


def said_missing(probe: Probe) -> Optional[Missing]:
    """The library or the version that a failed import speaks of."""
    version = re.search(_VERSION, probe.error)
    if version:
        return Missing("version", version.group(2), version.group(3), version.group(1))
    library = re.search(_LIBRARY, probe.error)
    return Missing("library", library.group(1), probe.imports) if library else None


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
