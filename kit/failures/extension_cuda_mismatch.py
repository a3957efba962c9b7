"""A compiled extension was built for another CUDA than the torch that runs.

What it means
-------------
The extension was compiled for one CUDA major and torch for another: importing it raises ``Detected that PyTorch and
torch_scatter were compiled with different CUDA versions``, or the loader misses ``libcudart.so.12``; on a CPU build
of torch it misses ``libtorch_cuda.so``.  A build for ROCm beside a torch without it is the same.

How it is found
---------------
A compiled file needs ``libtorch_cuda.so`` beside a CPU build of torch, or CUDA libraries of another major; its GPU
code was compiled by another major; or the build tag in its version (``+pt213cu126``) names one.  Only the major is
compared, as torch_scatter does itself.  The import in a child process confirms it and gives the error text.
In text: its own words on both CUDA versions, or the CUDA library that its file asks for.

Example
-------
torch-scatter 2.1.2+pt213cu126 beside torch 2.13.0+cu130.

Fix
---
The wheel for this torch and CUDA, or a build from source; where no wheel fits, torch-scatter can be replaced by the
kit's (``kit shim enable torch_scatter --cover``).  All replace only the extension.

Known limits
------------
A difference in the minor alone (cu126 on cu128) works and is no finding.  Where both CUDA majors are installed, a
file loads; then only its own check, or its import, tells.
"""

import dataclasses
from collections.abc import Iterator
from typing import Optional

from kit.causes import of_another_cuda
from kit.facts import Binary, Extension, Facts, Probe, Torch, normalise
from kit.failures import _compiled, _told, _told_prose
from kit.failures._loading import judge, lacks
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.published import extension_fixes
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 42
SHOWS = r"libtorch_cuda\.so: cannot open shared object file"
INSTEAD = "Another CUDA toolkit or driver would change nothing: both were fixed when the packages were built."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None:
        return
    for extension in facts.extensions:
        verdict = judge(extension, facts)
        if verdict.failure != "extension-cuda-mismatch":
            continue
        if torch.cuda is None and not torch.hip and facts.gpu_seen:
            continue  # torch-cpu-only is the cause
        gpu = [] if torch.cuda else [f"{file}: GPU code" for file in extension.libraries_for("cuda")[:1]]
        built = _built_for(extension, verdict.binaries) or ("CUDA" if gpu else "another CUDA")
        other = of_another_cuda(extension, facts)
        runtime = [f"{other.path}: compiled with CUDA {other.cuda}"] if other and not verdict.binaries else []
        yield Finding(
            "extension-cuda-mismatch",
            "warning" if verdict.imports and extension.binaries else "error",
            extension.package,
            f"{extension.key} was built for another CUDA than torch. It was built for {built}; your torch "
            f"{torch.version} is {'a CPU build' if torch.build == 'CPU only' else 'built for ' + torch.build}.",
            (
                f"torch/version.py: {torch.version}, {torch.build}",
                f"{extension.origin}: {extension.package} {extension.version}",
                *(lacks(verdict.binaries, extension) or gpu or runtime),
                *verdict.confirmation(),
            ),
            tuple(extension_fixes(extension, facts)) or (_by_hand(extension, torch),),
        )


def _built_for(extension: Extension, binaries: "tuple[Binary, ...]") -> Optional[str]:
    """``'CUDA 12.6'`` by its tag, ``'CUDA 12'`` or ``'ROCm'`` by what its files need; None where neither tells."""
    if extension.built_for_cuda not in (None, "cpu"):
        return f"CUDA {extension.built_for_cuda}"
    needs = [name for binary in binaries for name in binary.needs]
    if any(name.startswith(("libamdhip", "libc10_hip", "libtorch_hip")) for name in needs):
        return "ROCm"
    cuda = max((binary.cuda for binary in binaries if binary.cuda), key=len, default=None)
    return f"CUDA {cuda}" if cuda else "CUDA" if any("cuda" in name for name in needs) else None


def _by_hand(extension: Extension, torch: Torch) -> Fix:
    return Fix(
        "install-matching-wheel", f"Install the build of {extension.key} for torch {torch.minor}, {torch.build}"
    )


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "extension-cuda-mismatch")
    if plain is not None:
        yield _mismatch(report, plain[0], _told.asking(report), plain[1], "That is what the text says of it.")
    found = [*_says_so(report), *_by_library(report), *_by_symbol(report), *_by_bitsandbytes(report)]
    yield from found
    if not found:
        yield from _by_windows(report)


def _mismatch(report: Report, confidence: float, package: Optional[str], hit: Hit, says: str) -> Told:
    return Told(
        confidence,
        package,
        f"{package or 'A compiled extension'} was built for another CUDA than torch. {says}",
        (hit,),
        tuple(_told.matching(report, package)[:3]),
    )


