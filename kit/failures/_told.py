"""What loaders say in pasted text: which file misses what, whose file that is, and what brings it in line."""

import dataclasses
import re
import weakref
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Callable, Optional, TypeVar

from kit import gpus, published
from kit.causes import is_nvidias, is_torchs
from kit.data import table
from kit.facts import Extension, Facts, normalise
from kit.findings import Cost, Fix
from kit.record import Record
from kit.report import Hit, Report

_Answer = TypeVar("_Answer")

# File and module names whose distribution is called otherwise.
_CALLED = {
    "libpyg": "pyg-lib",
    "flash_attn_2_cuda": "flash-attn",
    "flash_attn_3_cuda": "flash-attn",
    "flash_attn_cuda": "flash-attn",
    "dropout_layer_norm": "flash-attn",
    "rotary_emb": "flash-attn",
    "fused_dense_lib": "flash-attn",
    "xentropy_cuda_lib": "flash-attn",
    "selective_scan_cuda": "mamba-ssm",
    "selective_scan_cuda_core": "mamba-ssm",
    "selective_scan_cuda_oflex": "mamba-ssm",
    "causal_conv1d_cuda": "causal-conv1d",
    "simple_knn": "simple-knn",
    "nvdiffrast_plugin": "nvdiffrast",
    "tinycudann": "tiny-cuda-nn",
    "tinycudann_bindings": "tiny-cuda-nn",
    "pointnet2_cuda": "pointnet2",
    "minkowskienginebackend": "minkowskiengine",
    "cumm": "spconv",
    "amp_c": "apex",
    "apex_c": "apex",
    "fused_layer_norm_cuda": "apex",
    "autogptq_cuda_64": "auto-gptq",
    "autogptq_cuda_256": "auto-gptq",
    "auto_gptq": "auto-gptq",
    "exllamav2_ext": "exllamav2",
    "awq_ext": "autoawq",
    "vllm_flash_attn": "vllm",
    "libtorchaudio": "torchaudio",
    "_torchaudio": "torchaudio",
    "libtorchtext": "torchtext",
    "_torchtext": "torchtext",
    "libgraphbolt_pytorch": "dgl",
    "libdgl": "dgl",
    "torio": "torchaudio",
    "mmcv_full": "mmcv-full",
    "cv2": "opencv-python",
    "pil": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "_pywrap_tensorflow_internal": "tensorflow",
    "transformer_engine_torch": "transformer-engine",
}
# Distributions whose compiled files link against torch.
LINKED = frozenset(
    "torch-scatter torch-sparse torch-cluster torch-spline-conv pyg-lib torchvision torchaudio torchtext torchcodec "
    "xformers flash-attn mamba-ssm causal-conv1d detectron2 mmcv mmcv-full pytorch3d dgl nvdiffrast gsplat kaolin "
    "diff-gaussian-rasterization simple-knn pointnet2-ops pointnet2 tiny-cuda-nn spconv minkowskiengine apex natten "
    "torchsparse multiscaledeformableattention vllm transformer-engine torchao deepspeed auto-gptq autoawq exllamav2 "
    "fused-ssim curope sageattention torchrl torch-tensorrt fairseq torch-points-kernels torchmcubes torch-fps "
    "diffvg diff-surfel-rasterization nerfacc torchdata fbgemm-gpu torchrec intel-extension-for-pytorch sparse-conv "
    "groundingdino".split()
)
PYG = (*published.PYG, "pyg-lib")
# Of these nobody publishes a wheel for each torch: they are compiled where they are used.
FROM_SOURCE = frozenset(
    "pytorch3d detectron2 apex minkowskiengine tiny-cuda-nn diff-gaussian-rasterization simple-knn pointnet2-ops "
    "pointnet2 multiscaledeformableattention nvdiffrast fused-ssim curope diffvg diff-surfel-rasterization deepspeed "
    "torch-points-kernels torchsparse sparse-conv groundingdino torchmcubes".split()
)
# What names a package in a line, and the words without which nothing of it can be there.
_FRAME = re.compile(
    r"(?P<path>(?:site|dist)-packages[\\/]+[^\s'\"<>|(),]+)|torch\.ops\.(?P<ops>\w+)"
    r"|importing '(?P<swallowed>[\w-]+)'"
    r"|File \"(?P<file>[^\"\n]+)\", line"
    r"|\b(?P<checkout>(?:detectron2|pytorch3d|mmcv|apex|xformers|pointnet2\w*)[\\/](?:csrc|ops|layers|src)[\\/])",
)
_IMPORT = re.compile(r"\W*(?:\d+ )?(?:from|import) (?P<module>\w+)")
_WORDS = ("-packages", "torch.ops.", "importing '", 'File "', "/csrc", "/ops", "/layers", "/src", "\\")
# "cannot open shared object file" as glibc says it in the languages that reports come in: words, pattern.
_CANNOT_OPEN = {
    "cannot open": r"cannot\s+open\s+shared\s+object\s+file",
    "kann die shared": r"kann die shared-object-datei nicht",
    "ne peut ouvrir": r"ne peut ouvrir le fichier d'objet",
    "no se puede abrir": r"no se puede abrir el (?:archivo|fichero) del? objeto",
    "无法打开": r"无法打开",
    "невозможно открыть": r"невозможно открыть",
    "共有オブジェクト": r"共有オブジェクト",
    "não é possível abrir": r"não é possível abrir",
    "impossibile aprire": r"impossibile aprire",
}


