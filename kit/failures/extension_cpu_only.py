"""A compiled extension was built without CUDA, although torch has it.

What it means
-------------
torch-scatter and its siblings are built with CUDA only where a GPU is visible during the build, or where
``FORCE_CUDA=1`` says so.  Built in a ``docker build``, on a login node, or from a ``+cpu`` wheel, they import
cleanly and even ``scatter_add`` works; ``scatter_max``, ``scatter_min`` and ``segment_coo`` on a GPU tensor raise
``RuntimeError: Not compiled with CUDA support``.

How it is found
---------------
torch is a CUDA build, and none of the extension's compiled files holds GPU code or needs ``libtorch_cuda.so``.
Where they could not be read: its folder holds ``*_cpu.so`` and no ``*_cuda.so``, or its version carries ``cpu`` as
its build tag.  Without a GPU in sight it is a warning, as nothing fails yet; with one, an error.
In text: ``Not compiled with CUDA support`` with the operator or frame above it, and files that are not there.

Example
-------
torch-scatter 2.1.2 compiled from source where no GPU was visible, beside torch 2.13.0+cu130.

Fix
---
The wheel for this torch and CUDA where one is published.  Else, for torch-scatter, the kit's replacement, which
computes with torch's own operators on any device (``kit shim enable torch_scatter --cover``); or a build with
``FORCE_CUDA=1`` and the GPU's architecture.  All replace only the extension.  The kernel has to be restarted.

Known limits
------------
Only packages whose purpose is CUDA code are judged by what their files hold; torchaudio, torchtext and torchcodec
have none by design.
"""

import dataclasses
import re
from collections.abc import Iterator
from itertools import islice
from typing import Optional

from kit.causes import calls_gpu
from kit.facts import Extension, Facts
from kit.failures import _told, _told_prose
from kit.findings import Finding
from kit.published import WITHOUT_GPU_CODE, extension_fixes
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 40
# Their purpose is CUDA code: a build without it is half of them.
FOR_CUDA = frozenset(
    "torch-scatter torch-sparse torch-cluster torch-spline-conv pyg-lib torchvision xformers flash-attn mmcv "
    "mmcv-full detectron2 pytorch3d natten torchsparse mamba-ssm causal-conv1d tinycudann".split()
)
# Those whose build for the CPU lacks next to nothing.
NOT_FOR_CUDA = WITHOUT_GPU_CODE | {"torchaudio", "torchcodec"}
INSTEAD = "Reinstalling it with plain pip would compile the same CPU build again, and take pip's cached wheel first."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or not torch.cuda:
        return
    for extension in facts.extensions:
        evidence = _evidence(extension)
        if not evidence:
            continue
        gpu = f"the {facts.host.gpus[0].name}" if facts.host.gpus else "a GPU"
        built = "It was compiled where no GPU was visible." if extension.built_from_source else "It is a CPU build."
        yield Finding(
            "extension-cpu-only",
            "error" if facts.gpu_seen else "warning",
            extension.package,
            f"{extension.key} holds no GPU code. Your torch is built for CUDA {torch.cuda}, your {extension.key} "
            f"{extension.version} was built without CUDA, so it cannot compute on {gpu}. {built}",
            (f"torch/version.py: {torch.version}, CUDA {torch.cuda}", *evidence),
            tuple(extension_fixes(extension, facts)),
        )


def _evidence(extension: Extension) -> list[str]:
    if extension.key in NOT_FOR_CUDA or any(b.device_code or calls_gpu(b) for b in extension.binaries):
        return []
    if extension.built_for_cuda == "cpu":
        return [f"{extension.origin}: {extension.version}, a CPU build by its tag"]
    cpu = extension.libraries_for("cpu")
    read = [binary.path for binary in extension.binaries if binary.format == "ELF" and binary.machine]
    if not cpu and read and extension.key in FOR_CUDA:
        more = f"; nor do {len(read) - 1} more files" if len(read) > 1 else ""
        return [f"{read[0]}: holds no GPU code, and does not need libtorch_cuda{more}"]
    if not cpu or extension.libraries_for("cuda"):
        return []
    missing = re.sub(r"_cpu\.(so|pyd)$", r"_cuda.\1", cpu[0]).rpartition("/")[2]
    evidence = [f"{cpu[0]}: a CPU library; {missing} is not there"]
    if extension.built_from_source:
        evidence.append(
            f"{extension.origin}: wheel {extension.wheel_tags[0]} without a build tag, so compiled from source"
        )
    return evidence


