"""torch or an extension holds no code for this GPU: it is newer or older than the architectures they were built for.

What it means
-------------
A CUDA build of torch, and each extension with kernels of its own, contains machine code for a list of GPU
architectures.  On a GPU outside that list the first kernel fails with ``no kernel image is available for execution
on the device``, or silently computes nothing, although ``torch.cuda.is_available()`` is True.

How it is found
---------------
torch's own list, compiled into ``libtorch_python``, is read without a GPU, and the GPU code in the files of each
extension; both are held against the GPU's compute capability: code runs on the same major and a minor not below its
own (so 8.6 code serves an 8.9 GPU, although no wheel lists 8.9); PTX serves every newer GPU whose driver can
compile it.  Rules: torch 2.15's ``torch/cuda/__init__.py``.
In text: torch's warnings when CUDA is started, ``no kernel image`` with the file or frame that it came from, and
packages that refuse a GPU.

Example
-------
torch 2.13.0+cu130, built for sm_75 to sm_120, with a Tesla V100 (7.0).

Fix
---
A build of torch with code for this GPU: CUDA 12.8 or newer for Blackwell (12.0), CUDA 12.6 for Maxwell, Pascal and
Volta.  Compiled extensions have to follow.  Where torch has the code and an extension lacks it, that is compiled
for this GPU; torch-scatter can be replaced by the kit's, which runs torch's own code (``kit shim enable
torch_scatter``).

Known limits
------------
An extension of many files is judged as a whole: one whose every kernel is in files for other GPUs is found, one
that lacks a single kernel is not.  A list that cannot be read, and a GPU whose capability is not known, are no
finding.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Optional

from kit.causes import meant
from kit.facts import Binary, Extension, Facts, Gpu, Torch
from kit.failures import _told, _told_prose
from kit.failures._loading import judge
from kit.findings import Finding, Fix
from kit.gpus import capabilities, driver_for, numbers, runs_on, served
from kit.published import extension_fixes, replacement, serves, torch_fix
from kit.record import Record
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 26
INSTEAD = (
    "Another driver or toolkit would change nothing; nor is a nightly needed where a stable build serves the GPU."
)


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None or not torch.cuda or not facts.host.gpus:
        return
    where, architectures = _architectures(torch)
    lacking = set()
    for capability, gpu in capabilities(facts.host.gpus).items():
        if not architectures or served(architectures, capability):
            continue
        lacking.add(capability)
        yield Finding(
            "gpu-arch-missing",
            "error",
            "torch",
            f"torch holds no code for this GPU. The {gpu.name} has compute capability {capability}; torch "
            f"{torch.version} was built for {', '.join(architectures)}.",
            (described(gpu, capability), f"{where}: built for {' '.join(architectures)}"),
            (torch_fix(facts, "Install a torch that has code for this GPU"),),
        )
    for extension in facts.extensions:
        for it in unserved(extension, facts):
            # Where torch lacks the code too, it is changed first, and the extension has to follow.
            if it.for_driver or it.capability in lacking or judge(extension, facts).failure:
                continue
            yield Finding(
                "gpu-arch-missing",
                "error",
                extension.package,
                f"{extension.key} holds no code for this GPU. The {it.gpu.name} has compute capability "
                f"{it.capability}; {extension.key} {extension.version} was compiled for {it.held}.",
                it.evidence,
                tuple(fixes(extension, facts, it.capability)),
            )


def _architectures(torch: Torch) -> tuple[str, tuple[str, ...]]:
    """(file, architectures) of torch: its own list, else what its largest library holds."""
    if torch.architectures:
        return "torch/lib/libtorch_python.so", torch.architectures
    for binary in torch.binaries:
        if "libtorch_cuda" in binary.path and binary.device_code:
            return binary.path, (*binary.architectures, *binary.ptx)
    return "", ()


class Unserved(Record):
    """A GPU on which none of an extension's files runs.

    ``held`` is the code in them.  ``for_driver``: they have PTX for it, which its driver is too old to compile.
    """

    gpu: Gpu
    capability: str
    evidence: tuple[str, ...]
    held: str
    for_driver: bool


def described(gpu: Gpu, capability: str) -> str:
    """A GPU as evidence."""
    guessed = "" if gpu.capability else " (by its name; the driver does not tell)"
    return f"GPU: {gpu.name}, compute capability {capability}{guessed}"


def unserved(extension: Extension, facts: Facts) -> Iterator[Unserved]:
    """The GPUs here that this extension has no code for.  Nothing where it has no GPU code of its own at all."""
    holding = [b for b in extension.binaries if b.device_code and _its_own(b) and meant(b, facts)]
    # Code for one GPU alone (sm_90a) comes on top of what serves the others.
    if not any(code[-1].isdigit() for b in holding for code in (*b.architectures, *b.ptx)):
        return
    held = " ".join(dict.fromkeys(code for b in holding for code in (*b.architectures, *b.ptx)))
    for capability, gpu in capabilities(facts.host.gpus).items():
        driver = driver_for(gpu, facts.host.driver)
        answers = [(b, *runs_on(b, capability, driver)) for b in holding]
        if any(runs for _, runs, _ in answers):
            continue
        newer = any(runs_on(b, capability)[0] for b in holding)
        said = (described(gpu, capability), *(f"{b.path}: {why}" for b, _, why in answers[:3]))
        yield Unserved(gpu, capability, said, held, newer)


def _its_own(binary: Binary) -> bool:
    """Whether it is the package's own code, and no library of NVIDIA's that it bundles."""
    return ".libs/" not in binary.path and not binary.path.rpartition("/")[2].startswith(("libcu", "libnv", "libnpp"))


def fixes(extension: Extension, facts: Facts, capability: str) -> list[Fix]:
    """What brings code for this capability into an extension that fits its torch: never the wheel that is here."""
    torch = facts.torch
    found = extension_fixes(extension, facts)
    if torch and (extension.built_for_torch, extension.built_for_cuda) == (torch.minor, torch.cuda):
        ours = replacement(extension.key, facts)
        kept = [fix for fix in found if fix.kind not in ("install-matching-wheel", "use-replacement")]
        found = kept if ours is None else [ours, *kept]
    compiled = f"Compile {extension.key} with TORCH_CUDA_ARCH_LIST={capability}"
    return found or [Fix("rebuild-extension", compiled, env={"TORCH_CUDA_ARCH_LIST": capability})]


# Kernels of these say so themselves, or name their own file: theirs is the code that is missing, not torch's.
_OWN_FILE = r"(?P<file>[\w./\\-]+\.(?:cu|cuh|cpp|h))\b"


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "gpu-arch-missing")
    if plain is not None:
        yield _missing(report, plain[0], "torch", [plain[1]], "That is what the text says of it.")
    found = [*_stated(report), *_range(report), *_refused(report)]
    yield from found[:1] or _no_image(report)


def _missing(report: Report, confidence: float, package: str, hits: "list[Hit]", says: str) -> Told:
    name, capability = _told.gpu_named(report)
    for hit in hits:
        capability = hit.groups.get("cc") or capability
    gpu = f" The {name} has compute capability {capability}." if name and capability else ""
    if package == "torch":
        helps = [_told.torch_for(report, "Install a torch that has code for this GPU")]
    else:
        helps = [_told.arch_build(package or "the extension", capability), *_instead(report, package)]
    return Told(
        confidence,
        package or None,
        f"{package or 'A compiled extension'} holds no code for this GPU. {says}{gpu}",
        tuple(hits),
        tuple(helps),
        over=(
            *(("extension-torch-mismatch",) if confidence > 0.9 else ()),
            *(("harmless-warning",) if "no kernel image" in hits[0].line.lower() else ()),
        ),
    )


def _instead(report: Report, package: str) -> Iterator[Fix]:
    ours = replacement(package, report.facts) if package else None
    if ours is not None:
        yield ours
    yield (
        _told.fix("install-matching-wheel", f"Install a release of {package} whose wheel has code for this GPU")
        if package
        else _told.torch_for(
            report, "Install a torch that has code for this GPU, and compile the extension against it"
        )
    )


def _stated(report: Report) -> Iterator[Told]:
    """torch's own warnings when CUDA is started."""
    if report.has(
        *("is not compatible with the current pytorch", "does not include kernels", "too old", "no longer supports"),
        *("install supports cuda capabilities", "gpu with pytorch, please check", "incompatible_device_warn"),
    ):
        hit = report.hit(
            r"with cuda capability (?P<sm>sm_\d+[af]?) is not\s+compatible with the\s+current pytorch installation"
            r"|does not include\s+kernels for this gpu|pytorch no longer\s+supports this gpu because it is too old"
            r"|which is too old to be supported by the triton gpu compiler"
            r"|current pytorch install supports cuda capabilities[^\n]*"
            r"|if you want to use the [^\n]{1,80} with pytorch, please"
            r"|incompatible_device_warn\b"
        )
        if hit:
            package = "triton" if "triton" in hit.line.lower() else "torch"
            if package == "triton":
                yield _triton(hit)
                return
            yield _missing(report, 0.96, "torch", [hit], "It says so itself when CUDA is started.")
            return
    if report.has("cuda capability >= 7"):
        hit = report.hit(r"triton only supports devices of cuda capability[^\n]*")
        if hit:
            yield _triton(hit)


