"""The running process still holds what an install has replaced on disk.

What it means
-------------
A loaded module stays loaded: after ``%pip install`` the process runs the old code while the files belong to the
new one.  Mixtures of both give errors that no reinstall cures, and that a restart does.

How it is found
---------------
Only where the facts are those of the running process: the version of a loaded module differs from the one on disk,
or a shared library that the process has mapped was deleted or replaced (Linux says so in /proc).  In text: a request
to restart, a module that is loaded or registered twice, or an import that a package fails to make from itself.

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
from kit.failures._told_python import each, failing, gone, hits, moves, notebook, owner, put, typed
from kit.findings import Cost, Finding, Fix
from kit.recorded import recorded
from kit.report import Hit, Report, Told

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


_SAID = (
    (("previously imported in this runtime",), r"previously imported in this runtime", 0.93),
    (
        ("must restart the runtime", "restart your runtime", "restart the runtime"),
        r"(?<!may need to )restart (?:the|your) runtime",
        0.8,
    ),
    (("more than once per process",), r"cannot load module more than once per process", 0.93),
    (("cpu dispatcher tracer",), r"CPU dispatcher tracer already init\w+", 0.9),
    (
        ("[winerror 5]", "[winerror 32]"),
        r"Could not install packages due to an \w+: \[WinError (?:5|"
        r"32)\][^\n]*",
        0.6,
    ),
    (("already has a docstring",), r"function '?\w+'? already has a docstring|method already has a docstring", 0.88),
    (("single torch_library",), r"Only a single TORCH_LIBRARY can be used to register the namespace", 0.55),
    (
        ("is already registered!",),
        r"generic_type: (?:type|cannot initialize type) [^\n]*is already (?:registered|defined)",
        0.75,
    ),
    (
        ("multiple times", "already registered"),
        r"Tried to register an operator[^\n]*multiple times|operator [^\n]{0,80}already registered",
        0.5,
    ),
    (("must be an instance or subtype of type",), r"super\(type, obj\): obj must be an instance", 0.35),
    (("_overlapped_", "reload"), r"importlib\.reload|imp\.reload|\breload\(\w+\)", 0.4),
    (("may need to restart the kernel",), r"you may need to restart the kernel to use updated packages", 0.3),
)


def told(report: Report) -> Iterator[Told]:
    found: list[tuple[float, tuple[Hit, ...], str]] = [(row[2], (said,), "") for row, said in each(report, _SAID)]
    session = notebook(report)
    installed = bool(typed(report) or put(report) or report.has("pip install", "upgrade"))
    for one in gone(report):
        top = one.top
        by = one.asker or ("" if one.by else owner(one.where))
        if (
            top
            and (one.circular or (by == top and one.name and moves(one) is None))
            and _installed(one.by, one.where)
        ):
            # A package does not find its own: half of it is of another release, in memory or on disk.
            sure = 0.72 if session else 0.5
            found.append((sure, hits(report, one), top))
            break
        itself = one.name and report.has(f"failed to import {top}.".lower())
        if itself and moves(one) is None:
            found.append((0.6 if not one.circular else 0.65, hits(report, one), top))
            break
        if session and installed and one.name and failing(report):
            found.append((0.5, hits(report, one), top))
            break
    if not found:
        return
    confidence, lines, package = max(found, key=lambda pair: pair[0])
    if confidence <= 0.3 and not failing(report):
        return
    yield Told(
        confidence,
        package.replace("_", "-") or None,
        "The running process still holds what an installation has replaced. Modules of two releases are mixed in its "
        "memory, and no further install cures that.",
        lines,
        (
            Fix("restart-kernel", "Restart the kernel or process, then run the imports again before anything else"),
            *(
                [
                    Fix(
                        "uninstall-package",
                        f"Where that does not help: uninstall {package} fully, then install it once",
                    )
                ]
                if package
                else []
            ),
        ),
        over=("module-moved",) if confidence > 0.6 else (),
    )


def _installed(*paths: str) -> bool:
    """Whether no file of the user's own plays in."""
    return any("-packages" in path for path in paths) or not any(paths)


def _differs(module: Loaded) -> bool:
    if not module.version or not module.on_disk:
        return False
    (loaded, loaded_build), (disk, disk_build) = (v.partition("+")[::2] for v in (module.version, module.on_disk))
    return loaded != disk or bool(loaded_build and disk_build and loaded_build != disk_build)


def example() -> Facts:
    facts = recorded("healthy-cpu")
    module = Loaded("torch", "2.12.1+cpu", "2.13.0+cpu")
    return dataclasses.replace(facts, kernel=Kernel("notebook", (module,)))
