"""What a text states of an environment: versions, builds, GPUs, drivers, paths, variables; as partial facts."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Optional

from kit import gpus
from kit.collect.inside import build_tag
from kit.facts import (
    About,
    Distribution,
    Driver,
    Extension,
    Facts,
    Gpu,
    Host,
    Python,
    Toolkit,
    Torch,
    normalise,
)
from kit.report import typed
from kit.report.typed import Command

# How much a statement counts, the least first: what a person asked for, wrote, what a path shows, what pip installed,
# what a list shows, what the running process printed.
ASKED, WROTE, SHOWN, INSTALLED, LISTED, PRINTED = range(6)

# Packages with compiled code against torch's.
EXTENSIONS = frozenset(
    "torch-scatter torch-sparse torch-cluster torch-spline-conv pyg-lib torchvision torchaudio torchtext xformers "
    "flash-attn flash-attn-3 detectron2 mmcv mmcv-full pytorch3d dgl bitsandbytes deepspeed mamba-ssm causal-conv1d "
    "tinycudann nvdiffrast gsplat diff-gaussian-rasterization simple-knn spconv minkowskiengine apex torch-tensorrt "
    "natten kaolin vllm sgl-kernel torchao torchcodec torchrl auto-gptq autoawq autoawq-kernels "
    "exllamav2 torchmcubes "
    "pointnet2-ops fbgemm-gpu transformer-engine torch-points-kernels intel-extension-for-pytorch torchsparse curobo "
    "torch-geometric-temporal nvdiffrec selective-scan torch-ema fairseq k2 warp-rnnt sageattention bs-roformer "
    "torch-directml flashinfer-python flashinfer unsloth".split()
) - {"torch-geometric-temporal", "torch-ema", "bs-roformer", "unsloth", "fairseq"}
# conda's names, and how people write them.
_ALIASES = {
    "pytorch": "torch",
    "pytorch-gpu": "torch",
    "pytorch-cpu": "torch",
    "torch-version": "torch",
    "pytorch-scatter": "torch-scatter",
    "pytorch-sparse": "torch-sparse",
    "pytorch-cluster": "torch-cluster",
    "pytorch-spline-conv": "torch-spline-conv",
    "pyg": "torch-geometric",
    "pytorch-geometric": "torch-geometric",
    "scatter": "torch-scatter",
    "flash-attention": "flash-attn",
    "mamba": "mamba-ssm",
    "tiny-cuda-nn": "tinycudann",
    "dgl-cuda": "dgl",
    "opencv": "opencv-python",
    "minkowski-engine": "minkowskiengine",
    "cv2": "opencv-python",
}
# What people name in sentences: "torch 2.0.1", "PyTorch version: 1.8".
_NAMED = (
    r"torch|pytorch|torchvision|torchaudio|torchtext|(?:torch|pytorch)[-_ ](?:scatter|sparse|cluster|spline[-_]conv|"
    r"geometric|lightning|tensorrt)|pyg[-_]lib|pyg|xformers|flash[-_]attn|flash-attention|detectron2|mmcv(?:-full)?|"
    r"pytorch3d|dgl|bitsandbytes|deepspeed|mamba[-_]ssm|causal[-_]conv1d|apex|timm|transformers|accelerate|peft|"
    r"diffusers|networkx|numpy|scipy|pandas|protobuf|setuptools|pip|triton|numba|opencv-python|scikit-learn|"
    r"huggingface[-_]hub|tokenizers|safetensors|datasets|lightning|torchmetrics|spconv|natten|vllm|mmdet|mmengine|"
    r"mmsegmentation|tensorboard|cudatoolkit|ninja|cmake|onnxruntime-gpu|onnxruntime|tensorrt|jax|cupy|pydantic|"
    r"sentence-transformers|torchao|torchcodec|torchrl|optimum|trl|fairseq|pillow|mkl"
)
_RELEASE = (
    r"\d{1,4}(?:\.\d{1,4}){1,3}(?:\.?(?:a|b|c|rc|dev|post|alpha|beta|nv)\d{0,12}){0,3}"
    r"(?:\+\w{1,40}(?:\.\w{1,20}){0,4})?(?![\w])"
)
_PROSE = re.compile(
    rf"(?<![\w./:=@{{-])[`'\"*]{{0,2}}({_NAMED})[`'\"*]{{0,2}}"
    r"(?:\.__version__|[ _]?\(?(?:version|ver|v)\b\.?\)?|[ ]\(GPU\?\)|[ ](?:release|build)\b)?[`'\"*)]{0,2}"
    r"(?:\s{0,3}(?:[:=\uff1a@-]|==|is|was|at|\u4e3a|\u662f|,)){0,2}\s{0,4}[`'\"(*v]{0,3}"
    rf"({_RELEASE}|\d{{1,2}}(?=[ ,.;)]|$))",
    re.I | re.M,
)
# Before a name: not what is there, but what somebody wants or needs.
_NOT_HERE = re.compile(
    r"(?:\bfor|requires?|required|needs?|need|against|supports?|upgrad\w+|downgrad\w+|updat\w+|to|at least|since|"
    r"before|older than|newer than|than|until|drop\w*|depends? on|expects?|works?|worked|work|official|latest|"
    r"(?:built|compiled) (?:with|for|using|against)|install|prebuilt|like|e\.g\.|instead of|from|or|until|switch\w*|"
    r"user requested|requirement|distribution found for|specify|try|pre-compiled|be|minimum|"
    r"maximum)\s{0,3}(?:the |a |with |in |on |using |by |version |of )?"
    r"[`'\"*(]{0,2}$",
    re.I,
)
_VERSION = r"\d{1,4}(?:\.\w{1,20}){1,6}(?:\.\w{1,20})?(?:[+!-][\w.]{1,40})?"
_PIN = re.compile(
    rf"(?:\[(?:pip3?|conda)\]\s{{0,4}}|[-+*~]\s|"
    rf"\s{{1,8}})?([A-Za-z][\w.-]{{0,60}})(?:\[[\w,-]{{1,60}}\])?\s?={{2,3}}\s?({_VERSION}|\d{{1,8}})"
    r"(?:\s{1,4}(\S{1,80}))?(?:\s.{0,60})?$"
)
_ROW = re.compile(
    rf"(?:\[conda\]\s)?[|\u2502]?\s{{0,4}}([A-Za-z][\w.-]{{0,60}})\s{{0,60}}(?:\s|"
    rf"\|)\s{{0,60}}({_VERSION})(\+\w[\w.]{{0,30}})?"
    r"(?:\s{1,60}(?:\|\s{0,4})?(\S{1,200}))?(?:\s{1,60}(\S{1,200}))?\s{0,40}\|?$"
)
_CONDA = re.compile(
    r"(?:^|[\s/:])(?:[\w.-]+/(?:linux-64|linux-aarch64|win-64|osx-64|osx-arm64|noarch)::)?([a-z][\w.-]{0,60}?)"
    r"(?:==?|-)(\d[\w.]{0,30})(?:=|-)((?:py|cpu|cuda|gpu|h[0-9a-f]{5})[\w.]{0,80}?)(?:\.tar\.bz2|"
    r"\.conda)?(?=[\s,'\")]|$)"
)
_INSTALLED = re.compile(r"Successfully installed (.{1,20000})")
_ONE_INSTALLED = re.compile(r"([A-Za-z][\w.-]{0,60}?)-(\d[\w.+!]{0,60})(?=\s|$)")
_REMOVED = re.compile(r"Successfully uninstalled ([A-Za-z][\w.-]{0,60}?)-(\d[\w.+!]{0,60})(?=\s|$)")
_SATISFIED = re.compile(
    r"Requirement already (?:satisfied|up-to-date): ([A-Za-z][\w.-]{0,60})[^\n]{0,400}\((\d[\w.+!]{0,60})\)"
)
_UV = re.compile(rf"\s?([+~]) ([A-Za-z][\w.-]{{0,60}})==({_VERSION})")
_WHEEL = re.compile(
    r"([A-Za-z][\w.]{0,60})-(\d[\w.]{0,30}(?:(?:\+|%2[Bb])[\w.]{1,60})?)-((?:cp|"
    r"py)\d[\w.]{0,40})-([\w.]{1,20})-([\w.]{1,80})\.whl"
)
_WHEEL_PAGE = re.compile(r"torch-(\d+\.\d+)(?:\.\d+)?(?:\+|%2[Bb])(cpu|cu\d{2,3})/$")
_YOU_HAVE = re.compile(
    rf"([A-Za-z][\w.-]{{0,60}}) ({_VERSION}) (?:requires|has requirement|"
    rf"depends on) (\S[^\n]{{0,120}}?),? but (?:you(?:'ll)? have|you have) "
    rf"([A-Za-z][\w.-]{{0,60}}) ({_VERSION})"
)
_SHOW = re.compile(rf"^Name: ([\w.-]{{1,60}})\s*\nVersion: ({_VERSION})", re.M)
_LOCKED = re.compile(rf"name = \"([\w.-]{{1,60}})\"\s*\nversion = \"({_VERSION})\"")
_COLLECT_ENV = re.compile(
    r"^[\s*-]{0,6}`?PyTorch`?(?: version)?(?: \(GPU\?\))?`?\s{0,20}[:\s]\s{0,20}(\d[\w.+]{2,40})", re.M
)
_OTHER_LISTS = re.compile(
    rf"^[\s*-]{{0,6}}`?(Transformers|Accelerate|Diffusers|TorchVision|torchvision|OpenCV|MMCV|mmcv|mmdet|MMDetection|"
    rf"Numpy|numpy|fvcore|iopath|cv2|PEFT|Huggingface_hub|Safetensors|Tokenizers|huggingface_hub|transformers|"
    rf"accelerate|diffusers|Pillow|PyG|DGL|detectron2|xFormers|xformers|Bitsandbytes|bitsandbytes|DeepSpeed|"
    rf"deepspeed)`?(?: version)?\s{{0,30}}[:\s]\s{{0,30}}({_VERSION})(?=\s|$)",
    re.M,
)
_TORCH_IN_WORDS = re.compile(
    r"(?<![\w./=-])(?:py)?torch\b[^\n\d]{0,24}?\d+\.\d+[\w.+]{0,40}[ ,;/()+and&|]{1,6}(?:with |"
    r"built for |using |for )?"
    r"(?:[Cc][Uu][Dd][Aa](?:[ _-]?(?:version|toolkit))?[ :=is]{0,6}(\d{1,2}\.\d)|[Cc][Uu](\d{2,3})\b)",
    re.I,
)
_CUDA_OF_TORCH = (
    re.compile(r"CUDA used to build PyTorch: (\d+\.\d+|None|N/A)"),
    re.compile(r"torch\.version\.cuda\)?[\s:='\"]{1,4}(\d+\.\d+|None)"),
    re.compile(r"version that was used to compile\s{1,12}PyTorch \((\d+\.\d+)\)"),
    re.compile(r"PyTorch has CUDA [Vv]ersion[:=\s]{1,2}(\d+\.\d+)"),
    re.compile(r"PyTorch was (?:using|compiled with|built with) '?CUDA '?(\d+\.\d+)"),
    re.compile(r"\bCUDA Runtime (\d+\.\d+)\b"),
    re.compile(r"PyTorch CUDA (?:version )?:? ?(\d+\.\d+)"),
)
_ARCHITECTURES = re.compile(
    r"(?:supports CUDA capabilities|torch\.cuda\.get_arch_list\(\)\)?|get_arch_list\(\)[^\n]{0,20}|"
    r"arch(?:itecture)?[ _]list)"
    r"[^\n]{0,20}?\s?((?:[\[\s,'\"]{0,4}\b(?:sm|compute)_\d{2,3}[af]?\b['\"\]]{0,2}){1,40})"
)
_ARCH = re.compile(r"\b(?:sm|compute)_\d{2,3}[af]?\b")
_LISTED_ARCH = re.compile(r"\[(?:'(?:sm|compute)_\d{2,3}[af]?'(?:, )?){1,40}\]")
_NVCC_FLAGS = re.compile(r"NVCC architecture flags: ([^\n]{10,4000})")
_CXX_OTHERS = re.compile(r"PyTorch has CUDA version (\S{1,12}) and ([\w.-]{1,60}) has CUDA version (\d+\.\d+)", re.I)
_XFORMERS = re.compile(r"PyTorch (\d+\.\d+)[\w.+]{0,30} with CUDA (\d{3,4}|None) \(you have (\d[\w.+]{2,40})\)", re.I)
_XFORMERS_PYTHON = re.compile(r"Python\s{1,4}\d[\d.]{2,10} \(you have (\d[\d.]{2,10})\)")

_BANNER = re.compile(
    r"Python (\d\.\d{1,2}\.\d{1,2}\w{0,4})[ |][^\n]{0,160}?[\[(]?(GCC|Clang|"
    r"MSC v\.\d+)[^\n]{0,80}?\] ?(?::: ([\w, .]{3,40}?) )?on (\w+)"
)
_PYTHON_SAID = re.compile(
    r"(?<![\w./=-])`?Python`? ?(?:version|Version|VERSION)?`?(?: is|:|=|\uff1a|"
    r"\s)\s{0,20}`?v?(3\.\d{1,2}(?:\.\d{1,2})?)(?![\d]|\.\d+\.)",
    re.I | re.M,
)
_PYTHON_PATHS = (
    re.compile(r"[/\\]python(3\.\d{1,2})[/\\](?:site|dist)-packages"),
    re.compile(r"[/\\]Python[/\\]?Python(3)(\d{1,2})[/\\]", re.I),
    re.compile(r"[/\\]Python(3)(\d{1,2})(?:-32|_64)?[/\\](?:lib|scripts|python)", re.I),
    re.compile(r"[/\\]lib[/\\]python(3\.\d{1,2})[/\\]"),
    re.compile(r"\.cpython-(3)(\d{1,2})m?-"),
    re.compile(r"\.cp(3)(\d{1,2})-win"),
    re.compile(r"[/\\]python(3\.\d{1,2})\b"),
)
_PYTHON_ASKED = re.compile(r"(?:\bpython=|\bpython ?= ?\"?[\^~]?|-p |--python[ =]|python)(3\.\d{1,2})\b")
_YOUR_PYTHON = re.compile(
    r"(?:Your python: python=|requires a different Python: |Python executable version: |you're using Python |"
    r"currently using Python |CPython |Python version is |running on Python |found Python )(3\.\d{1,2}(?:\.\d{1,2})?)"
)
_PYTHON_VERSION = re.compile(r"^[\s*-]{0,6}Python version\s{0,3}:\s{0,4}(\d\.\d{1,2}(?:\.\d{1,2})?)", re.M | re.I)
_PREFIXES = re.compile(
    r"([A-Za-z]:\\[^\s\"':*?<>|]{1,200}|/[^\s\"':*?<>|]{1,200}|~/[^\s\"':]{1,200})"
    r"(?:[/\\]lib(?:64)?[/\\]python3\.\d{1,2}[/\\](?:site|dist)-packages|[/\\][Ll]ib[/\\]site-packages)"
)
_SPACED_PREFIXES = re.compile(
    r"(?:[A-Za-z]:\\|(?<![\w.~])/)(?:[^\s\"':*?<>|]| (?=[\w(])){1,250}"
    r"(?:[/\\]lib(?:64)?[/\\]python3\.\d{1,2}[/\\](?:site|dist)-packages|[/\\][Ll]ib[/\\]site-packages)"
)
# Where an installer keeps what it builds with: no environment of the person's.
_BUILDS_OWN = re.compile(r"pip-build-env|builds-v\d|pypoetry[/\\]venv|pip-install-|pip-req-build|[/\\]pipx[/\\]")
_EXECUTABLE = re.compile(
    r"(?:^|[\s'\"=])((?:/[\w.+-]{1,60}){1,12}/python(?:3(?:\.\d{1,2})?)?|"
    r"[A-Za-z]:\\(?:[\w .+-]{1,60}\\){1,12}python(?:3)?\.exe)(?=[\s'\",:]|$)"
)

_OS = re.compile(
    r"^[\s*-]{0,6}(?:OS|Operating [Ss]ystem|System|Platform)\s{0,3}[:\uff1a]\s{0,4}(\S[^\n]{1,80})", re.M | re.I
)
_OS_SAID = re.compile(
    r"\b(Ubuntu[ -]?(?:GNU/Linux )?\d\d\.?\d{1,2}(?:\.\d{1,2})?(?: LTS)?|"
    r"Debian(?: GNU/Linux)?(?: \d{1,2})?|CentOS(?: Linux)?(?: [\w.]{1,12}){0,2}|"
    r"Red Hat[\w .]{0,40}|RHEL ?\d[\d.]{0,4}|Rocky Linux[ \d.]{0,6}|AlmaLinux[ \d.]{0,6}|"
    r"Fedora(?: \d\d)?|Arch Linux|Manjaro|openSUSE[\w .]{0,12}|"
    r"Windows (?:Server )?\d{1,4}(?:\.\d)?(?: (?:Pro|Home|Enterprise))?|macOS ?[\w.]{0,12}|"
    r"Mac ?OS ?X? ?[\d.]{0,8}|Amazon Linux(?: \d{1,4})?|"
    r"Linux Mint(?: \d\d)?|Pop!_OS(?: \d\d\.\d\d)?|NixOS|Alpine Linux)",
    re.I,
)
_GLIBC = re.compile(r"(?:glibc[- ]?(?:version )?|ldd \([^)\n]{1,60}\) |GNU libc\) |with-glibc)(2\.\d{1,2})\b", re.I)
_GCC = re.compile(
    r"(?:^|\n)[\s*-]{0,6}(?:GCC(?: version)?\s{0,20}[:\s]\s{0,20}(?:gcc )?\([^)\n]{1,80}\) "
    r"(\d{1,2}\.\d{1,2}\.\d{1,2})|(gcc|g\+\+|"
    r"c\+\+)(?:-\d+)? ?\([^)\n]{1,80}\) (\d{1,2}\.\d{1,2}\.\d{1,2})|"
    r"gcc version (\d{1,2}\.\d{1,2}\.\d{1,2}))"
)
_CLANG = re.compile(r"(?:Apple )?clang version (\d{1,2}(?:\.\d{1,2}){1,3})")
_GCC_SAID = re.compile(r"\b(gcc|g\+\+)[ :=-]{1,3}(?:version )?(\d{1,2}(?:\.\d{1,2}){0,2})\b", re.I)
_MSVC = re.compile(r"(?:Compiler Version (\d\d\.\d\d)|[/\\]MSVC[/\\](\d\d\.\d\d\.\d{3,6}))")
_NVCC = (
    re.compile(r"Cuda compilation tools, release (\d{1,2}\.\d)"),
    re.compile(r"Build cuda_(\d{1,2}\.\d)"),
    re.compile(r"CUDA runtime version: (\d{1,2}\.\d)"),
    re.compile(r"[Tt]he detected CUDA version \((\d{1,2}\.\d)\)"),
    re.compile(r"\bnvcc(?: -V| --version| version|:)?[ :=]{1,3}(?:version |release |is )?(\d{1,2}\.\d)\b", re.I),
    re.compile(
        r"(?:CUDA (?:bare metal )?(?:version|Version)|"
        r"Cuda extensions are being compiled with a version of Cuda)"
        r"[^\n]{0,20}nvcc[^\n]{0,12}(\d{1,2}\.\d)"
    ),
)
_TOOLKIT_PATH = re.compile(
    r"(/usr/local/cuda-(\d{1,2}\.\d)\b|/opt/cuda-(\d{1,2}\.\d)|"
    r"[A-Za-z]:[^\s\"';]{0,60}(?: [^\s\"';]{0,40}){0,3}\\CUDA\\v(\d{1,2}\.\d))"
)
_SMI = re.compile(
    r"Driver Version: {0,4}(\d{3}(?:\.\d{1,3}){1,2})(?:[ |]{1,12}(?:CUDA (?:UMD )?Version: {0,4}(\d{1,2}\.\d)))?"
)
_DRIVER = re.compile(
    r"(?:[Nn][Vv][Ii][Dd][Ii][Aa] (?:[Gg][Pp][Uu] )?)?[Dd]river(?: [Vv]ersion)?(?: is|:|=|"
    r"\s)\s{0,12}v?(\d{3}\.\d{2,3}(?:\.\d{1,3})?)\b"
)
_TOO_OLD = re.compile(r"driver on your system is too old \(found version (\d{4,5})\)")
_CC = r"(?:CUDA capability|cuda capability|compute capability|CUDA compute capability)"
_GPU_WITH_CC = (
    re.compile(rf"([A-Z][\w .()/-]{{3,80}}?) with {_CC} (?:sm_)?(\d{{1,2}}\.?\d) is not compatible"),
    re.compile(rf"Found GPU ?\d{{1,2}} ([^\n]{{3,80}}?) which is of {_CC} (?:\(CC\) )?(\d{{1,2}}\.\d)"),
)
_GPU_ROW = re.compile(
    r"\|\s{1,4}\d{1,2}\s{1,4}([A-Z][\w .()/-]{3,60}?)(?:\s{1,8}(?:Off|On|TCC|WDDM|WDDM/TCC|"
    r"\.\.\.))?\s{1,8}(?:On|Off|TCC|WDDM|N/A)?\s{0,6}\|\s{1,4}[0-9A-Fa-f]{8}:"
)
_GPU_LISTED = re.compile(
    r"^[\s*-]{0,4}(?:GPU ?\d{1,2}(?:,\d{1,2}){0,15}|Device \d{1,2}|GPU models? and configuration|"
    r"GPU model|GPUs?|Graphics card|GPU type)\s{0,4}[:\s]\s{0,8}"
    r"(?:GPU \d{1,2}: )?([A-Z][\w .()/+-]{2,80})",
    re.M | re.I,
)
_DEVICE_NAME = re.compile(
    r"get_device_name\([^)\n]{0,20}\)\)?\s{0,4}[:=>]{0,2}\s{0,4}['\"]?((?:NVIDIA|GeForce|Tesla|Quadro|"
    r"RTX|GTX|TITAN|A\d)[^\n'\"]{1,60})"
)
_CAPABILITY = re.compile(
    rf"(?:get_device_capability\([^)\n]{{0,20}}\)\)?\s{{0,4}}[:=>]{{0,2}}\s{{0,4}}\((\d{{1,2}}), (\d)"
    rf"\)|{_CC}\s?[:=]?\s?(?:is |of )?(?:\(CC\) |sm_)?(\d{{1,2}})\.?(\d)\b)"
)
_PRODUCT = re.compile(
    r"(?<![\w-])(?:NVIDIA |Nvidia |nvidia |GeForce |Geforce |Quadro |Tesla ){0,3}(?:"
    r"(?:RTX|GTX|rtx|gtx|Rtx|Gtx)[ -]?(?:PRO |A)?\d{3,4}(?:[ -]?(?:Ti|TI|ti|SUPER|Super|super|D|Max-Q|"
    r"Ada|Blackwell|Laptop)\b){0,3}|"
    r"TITAN (?:RTX|Xp|X|V|Z|Black)|Titan (?:RTX|Xp|X|V)|Quadro [A-Z]{1,2}\d{3,4}|(?:Tesla |TESLA )[A-Z]\d{1,3}|"
    r"(?:A100|A800|H100|H200|H800|H20|V100|P100|K80|K40|L40S|L40|A10G|A30|A40|A16|B200|B300|GB10|"
    r"GB200|GB300|GH200|M40|M60|A6000|A5000|A4000)"
    r"(?![\w.])|Jetson(?: (?:AGX|Orin|Xavier|Nano|TX1|TX2|TX2i|NX|Thor|T5000)){1,3}|DGX Spark|MX\d{3}\b)"
)
_SHORT_PRODUCT = re.compile(
    r"(?<![\w/.-])(?:NVIDIA |Nvidia |a |GPU:? |gpu:? |on )(T4|L4|P4|P40|A10|A2|T1000|T600|4090|3090|"
    r"5090|4080|3080|5080|2080 ?Ti|1080 ?Ti)(?![\w.])"
)
_MOST_GPUS = 16

_VARIABLES = (
    "CUDA_HOME CUDA_PATH CUDA_ROOT LD_LIBRARY_PATH DYLD_LIBRARY_PATH LD_PRELOAD PATH PYTHONPATH TORCH_CUDA_ARCH_LIST "
    "FORCE_CUDA CUDA_VISIBLE_DEVICES CC CXX CUDAHOSTCXX NVCC_PREPEND_FLAGS MAX_JOBS NVIDIA_VISIBLE_DEVICES "
    "NVIDIA_DRIVER_CAPABILITIES CPATH CPLUS_INCLUDE_PATH C_INCLUDE_PATH LIBRARY_PATH "
"CUDA_LAUNCH_BLOCKING CONDA_PREFIX "
    "VIRTUAL_ENV KMP_DUPLICATE_LIB_OK PYTORCH_CUDA_ALLOC_CONF CUDNN_PATH CUDNN_HOME TORCH_HOME TORCH_EXTENSIONS_DIR "
    "DS_BUILD_OPS DISTUTILS_USE_SDK PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS BNB_CUDA_VERSION WITH_CUDA "
    "APEX_CPP_EXT APEX_CUDA_EXT FLASH_ATTENTION_SKIP_CUDA_BUILD CFLAGS CXXFLAGS LDFLAGS "
"PYTHONNOUSERSITE CONDA_OVERRIDE_CUDA"
).split()  # fmt: skip
_SET = re.compile(
    r"(?:(?:export|set|setx|setenv|ENV|ARG|SET)\s\"?|\$env:|os\.environ\[['\"])?([A-Z][A-Z0-9_]{1,40})(?:['\"]\])?"
    r"(?:\s?=\s?|: |(?<=\w) (?=/))(\S[^\n]{0,1000})?"
)
_ECHOED = re.compile(r"(?:echo|printenv) \$?\{?([A-Z][A-Z0-9_]{1,40})\}?$|echo %([A-Z][A-Z0-9_]{1,40})%$")
_AVAILABLE = re.compile(
    r"(?:torch\.cuda\.is_available\(\)\)?|Is CUDA available|GPU available|CUDA available|Using GPU in script\?)"
    r"[\s:=>`'\"|]{1,30}(?:is |returns |gives |->|outputs )?\s?(True|False)",
    re.I,
)
_PRINTS = re.compile(r"print\((.{1,300})\)\s{0,3}[\"']?$")
_EXPRESSION = re.compile(r"(?:>>> |In ?\[\d{0,4}\]: ?)([\w.]{1,80}(?:\(\))?)$")
_ADDRESS = re.compile(r"Looking in (?:links|indexes): ([^\n]{1,2000})")


class State:
    """What a text states, read once; :meth:`facts` are what facts can hold of it."""

    def __init__(self, lines: Sequence[str], commands: Sequence[Command] = ()):
        self.lines = lines = _telling(lines)
        self.text = "\n".join(lines)
        self.lower = self.text.lower()
        self.commands = commands
        self.versions: dict[
            str, tuple[int, str, str]
        ] = {}  # by package: how much it counts, version, as it was named
        self.builds: dict[str, str] = {}  # by package: conda's build string
        self.wheels: dict[str, tuple[str, ...]] = {}  # by package: the tags of its wheel
        self.built: dict[str, tuple[Optional[str], Optional[str]]] = {}  # by package: for which torch and CUDA
        self.requires: dict[str, list[str]] = {}
        self.printed: dict[str, str] = {}  # by expression: what the running process printed
        self._read()

    def has(self, *words: str) -> bool:
        return any(word in self.lower for word in words)

    def seen(self, package: str, version: str, weight: int, name: str = "") -> None:
        """Note a version; of two that count the same the later one is taken."""
        key = normalise(package)
        key = _ALIASES.get(key, key)
        version = version.strip(".,;:")
        if re.search(r"\.[x*]|^0*$", version) or (key == "torch" and not re.match(r"[0-3]\.\d", version)):
            return
        if key == "python":
            self.printed.setdefault("python", version)
            return
        known = self.versions.get(key)
        if known is None or weight > known[0] or (weight == known[0] and not known[1].startswith(version)):
            self.versions[key] = (weight, version, name or (package if key == normalise(package) else key))

    # -- packages

    def _read(self) -> None:
        if self.has("__version__", "version.cuda", "print(", ">>> ", "get_arch_list"):
            self._read_printed()
        if self.has("=="):
            self._read_pins()
        self._read_rows()
        if self.has("installed", "satisfied", "uninstalled", " + ", " ~ "):
            self._read_installer()
        if self.has(".whl"):
            self._read_wheels()
        if self.has("tar.bz2", ".conda", "::", "=py", "-py", "=cpu", "=cuda", "-cpu_"):
            self._read_conda()
        if self.has("but you"):
            for match in _YOU_HAVE.finditer(self.text):
                package, version, wanted, other, there = match.groups()
                self.seen(package, version, LISTED)
                self.seen(other, there, LISTED)
                self.requires.setdefault(normalise(package), []).append(wanted.strip())
        if self.has("name: "):
            for match in _SHOW.finditer(self.text):
                self.seen(match.group(1), match.group(2), LISTED)
        if self.has('name = "'):
            for match in _LOCKED.finditer(self.text):
                self.seen(match.group(1), match.group(2), SHOWN)
        if self.has("pytorch"):
            for match in _COLLECT_ENV.finditer(self.text):
                if self._is_here(match.start(1), self.text):
                    self.seen("torch", match.group(1), PRINTED if "ersion" in match.group() else LISTED)
        if self.has("version:", "version :", "mmcv", "fvcore", "opencv", "diffusers"):
            for match in _OTHER_LISTS.finditer(self.text):
                self.seen({"cv2": "opencv-python"}.get(match.group(1), match.group(1)), match.group(2), SHOWN)
        if self.has("you have"):
            for match in _XFORMERS.finditer(self.text):
                cuda = match.group(2)
                self.built["xformers"] = (
                    match.group(1),
                    f"{int(cuda) // 100}.{int(cuda) % 100}" if cuda.isdigit() else "cpu",
                )
                self.seen("torch", match.group(3), PRINTED)
        if self.has("has cuda version"):
            for match in _CXX_OTHERS.finditer(self.text):
                key = normalise(match.group(2))
                self.built[key] = (self.built.get(key, (None, None))[0], match.group(3))
        self._read_prose()
        self._read_typed()

    def _read_printed(self) -> None:
        """What an interpreter answered: ``>>> torch.__version__`` and ``print(torch.version.cuda)``."""
        lines = self.lines
        for at, line in enumerate(lines):
            if "__version__" not in line and "version.cuda" not in line and "get_arch_list" not in line:
                continue
            said = line.strip()
            printed = _PRINTS.search(said)
            expression = _EXPRESSION.search(said)
            asked = _arguments(printed.group(1)) if printed else [expression.group(1)] if expression else []
            if not asked:
                continue
            answers = [more.strip() for more in lines[at + 1 : at + 1 + 4] if more.strip()]
            if not answers or answers[0].startswith((">>>", "Traceback", "import ")):
                continue
            values = answers[0].strip("'\"").split() if len(asked) > 1 else [answers[0].strip("'\"")]
            for what, value in zip((a for a in asked if "." in a and a[0] not in "'\"f"), _versions(values)):
                self.printed[what] = value
        for what, value in self.printed.items():
            package, _, attribute = what.partition(".")
            if attribute == "__version__" and re.match(r"\d+\.\d", value):
                self.seen(package, value, PRINTED)
        # torch.__version__ 1.6.0.dev20200518 | torch.__version__: '2.0.1'
        for match in re.finditer(r"\b(\w{2,40})\.__version__\)?[`\s:='\",]{1,5}(\d[\w.+]{2,40})", self.text):
            if self._is_here(match.start(), self.text):
                self.seen(match.group(1), match.group(2), PRINTED)

    def _read_pins(self) -> None:
        for line in self.lines:
            if "==" not in line:
                continue
            pin = _PIN.match(line)
            if pin and pin.group(1).lower() not in ("if", "assert", "version", "elif", "while"):
                self.seen(pin.group(1), pin.group(2), LISTED)

    def _read_rows(self) -> None:
        """Tables: pip list, conda list, collect_env's, Markdown's."""
        rows: list[tuple[int, re.Match[str]]] = []
        for at, line in enumerate(self.lines):
            if len(line) > 300 or not any(c.isdigit() for c in line[2:40]) or ":" in line[:24]:
                continue
            row = _ROW.match(line)
            if row:
                rows.append((at, row))
        near = {at for at, _ in rows}
        for at, row in rows:
            name, version, local, build, _ = row.groups()
            version += local or ""
            wide = "  " in row.group() or "|" in row.group() or "\t" in row.group()
            conda = bool(build and re.match(r"(?:py|cpu|cuda|h[0-9a-f]{5}|pypi|\d+_|_|mkl)", build))
            known = re.fullmatch(_NAMED, name, re.I) is not None or _is_extension(normalise(name))
            if name.lower() == "python":
                if wide or conda:
                    self.printed.setdefault("python", version)
                continue
            block = len({at - 2, at - 1, at + 1, at + 2} & near) >= 1
            if not (conda or (wide and (known or block)) or (known and (block or not build))):
                continue
            if build and not (conda or wide):
                continue
            if name.lower() in (
                "nvcc",
                "cuda",
                "cudnn",
                "gcc",
                "version",
                "release",
                "driver",
                "linux",
                "ubuntu",
                "windows",
            ):
                continue
            self.seen(name, version, LISTED)
            if build and build not in ("pypi_0", "<pip>") and conda:
                self._built_by_conda(name, build)

    def _built_by_conda(self, name: str, build: str) -> None:
        key = _ALIASES.get(normalise(name), normalise(name))
        self.builds[key] = build
        torch, cuda = _conda_build(build)
        if torch or cuda:
            self.built[key] = (torch, cuda)

    def _read_installer(self) -> None:
        for match in _SATISFIED.finditer(self.text):
            self.seen(match.group(1), match.group(2), LISTED)
        for match in _REMOVED.finditer(self.text):
            known = self.versions.get(normalise(match.group(1)))
            if known and known[1] == match.group(2) and known[0] < PRINTED:
                del self.versions[normalise(match.group(1))]
        for match in _INSTALLED.finditer(self.text):
            for one in _ONE_INSTALLED.finditer(match.group(1)):
                self.seen(one.group(1), one.group(2), LISTED)
        if self.has(" + ", " ~ "):
            for line in self.lines:
                uv = _UV.match(line)
                if uv:
                    self.seen(uv.group(2), uv.group(3), LISTED)

    def _read_wheels(self) -> None:
        for match in _WHEEL.finditer(self.text):
            name, version, python, abi, platform = match.groups()
            version = version.replace("%2B", "+").replace("%2b", "+")
            before = self.text[max(0, match.start() - 200) : match.start()]
            key = normalise(name)
            self.seen(name, version, SHOWN if key in EXTENSIONS or key == "torch" else ASKED)
            self.wheels[key] = (f"{python}-{abi}-{platform}",)
            page = _WHEEL_PAGE.search(before)
            if page:
                self.built[key] = (page.group(1), _cuda(page.group(2)))

    def _read_conda(self) -> None:
        for match in _CONDA.finditer(self.text):
            name, version, build = match.groups()
            if name in ("python", "cp") or not any(c.isdigit() for c in version):
                if name == "python":
                    self.printed.setdefault("python", version)
                continue
            self.seen(name, version, LISTED)
            self._built_by_conda(name, build)

    def _read_prose(self) -> None:
        for match in _PROSE.finditer(self.text):
            name, version = match.groups()
            start, end = match.span()
            if name.lower() in ("pip", "numpy", "apex", "mkl", "jax") and "." not in version:
                continue
            if self.text[end : end + 1] in ("x", "/", "%") or version.count(".") > 5:
                continue
            if not self._is_here(start, self.text):
                continue
            if "." not in version and name.lower() not in ("torch", "pytorch", "numpy"):
                continue
            self.seen(name.replace(" ", "-"), version, WROTE)

    @staticmethod
    def _is_here(start: int, text: str) -> bool:
        """Whether what stands at ``start`` is said to be there, and not wanted or compared with."""
        begin = max(text.rfind("\n", max(0, start - 60), start) + 1, start - 60, 0)
        before = text[begin:start]
        return not before or _NOT_HERE.search(before) is None

    def _read_typed(self) -> None:
        for command in self.commands:
            if not typed.installs(command.words):
                continue
            for word in command.words:
                pin = re.fullmatch(
                    r"([A-Za-z][\w.-]{0,60})(?:\[[\w,-]{1,60}\])?={1,3}(\d[\w.+]{0,60})(?:=(\S{1,80}))?", word
                )
                if pin and pin.group(1).lower() != "python":
                    self.seen(pin.group(1), pin.group(2), ASKED)
                latest = re.fullmatch(r"([A-Za-z][\w.-]{0,60})==latest\+(cpu|cu\d{2,3})", word)
                if latest:
                    key = normalise(latest.group(1))
                    torch = next(
                        (m.group(1) for p in self.pages for m in [re.search(r"torch-(\d+\.\d+)", p)] if m), None
                    )
                    self.built.setdefault(key, (torch, _cuda(latest.group(2))))

    # -- torch

    @cached_property
    def pages(self) -> tuple[str, ...]:
        """The addresses that were given to pip as pages or as indexes."""
        found: list[str] = []
        options = ("-f", "--find-links", "-i", "--index-url", "--extra-index-url", "--index", "--default-index")
        for words in (command.words for command in self.commands if typed.installs(command.words)):
            for at, word in enumerate(words):
                option, equal, value = word.partition("=")
                if option in options:
                    found.append(value if equal else words[at + 1] if at + 1 < len(words) else "")
        if self.has("looking in "):
            for match in _ADDRESS.finditer(self.text):
                found += re.split(r",\s*", match.group(1).strip())
        return tuple(dict.fromkeys(page for page in found if page))

    @cached_property
    def torch_build(self) -> Optional[str]:
        """``cpu``, ``cu118`` or ``rocm6.2``; None where that is not stated."""
        version = self.versions.get("torch", (0, "", ""))[1]
        local = version.partition("+")[2]
        tag = re.match(r"cpu|cu\d{2,3}|rocm[\d.]+", local)
        if tag:
            return tag.group()
        rocm = re.search(r"ROCM used to build PyTorch: (\d+\.\d+)", self.text) if "rocm used" in self.lower else None
        if rocm:
            return f"rocm{rocm.group(1)}"
        cuda = self._cuda_said
        if cuda:
            return "cpu" if cuda in ("None", "N/A") else "cu" + cuda.replace(".", "")
        built = self.built.get("torch", (None, None))[1]
        if built:
            return built if built == "cpu" else "cu" + built.replace(".", "")
        if self.has("cpuonly") and any("cpuonly" in command.words for command in self.commands):
            return "cpu"
        words = _TORCH_IN_WORDS.search(self.text) if self.has("cu") and self.has("torch") else None
        if words and self._is_here(words.start(), self.text):
            return "cu" + (words.group(1).replace(".", "") if words.group(1) else words.group(2))
        return None

    @cached_property
    def _cuda_said(self) -> Optional[str]:
        if "torch.version.cuda" in self.printed:
            return self.printed["torch.version.cuda"]
        if self.has("cuda"):
            for pattern in _CUDA_OF_TORCH:
                found = pattern.search(self.text)
                if found:
                    return found.group(1)
        return None

    @property
    def hip(self) -> Optional[str]:
        if not self.has("rocm", "hip"):
            return None
        found = re.search(
            r"ROCM used to build PyTorch: (\d+\.\d+)|torch\.version\.hip[\s:='\"]{1,4}(\d+\.\d+)", self.text
        )
        if found:
            return found.group(1) or found.group(2)
        build = self.torch_build or ""
        return build[len("rocm") :] if build.startswith("rocm") else None

    @property
    def architectures(self) -> tuple[str, ...]:
        if not self.has("sm_", "compute_"):
            return ()
        found: list[str] = []
        for match in _ARCHITECTURES.finditer(self.text):
            found = _ARCH.findall(match.group(1)) or found
        listed = _LISTED_ARCH.search(self.text)
        if not found and listed:
            found = _ARCH.findall(listed.group())
        flags = _NVCC_FLAGS.search(self.text) if not found and self.has("nvcc architecture flags") else None
        if flags:
            found = re.findall(r"code=(sm_\d+a?)", flags.group(1))
        return tuple(dict.fromkeys(found))

    def torch(self) -> Optional[Torch]:
        known = self.versions.get("torch")
        build, architectures, hip = self.torch_build, self.architectures, self.hip
        if known is None and build is None and not architectures:
            return None
        cuda = _cuda(build) if build and build.startswith("cu") else None
        git = (
            re.search(r"torch\.version\.git_version[\s:='\"]{1,4}([0-9a-f]{7,40})", self.text)
            if self.has("git_version")
            else None
        )
        return Torch(
            location=self._site or "",
            version=known[1] if known else "",
            cuda=cuda,
            hip=hip,
            git_version=git.group(1) if git else None,
            architectures=architectures,
        )

    @cached_property
    def cuda_available(self) -> Optional[bool]:
        """What ``torch.cuda.is_available()`` said, the last time; None where that is not stated."""
        if not self.has("available", "gpu in script"):
            return None
        said = [match.group(1).lower() == "true" for match in _AVAILABLE.finditer(self.text)]
        return said[-1] if said else None

    # -- distributions and extensions

    def distributions(self) -> tuple[Distribution, ...]:
        site = self._site or ""
        return tuple(
            Distribution(name, version, site, requires=tuple(self.requires.get(key, ())))
            for key, (_, version, name) in self.versions.items()
        )

    def extensions(self) -> Iterator[Extension]:
        names = dict.fromkeys([key for key in self.versions if _is_extension(key)])
        names.update(dict.fromkeys(key for key in self.built if _is_extension(key)))
        for key in names:
            _, version, name = self.versions.get(key, (0, "", key))
            torch, cuda = build_tag(version)
            odd = re.search(
                r"\+(?:torch(\d)(\d{1,2}?)0(?=cu|cpu))(cpu|cu\d{2,3})?|\+(?:pt)?(\d)(\d{1,2})(cpu|cu\d{2,3})", version
            )
            if torch is None and odd:
                torch = f"{odd.group(1) or odd.group(4)}.{odd.group(2) or odd.group(5)}"
                cuda = _cuda(odd.group(3) or odd.group(6)) or cuda
            said = self.built.get(key, (None, None))
            family = re.fullmatch(r"(?:spconv|dgl|cupy|mmcv)-(cu\d{3})", key)
            yield Extension(
                package=name,
                version=version,
                origin="pasted text",
                location="",
                modules=(),
                built_for_torch=torch or said[0],
                built_for_cuda=cuda or said[1] or (_cuda(family.group(1)) if family else None),
                requires_torch=tuple(r for r in self.requires.get(key, ()) if re.match(r"torch(?![\w-])", r)),
                wheel_tags=self.wheels.get(key, ()),
            )

    # -- Python

    @cached_property
    def _site(self) -> Optional[str]:
        """The folder of the packages in the last path that names one."""
        if not self.has("site-packages", "dist-packages"):
            return None
        found = None
        for place in _PREFIXES.finditer(self.text):
            found = found if _BUILDS_OWN.search(place.group()) else place
        if found and self.text[found.start() - 1 : found.start()].isalnum():  # the folder's name has a space
            found = _last(_SPACED_PREFIXES, self.text) or found
        return found.group() if found else None

    def python(self) -> Python:
        version, bits, implementation, conda = "", 0, "", False
        banner = _last(_BANNER, self.text) if self.has(" on linux", " on win32", " on darwin") else None
        if banner:
            version, implementation = banner.group(1), "cpython"
            conda = "conda" in banner.group().lower()
            bits = 64 if "64 bit" in banner.group() else 32 if "32 bit" in banner.group() else 0
        if not version and self.has("python", ".cp3", "cp3"):
            version = self._python_version()
        prefix = re.sub(r"[/\\]lib(?:64)?[/\\].*$", "", self._site or "", flags=re.I)
        conda = conda or self.has(
            "conda/", "conda3", "miniforge", "mambaforge", "/opt/conda", "\\envs\\", "conda\\", "(base)", "by conda"
        )
        if not bits and self.has("-bit runtime", "64-bit", "32-bit", "(64 bit"):
            said = re.search(r"\b(32|64)[- ]bit (?:runtime|python)|python[^\n]{0,40}\b(32|64)[- ]bit", self.lower)
            bits = int(said.group(1) or said.group(2)) if said else 0
        executable = _EXECUTABLE.search(self.text) if self.has("/python", "\\python") else None
        minor = re.match(r"(\d)\.(\d+)", version)
        return Python(
            executable=executable.group(1) if executable else "python",
            version=version,
            implementation=implementation,
            prefix=prefix,
            base_prefix="",
            venv=bool(re.search(r"[/\\]\.?v?env[\w.-]{0,20}[/\\]lib", self._site or "", re.I))
            and "conda" not in prefix,
            conda=conda,
            abi=f"cp{minor.group(1)}{minor.group(2)}" if minor and implementation else "",
            platform=self._platform,
            bits=bits,
            ext_suffix="",
            externally_managed=self.has("externally-managed-environment"),
            cwd="",
            path=(),
        )

    def _python_version(self) -> str:
        text = self.text
        yours = _YOUR_PYTHON.search(text)
        if yours:
            return yours.group(1)
        said = _last(_PYTHON_VERSION, text)
        if said:
            return said.group(1)
        if "python" in self.printed:
            return self.printed["python"]
        have = _XFORMERS_PYTHON.search(text)
        if have:
            return have.group(1)
        from_paths = ""
        for pattern in _PYTHON_PATHS:
            found = _last(pattern, text)
            if found:
                from_paths = ".".join(group for group in found.groups() if group)
                break
        prose = [m.group(1) for m in _PYTHON_SAID.finditer(text) if self._is_here(m.start(1), text)]
        if from_paths:
            longer = [said for said in prose if said.startswith(from_paths + ".")]
            return longer[-1] if longer else from_paths
        if prose:
            return prose[-1]
        for name, tags in self.wheels.items():
            tag = re.match(r"cp(3)(\d{1,2})-", tags[0])
            if tag and _is_extension(name):
                return f"{tag.group(1)}.{tag.group(2)}"
        asked = [m.group(1) for m in _PYTHON_ASKED.finditer(text)]
        return asked[-1] if asked else ""

    @cached_property
    def _platform(self) -> str:
        system, machine = self.system, self.machine
        if system == "Linux" and machine:
            return f"linux_{machine}"
        if system == "Windows":
            return "win_arm64" if machine == "arm64" else "win_amd64" if machine == "x86_64" else ""
        return f"macosx_11_0_{machine}" if system == "Darwin" and machine else ""

    # -- the machine

    @cached_property
    def system(self) -> str:
        """``Linux``, ``Windows``, ``Darwin``, or '' where nothing tells."""
        if self.has(
            "win32",
            "winerror",
            ".dll",
            ".pyd",
            "c:\\",
            "d:\\",
            "\\site-packages",
            "windows 1",
            "win_amd64",
            "msvc",
            "wddm",
        ):
            if not self.has("wsl"):
                return "Windows"
        if self.has(".dylib", "macos", "darwin", "macosx", "osx-", "/users/", "mac os", "symbol not found:", "dyld["):
            return "Darwin"
        if self.has(
            "linux", "ubuntu", "debian", "centos", "rhel", ".so:", ".so.", "/home/", "/usr/", "/opt/conda", "glibc",
            "colab", "kaggle", "wsl", "jetson", "/root/", "docker", "/lib/python3",
        ):  # fmt: skip
            return "Linux"
        return "Windows" if self.has("windows") else ""

    @cached_property
    def machine(self) -> str:
        if self.has("aarch64", "jetson", "arm64", "gh200", "dgx spark", "gb10", "apple silicon") and not self.has(
            "/include/aarch64-none"
        ):
            return "arm64" if self.system in ("Darwin", "Windows") else "aarch64"
        if self.has("x86_64", "amd64", "linux-64", "win-64", "osx-64", "manylinux"):
            return "x86_64"
        return "x86_64" if re.search(r"\b(?:colab|kaggle)\b", self.lower) else ""

    def host(self) -> Host:
        os = ""
        if self.has("os:", "os :", "system:", "platform:", "operating"):
            for match in _OS.finditer(self.text):
                os = match.group(1).strip(" |`*")
        if not os:
            said = _OS_SAID.search(self.text)
            os = said.group(1).strip(" .") if said else ""
        libc = None
        if self.has("glibc", "ldd (", "gnu libc"):
            for match in _GLIBC.finditer(self.text):
                libc = f"glibc {match.group(1)}"
        return Host(
            system=self.system,
            machine=self.machine,
            os=os,
            libc=libc,
            gpus=tuple(self.gpus()),
            driver=self.driver(),
            toolkits=tuple(self.toolkits()),
            compiler=self.compiler(),
            container=self.container(),
            scheduler=self.scheduler(),
        )

    def gpus(self) -> Iterator[Gpu]:
        found: dict[str, Gpu] = {}

        def add(name: str, capability: Optional[str] = None) -> None:
            name = re.sub(r"\s{2,}.*|\s*\(UUID.*|\s*\.\.\.$|\s*-\s*$", "", name.strip())
            key = _product_key(name)
            if not key or len(found) >= _MOST_GPUS:
                return
            if key in found and (found[key].capability or not capability):
                return
            shown = found[key].name if key in found else name
            found[key] = Gpu(shown, capability or _capability(name))

        if self.has("capability"):
            for pattern in _GPU_WITH_CC:
                for match in pattern.finditer(self.text):
                    number = match.group(2)
                    dotted = number if "." in number else f"{number[:-1]}.{number[-1]}"
                    add(match.group(1).replace("with CUDA", ""), dotted)
        if self.has("|"):
            for match in _GPU_ROW.finditer(self.text):
                add(match.group(1))
        if self.has("gpu", "graphics", "device "):
            for match in _GPU_LISTED.finditer(self.text):
                if (
                    _PRODUCT.search(match.group(1))
                    or _SHORT_PRODUCT.search("GPU " + match.group(1))
                    or "GPU" in match.group(1)
                ):
                    add(_model(match.group(1)))
        if self.has("get_device_name"):
            for match in _DEVICE_NAME.finditer(self.text):
                add(match.group(1))
        if not found:
            for match in _PRODUCT.finditer(self.text):
                after = self.text[match.end() : match.end() + 8]
                if not after.lstrip(" -").lower().startswith("series"):
                    add(match.group())
            for match in _SHORT_PRODUCT.finditer(self.text) if not found else ():
                add(match.group(1))
        stated = list(found.values())
        if not stated or (len(stated) == 1 and stated[0].capability is None):
            said = _CAPABILITY.search(self.text) if self.has("capability") else None
            if said:
                capability = f"{said.group(1) or said.group(3)}.{said.group(2) or said.group(4)}"
                if _exists(capability) and (stated or "get_device_capability" in said.group()):
                    stated = [
                        Gpu(stated[0].name if stated else f"GPU of compute capability {capability}", capability)
                    ]
        yield from stated

    def driver(self) -> Optional[Driver]:
        if not self.has("driver"):
            return None
        smi = _last(_SMI, self.text)
        if smi:
            return Driver(smi.group(1), smi.group(2), "nvidia-smi")
        old = _TOO_OLD.search(self.text)
        said = _DRIVER.search(self.text)
        if old:
            number = int(old.group(1))
            return Driver(said.group(1) if said else "", f"{number // 1000}.{number % 1000 // 10}", "torch")
        return Driver(said.group(1), None, "pasted text") if said else None

    def toolkits(self) -> Iterator[Toolkit]:
        if not self.has("cuda", "nvcc"):
            return
        paths: dict[str, str] = {}
        for match in _TOOLKIT_PATH.finditer(self.text):
            version = match.group(2) or match.group(3) or match.group(4)
            paths.setdefault(version, match.group(1))
        first = None
        for pattern in _NVCC:
            found = _last(pattern, self.text)
            if found:
                first = found.group(1)
                break
        if first:
            yield Toolkit(paths.pop(first, "/usr/local/cuda" if "/usr/local/cuda" in self.text else ""), first)
        for version, path in paths.items():
            yield Toolkit(path, version)

    def compiler(self) -> Optional[str]:
        if self.has("gcc", "g++", "c++"):
            found = _last(_GCC, self.text)
            if found:
                name = {"gcc": "gcc", "c++": "c++"}.get(
                    found.group(2) or "", "g++" if found.group(2) == "g++" else "gcc"
                )
                return f"{name} {found.group(1) or found.group(3) or found.group(4)}"
            for found in _GCC_SAID.finditer(self.text):
                if self.text[found.start() - 1 : found.start()] != "[" and self._is_here(found.start(), self.text):
                    return f"{found.group(1).lower()} {found.group(2)}"
        if self.has("clang version"):
            clang = _CLANG.search(self.text)
            if clang:
                return f"clang {clang.group(1)}"
        if self.has("msvc", "compiler version"):
            msvc = _MSVC.search(self.text)
            if msvc:
                return f"msvc {msvc.group(1) or msvc.group(2)}"
        return None

    def container(self) -> Optional[str]:
        if self.has("apptainer", "singularity"):
            return "apptainer"
        if self.has("kubernetes", "kubectl", "k8s"):
            return "kubernetes"
        if self.has("podman"):
            return "podman"
        if self.has(
            "docker",
            "nvcr.io",
            "nvidia/cuda:",
            "dockerfile",
            "failed to solve",
            "container image",
            "pytorch/pytorch:",
        ):
            return "docker"
        return "wsl" if self.has("wsl", "microsoft-standard") else None

    def scheduler(self) -> Optional[str]:
        for name, words in (
            ("slurm", ("slurm", "sbatch", "srun ")),
            ("pbs", ("qsub", "pbs_", "#pbs")),
            ("lsf", ("bsub", "lsb_")),
        ):
            if self.has(*words):
                return name
        return None

    def variables(self) -> dict[str, str]:
        found: dict[str, str] = {}
        known = [name for name in _VARIABLES if name in self.text]
        if known or self.has("export ", "$env:"):
            for at, line in enumerate(self.lines):
                if not any(name in line for name in known) and "export " not in line and "$env:" not in line:
                    continue
                said = line.strip().lstrip("#>!%+-* `").strip("`")
                said = said if said.startswith("$env:") else said.lstrip("$ ")
                echoed = _ECHOED.match(said)
                if echoed:
                    answer = next((more.strip() for more in self.lines[at + 1 : at + 2]), "")
                    found[echoed.group(1) or echoed.group(2)] = answer
                    continue
                given = _SET.match(said)
                if given and (given.group(1) in known or given.group().startswith(("export", "$env", "ENV"))):
                    value = (given.group(2) or "").strip().strip("\"'`")
                    if "environment variable" not in value:
                        found[given.group(1)] = value
        for command in self.commands:
            words = command.words
            if words[0] in ("set", "setx"):
                continue
            while words and words[0] in ("env", "sudo", "export", "set"):
                words = words[1:]
            for word in words:
                name, equal, value = word.strip('"').partition("=")
                if not equal or not re.fullmatch(r"[A-Z][A-Z0-9_]{1,40}", name):
                    break
                found[name] = value
        return found

    def facts(self) -> Facts:
        """The facts; what the text does not state stays empty."""
        return Facts(
            about=About("pasted text", "reconstructed"),
            python=self.python(),
            host=self.host(),
            distributions=self.distributions(),
            torch=self.torch(),
            extensions=tuple(self.extensions()),
            variables=self.variables(),
            attempt=typed.attempt(self.lines, self.commands),
        )


# Of a long traceback the paths of the first and of the last frames tell where the packages lie; source tells nothing.
_MOST, _LONGEST = 300 << 10, 4000  # characters that are looked through, and of one line
_FIRST_FRAMES, _LAST_FRAMES = 3, 6


def _telling(lines: Sequence[str]) -> list[str]:
    """The lines without the inner frames of tracebacks and without source."""
    lines = _bounded(lines)
    frames = [at for at, line in enumerate(lines) if 'File "' in line and line.lstrip().startswith('File "')]
    if len(frames) <= _FIRST_FRAMES + _LAST_FRAMES:
        return list(lines)
    left_out = set(frames[_FIRST_FRAMES:-_LAST_FRAMES])
    for at in frames:
        below = lines[at + 1] if at + 1 < len(lines) else ""
        if below.startswith((lines[at][: len(lines[at]) - len(lines[at].lstrip())] + "  ",)):
            left_out.add(at + 1)
    return [line for at, line in enumerate(lines) if at not in left_out]


def _bounded(lines: Sequence[str]) -> Sequence[str]:
    """Of very much text the beginning and the end, of a very long line its beginning."""
    if sum(map(len, lines)) <= _MOST:
        return lines
    kept: list[list[str]] = [[], []]
    for part, some, room in ((kept[0], lines, _MOST // 3), (kept[1], reversed(lines), _MOST * 2 // 3)):
        for line in some:
            room -= len(line) + 1
            if room < 0:
                break
            part.append(line[:_LONGEST])
    return [*kept[0], *reversed(kept[1])]


def _last(pattern: "re.Pattern[str]", text: str) -> "Optional[re.Match[str]]":
    found = deque(pattern.finditer(text), maxlen=1)
    return found[0] if found else None


def _is_extension(key: str) -> bool:
    return key in EXTENSIONS or re.fullmatch(r"(?:spconv|dgl|mmcv)-cu\d{3}|diff-\w+-rasterization", key) is not None


def _cuda(tag: Optional[str]) -> Optional[str]:
    """``'11.8'`` of ``cu118``, ``'10.2'`` of ``cu102``, ``'9.2'`` of ``cu92``; ``'cpu'`` of ``cpu``."""
    if not tag or tag == "cpu":
        return tag or None
    digits = tag[2:]
    if len(digits) == 2 and digits in ("10", "11", "12", "13"):
        return digits
    return f"{digits[:-1]}.{digits[-1]}"


def _conda_build(build: str) -> tuple[Optional[str], Optional[str]]:
    """(torch, CUDA) of conda's build string: ``py3.9_cuda11.3_cudnn8_0``, ``cpu_py37h..``,
    ``py37_torch_1.10.0_cu113``, ``py38_cu113_pyt1110``."""
    torch = re.search(r"(?:torch_|pyt|pytorch)(\d)\.?(\d{1,2})(?:\.?\d)?", build)
    cuda = re.search(r"cuda_?(\d{1,2})\.?(\d)|(?<![a-z])cu(\d{2})(\d)(?!\d)|(?<![a-z])cu(9)(\d)(?!\d)", build)
    version = None
    if cuda:
        one, two = [group for group in cuda.groups() if group is not None][:2]
        version = f"{one}.{two}"
        if len(one) == 2 and one[0] not in "1":  # cuda92
            version = f"{one[0]}.{one[1]}"
    elif re.search(r"(?:^|_)cpu(?:_|$|only)", build):
        version = "cpu"
    spelled = re.search(r"pyt(\d)(\d{1,2})\d(?!\d)", build)  # pyt1110 is 1.11.0, pyt201 is 2.0.1
    torch = spelled or torch
    return (f"{torch.group(1)}.{torch.group(2)}" if torch else None), version


def _arguments(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _versions(values: Sequence[str]) -> list[str]:
    return [value.strip("',\"()") for value in values]


def _model(text: str) -> str:
    """The product in what somebody wrote after ``GPU:``, as it stands there."""
    found = _PRODUCT.search(text)
    return text if text.startswith(("NVIDIA", "GeForce", "Tesla", "Quadro")) else found.group() if found else text


def _product_key(name: str) -> str:
    words = re.findall(r"[a-z]+|\d+", name.lower())
    return "".join(
        word
        for word in words
        if word not in ("nvidia", "geforce", "tesla", "quadro", "gpu", "the", "graphics", "card")
    )[:40]


_FAMILIES = (
    (r"rtx pro \d{4}|rtx 50\d\d", "12.0"),
    (r"rtx 40\d\d|rtx \d{4} ada|\bl4\b|\bl40s?\b|\bl20\b", "8.9"),
    (r"rtx 30\d\d|rtx a\d{4}|\ba[2-6]000\b|\ba10g?\b|\ba40\b|\ba16\b|\ba2\b", "8.6"),
    (r"\ba100\b|\ba800\b|\ba30\b", "8.0"),
    (r"rtx 20\d\d|gtx 16\d\d|titan rtx|\bt4\b|mx450|mx550|\bt[1-6]00\b|\bt1[02]00\b|rtx [3-8]000", "7.5"),
    (r"\bv100\b|titan v\b|gv100", "7.0"),
    (r"gtx 10\d\d|titan xp?\b|\bp40?\b|mx[123]\d0|quadro p\d{3,4}", "6.1"),
    (r"\bp100\b|gp100", "6.0"),
    (r"gtx 9\d\d|\bm40\b|\bm60\b|quadro m\d{4}", "5.2"),
    (r"\bk80\b", "3.7"),
    (r"\bh100\b|\bh200\b|\bh800\b|\bh20\b|gh200", "9.0"),
    (r"\bb300\b|gb300", "10.3"),
    (r"\bb200\b|gb200", "10.0"),
    (r"gb10\b|dgx spark", "12.1"),
    (r"jetson.{0,12}orin", "8.7"),
    (r"jetson.{0,12}xavier", "7.2"),
    (r"jetson.{0,12}tx2", "6.2"),
    (r"jetson.{0,12}(?:nano|tx1)", "5.3"),
    (r"jetson.{0,12}thor|agx thor", "11.0"),
)


@lru_cache(maxsize=256)
def _capability(name: str) -> Optional[str]:
    spaced = re.sub(r"(?i)\b(rtx|gtx)[ -]?(a?\d)", r"\1 \2", name)
    spaced = re.sub(r"(?i)(\d)(ti|super)\b", r"\1 \2", spaced)
    if re.search(r"(?i)\brtx pro \d", spaced):  # its name is cut in tables
        return "12.0"
    known = gpus.capability_of(spaced)
    if known:
        return known
    lower = spaced.lower()
    short = {
        "4090": "8.9",
        "4080": "8.9",
        "3090": "8.6",
        "3080": "8.6",
        "5090": "12.0",
        "5080": "12.0",
        "2080": "7.5",
        "1080": "6.1",
    }
    bare = re.fullmatch(r"(\d{4}) ?(?:ti)?", lower)
    if bare:
        return short.get(bare.group(1))
    return next((capability for pattern, capability in _FAMILIES if re.search(pattern, lower)), None)


def _exists(capability: str) -> bool:
    major, _, minor = capability.partition(".")
    return major.isdigit() and minor.isdigit() and 3 <= int(major) <= 13
