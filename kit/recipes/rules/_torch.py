"""What a recipe says of torch: which one is there when something is installed, and for which CUDA."""

import dataclasses
import re
from typing import Optional
from urllib.parse import unquote

from kit.data import table
from kit.gpus import numbers
from kit.published import torch_row
from kit.recipes.model import Command, Install, Package, Recipe, Word
from kit.record import Record

# What runs on Linux, and while no GPU is visible.
IMAGE_BUILDS = ("dockerfile", "apptainer")
# What may come from PyTorch's index beside torch.
COMPANIONS = frozenset(["torch", "torchvision", "torchaudio", "torchtext", "torchdata", "triton", "pytorch-triton"])
_BUILD = r"cpu|cu\d{2,3}|rocm[\d.]+|xpu"
_PYTORCH = re.compile(rf"https?://download(?:-r2)?\.pytorch\.org/whl/(nightly/|test/)?({_BUILD})?(?=/|$)")
_IN_ENVIRONMENT = {
    "pip": ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"),
    "uv": ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS", "UV_TORCH_BACKEND"),
}


class Torch(Record):
    """A torch.  Each field is None where the recipe does not say it.

    ``version``: ``2.9.1``, as far as it is fixed, without its build.  ``cuda``: ``cu128``, ``cpu``, ``rocm6.4``.
    ``said``: the recipe names the build itself; else it is the one that the package index has for Linux.
    ``nightly``: of a nightly or candidate.  ``ngc``: NVIDIA's own build, of its images, for which nobody else
    publishes wheels.  ``conda``: a conda package.  ``install`` and ``package``: what brings it, None where it is
    ``image``'s.
    """

    version: Optional[str] = None
    cuda: Optional[str] = None
    said: bool = False
    nightly: bool = False
    ngc: bool = False
    conda: bool = False
    install: Optional[Install] = None
    package: Optional[Package] = None
    image: Optional[str] = None

    @property
    def minor(self) -> Optional[str]:
        """``2.9`` of 2.9.1."""
        found = numbers(self.version or "")
        return f"{found[0]}.{found[1]}" if len(found) > 1 else None

    @property
    def for_cuda(self) -> bool:
        """Whether it is known to be a build for CUDA."""
        return bool(self.cuda and self.cuda.startswith("cu"))

    @property
    def page(self) -> Optional[str]:
        """The name of PyG's page for it, ``torch-2.9.0+cu128.html``."""
        if self.minor is None or self.cuda is None or self.nightly or self.ngc:
            return None
        return f"torch-{self.minor}.0+{self.cuda}.html"

    def __str__(self) -> str:
        build = f"+{self.cuda}" if self.cuda and self.said else ""
        return "torch" + (f" {self.version}{build}" if self.version else f" for {self.cuda}" if build else "")


def torch_at(recipe: Recipe, install: Install) -> Optional[Torch]:
    """The torch that is there once ``install`` has run: the one that it brings itself, else the last before it, else
    its image's.  None where the recipe shows none."""
    return torch_of(recipe, install) or torch_before(recipe, install)


def torch_before(recipe: Recipe, install: Install) -> Optional[Torch]:
    """The torch that is there before ``install`` runs."""
    said: Optional[Torch] = None
    group: Optional[int] = None
    for earlier in recipe.before(install):
        found = torch_of(recipe, earlier) if _same_python(earlier, install) else None
        if found is None:
            continue
        if said is None:
            said, group = found, earlier.command.group if earlier.command else None
            if group is None:
                return said
        elif earlier.command is not None and earlier.command.group == group:
            said = _either(said, found)
        else:
            break
    return said if said is not None else torch_of_image(recipe.image(install.stage) or "")


def _either(one: Torch, other: Torch) -> Torch:
    """What two torches of one shell have in common: branches, or one where the other fails."""
    return dataclasses.replace(
        one,
        version=one.version if one.version == other.version else None,
        cuda=one.cuda if one.cuda == other.cuda else None,
        said=one.said and other.said and one.cuda == other.cuda,
        nightly=one.nightly and other.nightly,
    )


def _same_python(one: Install, other: Install) -> bool:
    """Whether both may install into the same Python: only two that are named and differ do not."""
    names = {one.python.rpartition("/")[0], other.python.rpartition("/")[0]} - {""}
    return len(names) < 2


