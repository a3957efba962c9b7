"""The running process still holds what an install has replaced on disk.

What it means
-------------
A loaded module stays loaded: after ``%pip install`` the process runs the old code while the files belong to the
new one.  Mixtures of both give errors that no reinstall cures, and that a restart does.

How it is found
---------------
Only where the facts are those of the running process: the version of a loaded module differs from the one on disk,
or a shared library that the process has mapped was deleted or replaced (Linux says so in /proc).

Example
-------
torch 2.12.1 is loaded, torch 2.13.0 is on disk.

Fix
---
Restart the kernel.  Nothing on disk changes; variables in memory are lost.

Known limits
------------
A module that states no version and maps no library is not noticed.
"""

import dataclasses
from collections.abc import Iterator

from kit.facts import Facts, Kernel, Loaded
from kit.findings import Cost, Finding, Fix
from kit.recorded import recorded

RANK = 2
INSTEAD = "Another install would change nothing in this process."


def find(facts: Facts) -> Iterator[Finding]:
    if facts.kernel is None:
        return
    stale = [m for m in facts.kernel.modules if m.replaced or _differs(m)]
    if not stale:
        return
    what = "kernel" if facts.kernel.kind == "notebook" else "process"
    names = ", ".join(m.name for m in stale)
    evidence = []
    for m in stale:
        if _differs(m):
            evidence.append(f"{m.name}: {m.version} is loaded, {m.on_disk} is on disk")
        evidence += [f"{file}: loaded, and since replaced on disk" for file in m.replaced[:3]]
    yield Finding(
        "stale-kernel",
        "error",
        stale[0].name,
        f"The {what} runs what is no longer installed. {names} changed on disk after loading; what fails now may "
        "work after a restart.",
        tuple(evidence),
        (
            Fix(
                "restart-kernel",
                f"Restart the {what} and run the cells again",
                safety="safe",
                cost=Cost(restart=True),
            ),
        ),
    )


def _differs(module: Loaded) -> bool:
    if not module.version or not module.on_disk:
        return False
    (loaded, loaded_build), (disk, disk_build) = (v.partition("+")[::2] for v in (module.version, module.on_disk))
    return loaded != disk or bool(loaded_build and disk_build and loaded_build != disk_build)


def example() -> Facts:
    facts = recorded("healthy-cpu")
    module = Loaded("torch", "2.12.1+cpu", "2.13.0+cpu")
    return dataclasses.replace(facts, kernel=Kernel("notebook", (module,)))