# Operators of PyG's, where only their names are left.
_OPERATORS = {
    "torch-cluster": ("knn", "radius", "fps", "random_walk", "graclus", "grid_cluster", "nearest"),
    "torch-spline-conv": ("spline_conv", "spline_basis"),
    "torch-sparse": ("spmm", "sparsetensor", "sparse_tensor", "index_select", "torch_sparse", "saint", "ptr2ind"),
    "torch-scatter": ("scatter", "segment_co", "gather_co"),
}


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "extension-cpu-only")
    if plain is not None:
        yield _cpu(report, plain[0], _told.named(report), plain[1], "That is what the text says of it.")
    if report.has(
        "not compiled with",
        "not complied with",
        "d without cuda",
        "d without gpu",
        "not built with",
        "wasn't build with",
        "compiled with cpu_only",
    ):
        yield from _not_compiled(report)
    if report.has(
        "from the 'cuda' backend",
        "implementation for device cuda",
        "not enabled",
        "quantize_blockwise",
        "cget_col_row_stats",
    ):
        yield from _not_registered(report)
    if report.has("custom c++ ops", "name '_c' is not defined"):
        yield from _cpu_mode(report)
    if report.has("'origin'", "attribute origin", "could not find module '", "no module named", "cannot import name"):
        yield from _no_file(report)


def _cpu(report: Report, confidence: float, package: Optional[str], hit: Hit, says: str) -> Told:
    return Told(
        confidence,
        package,
        f"{package or 'A compiled extension'} was built without CUDA. {says}",
        (hit,),
        tuple(_told.matching(report, package)[:3]),
        over=("not-environment",) if confidence >= 0.8 else (),
    )


# Packages that say it of themselves in other words, and what is none of torch's extensions.
_ITSELF = r"\b(natten|minkowskiengine|xformers|bitsandbytes|dgl|spconv|opencv|ctranslate2|mmcv|detectron2)\b"
_OTHERS = r"torch(?: is| was)? not compiled with cuda|xgboost|lightgbm|tensorflow|jaxlib|llama"


def _not_compiled(report: Report) -> Iterator[Told]:
    # "Torch not compiled with CUDA enabled" is torch's own.
    pattern = r"not (?:been )?(?:compiled|complied|built) with (?:CUDA|GPU)"
    if report.has("wasn't build", "d without", "cpu_only"):
        pattern += r"|wasn't build with CUDA support|(?:compiled|built) without (?:CUDA|GPU)|compiled with CPU_ONLY"
    hit = None
    for found in islice(report.hits(pattern), 50):
        if not re.search(_OTHERS, found.line, re.I):
            hit = found
    if hit is None:
        return
    itself = re.search(_ITSELF, hit.line, re.I) or re.search("(opencv)", report.lower)
    package = itself.group(1).lower() if itself else _called(report, hit.at)
    if package == "opencv":
        package = "opencv-python"
    confidence = 0.93 if re.search(r"not comp\w+ with (?:cuda|gpu) support", hit.line, re.I) else 0.8
    if package == "bitsandbytes" and (_told.cpu_torch(report) or _told.macos(report)):
        confidence = 0.5
    says = "Its operators have no code for the GPU, although torch can use it."
    yield _cpu(report, confidence, package, hit, says)


def _called(report: Report, at: int) -> Optional[str]:
    """The package whose operator was called: by the frames nearest to the error, else by the operator's name."""
    package = _told.around(report, at)
    if package is not None:
        return package
    near = "\n".join(report.lines[max(0, at - 30) : at + 1]).lower()
    for text in (near, report.lower):
        for name, operators in _OPERATORS.items():
            if any(operator in text for operator in operators):
                return name
    return _told.around(report, at, linked=False) or _told.named(report)