def once(read: Callable[[Report], _Answer]) -> Callable[[Report], _Answer]:
    """``read``, which keeps its answer for the report that was asked for last: several failures ask for the same."""
    kept: list[tuple[weakref.ref[Report], _Answer]] = []

    def asked(report: Report) -> _Answer:
        if not kept or kept[0][0]() is not report:
            kept[:] = [(weakref.ref(report), read(report))]
        return kept[0][1]

    return asked


class Lack(Record):
    """What a file misses: the symbol or the library, the file that asks for it, and that file's package."""

    hit: Hit
    what: str
    file: str
    package: Optional[str]

    @property
    def of_torch(self) -> bool:
        """Whether torch's own files ask for it."""
        return self.package == "torch"


# Files of PyG's extensions whose folder is not shown.
_PYGS_FILES = {
    "torch-scatter": r"_(?:scatter|segment_c[so][ro])(?:_cpu|_cuda)?",
    "torch-sparse": r"_(?:convert|spmm|spspmm|diag|saint|metis|ego_sample|hgt_sample|neighbor_sample|relabel)"
    r"(?:_cpu|_cuda)?",
    "torch-cluster": r"_(?:fps|graclus|grid|knn|nearest|radius|sampler)(?:_cpu|_cuda)?",
    "torch-spline-conv": r"_(?:basis|weighting)(?:_cpu|_cuda)?",
}


def owner(path: str) -> Optional[str]:
    """The distribution that a file or a module belongs to, by its name; None where that does not tell."""
    parts = [part for part in re.split(r"[\\/]+", path.strip("'\"<>(), :")) if part not in ("", ".", "..")]
    for at in range(len(parts) - 2, -1, -1):
        if parts[at].lower() in ("site-packages", "dist-packages"):
            first = parts[at + 1]
            # An egg is a folder: torch_scatter-2.0.9-py3.8-linux-x86_64.egg
            name = first.split("-")[0] if first.endswith(".egg") else first.split(".")[0]
            return _distribution(name) if name else None
    if re.search(r"[\\/]torch[\\/]+(lib|bin|_C)", path):
        return "torch"
    for part in reversed(parts):
        name = part.split(".")[0]
        found = _distribution(name)
        if found in LINKED or name.lower() in _CALLED:
            return found
    if not parts or re.match(r"lib(torch|c10|caffe2|shm)", parts[-1]):
        return "torch" if parts else None
    stem = parts[-1].split(".")[0]
    of_pyg = next((package for package, stems in _PYGS_FILES.items() if re.fullmatch(stems, stem)), None)
    if of_pyg is not None:
        return of_pyg
    if stem == "_version" and (len(parts) == 1 or parts[-2] == "*"):
        return None
    if stem in ("_C", "_ext", "_cuda", "_backend") and len(parts) > 1:
        return normalise(parts[-2])
    if re.search(r"\.(so|pyd)\b", parts[-1]) and not stem.startswith("lib"):
        return normalise(stem)
    return None


def _distribution(name: str) -> str:
    if re.match(r"lib(torch|c10|caffe2|shm)(_c|_p|_g|_n|_h|\d|$)", name):
        return "torch"
    name = re.sub(r"^(libgraphbolt_pytorch|libdgl)\w*", r"\1", name)
    return _CALLED.get(name.lower()) or ("torch" if name in ("torch", "functorch", "torchgen") else normalise(name))


