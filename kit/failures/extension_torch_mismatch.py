"""A compiled extension was built against another torch than the one that runs.

What it means
-------------
torch's C++ interface changes with every minor release.  An extension that was compiled against another one
fails when it is loaded, with ``undefined symbol``, ``WinError 127`` or ``operator torchvision::nms does not
exist``; or it crashes; or, rarely, it loads and computes wrong values.  Usually torch was upgraded afterwards,
or pip handed out a wheel from its cache that was built for an older torch.

How it is found
---------------
The torch in the build tag (``+pt28cu126``) or in the metadata (``torch==2.1.0``) differs from the one in
``torch/version.py``.  Where that or the age of its files leaves a doubt, the import is tried in a child
process; its error, a crash included, is evidence.

Example
-------
torchaudio 2.1.0, which requires torch 2.1.0, beside torch 2.13.0.

Fix
---
The wheel that was built for this torch, else a build from source against it.  Both replace only the extension.

Known limits
------------
A build from source carries no tag: where its files are newer than torch's, only ``kit verify`` sees the mismatch.
A requirement that does not fit while the import works is a warning.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.builds import extension_fixes
from kit.facts import Extension, Facts, Probe
from kit.failures._loading import other_cuda, other_torch, outcome, probe_of, says_symbols
from kit.findings import Finding, Fix
from kit.recorded import recorded
from kit.requirements import plain

RANK = 41
INSTEAD = "Reinstalling the same version would change nothing: pip would take the same file, or the one in its cache."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None:
        return
    for extension in facts.extensions:
        probe, says = probe_of(extension, facts), other_torch(extension, facts)
        if not says and (other_cuda(extension, facts) or not says_symbols(probe)):
            continue  # nothing wrong, or extension-cuda-mismatch explains it
        failed = probe is not None and not probe.ok
        evidence = [f"torch/version.py: {torch.version}", *says]
        if failed and probe is not None:
            evidence.append(f"import {probe.imports}, in a process of its own: {outcome(probe)}")
        fixes = extension_fixes(extension, facts) or [
            Fix(
                "install-matching-wheel",
                f"Install the release of {extension.key} that was built for torch {torch.minor}",
            )
        ]
        # The tag or an error decides; a requirement alone, while the import works, is only a doubt.
        certain = failed or extension.built_for_torch not in (None, torch.minor)
        built = f" {extension.built_for_torch}" if extension.built_for_torch else ""
        yield Finding(
            "extension-torch-mismatch",
            "error" if certain else "warning",
            extension.package,
            f"{extension.key} was built for another torch{built}. Your torch is {torch.version}; {extension.key} "
            f"{extension.version} was compiled against {_other(extension)}"
            + (", so it cannot be loaded." if failed else ", and compiled code does not carry over."),
            tuple(evidence),
            tuple(fixes),
        )


def _other(extension: Extension) -> str:
    if extension.built_for_torch:
        return f"torch {extension.built_for_torch}"
    wanted = plain(extension.requires_torch[0]) if extension.requires_torch else "another one"
    return re.sub(r"\s*==\s*", " ", wanted)


def example() -> Facts:
    facts = recorded("healthy-cpu")
    audio = Extension(
        package="torchaudio",
        version="2.1.0+cu121",
        origin="torchaudio/version.py",
        location=facts.extensions[0].location,
        modules=("torchaudio",),
        libraries=("torchaudio/lib/_torchaudio.so", "torchaudio/lib/libtorchaudio.so"),
        built_for_cuda="12.1",
        requires_torch=("torch (==2.1.0)",),
        wheel_tags=("cp311-cp311-manylinux1_x86_64",),
    )
    said = (
        "OSError: torchaudio/lib/libtorchaudio.so: undefined symbol: "
        "_ZN2at4_ops10zeros_like4callERKNS_6TensorEN3c108optionalINS5_10ScalarTypeEEE"
    )
    return dataclasses.replace(
        facts, extensions=(*facts.extensions, audio), probes=(Probe("torch", 0), Probe("torchaudio", 1, said))
    )