def torch_of(recipe: Recipe, install: Install) -> Optional[Torch]:
    """The torch that this installation brings by name; None where it names none, or the image's is enough for it."""
    package = install.package("torch") if install.tool != "conda" else None
    if package is not None:
        return None if _there_already(recipe, install, package) else _from_index(recipe, install, package)
    package = install.package("pytorch", "pytorch-gpu", "pytorch-cpu") if install.tool == "conda" else None
    if package is not None:
        return _from_conda(install, package)
    for word in install.local:
        wheel = re.search(r"(?:^|/)torch-([^-/]+)-[^/]*\.whl", unquote(word.text))
        if wheel and word.known:
            return _of_version(Torch(install=install), wheel.group(1))
    return None


# With these an installer does not look at what is there, or not there.
_ANEW = ("--force-reinstall", "--ignore-installed", "-I", "--reinstall", "--target", "-t", "--prefix", "--root")


def _there_already(recipe: Recipe, install: Install, package: Package) -> bool:
    """Whether its image has a torch that is enough for what is asked: pip then installs none, whatever the index."""
    image = torch_of_image(recipe.image(install.stage) or "")
    if image is None or package.url or not package.known or install.options.upgrade or install.command is None:
        return False
    bounds = re.findall(r"([<>=!~]+)\s*([\d.]+)", package.specifier)
    if any(sign not in (">=", ">") for sign, _ in bounds) or bool(bounds) != bool(package.specifier):
        return False
    if image.version and any(numbers(image.version) < numbers(least) for _, least in bounds):
        return False
    if any(text.partition("=")[0] in _ANEW for text in install.command.texts):
        return False
    stages = set(recipe.lineage(install.stage))
    earlier = [c for c in recipe.commands if c.span.start < install.span.start and c.stage in stages]
    return not any("uninstall" in c.texts or _environment(c) for c in (*earlier, install.command))


def _environment(command: Command) -> bool:
    """Whether it makes, enters or names an environment that the image does not have."""
    texts = " ".join(command.texts)
    return bool(re.search(r"\b(venv|virtualenv|create|activate|conda run)\b|(^|\s)(-p|--python)[\s=]", texts)) or (
        "/" in command.words[0].text and command.program.startswith(("pip", "python")) if command.words else False
    )


def _of_version(torch: Torch, text: str) -> Torch:
    """``torch`` with what a version says: ``2.9.1+cu128``, ``2.10.0.dev20251001+cu130``."""
    public, _, local = text.partition("+")
    nightly = torch.nightly or re.search(r"dev|rc|a\d", public) is not None
    build = local if re.fullmatch(_BUILD, local) else None
    return dataclasses.replace(
        torch, version=public, nightly=nightly, cuda=build or torch.cuda, said=bool(build) or torch.said
    )


def _from_index(recipe: Recipe, install: Install, package: Package) -> Torch:
    torch = Torch(install=install, package=package)
    if package.url:
        wheel = re.search(r"/torch-([^-/]+)-[^/]*\.whl", unquote(package.url))
        return _of_version(torch, wheel.group(1)) if wheel and package.known else torch
    places, known = addresses(install)
    served = [found for found in map(_PYTORCH.match, places) if found]
    nightly = any(found.group(1) for found in served)
    builds = {found.group(2) for found in served if found.group(2)}
    version = package.pinned if package.known else None
    cuda = builds.pop() if len(builds) == 1 else None
    said = cuda is not None
    if version is not None and "+" in version:
        return _of_version(Torch(nightly=nightly, install=install, package=package), version)
    only_default = not places and known and not builds
    if cuda is None and only_default and version and recipe.kind in IMAGE_BUILDS:
        row = torch_row(version) if install.tool in ("pip", "uv") else None
        cuda = row["default"] if row else None
    torch = Torch(cuda=cuda, said=said, nightly=nightly, install=install, package=package)
    return _of_version(torch, version) if version else torch


