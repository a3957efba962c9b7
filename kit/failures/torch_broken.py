"""torch is installed and cannot work: files are missing, changed, or of two versions.

What it means
-------------
torch is here, but ``import torch`` fails: a shared library of its own is missing or cut short, or an
interrupted install left two versions mixed.  That is not the same as torch not being installed, and installing it
over itself does not always mend it.

How it is found
---------------
Every shared library that torch's RECORD promises, and ``torch/__init__.py``, is looked up, with its size;
``torch/version.py`` is compared with the metadata, and torch's requirements with what is installed.  ``torch._C``
is read with all that it needs, as the loader would.  Where any of these disagree, ``import torch`` is tried in a
child process, and its error is the evidence.
In text: the loader's words on torch's own files, and what a torch says of which files are gone.

Example
-------
torch 2.13.0 whose ``libtorch_cpu.so`` was removed: ``libtorch_cpu.so: cannot open shared object file``.

Fix
---
Reinstall the same build of torch, without the cache.  Where torch's own files are damaged, nothing but they
change; where a library that it requires is missing, that is installed too.

Known limits
------------
A file that was changed without changing its size, and loads, is only seen by ``kit verify``, which really imports
torch.  Where another library than torch's own is to blame, library-not-found, library-shadowed, libc-too-old or
libstdcxx-too-old says so.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.causes import cause_in_torch
from kit.facts import Facts, Probe
from kit.failures import _told, _told_prose
from kit.failures._loading import lacks, outcome
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import CPU_TORCH_MB, GPU_TORCH_MB, PYTORCH_INDEX, pip
from kit.recorded import recorded
from kit.report import Hit, Report, Told
from kit.requirements import contradicts

RANK = 10
SHOWS = r"libtorch_cpu\.so: cannot open shared object file"
INSTEAD = "Reinstalling the packages that use torch would not help: the file that is missing is torch's own."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None:
        return
    probe = facts.probe("torch")
    if probe is not None and probe.ok and not torch.missing_files:
        return  # it loads: what looked odd does no harm
    cause = cause_in_torch(torch)
    if cause not in (None, "torch-broken") and not torch.damaged:
        return  # the library around it that is to blame has its own page
    evidence = _evidence(facts)
    if cause == "torch-broken":
        evidence += lacks(torch.binaries[:1])
    if probe is not None and not probe.ok:
        evidence.append(f"import torch, in a process of its own: {outcome(probe)}")
    if not evidence:
        return
    yield Finding(
        "torch-broken",
        "error",
        "torch",
        f"torch is installed, but damaged. {_story(facts)}",
        tuple(evidence),
        (_reinstall(facts),),
    )


def _evidence(facts: Facts) -> list[str]:
    torch = facts.torch
    assert torch is not None
    evidence = [f"{file}: missing, although torch's RECORD lists it" for file in torch.missing_files[:4]]
    if len(torch.missing_files) > 4:
        evidence.append(f"torch's RECORD: {len(torch.missing_files) - 4} more files are missing")
    evidence += [f"{file}: not of the size that torch's RECORD states" for file in torch.changed_files[:4]]
    if torch.metadata_version and torch.readable:
        metadata, files = (v.partition("+")[0] for v in (torch.metadata_version, torch.version))
        if metadata != files:
            evidence.append(f"torch/version.py: {torch.version}, while the metadata says {torch.metadata_version}")
    if not torch.readable and "torch/__init__.py" not in torch.missing_files:
        evidence.append("torch/version.py: missing, or no version in it")
    for dist in facts.distributions:
        if dist.key == "torch":
            evidence += [f"torch's metadata: requires {problem}" for problem in contradicts(dist.requires, facts)[:4]]
    return evidence


def _story(facts: Facts) -> str:
    torch = facts.torch
    assert torch is not None
    if torch.missing_files:
        count = len(torch.missing_files)
        return f"{count} of its own files {'is' if count == 1 else 'are'} missing, so it cannot be imported."
    if torch.changed_files:
        return "Some of its own files are cut short or belong to another build, so it cannot be imported."
    return f"torch {torch.version} is there, and importing it fails."


def _reinstall(facts: Facts) -> Fix:
    torch = facts.torch
    assert torch is not None
    if not torch.released:
        which = f"torch {torch.version}".strip()
        return Fix(
            "change-torch", f"Install {which} again from where it came, past pip's cache", cost=Cost(restart=True)
        )
    base, _, local = torch.version.partition("+")
    index = ("--index-url", PYTORCH_INDEX + local) if local else ()
    whole = ("--no-deps",) if torch.damaged else ()  # where its own files are whole, something it needs is not
    return Fix(
        "change-torch",
        f"Install torch {base} again, the same build, past pip's cache",
        pip(facts, "install", "--force-reinstall", *whole, "--no-cache-dir", f"torch=={base}", *index),
        safety="changes-environment",
        cost=Cost(download_mb=GPU_TORCH_MB if torch.cuda else CPU_TORCH_MB, restart=True),
    )


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "torch-broken")
    if plain is not None:
        yield _damaged(report, plain[0], plain[1], "Importing it fails, by what the text says.")
    found = [*_by_windows(report), *_by_symbol(report), *_by_library(report), *_unnamed(report)]
    yield from found[:1] or _said(report)


def _damaged(report: Report, confidence: float, hit: Hit, says: str) -> Told:
    known = report.facts.torch
    which = f"torch {known.version}" if known and known.version else "torch"
    again = _reinstall(report.facts) if known and known.version and _told.token(report) else None
    fixes = (
        again
        or _told.fix("change-torch", f"Install {which} again, past pip's cache, after pip uninstall says it is gone"),
        _told.fix(
            "uninstall-package", "Uninstall torch until pip finds none, delete what is left of its folder, start anew"
        ),
    )
    return Told(confidence, "torch", f"torch itself cannot be loaded. {says}", (hit,), fixes)


def _by_windows(report: Report) -> Iterator[Told]:
    for lack in _told.dlls(report):
        if not lack.of_torch:
            continue
        confidence = {"127": 0.9, "193": 0.85, "182": 0.85, "1114": 0.8, "126": 0.65}.get(lack.what, 0.6)
        if report.has("visual c++ redistributable is not installed"):
            confidence = 0.6
        file = re.split(r"[\\/]", lack.file)[-1]
        says = (
            f"Windows refuses {file or 'one of its DLLs'}: files of two builds are mixed, or one that it "
            f"needs is not there."
        )
        yield _damaged(report, confidence, lack.hit, says)


def _unnamed(report: Report) -> Iterator[Told]:
    """Windows' words alone: they name no file, and torch is what most people load first."""
    for lack in _told.dlls(report):
        if lack.package is None and lack.what in ("126", "127", "1114", "182") and _told.asking(report) is None:
            yield _damaged(report, 0.42, lack.hit, "Windows refuses a DLL, and the text does not name it.")
            return


