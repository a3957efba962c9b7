"""A compiled module was built for NumPy 1 and meets NumPy 2, or the reverse.

What it means
-------------
NumPy 2.0 changed its binary interface.  A module that was compiled against NumPy 1 warns ``A module that was
compiled using NumPy 1.x cannot be run in NumPy 2`` and then crashes or loses its bridge: with torch 2.2 and older,
``tensor.numpy()`` raises ``Numpy is not available``.

How it is found
---------------
NumPy 2 is installed beside a torch older than 2.3, the first built for it, or beside a compiled package whose
metadata asks for ``numpy<2``; or NumPy 1 beside a compiled package that asks for ``numpy>=2``.

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
from kit.findings import Cost, Finding, Fix
from kit.gpus import numbers
from kit.published import pip
from kit.recorded import recorded
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