def _from_conda(install: Install, package: Package) -> Torch:
    cuda, beside = None, install.package("pytorch-cuda", "cudatoolkit", "cuda-version")
    if install.package("cpuonly") or package.name == "pytorch-cpu":
        cuda = "cpu"
    elif beside is not None:
        found = numbers((beside.pinned or "").replace("*", ""))
        cuda = f"cu{found[0]}{found[1]}" if len(found) > 1 else None
    else:
        built = re.search(r"cuda(\d+)\.(\d)|_(cpu)_|=cpu", package.specifier)
        if built:
            cuda = f"cu{built.group(1)}{built.group(2)}" if built.group(1) else "cpu"
    torch = Torch(cuda=cuda, said=cuda is not None, conda=True, install=install, package=package)
    return _of_version(torch, package.pinned) if package.pinned and package.known else torch


def torch_of_image(image: str) -> Optional[Torch]:
    """The torch in a published image: ``pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel``, NVIDIA's, or None."""
    name, _, tag = re.sub(r"^docker\.io/|@sha256:.*$", "", image).partition(":")
    if name == "nvcr.io/nvidia/pytorch":
        return Torch(image=image, ngc=True)
    if name not in ("pytorch/pytorch", "pytorch/pytorch-nightly"):
        return None
    version = re.match(r"(\d+\.\d+(?:\.\d+)?)(\.dev\w+)?", tag)
    cuda = re.search(r"cuda(\d+)\.(\d)", tag)
    return Torch(
        version=version.group(1) if version else None,
        cuda=f"cu{cuda.group(1)}{cuda.group(2)}" if cuda else None,
        said=cuda is not None,
        nightly=name.endswith("nightly") or bool(version and version.group(2)),
        image=image,
    )


def cuda_of_image(image: Optional[str]) -> Optional[str]:
    """The CUDA toolkit or runtime that a published image is named after, ``12.8``; None where its name has none."""
    name, _, tag = (image or "").partition("@")[0].partition(":")
    found = re.search(r"(?:^|cuda)(\d{2}\.\d)" if name.endswith("cuda") else r"cuda(\d{2}\.\d)", tag)
    return found.group(1) if found else None


def with_cuda(recipe: Recipe, install: Install) -> bool:
    """Whether what is installed there is to use a GPU: torch is a build for CUDA, or it may be one and the image
    holds CUDA."""
    torch = torch_at(recipe, install)
    if torch is None or torch.cuda is None or not torch.said:
        image = recipe.image(install.stage)
        holds = cuda_of_image(image) is not None or bool(torch and (torch.ngc or torch.for_cuda))
        return holds
    return torch.for_cuda


def addresses(install: Install) -> tuple[tuple[str, ...], bool]:
    """The addresses that an installer looks in, those of its environment too, and whether all of them are known."""
    words: tuple[Word, ...] = install.options.addresses
    places, known = [word.text for word in words if word.known], all(word.known for word in words)
    if install.command is not None:
        for name in _IN_ENVIRONMENT.get(install.tool, ()):
            setting = install.command.variable(name)
            if setting is not None:
                places += (setting.value or "").split()
                known = known and setting.value is not None
    return tuple(places), known


def configured(recipe: Recipe) -> bool:
    """Whether pip gets addresses from a configuration that the recipe does not show."""
    return re.search(r"pip\.conf|pip config|\.netrc|uv\.toml|PIP_CONFIG_FILE", recipe.text) is not None


def published_for(version: str, build: str) -> Optional[bool]:
    """Whether PyTorch's index has torch ``version`` as this build; None where the table cannot say."""
    row = torch_row(version)
    if row is None or numbers(version)[:2] < (1, 13) or not re.fullmatch(r"cpu|cu\d{3}", build):
        return None
    if build in ("cpu", *row["cuda"]):
        return True
    latest = table("torch_builds")["torch"][-1]["minor"]
    # Extra builds for CUDA 12.9 were made of some releases; of the newest more may come.
    return None if build == "cu129" or row["minor"] == latest else False


def builds_of(minor: str) -> str:
    """The builds of a release of torch, as words: ``cpu, cu118, cu121``."""
    row = torch_row(f"{minor}.0")
    return ", ".join(["cpu", *(row["cuda"] if row else ())])


def newest_for(build: str) -> Optional[str]:
    """The newest torch that the table knows for a build: ``2.5.1`` for ``cu121``."""
    rows = [row["newest"] for row in table("torch_builds")["torch"] if build in ("cpu", *row["cuda"])]
    return max(rows, key=numbers) if rows else None
