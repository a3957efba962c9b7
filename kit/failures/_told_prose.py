"""What people say in their own words where they paste no program's message: a weak sign, for want of a better one."""

import re
from functools import cache
from typing import Optional

from kit.failures._told import once
from kit.record import Record
from kit.report import Hit, Report


class Words(Record):
    """A way to say it: which failure, how sure it is, the words that are looked for first, and the pattern."""

    failure: str
    sure: float
    words: tuple[str, ...]
    pattern: str


_EXTENSION = (
    r"(?:torch|pytorch|pyg)[-_ ](?:scatter|sparse|cluster|spline[-_ ]?conv|lib)|flash[-_ ]?attn|"
    r"flash[-_ ]?attention\d?|"
    r"xformers|detectron2|mmcv(?:-full)?|pytorch3d|mamba[-_]ssm|causal[-_]conv1d|apex|dgl|kaolin|natten|nvdiffrast|"
    r"diff[-_]gaussian[-_]rasterization|simple[-_]knn|gsplat|tiny[-_]?cuda[-_]?nn|spconv|MinkowskiEngine|torchsparse|"
    r"bitsandbytes|deepspeed|auto[-_]?gptq|autoawq|exllamav2|vllm|sageattention|pointnet2\w*|groundingdino|fairseq"
)
_TORCH = r"(?:py)?torch"
_NOT = r"(?:not|n't|never|cannot|unable|fail\w*|without|不|无法|没有|未)"
_NEW_GPU = (
    r"(?:rtx\s?)?(?:pro )?(?<![\d.])(?:50[5-9]0|5090d)(?:\s?ti)?\b|rtx pro [2456]\d00|50[- ]?series|50xx|50系|"
    r"blackwell|"
    r"\bg?b[123]00\b|\bgb10\b|sm_?1[02][0-3]\b|compute_1[02]\d|compute capability 1[02]\.\d"
)
_OLD_GPU = (
    r"kepler|maxwell|\bk[248]0m?\b|gt ?7[0-9]0m?\b|gtx ?(?:6|7|9)\d0m?\b|sm_?[35][0-9]\b|pascal|\bp100\b|\bp40\b|"
    r"gtx ?10[5678]0|quadro [km]\d{3,4}|compute capability [2356]\.\d"
)
_WANTS = r"support\w*|compatib\w*|work\w*|run\b|runs\b|兼容|支持"