# What stands between a call and the file that fails, and what only passes it on.
_PASSES = frozenset(
    "torch ctypes importlib ipython ipykernel torch-geometric transformers diffusers accelerate peft lightning "
    "pytorch-lightning pip setuptools wheel torch-npu nvidia triton numpy importlib-metadata pluggy pytest "
    "_pytest gradio gradio-client uvicorn starlette fastapi anyio streamlit debugpy joblib tqdm torchgen".split()
)


def around(report: Report, at: int, linked: bool = True) -> Optional[str]:
    """The package nearest to a line: of the frames and imports above it, then below; ``linked``: one of LINKED."""
    above = range(at, max(at - 60, -1), -1)
    below = range(at + 1, min(at + 15, len(report.lines)))
    for where in (above, below):
        for index in where:
            for package in _packages(report.lines[index][:2000]):
                if package in LINKED if linked else package not in _PASSES:
                    return package
    return None


def _packages(line: str) -> Iterator[str]:
    """The packages that a line names, the last first."""
    if any(word in line for word in _WORDS):
        for found in reversed(list(islice(_FRAME.finditer(line), 20))):
            path = found["path"] or found["file"] or found["checkout"]
            name = found["ops"] or found["swallowed"]
            package = owner(path) if path else _distribution(name)
            if package and (path or found["swallowed"] or package in LINKED):
                yield package
    imported = _IMPORT.match(line) if "import" in line else None
    if imported and _distribution(imported["module"]) in LINKED:
        yield _distribution(imported["module"])


@once
def named(report: Report) -> Optional[str]:
    """A package that links against torch and that the text names anywhere; those of PyG's own first."""
    return next(_named(report), None)


def asking(report: Report) -> Optional[str]:
    """The package whose compiled file is likely to have asked for a library, where no frame says; torchvision and its
    like stand in every list of an environment."""
    return next((package for package in _named(report) if package not in _COMPANIONS), None)


_COMPANIONS = ("torchvision", "torchaudio", "torchtext", "torchdata", "torchao", "torchcodec", "torchrl")


def _named(report: Report) -> Iterator[str]:
    for package in (*PYG, *sorted(LINKED - set(PYG), key=len, reverse=True)):
        if report.has(package, package.replace("-", "_")):
            yield package


@once
def symbols(report: Report) -> list[Lack]:
    """The symbols that loaders of Linux and macOS did not find, as they come."""
    found = []
    if report.has("undefined symbol"):
        # Since Python 3.13 some tools demangle: "undefined symbol: at::Tensor::zero_() const".
        for hit in islice(report.hits(r"undefined symbol\b:?[ \t]*\n?[ \t]*(?P<symbol>[\w@$.:~]+)?"), 40):
            before = hit.line.partition("undefined symbol")[0][-400:]
            if not re.search(r"\.(so|pyd)", before) and hit.at:
                before = report.lines[hit.at - 1][-400:].strip() + before  # a wrapped line
            found.append(_lack(report, hit, hit.groups.get("symbol", ""), _file_before(before)))
    if report.has("symbol not found"):
        pattern = r"symbol not found(?: in flat namespace)?:?[ \t]*\(?['\"]?_?(?P<symbol>_\w+)?"
        for hit in islice(report.hits(pattern), 20):
            if "relocating" not in hit.line:  # musl's words: its failure is another
                found.append(_lack(report, hit, hit.groups.get("symbol", ""), _referenced_from(report, hit.at)))
    return found


def _file_before(text: str) -> str:
    """The file name that ends here, before a colon."""
    match = re.search(r"([^\s:'\"(]{1,400})\s*:\s*(?:symbol lookup error:\s*)?$", text)
    return match.group(1) if match else ""


def _referenced_from(report: Report, at: int) -> str:
    """The file that macOS names beside what is missing."""
    near = "\n".join(line[:1000] for line in report.lines[at : at + 4])
    match = re.search(r"Referenced from:\s*(?:<[\w-]+>\s*)?(\S[^\n]*)", near) or re.search(r"dlopen\(([^,)]+)", near)
    # Copied as one line, what is expected where follows.
    return re.split(r"\s+(?:Expected in|Reason)\b|\s\(", match.group(1))[0].strip() if match else ""