def _triton(hit: Hit) -> Told:
    return Told(
        0.9,
        "triton",
        "triton does not serve this GPU. It compiles for compute capability 7.0 and newer, and "
        "torch.compile needs it.",
        (hit,),
        (
            _told.fix("use-replacement", "Leave torch.compile out (TORCHDYNAMO_DISABLE=1): everything else works"),
            _told.fix(
                "change-code-or-data", "Compile with another backend: torch.compile(model, backend='aot_eager')"
            ),
        ),
    )


def _range(report: Report) -> Iterator[Told]:
    """A warning with the GPU's capability and the range that torch was built for."""
    if not report.has("minimum and maximum cuda capability"):
        return
    near = re.search(
        r"cuda\s+capability\s+(\d+)\.(\d+)[\s\S]{0,300}?minimum\s+and\s+maximum[\s\S]{0,120}?\((\d+)\.(\d+)\)\D{1,5}\((\d+)\.(\d+)\)",
        report.lower,
    )
    hit = report.hit(r"minimum and maximum cuda capability")
    if near is None or hit is None:
        return
    gpu, least, most = (tuple(map(int, near.groups()[i : i + 2])) for i in (0, 2, 4))
    # Code of the same major runs: 12.0 serves 12.1, whatever the warning says.
    if gpu < least or gpu[0] > most[0]:
        says = f"It was built for {least[0]}.{least[1]} to {most[0]}.{most[1]}; the GPU is {gpu[0]}.{gpu[1]}."
        yield _missing(report, 0.93, "torch", [hit], says)