_WORDS = (
    Words(
        "gpu-arch-missing",
        0.62,
        ("50", "blackwell", "b200", "b100", "b300", "gb10", "sm_1", "sm1", "compute_1", "capability 1"),
        rf"(?:{_NEW_GPU})[^\n]{{0,80}}?{_NOT}[^\n]{{0,30}}?(?:{_WANTS})|(?:{_WANTS}|run)[^\n]{{0,40}}?\b(?:on|with|"
        rf"for)\b"
        rf"[^\n]{{0,40}}?(?:{_NEW_GPU})|(?:{_NEW_GPU})[^\n]{{0,30}}?support\b|{_NOT}[^\n]{{0,12}}(?:{_WANTS})"
        rf"[^\n]{{0,60}}?(?:{_NEW_GPU})",
    ),
    Words(
        "gpu-arch-missing",
        0.5,
        (
            "kepler",
            "maxwell",
            "k80",
            "k40",
            "k20",
            "gtx",
            "gt ",
            "sm_",
            "pascal",
            "p100",
            "p40",
            "quadro",
            "capability",
        ),
        rf"(?:{_OLD_GPU})[^\n]{{0,80}}?(?:no longer|not|n't|dropped|too old)[^\n]{{0,30}}?(?:{_WANTS}|old|supp)|"
        rf"(?:no longer|not|n't|dropped?|drops)[^\n]{{0,12}}(?:{_WANTS})[^\n]{{0,60}}?(?:{_OLD_GPU})|"
        r"gpu[^\n]{0,40}(?:too old|no longer supported)[^\n]{0,40}torch",
    ),
    Words(
        "torch-cpu-only",
        0.62,
        ("cpu", "without cuda", "no cuda", "without gpu"),
        rf"\b{_TORCH}\b(?![-_]\w)[^\n]{{0,20}}\binstalls?\b[^\n]{{0,30}}(?:without|no) (?:cuda|gpu)\b|"
        rf"\b{_TORCH}\b(?![-_]\w)[^\n]{{0,60}}?\bcpu[-_ ]?(?:only|version|build|variant|wheel|edition|版|的)|"
        rf"(?:cpu[-_ ]?only|cpu[-_ ](?:version|build|variant)|cpu ?版本?)[^\n]{{0,30}}\b{_TORCH}\b(?![-_]\w)|"
        rf"(?:install|pull|replac|overwr|downgrad)\w*[^\n]{{0,60}}\bcpu[-_ ]?(?:only|version|build|版)[^\n]{{0,40}}",
    ),
    Words(
        "wheel-not-published",
        0.55,
        ("wheel", "binar", "prebuilt", "pre-built", "precompiled", ".whl", "whl/"),
        r"(?:wheels?|binar(?:y|ies)|\.whl)\b[^\n]{0,60}?(?:only supports?|not (?:yet )?(?:available|there|"
        r"published|provided|"
        r"found|exist|built|up)|n't (?:available|there|exist|found|provided)|(?:is|are) missing|unavailable|up to|"
        r"stops? at|"
        r"for (?:py)?torch[ =]?\d|for cuda ?\d|for cu\d|please|needed)|"
        r"(?:no|missing|any|new|need|want|add|provide|publish|release|upload|build|find|request\w*|are there|"
        r"is there|when)\b"
        r"[^\n]{0,40}?\b(?:wheels?|(?:pre-?built |pre-?compiled )?binar(?:y|ies))\b[^\n]{0,60}"
        r"(?:torch|cuda|cu\d|pt\d|windows|mac|arm|aarch64|python|cp3|\?)|"
        r"\bno\b[^\n]{0,40}\n?\s*https?://[^\s]{0,120}whl",
    ),
    Words(
        "wheel-not-published",
        0.5,
        ("wheel", "binar"),
        r"(?:(?:py)?torch|cuda|python)[ =]?v?\d[\d.]*\+?(?:cu\d+)? (?:binary |prebuilt )?(?:wheels?|binar(?:y|"
        r"ies))\b",
    ),
    Words(
        "wheel-not-published",
        0.42,
        ("support", "compatib", "release"),
        rf"(?:{_EXTENSION})[^\n]{{0,60}}?(?:support|compatib|release)[^\n]{{0,30}}?{_TORCH} ?(?:v|version )?\d|"
        rf"(?:support|release)[^\n]{{0,20}}?{_TORCH} ?(?:v|version )?\d[\d.]*[^\n]{{0,20}}(?:\?|please)",
    ),
    Words(
        "wheel-not-published",
        0.28,
        ("install",),
        rf"(?:how|can't|cannot|can not|unable|not able|fail\w*|error|problem|issue|trouble|"
        rf"help)\b[^\n]{{0,40}}install\w*"
        rf"[^\n]{{0,60}}(?:{_EXTENSION}|torch[-_ ]geometric|\bpyg\b)|"
        rf"(?:{_EXTENSION}|torch[-_ ]geometric|\bpyg\b)[^\n]{{0,40}}install\w*[^\n]{{0,30}}"
        rf"(?:fail\w*|error|problem|issue|not work|\?)|install\w* (?:{_EXTENSION})[^\n]{{0,20}}"
        rf"(?:fail\w*|error|problem)",
    ),
    Words("wheel-not-published", 0.3, ("solving environment: failed",), r"solving environment: failed[^\n]*"),
    Words(
        "python-unsupported",
        0.55,
        ("python 3", "python3", "py3", "cp3", "python version"),
        r"(?:support|wheels?|compatib\w*|available|install\w*|works?|binar\w*)\b[^\n]{0,40}?\b(?:python ?|cp|"
        r"py)3\.?1[0-9]\b"
        r"[^\n]{0,40}(?:\?|please|not|n't|fail|yet)?|\b(?:python ?|cp|py)3\.?1[0-9]\b[^\n]{0,40}?(?:support|not |"
        r"n't|wheel|"
        r"compatib|fail|unsupported)",
    ),
    Words(
        "sdist-preferred",
        0.6,
        ("tar", "sdist", "source dist"),
        r"(?:\btar(?:\.gz|ball)?\b|\bsdist\b|source dist\w*)[^\n]{0,60}"
        r"(?:download|instead|rather than|taken|used|picked)|"
        r"(?:download|tak|us|pick|prefer|get)\w*[^\n]{0,40}(?:\btar(?:\.gz|ball)\b|\bsdist\b|source dist\w*)"
        r"[^\n]{0,40}(?:instead|rather|over|than|not)[^\n]{0,30}(?:wheel|whl)",
    ),
    Words(
        "sdist-preferred",
        0.5,
        ("slow", "forever", "hour", "stuck", "hang", "long", "minutes", "很慢", "卡"),
        rf"(?:install\w*|building|build|wheels?|compil\w*|"
        rf"pip)\b[^\n]{{0,60}}?(?:{_EXTENSION})[^\n]{{0,100}}?(?:slow|forever|"
        rf"hours?\b|stuck|hang|too long|long time|so long|\d+ ?min|很慢|卡)|(?:{_EXTENSION})[^\n]{{0,60}}?"
        rf"(?:install\w*|build\w*|wheel|compil\w*|安装)[^\n]{{0,80}}?(?:slow|forever|hours?\b|stuck|hang|too long|"
        rf"long time|"
        rf"\d+ ?min|很慢|卡)",
    ),
    Words(
        "sdist-preferred",
        0.42,
        ("slow", "forever", "hour", "stuck", "hang", "long", "ages", "很慢", "卡"),
        r"(?:install\w*|building|build|compil\w*|pip|安装)\b[^\n]{0,60}?(?:\bslow|forever|hours?\b|stuck|hang|"
        r"(?:too|very|so|really|extremely) long|ages\b|"
        r"long time|so long|很慢|卡住)",
    ),
    Words(
        "extension-torch-mismatch",
        0.5,
        ("symbol", "incompatib", "not compatible", "mismatch", "broken", "breaks", "stopped working"),
        rf"(?:{_EXTENSION})[^\n]{{0,80}}?(?:symbols?\b|not compatible with {_TORCH}|incompatible with {_TORCH}|"
        rf"version mismatch|(?:broken|breaks|stopped working) (?:with|after|since|in|on))|"
        rf"(?:undefined |missing )symbols?\b[^\n]{{0,80}}(?:{_EXTENSION})|mismatch[^\n]{{0,60}}(?:{_EXTENSION})"
        rf"[^\n]{{0,30}}{_TORCH}",
    ),
    Words(
        "extension-torch-mismatch",
        0.5,
        ("install", "replac", "downgrad", "upgrad", "overwr"),
        rf"(?:install|replac|downgrad|upgrad|overwr)\w*[^\n]{{0,60}}\b{_TORCH}\b[^\n]{{0,200}}(?:{_EXTENSION})"
        rf"[^\n]{{0,40}}(?:fail|break|broke|error|{_NOT})",
    ),
    Words(
        "extension-torch-mismatch",
        0.4,
        ("crash", "segfault", "core dump", "kernel died", "upgrad", "updat"),
        rf"(?:after|since)[^\n]{{0,30}}(?:upgrad|updat|"
        rf"install)\w*[^\n]{{0,30}}{_TORCH}[^\n]{{0,100}}(?:{_EXTENSION})|"
        rf"(?:{_EXTENSION})[^\n]{{0,60}}(?:crash|segfault|fail|error|broke)\w*[^\n]{{0,60}}(?:upgrad|"
        rf"updat)\w*[^\n]{{0,30}}{_TORCH}",
    ),
    Words(
        "extension-cpu-only",
        0.5,
        ("cpu", "without cuda", "without gpu", "no cuda", "no gpu", "gpu support", "cuda support", "cuda kernel"),
        rf"(?:{_EXTENSION})[^\n]{{0,80}}?(?:cpu[- ]only|only (?:on |for |the )?cpu|without (?:cuda|gpu)|no (?:cuda|"
        rf"gpu) "
        rf"(?:support|kernel|version)|{_NOT}[^\n]{{0,30}}(?:cuda|gpu) (?:support|kernel|version|extension))",
    ),
    Words(
        "extension-cuda-mismatch",
        0.5,
        ("cuda",),
        rf"(?:{_EXTENSION})[^\n]{{0,60}}?(?:built|compiled|version|expects?|wants?|needs?|looks? for|"
        rf"requires?)[^\n]{{0,30}}?"
        rf"(?:cuda|cu) ?\d[\d.]*[^\n]{{0,80}}?(?:but|while|whereas|instead)[^\n]{{0,60}}?(?:cuda|cu|"
        rf"{_TORCH})[^\n]{{0,20}}\d",
    ),
    Words(
        "nvcc-torch-mismatch",
        0.5,
        ("mismatch", "match"),
        rf"cuda[- ](?:versions? )?mismatch|(?:nvcc|toolkit|system|local|"
        rf"installed) ?(?:cuda)?[^\n]{{0,40}}(?:mismatch|"
        rf"(?:not|n't) match)[^\n]{{0,60}}{_TORCH}|cuda versions? (?:do|does)(?:n't| not) match",
    ),
    Words(
        "nvcc-not-found",
        0.5,
        ("nvcc", "cuda toolkit", "cuda_home", "cudatoolkit"),
        rf"(?:{_NOT}|no|missing|where)\b[^\n]{{0,30}}(?:nvcc\b|cuda[- _]?toolkit|CUDA_HOME)|(?:nvcc\b|"
        rf"cuda[- ]toolkit|CUDA_HOME)"
        rf"[^\n]{{0,30}}(?:{_NOT}|missing|required)",
    ),
    Words(
        "compiler-unsupported",
        0.5,
        ("gcc", "g++", "visual studio", "msvc", "compiler", "c++1"),
        r"(?:gcc|g\+\+|clang|msvc|visual studio)[^\n]{0,40}?(?:too (?:new|old)|not supported|unsupported|"
        r"incompatible|version "
        r"(?:must|has to|should|needs)|not (?:found|installed)|required|later than|is missing)|(?:needs?|requires?|"
        r"upgrade|"
        r"downgrade|missing|no|unsupported|incompatible)[^\n]{0,20}(?:gcc|g\+\+|msvc|visual studio|c\+\+ ?1[47]|"
        r"c\+\+ compiler)",
    ),
    Words(
        "build-isolation",
        0.5,
        ("isolat", "requires torch", "import torch", "imports torch", "torch first", "before torch"),
        r"build[- ]?isolation|setup\.py[^\n]{0,60}(?:imports?|requires?|needs?) torch|(?:imports?|requires?|"
        r"needs?) torch"
        r"[^\n]{0,60}(?:setup\.py|build time|to be installed|at install)",
    ),
    Words(
        "driver-too-old",
        0.5,
        ("driver",),
        r"driver[^\n]{0,40}(?:too old|outdated|insufficient|needs? (?:to be )?updat|old version|older than|"
        r"not support)|"
        r"(?:updat|upgrad)\w* [^\n]{0,20}driver|(?:requires?|needs?)[^\n]{0,30}(?:newer|higher|"
        r"later)[^\n]{0,20}driver",
    ),
    Words(
        "gpu-not-visible",
        0.42,
        ("gpu", "cuda", "nvidia"),
        rf"(?:gpus?|cuda(?: devices?)?|nvidia-smi)\b[^\n]{{0,40}}?(?:{_NOT} (?:be )?(?:found|detect\w*|visible|"
        rf"recogni[sz]ed|seen|"
        rf"available|working|use[ds]?)|(?:is|are) (?:in)?visible|undetected|unavailable|检测不到|不可用)|"
        rf"(?:no|not? find|"
        rf"cannot (?:find|see|use|detect)|can't (?:find|see|use|detect)|doesn't (?:find|see|use|detect)|"
        rf"unable to (?:find|use|"
        rf"detect)|not (?:find|see|us|detect|recogni[sz])(?:e|ing)?)(?: any| the| my| a)? (?:gpu|cuda device|nvidia)|"
        r"if you have gpu[^\n]{0,40}unable to detect|"
        r"(?:runs?|running|falls? back|uses?|using)[^\n]{0,30}\bcpu\b[^\n]{0,30}instead",
    ),
    Words(
        "library-not-found",
        0.55,
        (".so", ".dll", ".dylib", "ffmpeg", "libgl"),
        rf"(?:{_NOT}|missing|no)\b[^\n]{{0,30}}?\b(?P<library>lib[\w+-]+\.(?:so[\w.]*|dylib)|\w[\w-]*\.dll)|"
        rf"\b(?P<w2>lib[\w+-]+\.(?:so[\w.]*|dylib)|\w[\w-]*\.dll)[^\n]{{0,30}}?(?:{_NOT}|missing)",
    ),
    Words(
        "torch-broken",
        0.4,
        ("import torch", "importing torch", "torch import"),
        r"(?:cannot|can't|fail\w*(?: to)?|unable to|error (?:when|while|on)|crash\w*(?: on| when|"
        r" at)?)\W{0,3}(?:import\w*) (?:py)?torch"
        r"\b(?![-_])|(?:import torch|torch import)\b[^\n]{0,30}(?:fail|crash|error|hang|not work)",
    ),
    Words(
        "apex-extension-missing",
        0.5,
        ("apex",),
        r"(?:install|import) apex\b[^\n]{0,60}(?:to use|to enable|for |from https)|"
        r"apex is not (?:installed|available)|"
        r"could not import apex|apex[^\n]{0,60}?(?:without|no|not|missing)\b[^\n]{0,30}"
        r"(?:c\+\+|cuda|cpp|ext|fused|kernel)|"
        r"(?:fused|amp_C|syncbn|multi_tensor)[^\n]{0,40}(?:not|unavailable|missing)[^\n]{0,40}",
    ),
    Words(
        "apex-wrong-package",
        0.45,
        ("apex",),
        r"(?:pip install|pip3 install|pypi)[^\n]{0,20}\bapex\b",
    ),
    Words(
        "apex-amp-removed",
        0.5,
        ("apex",),
        r"apex[^\n]{0,60}?\bamp\b[^\n]{0,40}(?:removed|deprecated|gone|no longer|missing)|amp[^\n]{0,40}(?:removed|"
        r"gone|no longer)"
        r"[^\n]{0,40}apex",
    ),
    Words(
        "apex-version-mismatch",
        0.4,
        ("apex",),
        rf"apex[^\n]{{0,60}}?(?:not compatible|incompatib|not work|fails?|broken|"
        rf"n't work)[^\n]{{0,40}}{_TORCH} ?\d|torch\._six",
    ),
    Words(
        "stale-kernel",
        0.5,
        ("restart",),
        r"(?:after|until|have to|need to|must|works? (?:after|once)|"
        r"by)\W[^\n]{0,30}?restart\w*[^\n]{0,40}(?:kernel|runtime|"
        r"session|notebook|jupyter|colab)|restart\w*[^\n]{0,30}(?:kernel|runtime|session)[^\n]{0,40}(?:fix|solv|"
        r"work|help)",
    ),
    Words(
        "not-environment",
        0.5,
        ("memory", "oom", "vram", "timeout", "timed out", "显存", "内存"),
        r"out of (?:gpu |cuda |video )?memory|\boom\b|(?:not enough|insufficient|runs? out of) (?:gpu |"
        r"video )?(?:v?ram|memory)|"
        r"显存不足|爆显存|显存溢出|内存不足|"
        r"(?:connection|request|download|server|网络)[^\n]{0,30}(?:time[sd]? ?out|timeout)|"
        r"\bconn\w{0,5}timeout",
    ),
    Words(
        "numpy-abi",
        0.5,
        ("numpy",),
        r"numpy ?(?:>=? ?)?2(?:\.\w+)*\b[^\n]{0,60}?(?:not|n't|break|fail|incompat|crash|error)|(?:not|n't|"
        r"incompat\w*|broken|"
        r"fails?)[^\n]{0,40}numpy ?(?:>=? ?)?2",
    ),
)
_BY_FAILURE: dict[str, list[Words]] = {}
for _row in _WORDS:
    _BY_FAILURE.setdefault(_row.failure, []).append(_row)
