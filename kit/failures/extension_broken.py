"""A compiled extension is damaged: files of its own are missing, or it cannot be imported.

What it means
-------------
torch works, and importing the extension raises: a library that belongs to it was removed, an install was
interrupted, or one of the packages that it imports is missing.  That is neither the wrong torch nor the wrong CUDA.

How it is found
---------------
The extension's RECORD lists shared libraries that are not there, one of them is damaged or for another Python, or
its import in a child process failed with a message that speaks neither of symbols nor of CUDA.
In text: what the loader says of a file that is cut short, and ``PyInit_``.

Example
-------
torch-scatter 2.1.2 whose ``_scatter_cpu.so`` was removed: ``Could not find module '_scatter_cpu'``.

Fix
---
Install it again for this torch: the matching wheel, else a build from source; where no wheel fits, torch-scatter can
be replaced by the kit's (``kit shim enable torch_scatter --cover``).  All replace only the extension.
Where its import names another module that is missing, install what brings that one.

Known limits
------------
An extension whose files are all there and would load is not imported by the doctor; ``kit verify`` does that.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Optional

from kit.facts import Extension, Facts, Probe
from kit.failures import _compiled, _told
from kit.failures._loading import for_another_python, judge, lacks
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.published import same_again
from kit.recorded import recorded
from kit.report import Report, Told

RANK = 43
SHOWS = r"file too short|invalid ELF header|Could not find"
INSTEAD = "Reinstalling torch would change nothing: torch itself works."


def find(facts: Facts) -> Iterator[Finding]:
    if facts.torch is None:
        return
    for extension in facts.extensions:
        verdict = judge(extension, facts)
        if verdict.failure != "extension-broken":
            continue
        evidence = [f"{file}: missing, although its RECORD lists it" for file in extension.missing_files[:4]]
        evidence += lacks(verdict.binaries or for_another_python(extension, facts), extension)
        evidence += verdict.confirmation()
        yield Finding(
            "extension-broken",
            "error",
            extension.package,
            f"{extension.key} {'is damaged' if extension.missing_files else 'cannot be imported'}. "
            f"torch {facts.torch.version} works, {extension.key} {extension.version} does not.",
            (f"{extension.origin}: {extension.package} {extension.version}", *evidence),
            tuple(_fixes(extension, verdict.probe, facts)),
        )


def _fixes(extension: Extension, probe: Optional[Probe], facts: Facts) -> list[Fix]:
    absent = re.search(r"No module named '(\w+)", probe.error) if probe else None
    if absent and absent.group(1) not in extension.modules and not extension.missing_files:
        # By hand: a module's name is not always that of the package that brings it.
        return [Fix("change-package-version", f"Install the package that brings the module {absent.group(1)}")]
    return same_again(extension, facts)


def told(report: Report) -> Iterator[Told]:
    if not report.has(
        "file too short", "invalid elf header", "pyinit_", "past end of file", "bad magic", "exec format"
    ):
        return
    hit = report.hit(
        r"(?P<file>[^\s:'\"]{1,300}): (?:file too short|invalid elf header|elf load command past end of file)"
        r"|does not define (?:module export|init) function \(?(?P<init>PyInit_\w+)"
    )
    if hit is None:
        return
    package = _told.owner(hit.groups.get("file", "")) or _told.around(report, hit.at)
    if package is None or package == "torch":
        return
    yield Told(
        0.85,
        package,
        f"A compiled file of {package} is damaged. It is cut short, or made for another Python or machine, "
        "so it cannot be loaded.",
        (hit,),
        (
            _told.fix("install-matching-wheel", f"Install {package} again, in the same version, past pip's cache"),
            _told.fix("rebuild-extension", f"Compile {package} against this torch"),
        ),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    removed = "torch_scatter/_scatter_cpu.so"
    extension = facts.extensions[0]
    damaged = dataclasses.replace(
        extension,
        libraries=tuple(file for file in extension.libraries if file != removed),
        missing_files=(removed,),
        binaries=tuple(binary for binary in extension.binaries if binary.path != removed),
    )
    said = f"ImportError: Could not find module '_scatter_cpu' in {extension.location}/torch_scatter"
    return dataclasses.replace(
        facts, extensions=(damaged,), probes=(Probe("torch", 0), Probe("torch_scatter", 1, said))
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    shown = _compiled.installed(place, "torch-spline-conv", "", _compiled.library(place))
    place.write(place.site / "torch_spline_conv" / "_version_cpu.so", b"\x7fELF\x02\x01\x01")  # as after a full disk
    return shown
