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
from collections.abc import Iterator

from kit.causes import cause_in_torch
from kit.facts import Facts, Probe
from kit.failures._loading import lacks, outcome
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import CPU_TORCH_MB, GPU_TORCH_MB, PYTORCH_INDEX, pip
from kit.recorded import recorded
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