_MOST = 3000  # characters: of longer text most is what programs said
_PROGRESS = re.compile(r"%\||\d(?:it|s|B)/(?:s|it)\b|[\u2588\u2501]|^\s*$")


@cache
def _compiled(pattern: str) -> "re.Pattern[str]":
    return re.compile(pattern, re.ASCII | re.IGNORECASE | re.MULTILINE)  # ASCII: in "是cpu版本" a word is cpu


@once
def _spoken(report: Report) -> "Optional[tuple[str, tuple[int, ...]]]":
    """The text without progress bars, and which line of the report each of its lines is; None where it is too long
    for what a person writes, or shows a traceback."""
    if any(error.frames for error in report.errors):
        return None
    if len(report.text) <= _MOST:
        return report.text, tuple(range(len(report.lines)))
    kept, size = [], 0
    for at, line in enumerate(report.lines):
        if not _PROGRESS.search(line[:_MOST]):
            kept.append(at)
            size += len(line) + 1
            if size > _MOST:
                return None
    return "\n".join(report.lines[at] for at in kept), tuple(kept)


def said(report: Report, failure: str) -> Optional[tuple[float, Hit]]:
    """How sure a person's own words make this failure, and the line; None where a traceback or a log says more."""
    spoken = _spoken(report)
    if spoken is None:
        return None
    text, numbers = spoken
    for row in _BY_FAILURE[failure]:
        found = _compiled(row.pattern).search(text) if report.has(*row.words) else None
        if found is not None:
            at = numbers[text.count("\n", 0, found.start())]
            groups = {name: value for name, value in found.groupdict().items() if value is not None}
            plain = not any(not error.warning for error in report.errors)
            return row.sure if plain else row.sure * 0.6, Hit(at, report.lines[at].strip(), groups)
    return None
