"""What builds and installations stop at: the sentences of compilers, of nvcc, of torch's and others' build code.

The same for the log of an installation and for pasted text.  What a program says is translated; file names, options
and the names of exceptions are not.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Optional

from kit.facts import normalise
from kit.record import Record


class Stop(Record):
    """A sentence: which failure it is, which kind of it, and how sure that is.

    ``words``, in lower case, are looked for first: where none of them stands the pattern cannot.  The group ``what``
    is what the sentence names.
    """

    failure: str
    kind: str
    sure: float
    words: tuple[str, ...]
    pattern: str


# A header that was not found: gcc writes "file:line:column: severity: header: reason", clang and MSVC quote the
# header, nvcc says "cannot open source file"; severity and reason are translated.
HEADERS = (
    (
        (".h:", ".hh:", ".hpp:", ".hxx:", ".cuh:", ".inl:"),
        r"^\s*[^\s:][^:\n]{0,300}:\d+(?::\d+)?: [^:\n]{1,40}: (?P<what>[\w+./-]+\.(?:h|hh|hpp|hxx|cuh|inl)): ?\S",
    ),
    (("file not found",), r"\b(?:fatal error|error)\b[^'\n]{0,20}: '(?P<what>[\w+./-]+)' file not found"),
    (("c1083",), r"\bC1083\b[^'\"\n]{0,80}['\"“](?P<what>[\w+./\\-]+)['\"”]"),
    (("cannot open",), r"cannot open (?:source|include) file:? [\"'](?P<what>[\w+./\\-]+)[\"']"),
    (
        ("fatal error", "fehler", "erreur fatale", "error fatal", "errore irr", "致命"),
        r"\b(?:fatal error|Fehler|erreur fatale|error fatal|errore irreversibile|致命的?错误|致命的エラー) ?[:：] ?"
        r"(?P<what>[\w+./-]+): ?\S",
    ),
    (("include file",), r"include file ['\"](?P<what>[\w+./-]+)['\"] not found"),  # tcc's words
    (
        (".h not found", ".h is missing", ".h was not found", ".h missing", ".hpp not found", ".h is not found"),
        r"(?P<what>[\w+./-]+\.h(?:pp)?)['\"]? (?:is |was |file )?(?:not found|missing)",
    ),
    (("find python.h", "missing python.h", "without python.h"), r"(?:find|missing|without) (?P<what>Python\.h)"),
    ((".h: no such", ".hpp: no such"), r"(?P<what>[\w+./-]+\.h(?:pp)?): no such (?:file|directory)"),
)
PYTHON_HEADER = r"(?:.*/)?(?:Python|pyconfig|pyport|patchlevel|structmember)\.h$"
# What nvcc itself needs: without them there is no toolkit, or it is not looked at.
NVCC_HEADER = (
    r"(?:cuda(?:_runtime(?:_api)?|_fp16|_bf16|_fp8|_device_runtime_api)?|driver_types|vector_types|host_defines|"
    r"device_launch_parameters|device_functions|math_functions|cooperative_groups)\.(?:h|hpp)$|nv/target$|cuda/std/|"
    r"crt/"
)
CUDA_HEADER = (
    r"cu(?:blas|dnn|fft|rand|solver|sparse|pti|file|tensor|da_)|nv(?:ToolsExt|tx|rtc|ml|jpeg|JitLink)|nccl|"
    r"thrust/|cub/"
)
TORCH_HEADER = r"torch/|ATen/|c10/|caffe2/|TH[CH]?/|THC?\w*\.h"
CPP_17 = r"(?:filesystem|optional|string_view|variant|any|charconv|span|concepts|ranges|format|bit|source_location)$"
# Of the compiler, the C library or the system's SDK.
SYSTEM_HEADER = (
    r"(?:std\w+|string|math|limits|assert|ctype|wchar|features|errno|io|crtdefs|corecrt|float|complex|TargetCond\w+|"
    r"windows|AvailabilityMacros)\.h$|bits/|sys/|gnu/|c(?:stddef|stdlib|stdint|math|string|assert|limits)$|"
    r"(?:algorithm|iostream|vector|type_traits|memory|utility|new|array|initializer_list|exception|cstdio)$"
)

_COMPILER = r"(?:[\w.+-]*-)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|cl|icc|icpc)(?:-?[\d.]+)?(?:\.exe)?"
_AT = r"(?:[^'\n]{0,300}[/\\])?"  # its folder
NO_COMPILER = (
    rf"unable to execute '?(?P<what>{_AT}{_COMPILER})'?: ",
    rf"command '?(?P<what>{_AT}{_COMPILER})'? failed: (?:No such file|None)",
    rf"(?:\[(?:Errno|WinError) 2\]|No such file or directory)[^'\n]{{0,80}}: '(?P<what>{_AT}{_COMPILER})'",
    rf"(?:^|[\s:/])(?P<what>{_COMPILER}): (?:command )?not found",
    rf"command not found: (?P<what>{_COMPILER})",
    rf"'(?P<what>{_COMPILER})' is not recognized",
    rf"Command '\['(?:which|where)', '(?P<what>{_COMPILER})'\]'",
    r"(?P<what>Microsoft Visual C\+\+ \d+(?:\.\d+)?) (?:or (?:greater|later) )?(?:is|are) required",
    r"Cannot find compiler '(?P<what>cl\.exe)'",
    r"No (?P<what>CMAKE_C(?:XX)?_COMPILER) could be found",
    r"(?P<what>CMAKE_C(?:XX)?_COMPILER) not set",
)
# The words that are looked for first, and the pattern.
WRONG_COMPILER = (
    (
        ("version! ",),
        r"(?P<what>unsupported (?:GNU|clang|Microsoft Visual Studio) version![^\n]{0,120}?supported)",
    ),
    (("unsupported clang",), r"(?P<what>unsupported clang version![^\n]{0,80}?less than \d+)"),
    (
        ("installed version of",),
        r"(?P<what>installed version of \S+ \([\d.]+\) is (?:greater|less) than the (?:maximum|minimum) required "
        r"version[^\n]{0,80})",
    ),
    (("too old version of",), r"(?P<what>too old version of (?:GCC|Clang)[^\n]{0,80})"),
    (
        ("compiler is required", "to compile pytorch"),
        r"(?P<what>You need C\+\+\d+ to compile PyTorch|"
        r"(?:need )?C\+\+\d+ (?:or (?:later|newer|above) )?(?:compatible )?compiler is required[^\n]{0,60})",
    ),
    (("line option",), r"(?P<what>unrecognized command[- ]line option ['‘\"]?-std=[\w+]+)"),
)
_NO_COMPILER_WORDS = (
    "unable to execute",
    "' failed: no such",
    "' failed: none",
    "errno 2]",
    "winerror 2]",
    "no such file or directory: '",
    ": not found",
    "command not found",
    "is not recognized",
    "'where', '",
    "'which', '",
    "microsoft visual c++ ",
    "cannot find compiler",
    "_compiler could be",
    "_compiler not set",
)

_LIBRARIES = r"cuda|cudart|cublas|cublasLt|cusparse|curand|cusolver|cufft|cudnn|nvrtc|nvToolsExt|nvjpeg|nccl"

NVCC = (
    Stop(
        "nvcc-not-found",
        "malformed",
        0.93,
        ("nvcc",),
        r"'(?P<what>:/[^\s']{0,200}nvcc|[^\s']{1,200}:/[^\s']{1,200}nvcc|[^\s']{0,200}bin[/\\]bin[/\\]nvcc(?:\.exe)?|"
        r"[^\s']{0,200}nvcc[/\\]bin[/\\]nvcc|/bin/nvcc)'",
    ),
    Stop(  # after a warning that nvcc was not found
        "nvcc-not-found",
        "undefined",
        0.95,
        ("bare_metal_version' is",),
        r"name 'bare_metal_version' is not defined",
    ),
    Stop(
        "nvcc-not-found",
        "home",
        0.92,
        ("cuda_home", "cuda home", "cudahome"),
        r"(?P<what>CUDA_HOME) (?:environment )?(?:variable )?(?:is not set|is not defined|does not exist|not found|"
        r"is unset|not set|was not found|could not be found)|"
        r"(?:cannot|could not|can't|unable to|failed to) (?:find|locate|determine|detect) (?P<w2>CUDA_HOME)|"
        r"(?P<w3>CUDA_HOME)[^\n]{0,40}(?:must be set|needs to be set|is None\b)|"
        r"(?:or|either|please|must|to) set \$?CUDA_?HOME\b",
    ),
    Stop(
        "nvcc-not-found",
        "nvcc",
        0.9,
        ("nvcc",),
        r"(?P<what>nvcc)(?:\.exe)?['\"]?:? (?:command )?not found|command not found: nvcc|"
        r"nvcc(?:\.exe)?['\"]?:? (?:is not recognized|No such file)|'nvcc' (?:não|n'est|ist|no se|は|不是|не )|"
        r"(?:No such file or directory|\[WinError [23]\][^\n']{0,120}|\[Errno 2\][^\n']{0,80}): "
        r"'[^'\n]{0,300}nvcc(?:\.exe)?'|"
        r"command '[^'\n]{0,300}nvcc(?:\.exe)?' failed: (?:No such|None)|unable to execute '?[^'\n]{0,300}nvcc|"
        r"nvcc[^\n]{0,30} (?:was not|is not|could not be|cannot be|not) (?:be )?"
        r"(?:found|located|in (?:your )?\$?PATH)|"
        r"(?:failed to|unable to|could not|cannot|can't) (?:find|locate) (?:the )?nvcc|"
        r"nvcc[^\n]{0,60}returned non-zero exit status 127",
    ),
    Stop(
        "nvcc-not-found",
        "cmake",
        0.88,
        ("cuda_toolkit_root_dir", "cmake_cuda_compiler", "cudatoolkit", "find cuda", "cuda cannot", "cuda libraries"),
        r"No (?P<what>CMAKE_CUDA_COMPILER) could be found|CMAKE_CUDA_COMPILER(?:-NOTFOUND| not set)|"
        r"CMAKE_CUDA_COMPILER:?\s+\S+\s+is not (?:a full path|able)|Could NOT find CUDA(?:Toolkit)?\b|"
        r"CUDA_TOOLKIT_ROOT_DIR not found|Specify CUDA_TOOLKIT_ROOT_DIR|Could not find nvcc|"
        r"CUDA Toolkit[^\n]{0,20} not (?:be )?found|(?:cannot|can't|could not|failed to) find (?:the )?CUDA"
        r"(?! (?:GPU|device|driver|capable|architectures?))\b(?! (?:GPU|device))|"
        r"CUDA cannot be found|cannot find the CUDA libraries",
    ),
    Stop(
        "nvcc-not-found",
        "tools",
        0.85,
        ("cicc", "ptxas", "cudafe", "fatbinary", "nvlink"),
        r"(?P<what>\b(?:cicc|ptxas|cudafe\+\+|fatbinary|nvlink))(?:\.exe)?['\"]?:? "
        r"(?:(?:command )?not found|is not recognized|No such file)|"
        r"No such file or directory: '[^'\n]{0,300}(?P<w2>cicc|ptxas(?:-blackwell)?|fatbinary)'|"
        r"cannot find (?:a )?(?:valid )?(?P<w3>ptxas)",
    ),
    Stop(
        "nvcc-not-found",
        "link",
        0.62,
        ("cannot find -l", "lnk1181", "lnk1104", "library not found for -l"),
        rf"(?:cannot find|library not found for) -l(?P<what>{_LIBRARIES})\b|"
        rf"(?:LNK1181|LNK1104)\b[^\n]{{0,80}}'(?P<w2>(?:{_LIBRARIES})\.lib)'",
    ),
    Stop(
        "nvcc-torch-mismatch",
        "detected",
        0.95,
        ("detected cuda version", "does not match the version", "cuda version", "cuda toolkit"),
        r"detected CUDA version \(?(?P<nvcc>[\d.]+)\)? mismatch\w*\s+the\s+version\s+that\s+was\s+used\s+to\s+compile"
        r"\s+PyTorch\s+\(?(?P<torch>[\d.]+)|"
        r"installed CUDA version (?P<nvcc2>[\d.]+) does not match the version torch was compiled with "
        r"(?P<torch2>[\d.]+)|"
        r"detected CUDA version[^\n]{0,20} mismatches",
    ),
    Stop(
        "nvcc-torch-mismatch",
        "apex",
        0.95,
        ("does not match", "pytorch binaries were compiled"),
        r"compiled with a version of cuda that does\s+not match the version used to compile pytorch[^\n]{0,20}"
        r"(?:\s+pytorch binaries were compiled with cuda (?P<torch>[\d.]+))?|"
        r"pytorch binaries were compiled with cuda",
    ),
    Stop(
        "nvcc-torch-mismatch",
        "differs",
        0.8,
        (
            "mismatch",
            "t match",
            "differ",
            "not compatible",
            "not consistent",
            "findcuda says",
            "is only supported on cuda",
        ),
        r"(?:nvcc|CUDA toolkit|CUDA_HOME|system CUDA|local CUDA)[^\n]{0,80}"
        r"(?:mismatch\b|does(?: not|n't) match|differs? from|different from|not (?:compatible|consistent) with)"
        r"[^\n]{0,40}(?:py)?torch|"
        r"torch[^\n]{0,60}CUDA version[^\n]{0,40}(?:does(?: not|n't) match|differs? from|!=)[^\n]{0,60}"
        r"(?:nvcc|toolkit|system|CUDA_HOME)|CUDAMismatchException|"
        r"FindCUDA says CUDA version is[^\n]{0,80}|FlashAttention is only supported on CUDA [\d.]+ and above",
    ),
    Stop(
        "nvcc-torch-mismatch",
        "old",
        0.62,
        ("nvcc fatal",),
        r"nvcc fatal\s*: (?P<what>Value 'c\+\+\d+' is not defined for option 'std'|"
        r"Unknown option '-*(?:generate-dependencies-with-compile|threads|dependency-output|std=c\+\+17)')",
    ),
    Stop(
        "nvcc-arch-unsupported",
        "nvcc",
        0.96,
        ("unsupported gpu arch", "for option 'gpu-name'", "for option 'gpu-arch", "unsupported cuda arch"),
        r"Unsupported gpu architecture ['\"`‘]?(?P<what>\w+)|"
        r"Value ['\"`‘]?(?P<w2>\w+)['\"`’]? is not (?:defined|allowed) for option '(?:gpu-\w+|arch)'|"
        r"Unsupported CUDA arch\w*\W{0,4}(?P<w3>[\w.]*)",
    ),
    Stop(
        "nvcc-arch-unsupported",
        "torch",
        0.95,
        ("unknown cuda arch", "unknown cuda architecture"),
        r"Unknown CUDA arch(?:itecture)?(?: name)? \(?(?P<what>[\w.+]+)\)?(?: or GPU not supported)?",
    ),
    Stop(
        "nvcc-arch-unsupported",
        "none",
        0.8,
        ("'+ptx'", '"+ptx"', "cuda_architectures", "cuda architecture", "compute capability", "compute capabilities"),
        r"arch_list\[-1\] \+= ['\"]\+PTX|CUDA_ARCHITECTURES is empty|CUDA_ARCHITECTURES is set to \"native\"|"
        r"failed to detect a default CUDA architecture|"
        r"could not (?:detect|determine)[^\n]{0,20} compute capabilit",
    ),
    Stop(
        "nvcc-arch-unsupported",
        "none",
        0.62,
        ("unknown compute capability",),
        r"Unknown compute capability\. (?:Specify|Ensure)[^\n]*",
    ),
    Stop(
        "nvcc-arch-unsupported",
        "low",
        0.6,
        (".target sm_", "sm version"),
        r"requires \.target (?P<what>sm_\d+)|requires SM (?:version )?\d[^\n]{0,20} or higher|"
        r"PTX \.version[^\n]{0,40} does not support \.target (?P<w2>sm_\d+)",
    ),
    Stop(
        "nvcc-arch-unsupported",
        "low",
        0.5,
        ('function "atomicadd"',),
        r"no instance of overloaded function \"(?P<what>atomicAdd)\" matches",
    ),
)

COMPILER = (
    *(Stop("compiler-unsupported", "unsupported", 0.95, words, pattern) for words, pattern in WRONG_COMPILER),
    Stop(
        "compiler-unsupported",
        "unsupported",
        0.93,
        ("host_config.h", "stl1002", "expected cuda", "host compiler", "microsoft visual studio version"),
        r"(?P<what>unsupported Microsoft Visual Studio version|"
        r"Unexpected compiler version, expected CUDA [^\n\"]{0,30}|expected CUDA [\d.]+ or newer|\bSTL1002\b|"
        r"Host compiler targets unsupported OS|host_config\.h[^\n]{0,20}error)",
    ),
    *(Stop("compiler-unsupported", "missing", 0.93, _NO_COMPILER_WORDS, pattern) for pattern in NO_COMPILER),
    Stop(
        "compiler-unsupported",
        "missing",
        0.9,
        (
            "vcvarsall",
            "vcvars64",
            "visual studio",
            "x64 native tools",
            "distutils_use_sdk",
            "msvc/gcc/clang",
            "no working c++",
            "find c compiler",
            "invalidcxxcompiler",
            "cl is not found",
            "developer path",
            "unknown compiler(s)",
            "rc.exe",
            "'cc1plus'",
            "find_vcvarsall",
            "c++ compiler",
            "vs environment",
            "rust compiler",
            "c++ installation",
        ),
        r"(?P<what>Unable to find (?:a compatible )?(?:vcvarsall\.bat|Visual Studio)|find_vcvarsall|"
        r"configuration file 'vcvars64\.bat' could not be found|"
        r"Could not set up the environment for Microsoft Visual Studio|Could not find (?:any instance of )?"
        r"Visual Studio|DISTUTILS_USE_SDK is not set|x64 Native Tools|Could not find MSVC/GCC/CLANG|"
        r"No working C\+\+ compiler|Failed to find C compiler|InvalidCxxCompiler|\bcl is not found|"
        r"invalid active developer path|Unknown compiler\(s\)|cannot (?:run|find|open)[^\n]{0,20}'rc\.exe'|"
        r"cannot execute '?cc1plus'?|trying to exec 'cc1plus'|"
        r"(?:no|a|could not find a?) (?:suitable |working )?C\+\+ compiler (?:was |is )?(?:not )?"
        r"(?:found|required|installed)|VS environment|can't find Rust compiler|"
        r"Could not locate a supported Microsoft Visual C\+\+ installation)",
    ),
    Stop(
        "compiler-unsupported",
        "unsupported",
        0.9,
        ("parameter packs not expanded",),
        r"(?P<what>parameter packs not expanded with)",
    ),
    Stop(
        "compiler-unsupported",
        "unsupported",
        0.85,
        ("is undefined", "exception specification is incompatible"),
        r"identifier \"(?P<what>_Float\d+x?|_BFloat16|__bf16|__Float\w+_t|__float128|__builtin_\w+|__[Ss][Vv]\w+_t|"
        r"__int128)\" is undefined|(?P<w2>exception specification is incompatible) with that of previous function",
    ),
    Stop(
        "compiler-unsupported",
        "unsupported",
        0.85,
        ("'std'", "“std”", "c2872"),
        r"C2872\W{0,3}[:：]? ?[^\n]{0,6}(?P<what>std)\b|(?P<w2>'std') ?: ambiguous symbol",
    ),
    Stop(
        "compiler-unsupported",
        "unsupported",
        0.82,
        (
            "a member of",
            "library support for the iso",
            "in namespace",
            "has no member",
            "extension",
            "only available",
            "int8_t",
            "int32_t",
            "int64_t",
        ),
        r"error: [^\n]{0,30}['‘’“\"](?P<what>(?:is_\w+_v|optional|string_view|variant|"
        r"filesystem|any|make_optional|nullopt|void_t|conjunction\w*|disjunction\w*|negation_v|as_const|in_place\w*|"
        r"enable_if_t|decay_t|index_sequence|span|bit_cast|make_unique|source_location))['‘’”\"] "
        r"(?:is not a member of|in namespace) ['‘\"]std|"
        r"namespace [\"']std[\"'] has no member [\"'](?P<w2>(?:is_\w+_v|optional|string_view|variant|filesystem|any|"
        r"void_t|span|bit_cast|u?int(?:\d+|ptr)_t|enable_if_t))[\"']|"
        r"error: [‘'](?P<w7>\w+)[’'] is not a member of [‘']std[’']|"
        r"(?P<w8>requires? compiler and library support for the ISO C\+\+ 20\d\d)|"
        r"no (?:template|type|member) named '(?P<w5>[\w]+)' in namespace 'std'|"
        r"(?P<w3>(?:constexpr if|inline variables?|nested namespace definitions?|structured bindings?)"
        r"[^\n]{0,40}(?:only available|C\+\+17 extension|require))|"
        r"error: [‘']?(?P<w4>u?int\d+_t)[’']? (?:does not name a type|was not declared|in namespace)|"
        r"identifier \"(?P<w6>u?int\d+_t)\" is undefined",
    ),
    Stop(
        "compiler-unsupported",
        "unsupported",
        0.8,
        ("/include/c++/", "amxtileintrin", "avx512", "floatn.h", "\\msvc\\"),
        r"(?P<what>/include/c\+\+/[\d.]+/[\w./-]+(?:\(\d+\)|:\d+(?::\d+)?): (?:internal )?error)|"
        r"(?P<w2>/lib/gcc/[\w./-]+intrin\.h)(?:\(\d+\)|:\d+(?::\d+)?): error",
    ),
    Stop(
        "compiler-unsupported",
        "missing",
        0.8,
        ("error checking compiler version", "error checking compiler"),
        r"Error checking compiler version for (?P<what>[\w+.]+): (?:\[WinError|\[Errno|Command)",
    ),
    Stop(
        "compiler-unsupported",
        "unsupported",
        0.72,
        (
            "-fopenmp",
            "-lomp",
            "omp.h",
            "internal compiler error",
            "-lstdc++",
            "stdlibc++",
            "unknown argument",
            "aligned",
        ),
        r"(?P<what>unsupported option '-fopenmp'|library not found for -l(?:omp|stdc\+\+|gomp)|"
        r"'omp\.h' file not found|internal compiler error(?!: Killed)[^\n]{0,60}|"
        r"include path for (?:stdlibc\+\+|libstdc\+\+) headers not found|"
        r"unknown argument: '-\w[\w-]*'|aligned (?:de)?allocation function[^\n]{0,60}only available)",
    ),
    Stop(
        "compiler-unsupported",
        "tool",
        0.8,
        ("ninja is required", "cmake", "ninja"),
        r"(?P<what>Ninja is required to load C\+\+ extensions|CMake must be installed|CMake is not installed|"
        r"(?:cmake|ninja): (?:command )?not found|No such file or directory: '(?:cmake|ninja)'|"
        r"(?<!we )Could NOT find Ninja|'(?:cmake|ninja)' is not recognized|"
        r"unable to find a build program corresponding to \"Ninja\"|Cannot find CMake executable|"
        r"(?:CMake|Ninja) \d[\d.]* or higher is required)",
    ),
)

SUREST = tuple(sorted(NVCC + COMPILER, key=lambda stop: -stop.sure))


def what(groups: Mapping[str, Optional[str]]) -> str:
    """What the sentence names: whichever of its alternatives it was."""
    for name in ("what", "w2", "w3", "w4", "w5", "w6", "w7", "w8"):
        if groups.get(name):
            return str(groups[name])
    return ""


def stops(text: str, failures: tuple[str, ...], least: float = 0.0) -> Iterator[tuple[Stop, "re.Match[str]"]]:
    """Every sentence of these failures in a text, the surest first."""
    lower = text.lower()
    for stop in SUREST:
        if stop.failure in failures and stop.sure >= least and any(word in lower for word in stop.words):
            found = re.search(stop.pattern, text, re.I | re.M)
            if found is not None:
                yield stop, found


def header(name: str) -> str:
    """Whose a header is: ``python``, ``nvcc``, ``cuda``, ``torch``, ``c++17``, ``system``, ``omp`` or ``library``."""
    name = name.replace("\\", "/")
    for pattern, owner in (
        (PYTHON_HEADER, "python"),
        (NVCC_HEADER, "nvcc"),
        (CUDA_HEADER, "cuda"),
        (TORCH_HEADER, "torch"),
        (CPP_17, "c++17"),
        (r"omp\.h$", "omp"),
        (SYSTEM_HEADER, "system"),
    ):
        if re.match(pattern, name):
            return owner
    return "library"


def normal(name: str) -> str:
    """The name of a package that an error gives, as in an index: ``pip`` cuts no full stop after it."""
    return normalise(name.rstrip(".-_"))