@once
def libraries(report: Report) -> list[Lack]:
    """The shared libraries that loaders did not find, on Linux and macOS."""
    found = []
    if report.has(".so"):
        said = "|".join(pattern for words, pattern in _CANNOT_OPEN.items() if report.has(words))
        for hit in islice(report.hits(said), 40) if said else ():
            name = re.search(r"([\w.+-]{1,200}\.so[\w.]{0,40})['\"]?\s*:\s*$", _before(report, hit, said))
            if name:
                near = " ".join(line[:1000] for line in report.lines[hit.at : hit.at + 3])
                by = re.search(r"required by ([^\s)]+)", near)
                lack = _lack(report, hit, name.group(1), by.group(1) if by else "")
                if lack.package is None and is_nvidias(lack.what) and not any(e.frames for e in report.errors):
                    plainly = "torch" if report.has("import torch\n", "import torch on", "import torch ") else None
                    lack = dataclasses.replace(lack, package=asking(report) or plainly)
                found.append(lack)
    if report.has("error loading shared library"):  # musl's
        for hit in islice(report.hits(r"error loading shared library (?P<lib>[\w.+-]+\.so[\w.]*)"), 20):
            by = re.search(r"needed by ([^\s)]+)", hit.line)
            if hit["lib"].startswith("ld-linux"):
                continue
            found.append(_lack(report, hit, hit["lib"], by.group(1) if by else ""))
    if report.has("image not found", "(no such file)"):
        pattern = (
            r"dlopen\((?P<lib>[^,)\n]{1,300}), \w{1,10}\): (?:image not found|tried: '(?P=lib)' \(no such file\))"
        )
        for hit in islice(report.hits(pattern), 20):
            found.append(_lack(report, hit, hit["lib"], hit["lib"]))
    if report.has("library not loaded"):
        for hit in islice(report.hits(r"library not loaded:\s*['\"]?(?P<lib>[^\s'\"]+)"), 20):
            found.append(_lack(report, hit, hit["lib"], _referenced_from(report, hit.at)))
    return found


def _before(report: Report, hit: Hit, said: str) -> str:
    """What stands before the loader's words in their line, or in the one above."""
    match = re.search(said, hit.line, re.I)
    before = hit.line[: match.start()][-400:] if match else ""
    return before if ".so" in before or not hit.at else report.lines[hit.at - 1][-400:].strip() + before


def _lack(report: Report, hit: Hit, what: str, file: str) -> Lack:
    package = owner(file) if file else None
    if package == "nvidia":
        package = "torch"  # NVIDIA's wheels are there for torch
    elif package is None or package == "torch-geometric":
        package = importing_torch(report, hit.at) or around(report, hit.at) or around(report, hit.at, linked=False)
        if package is None and any(
            _TORCHS_IMPORT.search(line[:500]) for line in report.lines[hit.at + 1 : hit.at + 6]
        ):
            package = "torch"  # its frame was pasted below
    return Lack(hit, what, file, package)


_TORCHS_IMPORT = re.compile(r"[\\/]torch[\\/]+__init__\.py|from torch\._C import|_load_global_deps")


def importing_torch(report: Report, at: int) -> Optional[str]:
    """``'torch'`` where the frames above a line end in torch's own import."""
    for index in range(at, max(at - 14, -1), -1):
        line = report.lines[index][:1000]
        if re.search(r"[\\/]torch[\\/]+(__init__|_C|version)\b", line):
            return "torch"
        if re.search(r"-packages[\\/](?!torch[\\/])", line):
            return None
    return "torch" if at > 0 and re.search(r"^\W*(\d+ )?import torch\b", report.lines[at - 1][:200]) else None


def fix(kind: str, why: str, env: Optional[Mapping[str, str]] = None) -> Fix:
    """A fix in words."""
    return Fix(kind, why, env=env or {}, cost=Cost(restart=kind not in ("nothing", "report-upstream")))


def windows(report: Report) -> bool:
    return report.facts.host.system == "Windows" or report.has("winerror", ".dll", "c:\\", ".pyd", "win_amd64")


def macos(report: Report) -> bool:
    return report.facts.host.system == "Darwin" or report.has(
        "macos", "darwin", ".dylib", "macosx", "mac os", "apple m1", "apple m2", "apple silicon", "macbook", " m1 "
    )