def _refused(report: Report) -> Iterator[Told]:
    """Packages that look at the GPU before they compute."""
    if report.has("flashattention", "flash_attn", "flash-attn", "flash attention"):
        hit = report.hit(r"flash\s?attention[\w-]* only supports (?P<what>ampere|hopper|turing|blackwell)[^\n]*")
        if hit:
            yield Told(
                0.93,
                "flash-attn",
                "flash-attn does not serve this GPU. It has kernels for Ampere and newer GPUs alone, and cannot be "
                "compiled for older ones.",
                (hit,),
                (
                    _told.fix("use-replacement", "Use torch's own: attn_implementation='sdpa'"),
                    _told.fix(
                        "uninstall-package", "Uninstall flash-attn, where a package takes it because it is there"
                    ),
                    _told.fix("change-package-version", "Install flash-attn 1.x, which serves Turing"),
                ),
            )
            return
    if report.has("tinycudann extension for compute capability"):
        hit = report.hit(r"tinycudann extension for compute capability (?P<number>\d+)")
        if hit:
            number = hit["number"]
            with_dot = f"{number[:-1]}.{number[-1]}"
            yield Told(
                0.93,
                "tiny-cuda-nn",
                f"tiny-cuda-nn holds no code for this GPU. It was compiled for others than {with_dot}.",
                (hit,),
                (_told.fix("rebuild-extension", f"Compile it with TCNN_CUDA_ARCHITECTURES={number}"),),
            )
            return
    if report.has("requires device with capability"):
        hit = report.hit(r"requires device with capability [^\n]*?too (?:old|new)")
        if hit:
            yield Told(
                0.8,
                "xformers",
                "xformers has no kernel for this GPU. None of its attention operators serves this compute "
                "capability.",
                (hit,),
                (
                    _told.fix("use-replacement", "Use torch's own scaled_dot_product_attention in place of xformers"),
                    _told.fix("install-matching-wheel", "Install the xformers of a torch that serves this GPU"),
                ),
            )
            return
    if report.has("nvrtc", "arch_mismatch", "ptxas"):
        hit = report.hit(
            r"nvrtc: error: invalid value for --gpu-architecture|(?:CUBLAS|CUDNN|CUSPARSE)\w*ARCH_MISMATCH"
            r"|ptxas fatal\s*:\s*Value '(?P<value>sm_\w+)' is not defined"
        )
        if hit is None:
            return
        if "ptxas" in hit.line.lower():
            if report.has("triton"):
                found = _missing(report, 0.8, "triton", [hit], "Its ptxas is older than the GPU.")
                newer = _told.torch_for(report, "Install a torch whose triton knows this GPU")
                yield dataclasses.replace(found, fix=(newer, *found.fix), over=("nvcc-arch-unsupported",))
            return
        yield _missing(report, 0.88, "torch", [hit], "The CUDA in it does not know this GPU.")


