"""A compiled module was built for NumPy 1 and meets NumPy 2, or the reverse.

What it means
-------------
NumPy 2.0 changed its binary interface.  A module that was compiled against NumPy 1 warns ``A module that was
compiled using NumPy 1.x cannot be run in NumPy 2`` and then crashes or loses its bridge: with torch 2.2 and older,
``tensor.numpy()`` raises ``Numpy is not available``.

How it is found
---------------
NumPy 2 is installed beside a torch older than 2.3, the first built for it, or beside a compiled package whose
metadata asks for ``numpy<2``; or NumPy 1 beside a compiled package that asks for ``numpy>=2``.  In text: NumPy's own
words, ``_ARRAY_API not found``, ``numpy.dtype size changed`` or ``Numpy is not available``.

Example
-------
torch 2.1.2 beside numpy 2.2.6.

Fix
---
The newest NumPy 1 for as long as the older package stays.  It is small and changes nothing else.

Known limits
------------
Packages that state no limit are not noticed.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.facts import Distribution, Facts
from kit.failures import _told_prose
from kit.failures._told_python import each, failing, order, version
from kit.findings import Cost, Finding, Fix
from kit.gpus import numbers
from kit.published import pip
from kit.recorded import recorded
from kit.report import Report, Told
from kit.requirements import contradicts

RANK = 44
INSTEAD = "Reinstalling the module would bring the same build back."

FIRST_TORCH_FOR_NUMPY_2 = (2, 3)  # pytorch/pytorch release notes 2.3.0


def find(facts: Facts) -> Iterator[Finding]:
    numpy = facts.distribution("numpy")
    if numpy is None or not numpy.version:
        return
    two = numbers(numpy.version)[0] >= 2
    evidence = []
    # () where torch's version cannot be read: nothing is known then.
    old_torch = facts.torch is not None and () < numbers(facts.torch.minor) < FIRST_TORCH_FOR_NUMPY_2
    if two and old_torch and facts.torch is not None:
        evidence.append(f"torch/version.py: {facts.torch.version}, built for NumPy 1 (2.3 is the first for NumPy 2)")
    for dist in facts.distributions:
        limits = [r for r in dist.requires if re.match(r"numpy\b", r, re.I) and _about_2(r, two)]
        if dist.compiled and limits and contradicts(limits, facts):
            evidence.append(f"{dist.name} {dist.version}: compiled, and requires {limits[0]}")
    if not evidence:
        return
    version, other = ("NumPy 1", "numpy<2") if two else ("NumPy 2", "numpy>=2,<3")
    yield Finding(
        "numpy-abi",
        "error" if old_torch and two else "warning",
        "numpy",
        f"Compiled packages here were built for {version}, and NumPy {numpy.version} is installed. The two do not "
        "share a binary interface.",
        (f"{numpy.path.rpartition('/')[2]}: numpy {numpy.version}", *evidence),
        (
            Fix(
                "change-package-version",
                f"Install {version}",
                pip(facts, "install", other),
                safety="changes-environment",
                cost=Cost(restart=True),
            ),
        ),
    )


def _about_2(requirement: str, two: bool) -> bool:
    """Whether a requirement draws its line at NumPy 2: ``<2`` where 2 is installed, ``>=2`` where 1 is."""
    line = r"<=?\s*2(\.0)*(?![.\d]*[1-9])|<\s*2|<=?\s*1\." if two else r">=?\s*2(\.\d+)*"
    return bool(re.search(line, requirement.partition(";")[0]))


_SAID = (
    (
        ("numpy 1",),
        r"compiled (?:using|with|against|for) NumPy 1[^\n]{0,20}(?:can(?:no|')t (?:be )?run|$)|compiled using "
        r"NumPy 1",
        0.96,
    ),
    (("(got numpy.ndarray)",), r"expected np\.ndarray \(got numpy\.ndarray\)", 0.85),
    (("_array_api'",), r"cannot import name '_ARRAY_API'", 0.9),
    (
        ("initialization of", "without raising an exception"),
        r"initialization of (?:_internal|\w*numpy\w*|_pywrap\w*) failed[^\n]*",
        0.7,
    ),
    (("as it may crash",), r"NumPy \d[\w.]* as it may crash", 0.95),
    (("pybind11>=2.12", "must be compiled with numpy"), r"pybind11>=2\.12|must be compiled with NumPy 2", 0.93),
    (("from c header, got",), r"Expected \d+ from C header, got \d+ from PyObject", 0.88),
    (("_array_api not found",), r"_ARRAY_API not found", 0.95),
    (("size changed, may indicate binary",), r"numpy\.\w+ size changed[^\n]*", 0.95),
    (
        ("numpy version of 0x", "compiled against a", "compiled against abi", "compiled against numpy c-api"),
        r"module (?:was )?compiled against (?:an? )?(?:API|ABI|NumPy C-API) version[^\n]*",
        0.94,
    ),
    (("numpy is not available",), r"Numpy is not available", 0.9),
    (("multiarray failed to import",), r"numpy\.?_?core\.multiarray failed to import", 0.88),
    (("failed to initialize numpy",), r"Failed to initialize NumPy: (?!No module)[^\n]*", 0.85),
    (("could not infer dtype of numpy",), r"Could not infer dtype of numpy\.\w+", 0.8),
    (("numpy c-extensions failed",), r"Importing the numpy C-extensions failed", 0.5),
    (
        ("no module named 'numpy._core", "no module named 'numpy.core._multiarray"),
        r"No module named '(?:numpy\._core|numpy\.core\._multiarray)[\w.]*'",
        0.55,
    ),
    (("numpy.core.umath failed to import",), r"numpy\.core\.umath failed to import", 0.85),
    (
        ("numpy.core.multiarray' has no attribute", "numpy.core.multiarray has no"),
        r"numpy\.core\.multiarray'? has no attribute '?_ARRAY",
        0.9,
    ),
)


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "numpy-abi")
    if plain is not None:
        yield Told(
            plain[0],
            "numpy",
            "A compiled module was built for another NumPy than the one installed. NumPy 1 and NumPy 2 do not "
            "share a "
            "binary interface.",
            (plain[1],),
            (
                version("Install the newest NumPy 1 (numpy<2) for as long as the older module stays, then restart"),
                version("Or a release of the module that was built for this NumPy"),
            ),
        )
    if not report.has("numpy", "_array_api", "initialization of _", "pybind11>", "from c header"):
        return
    found = list(each(report, _SAID))
    if not found:
        return
    (_, _, confidence), first = max(found, key=lambda pair: pair[0][2])
    if failing(report) and report.errors and not report.errors[0].warning:
        cause = report.errors[0]
        about = re.search(
            r"numpy|_ARRAY_API|initialization failed|binary incompat|multiarray|segm|dumped|abort",
            cause.message,
            re.I,
        )
        if not about and all(order(report, hit.at) for _, hit in found):
            confidence = 0.5  # only said on the way to another failure
    torch = report.facts.torch
    of_torch = torch is not None and () < numbers(torch.minor) < FIRST_TORCH_FOR_NUMPY_2
    story = f" torch {torch.version} was built for NumPy 1." if of_torch and torch is not None else ""
    newer = bool(re.search(r"size changed[^\n]*Expected (\d+) from C header, got (\d+)", first.line)) and bool(
        re.search(r"Expected 16 from C header, got 96", first.line)
    )
    older = re.search(
        r"against (?:an? )?(?:API|ABI|NumPy C-API) version 0x(\w+)[^\n]*?(?:numpy is|C-API version) 0x(\w+)",
        first.line,
        re.I,
    )
    up = newer or (older is not None and int(older.group(1), 16) > int(older.group(2), 16))
    first_fix = (
        version("Install the newer NumPy that the module was built for (numpy>=2 where it says 2), then restart")
        if up
        else version("Install the newest NumPy 1 (numpy<2) for as long as the older module stays, then restart")
    )
    yield Told(
        confidence,
        "numpy",
        "A compiled module was built for another NumPy than the one installed. NumPy 1 and NumPy 2 do not "
        "share a binary "
        f"interface.{story}",
        (first, *[hit for _, hit in found if hit.line != first.line][:2]),
        (first_fix, version("Or a release of the module that was built for this NumPy")),
        over=("module-moved", "version-conflict") if confidence > 0.8 else (),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    assert facts.torch is not None
    torch = dataclasses.replace(facts.torch, version="2.1.2+cpu", metadata_version="2.1.2+cpu")
    numpy = Distribution("numpy", "2.2.6", f"{facts.extensions[0].location}/numpy-2.2.6.dist-info", installer="pip")
    others = tuple(d for d in facts.distributions if d.key not in ("numpy", "torch"))
    dist = facts.distribution("torch")
    assert dist is not None
    older = dataclasses.replace(dist, version="2.1.2+cpu", requires=())
    return dataclasses.replace(facts, torch=torch, distributions=(*others, older, numpy))