def arm(report: Report) -> bool:
    """Whether it is an ARM machine with Linux, for which few extensions have wheels: Jetson, Grace, a Spark."""
    return report.facts.host.machine == "aarch64" or report.has("jetson", "aarch64", "xavier", "jetpack", "l4t")


def vendors_torch(report: Report) -> bool:
    """Whether this torch is a build of NVIDIA's own (containers, Jetson) or the user's: no wheel fits it."""
    torch = report.facts.torch
    if torch is not None and re.search(r"\da\d+\+|\.nv\d|git[0-9a-f]{6}", torch.version):
        return True
    return report.has("nvcr.io/nvidia/pytorch", "jetson", "jetpack", "compiled pytorch from source") or bool(
        report.has("0a0+") and report.hit(r"\d0a0\+[0-9a-f]{6}")
    )


def token(report: Report) -> str:
    """The build of torch (``cu118``, ``cpu``) that the text states, '' where it does not."""
    torch = report.facts.torch
    if torch is None:
        return ""
    local = torch.version.partition("+")[2]
    if re.fullmatch(r"cpu|cu\d{2,3}", local):
        return local
    return published.token(torch.cuda) if torch.cuda else ""


@once
def cpu_torch(report: Report) -> Optional[Hit]:
    """The line that states that torch is a build for the CPU."""
    if not report.has("cpu"):
        return None
    torch = report.facts.torch
    stated = report.hit(r"\b[\d.]+\+cpu\b") if torch is not None and torch.version.endswith("+cpu") else None
    return stated or report.hit(
        r"\bcpuonly\b|pytorch[-_ ]+(?:mutex[-_ ]+)?[\d.]*[-_ ]*[\w.]*cpu_|pytorch-mutex\W+1\.0\W+cpu"
        r"|\btorch(?:\s+version)?(?:\.__version__)?(?:\s+is)?\W{1,20}\d+\.\d+[\w.]*\+cpu"
        r"|cuda used to build pytorch:?\s*(?:none|could not collect)\b|\(you have [\d.]+\+cpu\)"
        r"|pytorch version:?\s*[\d.]+\+cpu|torch-[\d.]+\+cpu"
    )


def extension_of(report: Report, package: str) -> Extension:
    """The extension as far as the text describes it."""
    found = report.facts.extension(package)
    return found or Extension(package, report.version(package) or "", "the text", "", ())


def matching(report: Report, package: Optional[str]) -> list[Fix]:
    """What brings an extension in line with its torch, best first: with commands where the text states enough."""
    if package is None:
        package = "the extension"
    facts, torch, build = report.facts, report.facts.torch, token(report)
    minor = torch.minor if torch is not None else ""
    here = f"torch {minor}" if minor else "your torch"
    rebuilt = fix("rebuild-extension", f"Compile {package} against {here}, without build isolation and pip's cache")
    if vendors_torch(report) or arm(report):
        why = f"Compile {package} against the torch that is here: no published wheel fits a vendor's own build"
        return [fix("rebuild-extension", why)]
    older = fix("change-torch", f"Install the torch that {package} was built for")
    unpublished = package in FROM_SOURCE or (package not in LINKED and package != "the extension")
    if unpublished or _built_here(report, package):
        return [rebuilt, older]
    if torch is not None and ".dev" in torch.version:
        stable = f"Install a release of torch and the {package} that was built for it: nightly builds have no wheels"
        return [fix("install-matching-wheel", stable), rebuilt]
    if torch is not None and minor and build and package in (*published.PYG, "torchvision", "torchaudio"):
        extension = extension_of(report, package)
        known = published.matching_wheel(extension, _placed(facts))
        if known is not None:
            return [known, rebuilt] if package in PYG else [known]
    wheel = _wheel_in_words(package, minor, build, here)
    if wheel is None:
        ours = published.replacement(package, facts)
        return [*([ours] if ours else []), rebuilt, older]
    return [wheel, rebuilt] if package in LINKED - {"torchvision", "torchaudio", "dgl"} else [wheel, older]


def _built_here(report: Report, package: str) -> bool:
    """Whether the text shows that the extension was compiled on this machine, and it is none with wheels for each
    torch."""
    if package in (*PYG, "torchvision", "torchaudio", "flash-attn", "xformers"):
        return False
    places = (".egg/", ".egg\\", "/build/lib", "\\build\\lib")
    return report.has(*places, "setup.py build", "setup.py develop", "build_ext")