def _not_registered(report: Report) -> Iterator[Told]:
    hit = report.hit(
        r"could not run '(?P<space>\w+)::\w+' with arguments from the 'CUDA' backend"
        r"|(?P<mmcv>\w+): implementation for device cuda(?::\d+)? not found"
        r"|device api (?:cuda|gpu) is not enabled(?P<dgl>)"
        r"|undefined symbol: (?P<bnb>cquantize_blockwise_cpu_fp32|cget_col_row_stats|cdequantize_blockwise\w*)"
    )
    if hit is None or hit.groups.get("space") in ("aten", "quantized", "prim", "prims"):
        return
    if "bnb" in hit.groups:
        package = "bitsandbytes"
    elif "mmcv" in hit.groups:
        package = "mmcv-full" if report.has("mmcv-full", "mmcv_full") else "mmcv"
    else:
        package = "dgl" if "space" not in hit.groups else _told.owner(hit["space"] + ".so") or hit["space"]
    confidence = 0.7 if package == "bitsandbytes" else 0.9
    yield _cpu(report, confidence, package, hit, "Its operators are there for the CPU alone.")


def _cpu_mode(report: Report) -> Iterator[Told]:
    """Packages that are imported without their compiled part, and need it later."""
    hit = report.hit(r"failed to load custom c\+\+ ops[^\n]*|name '_C' is not defined")
    if hit is None or _told.importing_torch(report, hit.at):
        return
    package = "groundingdino" if report.has("groundingdino") else _told.around(report, hit.at, linked=False)
    says = (
        "Its compiled file is not there: it was installed where no CUDA toolkit was found, or without compiling it."
    )
    yield Told(
        0.9,
        package,
        f"{package or 'A compiled extension'} was built without CUDA. {says}",
        (hit,),
        (
            _told.fix(
                "rebuild-extension", f"Compile {package or 'it'} with CUDA_HOME set to a toolkit of torch's CUDA"
            ),
            _told.fix("install-toolchain", "Install the CUDA toolkit that torch was built with, where there is none"),
        ),
    )


def _no_file(report: Report) -> Iterator[Told]:
    """The file with the code for the GPU is not there, as it was never compiled."""
    hit = report.hit(r"'?NoneType'? object has no attribute '?origin\b")
    if hit:
        package = _told.around(report, hit.at) or _told.named(report)
        installed = report.has("site-packages", "dist-packages") or (
            package is not None and not report.has("/build/")
        )
        says = "The file that it wants to load is not there: it was not compiled, or only in part."
        yield _cpu(report, 0.88 if installed else 0.6, package, hit, says)
        return
    hit = report.hit(
        r"could not find module '_\w+_(?:cpu|cuda)' in (?P<where>\S+)"
        r"|no module named '?(?P<module>(?!fused_|apex|amp_C|torch\.)[\w.]*(?:_cuda|_ext|_cuda_lib|_gpu|\._C"
        r"|multiscaledeform\w*))\b"
        r"|cannot import name '(?P<name>_C|_ext|\w+_cuda)' from (?:partially initialized module )?'(?P<of>[\w.]+)'"
    )
    if hit is None:
        return
    module = hit.groups.get("module") or hit.groups.get("of") or hit.groups.get("where", "")
    if "where" not in hit.groups and re.match(r"(torch|numpy|scipy|sklearn)(\.|$)", module):
        return
    if "where" in hit.groups:
        package = _told.owner(module + "/x.py") or _told.around(report, hit.at)
    else:
        package = _told.owner(module.split(".")[0] + ".so")
    # In a checkout its folder hides the installed package, which has the file.
    outside = re.search(r" in /|\(/", hit.line) is not None and "-packages" not in hit.line
    says = "The file with its compiled code is not there: it was installed without compiling it, or without CUDA."
    confidence = 0.35 if outside else 0.55 if module.endswith("._C") else 0.7 if package in _told.LINKED else 0.6
    yield _cpu(report, confidence, package, hit, says)


def example() -> Facts:
    facts = recorded("healthy-gpu")
    extension = facts.extensions[0]
    cpu = tuple(f for f in extension.libraries if "_cuda" not in f)
    binaries = tuple(b for b in extension.binaries if "_cuda" not in b.path)
    built = dataclasses.replace(extension, libraries=cpu, binaries=binaries)
    return dataclasses.replace(facts, extensions=(built,))
