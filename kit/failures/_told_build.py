"""What pasted text tells of a build that stopped: where, of which package, and what it stopped at."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Optional

from kit.facts import Attempt
from kit.failures import _stops
from kit.failures._installing import Tried, compiled, tried, wheel_of
from kit.failures._stops import Stop
from kit.findings import Fix
from kit.published import replacement
from kit.report import Hit, Report, Told

# What only an installation or a build says.
_BUILD = (
    "setup.py",
    "build_wheel",
    "get_requires_for_build",
    "to build wheel",
    "building wheel",
    "pip-build-env",
    "pip-install-",
    "pip-req-build",
    "pep517",
    "pyproject",
    "build backend",
    "build_meta",
    "egg_info",
    "bdist_wheel",
    "preparing metadata",
    "preparing wheel metadata",
    "preparing editable metadata",
    "subprocess-exited-with-error",
    "metadata-generation-failed",
    "failed to build",
    "failed building",
    "originates from",
    "building extension",
    "compiling objects",
    "cpp_extension",
    "build_ext",
    "builds-v0",
    "pip subprocess error",
    "no-build-isolation",
    "cmake error",
    "ninja:",
)
# Of these, what is said by the build itself, and typed by nobody.
_SAID = tuple(
    word
    for word in _BUILD
    if word not in ("setup.py", "pyproject", "cpp_extension", "no-build-isolation", "build_ext")
)
_OF_A_BUILD = re.compile(
    r"setup\.py|<string>|<pip-setuptools|build_meta|_in_process|pep517|pyproject_hooks|pip-(?:install|req-build|build-env)|"
    r"builds-v0|[/\\]build[/\\]|op_builder|\.tmp\w+[/\\]"
)
# The folders of a torch that an isolated build was given.
OVERLAY = (
    r"pip-build-env-[\w-]+[/\\]overlay[/\\]\S*site-packages[/\\](?:torch|functorch)[/\\]|"
    r"[/\\]builds-v0[/\\]\.?tmp\w+[/\\]\S*site-packages[/\\]torch[/\\]|"
    r"[/\\]te?mp[/\\]tmp\w+[/\\]\.venv[/\\]\S*site-packages[/\\]torch[/\\]"
)
ABSENT = r"No module named ['\"‘“]?(?P<what>[\w.]+)"


def in_build(report: Report) -> bool:
    """Whether the text tells of an installation from source."""
    return report.has(*_BUILD) or (report.has('file "<string>"', " install ") and installs_extension(report))


def at_build(report: Report, at: int) -> float:
    """How sure it is (0, 0.75, 1) that the error in this line was raised by a build, not by a program that runs."""
    framed = False
    around = "\n".join(report.lines[max(0, at - 40) : at + 15]).lower()
    for line in reversed(report.lines[max(0, at - 12) : at]):
        frame = re.search(r"\bFile [\"'“](.{1,400}?)[\"'”](?:, line|\s*$)|^\s*File (\S+):\d+", line)
        if frame:
            path = frame.group(1) or frame.group(2)
            if path != "<string>" and _OF_A_BUILD.search(path):
                return 1.0
            framed = path != "<string>"
            break
    if not framed and not report.has("python -c", "python3 -c") and installs_extension(report):
        return 1.0 if "<string>" in around or any(word in around for word in _SAID) else 0.75
    if any(word in around for word in _SAID):
        return 1.0
    return 0.75 if not framed and any(word in around for word in _BUILD) else 0.0


# What is compiled against torch where it is installed, by the names that are typed.
_COMPILED = (
    r"(?:^|[^\w.])install\b[^\n]{0,200}[\s/'\"](?:torch[-_](?:scatter|sparse|cluster|spline[-_]conv)|pyg[-_]lib|flash[-_]attn|"
    r"xformers|detectron2|apex|mmcv(?:-full)?|pytorch3d|mamba[-_]ssm|causal[-_]conv1d|nvdiffrast|tiny-cuda-nn|"
    r"diff-gaussian-rasterization|simple-knn|gsplat|deepspeed|vllm|auto-gptq|autoawq|natten|spconv|MinkowskiEngine|"
    r"torchsparse|nksr|kaolin|sageattention|exllamav2|transformer[-_]engine|pointnet2[-_]ops|groundingdino[-_]?py|"
    r"fused-ssim|torchmcubes|unsloth|hqq|bitsandbytes)\b"
)


def installs_extension(report: Report) -> bool:
    """Whether a command is shown that installs what is compiled against torch."""
    return report.has(" install ") and report.hit(_COMPILED) is not None


def stopped(report: Report, failure: str) -> Iterator[tuple[Stop, Hit]]:
    """The sentences of this failure that stand in the text, the surest first."""
    for stop in _stops.SUREST:
        if stop.failure == failure and report.has(*stop.words):
            hit = report.hit(stop.pattern)
            if hit is not None:
                yield stop, hit


def attempt(report: Report) -> Tried:
    """The installation that the text tells of, taken apart."""
    return tried(report.facts.attempt or Attempt((), None, report.lines))


_BUILT = (
    (
        ("failed building wheel", "failed to build"),
        r"Failed (?:building wheel for|to build) [`'\"]?([A-Za-z][\w.-]*)",
    ),
    (("could not build wheels for",), r"Could not build wheels for ([\w.-]+)"),
    (("building wheel for",), r"Building wheels? for (?:collected packages: )?([\w.-]+)"),
    (("running setup.py",), r"Running setup\.py \w+ for ([\w.-]+)"),
    (("building extension",), r"building extension '(\w+)'"),
    (("pip-install-",), r"pip-install-\w+[/\\]([A-Za-z][\w.-]*?)(?:_[0-9a-f]{16,})?[/\\]"),
    (("depends on `torch`",), r"that `([\w.-]+?)(?:@[\w.]+)?` depends on `torch`"),
)


def package(report: Report) -> Optional[str]:
    """The package whose build it was, normalised; None where nothing tells."""
    for words, pattern in _BUILT:
        if report.has(*words):
            found = re.search(pattern, report.text, re.I)
            if found and found.group(1).lower() not in (
                "installable",
                "wheel",
                "collected",
                "extension",
                "when",
                "one",
            ):
                return _stops.normal(found.group(1))
    typed = _typed(report)
    if typed:
        return typed[-1] if len(typed) == 1 else next((n for n in typed if n not in _PLAIN), None)
    if report.has("apex"):
        return "apex"
    return None


_PLAIN = ("torch", "torchvision", "torchaudio", "numpy", "wheel", "setuptools", "packaging", "ninja", "pip", "cython")


def _typed(report: Report) -> list[str]:
    names = []
    for command in report.commands:
        if "install" not in command or "conda" in command[0]:
            continue
        for word in command[command.index("install") + 1 :]:
            name = re.fullmatch(r"([A-Za-z][\w.-]*)(?:\[[\w,]*\])?(?:[=<>~!].*)?", word)
            if name and "/" not in word and not re.search(r"\.(?:txt|html|whl|toml)$", word):
                names.append(_stops.normal(name.group(1)))
    return names


def called(report: Report) -> str:
    """The package for a sentence."""
    return package(report) or "the extension"


def prebuilt(report: Report) -> list[Fix]:
    """What needs no compiler: the wheel or the replacement, with its command where the text tells enough."""
    name = package(report)
    if name is None:
        return []
    first = wheel_of(name, report.facts) or replacement(name, report.facts)
    if first is not None:
        return [first]
    if name in ("torch-scatter", "torch-sparse", "torch-cluster", "torch-spline-conv", "pyg-lib"):
        why = (
            f"Install the published wheel of {name} from the page of this torch and its build, with source forbidden "
            "(--only-binary)"
        )
        return [Fix("install-matching-wheel", why)]
    if name in (
        "flash-attn",
        "causal-conv1d",
        "mamba-ssm",
        "xformers",
        "detectron2",
        "mmcv",
        "mmcv-full",
        "pytorch3d",
    ):
        why = f"Or install a wheel of {name} that was built for exactly this torch, CUDA and Python, where one exists"
        return [Fix("install-matching-wheel", why)]
    return []


def without_isolation(report: Report, why: str) -> Fix:
    """disable-build-isolation, with its command where the text tells enough."""
    return compiled("disable-build-isolation", attempt(report), report.facts, why) or Fix(
        "disable-build-isolation", why
    )


def overlay(report: Report) -> Optional[Hit]:
    """Where the torch of an isolated build is named, which is not the one of this environment."""
    if report.has("pip-build-env", "builds-v0", ".venv"):
        return report.hit(OVERLAY)
    return None


def missing_headers(report: Report) -> Iterator[tuple[str, str, Hit]]:
    """The headers that a compiler did not find: whose each is, its name, and the line."""
    seen = set()
    for words, pattern in _stops.HEADERS:
        for hit in islice(report.hits(pattern), 50) if report.has(*words) else ():
            name = hit["what"].replace("\\", "/")
            if name not in seen and name.lower() not in ("killed", "error") and not re.match(r"\d+$|-", name):
                seen.add(name)
                yield _stops.header(name), name, hit


# -- C++ that was written for another torch

_API = (
    (
        ("th/th.h", "thc/thc", "aten/", "c10/", "torch/", "/thcatomics"),
        0.78,
        r"(?:error|Fehler|错误|エラー)\s*[:：] (?P<what>(?:THC?|ATen|c10|torch|caffe2)/[\w/.-]+\.(?:h|hpp|cuh)): ?\S|"
        r"(?P<w2>(?:THC?|ATen|c10|torch)/[\w/.-]+\.(?:h|hpp|cuh)): No such file|"
        r"[\"'](?P<w3>(?:THC?|ATen|c10|torch)[/\\][\w/\\.-]+\.(?:h|hpp|cuh))['\"](?: file not found|: No such)|"
        r"cannot open (?:source|include) file:? [\"'](?P<w4>(?:THC?|ATen|c10|torch)/[\w/.-]+)",
    ),
    (
        (
            "at_check",
            "at_assert",
            "thcstate",
            "thcuda",
            "thargcheck",
            "torch_check",
            "thceildiv",
            "at_error",
            "at_skip",
        ),
        0.85,
        r"['‘’\"](?P<what>(?:AT_CHECK|AT_ASSERT\w*|AT_ERROR|TORCH_CHECK\w*|THC\w+|THCuda\w+|THArgCheck|"
        r"AT_SKIP\w*))['‘’\"]? (?:was not declared|is undefined|undeclared|not declared|: identifier not found)|"
        r"(?:identifier|use of undeclared identifier) [\"'](?P<w2>AT_\w+|TH\w+|TORCH_\w+)[\"']|"
        r"[‘'](?P<w3>AT_CHECK|THCState|THCCeilDiv|THCudaCheck|THCudaMalloc)[’'](?!\s*:)",
    ),
    (
        ("at::", "c10::", "torch::", "deprecatedtypeproperties", "getcurrentcudastream"),
        0.82,
        r"no instance of (?:overloaded )?function (?:template )?\"(?P<what>(?:at|c10|torch)::[^\"\n]{1,80})|"
        r"class \"(?P<w2>(?:at|c10|torch)::[\w:<>]{1,80})\"[^\n]{0,30} has no member|"
        r"namespace [\"'‘](?P<w3>(?:at|c10|torch)[\w:]*)[\"'’] has no member|"
        r"no suitable (?:user-defined )?conversion (?:function )?from \"(?P<w4>[^\"\n]{0,40}(?:at|c10|torch)::)|"
        r"cannot convert [‘'](?:const )?(?P<w5>(?:at|c10|torch)::[^’'\n]{1,80})|"
        r"(?:class|struct) (?:at|c10|torch)::[\w:<>, ]{1,80}[’'] has no member|"
        r"is not a member of [‘'](?:at|c10|torch)[\w:]*[’']|"
        r"error C\d{4}: [^\n]{0,120}\b(?:at|c10|torch)::[\w:<>]+|"
        r"(?:no matching (?:member )?function for call to|could not convert|no declaration matches|invalid use of)"
        r" [‘'][^’'\n]{0,80}(?:at|c10|torch)::|"
        r"initialization of (?:non-const )?reference of type [‘'](?:const )?(?:at|c10|torch)::|"
        r"in namespace [‘'](?:at|c10|torch)[\w:]*[’'] does not name|"
        r"no (?:member|type|template) named '\w+' in (?:namespace )?'(?:at|c10|torch)::|"
        r"(?:undefined reference to|unresolved external symbol)[^\n]{0,200}\b(?:at|c10|torch)::",
    ),
)


def other_api(report: Report) -> Iterator[Told]:
    """For extension-torch-mismatch: source code that was written for the C++ interface of another torch."""
    if not report.has("error", "undefined reference", "no such file", "not found", "undefined", "错误", "エラー"):
        return
    header = report.has(".h:", ".h'", '.h"', ".h ", ".hpp", ".cuh")  # in a traceback stands torch/ in every frame
    for words, sure, pattern in _API:
        asked = report.has(*words) and (header or "torch/" not in words)
        hit = report.hit(pattern) if asked else None
        if hit is None or (_made_for_cpu(report) and "cuda" in hit.line.lower() and sure < 0.8):
            continue
        name, torch = called(report), report.facts.torch
        here = f"torch {torch.version}" if torch else "the torch that is installed"
        yield Told(
            sure,
            package(report),
            f"The source code of {name} was written for another torch. The compiler does not find what it uses in "
            f"the C++ interface of {here}, which changes between releases.",
            (hit,),
            (
                Fix("change-package-version", f"Take the release of {name} that was made for this torch"),
                *prebuilt(report),
                Fix("change-torch", f"Or install the torch that this release of {name} names, with its companions"),
            )[:3],
        )
        return


def _made_for_cpu(report: Report) -> bool:
    torch = report.facts.torch
    return torch is not None and torch.cuda is None and "+cpu" in torch.version