def _placed(facts: Facts) -> Facts:
    """The facts, with the platform that pip would take on such a system, where the text does not name it."""
    usual = {"Linux": "linux_x86_64", "Windows": "win_amd64"}.get(facts.host.system, "")
    if facts.python.platform or facts.host.machine not in ("", "x86_64", "AMD64"):
        return facts
    return dataclasses.replace(facts, python=dataclasses.replace(facts.python, platform=usual))


def _wheel_in_words(package: str, minor: str, build: str, here: str) -> Optional[Fix]:
    """install-matching-wheel in words; None where it is known that there is no wheel."""
    pinned = "with --only-binary=:all:, --no-deps and --no-cache-dir"
    of_build = f" and {build}" if build and build != "cpu" else ""
    if package in PYG:
        newest = max(gpus.numbers(row["torch"])[:2] for row in table("pyg_wheels")["pyg"])
        if minor and package != "pyg-lib" and gpus.numbers(minor) > newest:
            return None
        page = "its page of data.pyg.org (torch.__version__ and torch.version.cuda name it)"
        if minor and build:
            page = f"--find-links {published.PYG_PAGES}torch-{minor}.0+{build}.html"
        return fix("install-matching-wheel", f"Install the {package} for {here} from {page}, {pinned}")
    if package == "flash-attn":
        why = f"Install the flash-attn wheel whose name has {here}{of_build}, this Python and the ABI of this torch"
        return fix("install-matching-wheel", why + " (torch.compiled_with_cxx11_abi())")
    # They count in step: torchvision 0.15 came with torch 2.0.
    major, _, number = minor.partition(".")
    if package == "torchvision" and major == "2":
        here += f" (0.{int(number) + 15})"
    return fix("install-matching-wheel", f"Install the release of {package} that was built for {here}{of_build}")


@once
def gpu_named(report: Report) -> tuple[str, str]:
    """(product, capability) of the GPU that the text names, '' where it names none."""
    for capability, gpu in gpus.capabilities(report.facts.host.gpus).items():
        return gpu.name, capability
    if not report.has("rtx", "gtx", "geforce", "tesla", "quadro", "titan", "nvidia"):
        return "", ""
    hit = report.hit(
        r"(?P<gpu>(?:rtx|gtx|geforce|tesla|quadro|titan|nvidia)\s*(?:pro\s*)?(?:rtx|gtx|geforce|tesla|titan)?\s*"
        r"[a-z]?\d{2,4}\s*(?:super|ti|xp|d)?\b(?:\s*super)?)"
    )
    if hit is None:
        return "", ""
    name = re.sub(r"\s+", " ", hit["gpu"]).strip()
    return name, gpus.capability_of(re.sub(r"(?i)(rtx|gtx)(\d)", r"\1 \2", name)) or ""


def torch_for(report: Report, why: str) -> Fix:
    """change-torch to a build that serves the GPU of the text."""
    facts = report.facts
    if facts.torch is not None and facts.host.gpus and published.python_minor(facts):
        found = published.torch_fix(facts, why)
        if found.argv is not None:
            return found
    _, capability = gpu_named(report)
    major = gpus.numbers(capability)[:1]
    words = ""
    if major >= (10,):
        words = f": torch 2.7 or newer, a build for CUDA 12.8 or newer (--index-url {published.PYTORCH_INDEX}cu128)"
    elif capability in ("5.0", "5.2", "6.0", "6.1", "7.0"):
        words = f": a build for CUDA 12.6 (--index-url {published.PYTORCH_INDEX}cu126), the last with code for it"
    elif major == (3,):
        words = ": torch 1.x, later builds have no code for Kepler"
    return fix("change-torch", why + words)


def arch_build(package: str, capability: str) -> Fix:
    """rebuild-extension for one GPU."""
    env = {"TORCH_CUDA_ARCH_LIST": capability} if capability else {}
    target = f"with TORCH_CUDA_ARCH_LIST={capability}" if capability else "for the compute capability of this GPU"
    return fix("rebuild-extension", f"Compile {package} {target}, past pip's cache", env=env)