def _by_symbol(report: Report) -> Iterator[Told]:
    for lack in _told.symbols(report):
        if _told.judged(lack) == "torch-broken":
            file = re.split(r"[\\/]", lack.file)[-1]
            says = f"Its own {file or 'file'} needs a function that no other file of it has: two builds are mixed."
            yield _damaged(report, 0.85, lack.hit, says)


def _by_library(report: Report) -> Iterator[Told]:
    for lack in _told.libraries(report):
        if _told.judged_library(lack, report) == "torch-broken":
            yield _damaged(report, 0.88, lack.hit, f"Its own {lack.what.rpartition('/')[2][:60]} is not there.")


# What a damaged or half removed torch says: words to look for, pattern, confidence, what it means.
_SIGNS = (
    (
        ("file too short", "invalid elf header", "elf load command"),
        r"[\\/]torch[\\/](?:lib[\\/])?\S+: (?:file too short|invalid elf header|elf load command)[^\n]*",
        0.93,
        "A file of its own is cut short.",
    ),
    (
        ("executable stack",),
        r"cannot enable executable stack[^\n]*",
        0.75,
        "This release asks for an executable stack, which this system does not allow.",
    ),
    (
        ("unknown location",),
        r"cannot import name '\w+' from 'torch' \(unknown location\)",
        0.75,
        "Its folder is there and its files are not: it was removed in part.",
    ),
    (
        ("name '_c' is not defined",),
        r"name '_C' is not defined",
        0.9,
        "Its compiled part is not there, and its Python files are.",
    ),
    (
        ("no module named 'torch.",),
        r"no module named 'torch\.(?:version|_C|_utils|_jit_internal|nn|cuda|autograd|utils|_tensor)'",
        0.6,
        "A file of its own is not there.",
    ),
    (
        ("module 'torch' has no", "module torch has no"),
        r"(?<!module )module '?torch'? has no attribute '(?:__version__|Tensor|cuda|nn|device|float32|tensor|dtype"
        r"|manual_seed|no_grad|utils|from_numpy|randn|zeros|__path__)'",
        0.5,
        "Its folder is there and holds no whole torch.",
    ),
    (
        ("module 'torch._c' has no",),
        r"module 'torch\._C' has no attribute '(?!_cuda|_Cuda|_nccl|_dist)\w+'",
        0.7,
        "Its Python files and its compiled part are of two releases.",
    ),
    (
        ("illegal instruction",),
        r"illegal instruction[^\n]*",
        0.6,
        "This release holds instructions that this processor does not have.",
    ),
    (
        ("segmentation fault", "segfault", "exit code 139", "0xc0000005"),
        r"segmentation fault[^\n]*|segfault|exit code 139|0xC0000005",
        0.45,
        "The process ends while it is imported.",
    ),
    (
        ("mach-o",),
        r"mach-o[^\n]{0,60}(?:incompatible architecture|wrong architecture)[^\n]*",
        0.5,
        "It was built for another processor than this Python.",
    ),
)


def _said(report: Report) -> Iterator[Told]:
    for words, pattern, confidence, says in _SIGNS:
        hit = report.hit(pattern) if report.has(*words) else None
        if hit is None:
            continue
        if "mach-o" in pattern and _told.owner(hit.line) != "torch" and not report.has("/torch/_c", "/torch/lib"):
            continue
        if "'_C'" in pattern and _told.importing_torch(report, hit.at) is None:
            continue  # another package's
        if "segm" in pattern and (_told.named(report) or not report.has("import torch")):
            continue
        if "illegal" in pattern and not report.has("torch"):
            continue
        if "has no attribute" in pattern and report.has("partially initialized", "torch.py"):
            confidence = 0.3  # a file of the user's own called torch
        if "No module" in pattern and report.has("/pytorch/torch", "c extensions"):
            confidence = 0.35  # a source checkout
        yield _damaged(report, confidence, hit, says)
        return


def example() -> Facts:
    facts = recorded("healthy-cpu")
    assert facts.torch is not None
    error = "OSError: libtorch_cpu.so: cannot open shared object file: No such file or directory"
    return dataclasses.replace(
        facts,
        torch=dataclasses.replace(facts.torch, missing_files=("torch/lib/libtorch_cpu.so",), binaries=()),
        probes=(Probe("torch", 1, error),),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    place.remove(place.site / "torch" / "lib" / "libtorch_cpu.so")
    return "import torch"