def _says_so(report: Report) -> Iterator[Told]:
    """torch_scatter, torchvision and their like compare both versions when they are imported."""
    if report.has("different cuda", "has cuda version", "(you have"):
        hit = report.hit(
            r"detected\s+that\s+pytorch\s+and\s+(?P<package>[\w-]+)\s+were\s+compiled\s+with\s+different\s+cuda"
            r"|pytorch\s+has\s+cuda\s+version[=\s]{1,2}[\d.]+\s+and\s+(?P<other>[\w-]+)\s+has\s+cuda\s+version"
        )
        if hit:
            package = normalise(next(iter(hit.groups.values())))
            says = "It compares both when it is imported, and refuses to run."
            yield _mismatch(report, 0.97, package, hit, says)
            return
        hit = report.hit(
            r"pytorch\s+(?P<torch>\d[\d.]*)\+(?P<built>cu\d+)[^\n(]{0,40}\(you have (?P=torch)\+(?P<here>cu\d+)\)"
        )
        if hit and hit["built"] != hit["here"]:
            says = f"It was compiled for {hit['built']}, torch is {hit['here']}."
            yield _mismatch(report, 0.9, "xformers", hit, says)


def _by_library(report: Report) -> Iterator[Told]:
    for lack in _told.libraries(report):
        library, failure = lack.what.rpartition("/")[2], _told.judged_library(lack, report)
        if failure not in ("extension-cuda-mismatch", "torch-cpu-only") or library.startswith("libbitsandbytes"):
            continue
        package = lack.package or _told.named(report)
        here = _told.same_cuda(report, library)
        says = f"Its file needs {library[:60]}, which no part of this torch brings."
        confidence = 0.55 if failure == "torch-cpu-only" else 0.5 if here else 0.88 if package else 0.8
        yield _mismatch(report, confidence, package, lack.hit, says)
        return


def _by_symbol(report: Report) -> Iterator[Told]:
    for lack in _told.symbols(report):
        if _told.judged(lack) == "extension-cuda-mismatch":
            says = f"Its file needs {lack.what[:60]}, which the CUDA libraries of this torch do not have."
            yield _mismatch(report, 0.8, lack.package, lack.hit, says)
            return


def _by_bitsandbytes(report: Report) -> Iterator[Told]:
    """bitsandbytes has one file for each CUDA, and looks for the one of torch."""
    if not report.has("bitsandbytes"):
        return
    hit = report.hit(
        r"(?:configured cuda binary not found|required library version not found"
        r"|could not find the bitsandbytes cuda "
        r"binary|libbitsandbytes_\w+\.so: cannot open)[^\n]*"
    )
    if hit is None:
        return
    yield Told(
        0.75,
        "bitsandbytes",
        "This bitsandbytes has no file for the CUDA of torch. It brings one for each CUDA that was out when it was "
        "released, and takes the one of the torch that runs.",
        (hit,),
        (
            _told.fix("change-package-version", "Install a bitsandbytes that was released after that CUDA"),
            _told.fix("change-torch", "Install a torch for a CUDA that this bitsandbytes has a file for"),
        ),
    )


def _by_windows(report: Report) -> Iterator[Told]:
    for lack in _told.dlls(report):
        if lack.what == "126" and lack.package in _told.LINKED:
            cuda = lack.file.lower().endswith("_cuda.pyd")
            says = "Windows does not find a library that its file needs: perhaps CUDA's, for another CUDA."
            yield _mismatch(report, 0.73 if cuda else 0.5, lack.package, lack.hit, says)
            return


def example() -> Facts:
    facts = recorded("healthy-gpu")
    tagged = dataclasses.replace(
        facts.extensions[0],
        version="2.1.2+pt213cu126",
        origin="torch_scatter-2.1.2+pt213cu126.dist-info",
        built_for_torch="2.13",
        built_for_cuda="12.6",
        wheel_tags=("cp311-cp311-linux_x86_64",),
        binaries=(),  # both CUDAs are installed, so that its own check fails and not the loader
    )
    said = (
        "RuntimeError: Detected that PyTorch and torch_scatter were compiled with different CUDA versions. "
        "PyTorch has CUDA version 13.0 and torch_scatter has CUDA version 12.6."
    )
    return dataclasses.replace(
        facts, extensions=(tagged,), probes=(Probe("torch", 0), Probe("torch_scatter", 1, said))
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    minor, _ = _compiled.build_of(place)
    needs_cuda = _compiled.library(place, _compiled.CALLS, _compiled.stub(place, "libtorch_cuda.so"))
    return _compiled.installed(place, "torch-cluster", f"+pt{minor.replace('.', '')}cu126", needs_cuda)