# C symbols of the libraries around torch: CUDA's, cuDNN's, NCCL's, MKL's, OpenMP's.
_AROUND = (
    r"_*(nvJitLink|cublas|cudnn|cusparse|cusolver|cufft|curand|cuda[A-Z]|cu[A-Z][a-z]|nccl|nvrtc|cupti|iJIT_|mkl_|MKL"
    r"|omp_|kmpc_|GOMP_|free_gemm_select|cutensor|ucp_|ucs_|ucc_|fi_|roctx|hip[A-Z]|rocm_|MPI_|ompi_)"
)


def judged(lack: Lack) -> str:
    """The failure that a missing symbol speaks for, by the symbol and the file that asks for it."""
    file = re.split(r"[\\/]", lack.file)[-1]
    if re.match(_AROUND, lack.what) or (lack.what and re.match(r"lib(cu|nv|nccl|mkl|gomp|iomp|stdc)", file)):
        outside = lack.package is None or lack.of_torch or (re.match(r"lib(?!rary)", file) and is_nvidias(file))
        return "library-shadowed" if outside else "extension-cuda-mismatch"
    if lack.package == "bitsandbytes":
        return "extension-cpu-only"
    if re.match(r"_Z(N?K?S[tasiod]|NK?(10)?__(cxxabiv1|gnu_cxx)|T[VISG]+(St|N10__cxxabiv1))", lack.what):
        return "libstdcxx-too-old"  # of C++ itself: the libstdc++ that is loaded has to have it
    if lack.of_torch:
        return "torch-broken"
    return "extension-torch-mismatch"


# CUDA libraries whose number is not CUDA's: another one says nothing of the build for another CUDA.
_OWN_NUMBER = r"lib(cudnn|nccl|cusparseLt|cutensor|nvToolsExt|cupti|nvshmem)"


def judged_library(lack: Lack, report: Report) -> str:
    """The failure that a missing library speaks for, by its name and the file that asks for it."""
    library = lack.what.rpartition("/")[2]
    if library.startswith("libbitsandbytes"):
        return "extension-cuda-mismatch"
    if library.startswith("libtensoradapter_pytorch"):  # dgl brings one for each torch
        return "extension-torch-mismatch"
    if re.match(r"lib(cuda|nvidia-ml)\.so", library):
        return "gpu-not-visible"
    if re.match(r"lib(torch|c10)_hip", library) and not lack.of_torch:
        return "extension-torch-mismatch"  # it is for AMD's GPUs
    if re.match(r"lib(torch|c10)_(cuda|hip)", library):
        if lack.of_torch:
            return "torch-broken"
        return "torch-cpu-only" if cpu_torch(report) else "extension-cuda-mismatch"
    if is_torchs(library) or re.match(r"lib(torch|c10|caffe2|shm)\w*\.(so|dylib)", library):
        if lack.of_torch:
            return "torch-broken"
        if lack.package in LINKED and report.has("torch/_ops.py", "torch\\_ops.py", "torch.ops.load_library"):
            return "extension-torch-mismatch"  # torch is imported, and does not have it
        return (
            "extension-torch-mismatch" if lack.package in (*PYG, "torchvision", "torchaudio") else "library-not-found"
        )
    if is_nvidias(library) and lack.package in LINKED and not re.match(_OWN_NUMBER, library):
        return "extension-cuda-mismatch"
    return "library-not-found"


def same_cuda(report: Report, library: str) -> bool:
    """Whether the library is of the CUDA that torch has by the text: then it fits, and is only not found."""
    number, build = re.search(r"\.so\.(\d+)", library), token(report)
    return bool(number and build.startswith("cu") and build[2:-1] == number.group(1))


# What Windows says where the loader fails, in the languages that reports come in: its codes are not always shown.
_WINDOWS = {
    "127": r"procedure could not be found|procedure not found|prozedur wurde nicht gefunden|procédure spécifiée|"
    r"找不到指定的程序|找不到指定的程序|procesado? especificado|proceso especificado|procedimiento especificado|"
    r"указанная процедура|指定されたプロシージャ|지정된 프로시저|procedura specificata|procedimento especificado|"
    r"nie można odnaleźć określonej procedury",
    "126": r"module could not be found|modul wurde nicht gefunden|module spécifié est introuvable|找不到指定的模块|"
    r"找不到指定的模組|módulo especificado|указанный модуль|指定されたモジュール|지정된 모듈을|modulo specificato|"
    r"określonego modułu|módulo especificado|belirtilen modül",
    "1114": r"initialization routine failed|初始化例程失败|初始化例行程序失敗|initialisierungsroutine|"
    r"routine d.initialisation|rutina de inicialización|процедуре инициализации|初期化ルーチン|초기화 루틴",
    "193": r"not a valid win32|keine zulässige win32|不是有效的 ?win32|n.est pas une application win32|"
    r"no es una aplicación win32|не является приложением win32|有効な win32",
}


