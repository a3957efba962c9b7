"""A compiled extension was built against another torch than the one that runs.

What it means
-------------
torch's C++ interface changes with every minor release.  An extension that was compiled against another one fails
when it is loaded, with ``undefined symbol``, ``WinError 127`` or ``operator torchvision::nms does not exist``; or
it crashes; or, rarely, it loads and computes wrong values.  Usually torch was upgraded afterwards, or pip handed
out a wheel from its cache that was built for an older torch.

How it is found
---------------
A compiled file needs symbols, or a library of torch's own name, that this torch does not have: its symbol table is
held against those of torch, without loading either.  Or the torch in the build tag (``+pt28cu126``) or in the
metadata (``torch==2.1.0``) differs from the one in ``torch/version.py``.  The import is then tried in a child
process; its error, a crash included, is evidence.

Example
-------
torchaudio 2.1.0, which requires torch 2.1.0, beside torch 2.13.0.

Fix
---
The wheel that was built for this torch, else a build from source against it; where no wheel fits, torch-scatter can
be replaced by the kit's (``kit shim enable torch_scatter --cover``).  All replace only the extension.

Known limits
------------
A function whose name stayed while its meaning changed is seen by ``kit verify`` alone, which computes with it.
Where the import works without the file (xformers, torchrl), or only a requirement does not fit, it is a warning.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit import symbols
from kit.causes import for_others_only
from kit.facts import Binary, Extension, Facts, Missing, Probe
from kit.failures import _compiled
from kit.failures._loading import Verdict, judge, lacks, loads, other_torch
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.published import extension_fixes
from kit.recorded import recorded
from kit.requirements import plain

RANK = 41
SHOWS = r"undefined symbol: _ZN3c1015gone_since_longERKSs"
INSTEAD = "Reinstalling the same version would change nothing: pip would take the same file, or the one in its cache."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None:
        return
    for extension in facts.extensions:
        verdict = judge(extension, facts)
        if verdict.failure != "extension-torch-mismatch":
            continue
        evidence = [f"torch/version.py: {torch.version}", *other_torch(extension, facts)]
        evidence += lacks(verdict.binaries, extension)
        if for_others_only(extension, facts):
            evidence += [f"{binary.path}: for another torch, by its name" for binary in extension.binaries[:3]]
        evidence += verdict.confirmation()
        fixes = extension_fixes(extension, facts) or [
            Fix(
                "install-matching-wheel",
                f"Install the release of {extension.key} that was built for torch {torch.minor}",
            )
        ]
        built = f" {extension.built_for_torch}" if extension.built_for_torch else ""
        yield Finding(
            "extension-torch-mismatch",
            "error" if _certain(extension, facts, verdict) else "warning",
            extension.package,
            f"{extension.key} was built for another torch{built}. Your torch is {torch.version}; {extension.key} "
            f"{extension.version} was compiled against {_other(extension, facts, verdict)}"
            + _consequence(extension, verdict),
            tuple(evidence),
            tuple(fixes),
        )


def _certain(extension: Extension, facts: Facts, verdict: Verdict) -> bool:
    """Whether it is known to fail: a requirement alone, or a file that its import does without, is only a doubt."""
    tagged = facts.torch is not None and extension.built_for_torch not in (None, facts.torch.minor)
    if verdict.imports:
        return tagged and not extension.binaries
    return bool(verdict.probe or verdict.binaries) or tagged


def _consequence(extension: Extension, verdict: Verdict) -> str:
    if verdict.binaries and verdict.imports:
        files = verdict.binaries[0].path.rpartition("/")[2]
        return f". It can be imported, but without {files}, and what needs that fails."
    if verdict.binaries or (verdict.probe and not verdict.imports):
        return ", so it cannot be loaded."
    if loads(extension):
        return ". All its files load here; whether they compute the same is not known."
    return ", and compiled code does not carry over."


def _other(extension: Extension, facts: Facts, verdict: Verdict) -> str:
    if extension.built_for_torch:
        return f"torch {extension.built_for_torch}"
    first, last = symbols.built_for([m.what for binary in verdict.binaries for m in binary.lacks("symbol")])
    if first or last:
        if first and last:
            return f"torch {first}" if first == last else f"torch {first} to {last}"
        return f"torch {first} or newer" if first else f"torch {last} or older"
    wanted = plain(extension.requires_torch[0]) if other_torch(extension, facts) else "another one"
    return re.sub(r"\s*==\s*", " ", wanted)


def example() -> Facts:
    facts = recorded("healthy-cpu")
    symbol = "_ZN2at4_ops10zeros_like4callERKNS_6TensorEN3c108optionalINS5_10ScalarTypeEEE"
    library = Binary(
        "torchaudio/lib/libtorchaudio.so",
        machine="x86_64",
        needs=("libtorch.so", "libtorch_cpu.so", "libc10.so"),
        missing=(Missing("symbol", symbol, "libtorchaudio.so"),),
        loads=False,
        why=("undefined symbol at::_ops::zeros_like::call(...)",),
    )
    audio = Extension(
        package="torchaudio",
        version="2.1.0+cpu",
        origin="torchaudio/version.py",
        location=facts.extensions[0].location,
        modules=("torchaudio",),
        libraries=("torchaudio/lib/_torchaudio.so", "torchaudio/lib/libtorchaudio.so"),
        built_for_cuda="cpu",
        requires_torch=("torch (==2.1.0)",),
        wheel_tags=("cp311-cp311-manylinux1_x86_64",),
        binaries=(library,),
    )
    said = f"OSError: torchaudio/lib/libtorchaudio.so: undefined symbol: {symbol}"
    return dataclasses.replace(
        facts, extensions=(*facts.extensions, audio), probes=(Probe("torch", 0), Probe("torchaudio", 1, said))
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    # c10::gone_since_long(std::string const&), with the string of the old C++ ABI.
    gone = "_ZN3c1015gone_since_longERKSs"
    code = f"int {gone}(void);\nint kit_version(void) {{ return {gone}(); }}\n"
    _, token = _compiled.build_of(place)
    return _compiled.installed(place, "torch-sparse", f"+pt25{token}", _compiled.library(place, code))
