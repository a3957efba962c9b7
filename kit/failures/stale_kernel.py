"""The running process still holds what an install has replaced on disk.

What it means
-------------
A loaded module stays loaded: after ``%pip install`` the process runs the old code while the files belong to the
new one.  Mixtures of both give errors that no reinstall cures, and that a restart does.

How it is found
---------------
Only where the facts are those of the running process: the version of a loaded module differs from the one on disk,
or a shared library that the process has mapped was deleted or replaced (Linux says so in /proc).  In text: a request
to restart, a person's word that a restart helps, a module that is loaded or registered twice, an import that a
package fails to make from itself, or from what a cell has just installed.

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
import re
from collections.abc import Iterator
from typing import Optional

from kit.facts import Facts, Kernel, Loaded, normalise
from kit.failures import _told_prose
from kit.failures._told_python import each, failing, gone, hit, hits, hosted, moves, notebook, owner, put, typed
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


# A person says that a restart helps, and not that it did not.
_RESTARTED = (
    r"^(?=[^\n]*(?:work|fix|solv|help|disappear|resolv|\bok\b|fine|need|ha[vd]e? to|must|should|after|until|"
    r"gone\b|go away|"
    r"please|without))"
    r"(?![^\n]*(?:\bstill\b|\bsame\b|n['o]t help|did ?n['o]t|does ?n['o]t|even after|no effect|no use|"
    r"automatically|\bdied|"
    r"crash|keeps|will restart|may need|\bappears))[^\n]{0,400}?(?:\b(?:re-?start(?:ed|ing|"
    r"s)?)\b[^\n]{0,40}\b(?:kernel|"
    r"runtime|session|colab|notebook|jupyter|interpreter)|\b(?:kernel|runtime|session|notebook)\b[^\n]{0,20}\b"
    r"restart\w*)[^\n]*"
)
_SAID = (
    (("previously imported in this runtime",), r"previously imported in this runtime", 0.93),
    (
        ("must restart the runtime", "restart your runtime", "restart the runtime"),
        r"(?<!may need to )restart (?:the|your) runtime",
        0.8,
    ),
    (
        ("mid-session", "in this session", "please restart", "restart session", "in memory"),
        r"(?:up|down)graded mid-session|still has the old version in memory|\bplease,? restart (?:your |the |this )?"
        r"(?:kernel|runtime|session|notebook|python)|(?:upgraded|updated|downgraded|replaced|changed) (?:mid-|"
        r"in this |"
        r"during (?:the|this) )session",
        0.93,
    ),
    (
        ("built for another version of pillow",),
        r"_imaging extension was built for another version of Pillow[^\n]*",
        0.72,
    ),
    (("restart",), _RESTARTED, 0.62),
    (
        ("__version__", "still shows", "still the old", "pip show", "pip list", "old version"),
        r"__version__[^\n]{0,60}\bstill\b[^\n]{0,200}|\bstill (?:shows?|says|prints|returns?|displays?|reports?|"
        r"uses|loads|"
        r"the old)\b[^\n]{0,60}(?:version|\d\.\d+)[^\n]*|pip (?:show|list)[^\n]{0,60}\bbut\b[^\n]{0,60}version[^\n]*",
        0.5,
    ),
    (("more than once per process",), r"cannot load module more than once per process", 0.93),
    (("cpu dispatcher tracer",), r"CPU dispatcher tracer already init\w+", 0.9),
    (
        ("[winerror 5]", "[winerror 32]"),
        r"Could not install packages due to an \w+: \[WinError (?:5|"
        r"32)\][^\n]*",
        0.6,
    ),
    (
        ("[winerror 5]", "[winerror 32]"),
        r"\[WinError (?:5|32)\][^\n]{0,200}-packages[^\n]{0,200}\.(?:dll|pyd)\b[^\n]*",
        0.82,
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


# Packages that a notebook usually has in memory, and parts that each of their releases has.
_LOADED = frozenset(
    "networkx numpy torch torchvision torch_geometric transformers pandas scipy PIL tensorflow".split()
)
_PARTS = frozenset("utils data nn typing core classes algorithms convert ops models loader datasets version".split())


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "stale-kernel")
    if plain is not None:
        yield Told(
            plain[0],
            None,
            "The running process still holds what an installation has replaced. That a restart changes it "
            "speaks for it.",
            (plain[1],),
            (
                Fix(
                    "restart-kernel", "Restart the kernel or process, then run the imports again before anything else"
                ),
            ),
        )
    session = notebook(report)
    found: list[tuple[float, tuple[Hit, ...], str]] = [
        (row[2] + (0.15 if session and 0.5 <= row[2] < 0.75 else 0), (said,), "") for row, said in each(report, _SAID)
    ]
    installed = bool(typed(report) or put(report) or report.has("pip install", "upgrade"))
    over: tuple[str, ...] = ()
    if report.has("size changed") and session:
        # A hosted notebook has numpy in memory from the start; what a cell installs was built for another one.
        loaded = hosted(report) or "numpy" in put(report) or "numpy" in typed(report)
        changed = report.hit(r"numpy\.\w+ size changed[^\n]*") if loaded or found else None
        if changed is not None:
            found.append((0.85, (changed,), "numpy"))
            over = ("numpy-abi",)
    again = _asked_again(report) if session and report.has("pip install") else None
    if again is not None:
        found.append((0.75, again, ""))
        over = (*over, "not-environment", "version-conflict")
    there = put(report) if session else {}
    for one in gone(report):
        top = one.top
        row = moves(one)
        fresh = there.get(normalise(top), ("", 0))[0]
        if fresh and one.name and failing(report) and (row is None or row.change == "added"):
            found.append((0.78, hits(report, one), top))  # just installed, and the process has the former one
            over = (*over, "version-conflict")
            break
        if re.search(r"(?:^|\.)(?:_C\w*|_ext|\w*_(?:cuda|cpu|ext))$", one.path):
            continue  # compiled: it was not built, or does not load
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
        if session and one.attribute and top in _LOADED and one.module == top and moves(one) is None:
            half = one.name in _PARTS or (one.name.startswith("_") and not one.name.startswith("__"))
            found.append((0.62 if half else 0.45, hits(report, one), top))
            break
        if session and (installed or report.has("you may need to restart")) and one.name and failing(report):
            found.append((0.55, hits(report, one), top))
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
        over=(*over, "module-moved", "not-environment") if confidence > 0.6 else (),
    )


def _asked_again(report: Report) -> Optional[tuple[Hit, ...]]:
    """An error that asks to install what a cell has just installed."""
    error = next((error for error in report.errors if not error.warning and "pip install" in error.message), None)
    asks = (
        re.search(r"pip install (?:-\w+ )?['\"]?([A-Za-z][\w-]*)", error.message[:2000])
        if error is not None
        else None
    )
    if error is None or asks is None:
        return None
    name = re.escape(asks.group(1))
    did = report.hit(rf"[!%]\s?pip3?\sinstall[^\n]*\b{name}\b[^\n]*|Successfully installed[^\n]*\b{name}-\d[^\n]*")
    return (hit(report, error.at), did) if did is not None and not error.at <= did.at < error.end else None


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