# The names of the files that torch has in its folder lib.
_DLLS_OF_TORCH = (
    r"(?:^|[\\/])(?:fbgemm|asmjit|c10(?:_cuda)?|caffe2\w*|torch(?:_\w+)?|shm|_C|nvfuser\w*|uv|libiomp5md|"
    r"libomp140[\w.]*|cudnn\w*64\w*|cublas\w*|cufft\w*|curand\w*|cusolver\w*|cusparse\w*|zlibwapi|cupti\w*|"
    r"nvrtc\w*|nvToolsExt\w*|cudart\w*|nvJitLink\w*)\.dll$"
)


@once
def dlls(report: Report) -> list[Lack]:
    """What Windows' loader refuses: ``what`` is its error code."""
    found = []
    if report.has("winerror"):
        for hit in islice(report.hits(r"\[winerror (?P<code>126|127|182|193|1114|87|1920)\]"), 20):
            after = hit.line + " " + " ".join(line[:400] for line in report.lines[hit.at + 1 : hit.at + 3])
            file = re.search(r"Error loading [\\\"']*([^\"']+)|[\"'](\w:[^\"']+\.(?:dll|pyd|so))", after)
            found.append(_lack(report, hit, hit["code"], (file.group(1) or file.group(2)) if file else ""))
    if report.has("dll load failed"):
        pattern = r"dll load failed(?: while importing (?P<module>[\w.]+))?[:：]?(?P<said>[^\n]{0,200})"
        for hit in islice(report.hits(pattern), 20):
            said = hit.groups.get("said", "") + " ".join(line[:200] for line in report.lines[hit.at + 1 : hit.at + 2])
            code = next((code for code, words in _WINDOWS.items() if re.search(words, said, re.I)), "")
            if "%1" in said and not code:
                code = "193"
            module = hit.groups.get("module", "")
            if module == "_ext":  # mmcv's, where nothing else is named
                found.append(Lack(hit, code, module, around(report, hit.at) or asking(report) or "mmcv"))
                continue
            known = _distribution(module) if _distribution(module) in LINKED or module.lower() in _CALLED else None
            package = known or around(report, hit.at) or around(report, hit.at, linked=False)
            init = report.has("torch\\__init__.py", "torch/__init__.py", "from torch._c import")
            if known is None and (importing_torch(report, hit.at) or (package is None and init)):
                package = "torch"
            found.append(Lack(hit, code, module, package))
    if not found and report.has(".dll") and report.has("error loading", "to load", "cannot load", "can't load"):
        pattern = (
            r"(?:error loading|(?:failed|unable) to load|can(?:no|')t load|not load)\W{0,4}(?P<file>[^\s'\"]+\.dll)"
        )
        for hit in islice(report.hits(pattern), 5):
            torchs = re.search(_DLLS_OF_TORCH, hit["file"], re.I) is not None
            found.append(Lack(hit, "", hit["file"], "torch" if torchs else owner(hit["file"])))
    if report.has("entry point", "einsprungpunkt", "程序输入点", "point d'entrée", "точка входа"):
        pattern = (
            r"(?:procedure entry point|prozedureinsprungpunkt|程序输入点|point d'entrée de procédure|точка входа)"
            r"[^\n]{0,400}?(?:\n[^\n]{0,200}?)?"
            r"(?P<file>\w:\\[^\n\"']{1,300}?\.(?:dll|pyd)|[\w.-]+\.(?:dll|pyd))"
        )
        for hit in islice(report.hits(pattern), 5):
            found.append(_lack(report, hit, "127", hit["file"]))
    if report.has("could not find module", "or one of its dependencies"):
        pattern = r"could not find module '?(?P<file>[^'\n(]{1,300}?)'? ?(?:\(or|$)"
        for hit in islice(report.hits(pattern), 20):
            if "image functionality" in hit.line:
                continue  # torchvision does without: a library for pictures is missing
            if "\\" in hit["file"] or ".dll" in hit["file"]:
                found.append(_lack(report, hit, "126", hit["file"]))
    return found