# Words, and what they stand in: only what is there is searched for.
_IMAGES = {
    "no kernel image": r"no kernel image(?: is available)?(?: for execution)?[^\n]*",
    "nokernelimage": r"cudaErrorNoKernelImageForDevice",
    "invalid device function": r"invalid device function",
    "kernel image is invalid": r"device kernel image is invalid",
    "invaliddevicefunction": r"cudaErrorInvalidDeviceFunction",
    "nobinaryforgpu": r"hipErrorNoBinaryForGpu",
    "find code object": r"unable to find code object",
}


def _no_image(report: Report) -> Iterator[Told]:
    there = [pattern for words, pattern in _IMAGES.items() if report.has(words)]
    hit = report.last("|".join(there)) if there else None
    if hit is None:
        return
    sure = re.search(r"no ?kernel|nobinary|code object", hit.line, re.I) is not None
    package = _of(report, hit)
    says = "The first kernel that is started finds no code that the GPU could run."
    yield _missing(report, (0.9 if package == "torch" else 0.88) if sure else 0.75, package, [hit], says)


def _of(report: Report, hit: Hit) -> str:
    """Whose kernel it was: an extension's where its own file or frame is the innermost, else torch's."""
    _, capability = _told.gpu_named(report)
    torch, build = report.facts.torch, _told.token(report)
    serves_it = bool(torch and build and capability) and serves(torch.minor if torch else "", build, report.facts)
    # A line as "... at L:36 in /home/me/pointnet2/src/group_points_gpu.cu" is the extension's.
    near = "\n".join(report.lines[max(0, hit.at - 3) : hit.at + 4])
    file = re.search(_OWN_FILE, near)
    if file and not re.search(r"aten/|c10/|torch/csrc|^/pytorch/|caffe2/|/thc", file.group("file"), re.I):
        return _told.owner(file.group("file")) or _told.around(report, hit.at) or ""
    error_in = re.search(r"error in (\w+)\s*:", hit.line)
    if error_in:
        return _told.around(report, hit.at) or ""
    called = _called(report, hit.at)
    if called is not None:
        return called
    package = _told.around(report, hit.at) or (_told.asking(report) if serves_it else None)
    if package is None and serves_it and not any(error.frames for error in report.errors):
        return ""  # torch has code for it: it is somebody else's kernel
    if package is None and capability and numbers(capability) < (10,) and not report.has("traceback"):
        asks = _told.asking(report)
        return asks if asks in _told.FROM_SOURCE else "torch"
    if package in ("torchvision", "torchaudio", None) or package is None:
        return "torch"
    innermost = _innermost(report, hit.at)
    return package if serves_it or innermost == package else "torch"


# What Python code calls an extension's compiled module.
_MODULES = {
    "_c_flashattention": "flash-attn",
    "flash_attn_cuda": "flash-attn",
    "flash_attn_gpu": "flash-attn",
    "flash_attn_2_cuda": "flash-attn",
    "selective_scan_cuda": "mamba-ssm",
    "causal_conv1d_cuda": "causal-conv1d",
    "spconv_ext": "spconv",
    "_c.rasterize_gaussians": "diff-gaussian-rasterization",
    "distcuda2": "simple-knn",
    "tinycudann": "tiny-cuda-nn",
    "_c.ms_deform_attn_forward": "groundingdino",
    "msda.ms_deform_attn": "multiscaledeformableattention",
    "pointnet2": "pointnet2",
    "custom_rasterizer": "custom-rasterizer",
    "fused_layer_norm_cuda": "apex",
    "amp_c.": "apex",
}


def _called(report: Report, at: int) -> Optional[str]:
    """The extension whose compiled module the lines above the error call."""
    near = "\n".join(line[:300] for line in report.lines[max(0, at - 5) : at]).lower()
    return next((package for name, package in _MODULES.items() if name in near), None)


def _innermost(report: Report, at: int) -> Optional[str]:
    """The package of the last frame above the error."""
    for index in range(at - 1, max(at - 8, -1), -1):
        found = re.search(r"-packages[\\/]+([^\s'\"<>|(),]+)", report.lines[index])
        if found:
            name = _told.owner("site-packages/" + found.group(1))
            if name != "torch":
                return name
            if "_ops.py" not in found.group(1) and "autograd" not in found.group(1):
                return name
    return None


def example() -> Facts:
    facts = recorded("healthy-gpu")
    gpu = Gpu("Tesla V100-SXM2-16GB", "7.0", 16384)
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=(gpu,)))
