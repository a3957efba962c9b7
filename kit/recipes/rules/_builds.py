"""What a recipe compiles for CUDA for certain, and the CUDA toolkit that is there when it does."""

import re
from collections.abc import Iterator
from typing import Optional

from kit.recipes.model import Command, Install, Recipe, Span
from kit.recipes.rules._extensions import FORCED, compiled, extensions, value
from kit.recipes.rules._image import DISTRIBUTION_CUDA, Image, copied_in, image_at
from kit.record import Record

# Of these a fitting wheel is fetched from their releases once setup.py has run; setup.py itself needs nvcc.
FETCHED = ("flash-attn", "mamba-ssm", "causal-conv1d")
# Repositories and folders of sources that hold CUDA code and nothing else.
_ALWAYS = re.compile(
    r"(?:^|/)(tiny-cuda-nn|diff-gaussian-rasterization|simple-knn|diff_gaussian_rasterization)(?=[/.@#]|$)"
)
# Scripts that put no CUDA toolkit on a machine.
_HARMLESS = re.compile(
    r"astral\.sh|rustup|nodesource|get-pip|pixi\.sh|[Mm]ini(?:conda|forge)|[Mm]ambaforge|starship|ollama"
)
_APT = re.compile(r"(?:cuda|cuda-(?:toolkit|nvcc|compiler|minimal-build|libraries-dev))(?:-(\d+)-(\d+))?$")
_CONDA = ("cuda", "cuda-toolkit", "cuda-nvcc", "cuda-compiler", "cudatoolkit-dev", "cuda-nvcc-dev")


class Build(Record):
    """Something whose CUDA code is compiled.  ``checked``: torch's build code compares the CUDA of nvcc with its own;
    ``exactly``: so does the package, the minor version too."""

    name: str
    span: Span
    checked: bool = True
    exactly: bool = False


class Toolkit(Record):
    """The nvcc at one place.  ``there`` and ``version`` are None where they are not known; ``said`` says it in words,
    ``span`` is of what brings it, where that is not the image."""

    there: Optional[bool]
    version: Optional[str] = None
    said: str = ""
    span: Optional[Span] = None
    image: Optional[Image] = None


def builds(recipe: Recipe, install: Install) -> Iterator[Build]:
    """What an installation compiles with nvcc, only where that is certain."""
    forced = value(install, "FORCE_CUDA") == "1"
    for extension in extensions(recipe, install):
        name = extension.name
        if extension.source == "wheel" or value(install, "FORCE_ONLY_CPU") == "1":
            continue
        source = compiled(recipe, install, extension) is not None
        if name in FETCHED:
            prefix = {"flash-attn": "FLASH_ATTENTION", "mamba-ssm": "MAMBA", "causal-conv1d": "CAUSAL_CONV1D"}[name]
            if value(install, f"{prefix}_SKIP_CUDA_BUILD") == "" and (source or _from_index(install, name)):
                fetched = value(install, f"{prefix}_FORCE_BUILD") != "TRUE"
                yield Build(name, extension.span, checked=not fetched)
        elif name == "apex" and source and extensions_of_apex(install):
            yield Build(name, extension.span, exactly=True)
        elif name == "apex" and source and not extension.revision:
            yield Build(name, extension.span, checked=False)  # its setup.py calls nvcc in any case (2026-07)
        elif name in FORCED and forced and source:
            yield Build(name, extension.span)
    for word in install.local if install.tool in ("pip", "uv", "setup.py") else ():
        found = _ALWAYS.search(word.text)
        if found and word.known and not word.text.endswith(".whl"):
            yield Build(found.group(1).replace("_", "-"), word.span)
    deepspeed = install.package("deepspeed") if install.tool in ("pip", "uv") else None
    if deepspeed is not None and value(install, "DS_BUILD_OPS") == "1" and not install.options.only_binary:
        yield Build("deepspeed", deepspeed.span)


def _from_index(install: Install, name: str) -> bool:
    """Whether it comes from the package index, which has its sources alone."""
    plain = not install.options.addresses and not install.options.no_index
    asked = any(value(install, v) != "" for v in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"))
    return plain and not asked and not {name, ":all:"} & set(install.options.only_binary)


def extensions_of_apex(install: Install, flag: str = "cuda") -> bool:
    """Whether apex is to be compiled with its extensions in CUDA, or in C++ alone (``cpp``)."""
    options = (*install.options.global_options, *install.options.config_settings)
    words = [word.text for word in options] + list(install.command.texts if install.command else ())
    return value(install, f"APEX_{flag.upper()}_EXT") == "1" or any(f"--{flag}_ext" in word for word in words)


def toolkit_at(recipe: Recipe, install: Install) -> Toolkit:
    """The CUDA toolkit that is there when something is installed."""
    image = image_at(recipe, install.stage)
    added = list(_added(recipe, install, image))
    if added and any(one.there for one in added):
        known = [one for one in added if one.there]
        only = len(known) == len(added) == 1 and not (image and image.nvcc)
        return known[0] if only else Toolkit(True)
    if image is None or image.nvcc is None:
        return Toolkit(None)
    if image.nvcc:
        return Toolkit(True, image.cuda, f"the image {image.name}", image=image)
    unclear = added or copied_in(recipe, install.stage, install.span.start)
    return (
        Toolkit(None)
        if unclear or value(install, "CUDA_HOME") not in ("", "/usr/local/cuda")
        else Toolkit(False, None, f"the image {image.name}", image=image)
    )


def _added(recipe: Recipe, install: Install, image: Optional[Image]) -> Iterator[Toolkit]:
    """What is installed before that brings nvcc, or may bring it."""
    for earlier in recipe.before(install):
        for package in earlier.packages:
            if earlier.tool == "apt" and package.name == "nvidia-cuda-toolkit":
                system = image.system if image else None
                version = DISTRIBUTION_CUDA.get(system) if system else None
                yield Toolkit(True, version, "the distribution's nvidia-cuda-toolkit", package.span)
            found = _APT.match(package.name) if earlier.tool == "apt" else None
            if found:
                version = f"{found[1]}.{found[2]}" if found[1] else None
                yield Toolkit(True, version, package.name, package.span)
            elif earlier.tool == "conda" and package.name in _CONDA:
                version = package.pinned if package.name in ("cuda-nvcc", "cuda-toolkit") else None
                short = re.match(r"\d+\.\d+", version or "")
                yield Toolkit(True, short.group() if short else None, f"conda's {package.name}", package.span)
            elif earlier.tool in ("pip", "uv") and package.name.startswith(("nvidia-cuda-nvcc", "cuda-toolkit")):
                yield Toolkit(True, None, package.name, package.span)
            elif not package.known:
                yield Toolkit(None)
    stages = set(recipe.lineage(install.stage))
    for command in recipe.commands:
        if command is install.command:
            return
        if command.stage in stages and _may_bring(recipe, command):
            yield Toolkit(None)


def may_bring_unseen(recipe: Recipe, install: Install) -> bool:
    """Whether a command before, or what is copied in, may bring programs in a way that the recipe does not show."""
    stages = set(recipe.lineage(install.stage))
    if copied_in(recipe, install.stage, install.span.start):
        return True
    for command in recipe.commands:
        if command is install.command:
            break
        if command.stage in stages and _may_bring(recipe, command):
            return True
    return False


def _may_bring(recipe: Recipe, command: Command) -> bool:
    """Whether a command may install CUDA in a way that the recipe does not show."""
    program, texts = command.program, command.texts
    if program in ("bash", "sh", "source", ".", "zsh") or program.endswith((".sh", ".run")):
        around = recipe.text[max(0, command.span.start - 200) : command.span.end]
        return not (
            _HARMLESS.search(" ".join(texts)) or (command.after == "|" and _HARMLESS.search(around))
        ) and not (program in ("source", ".") and any("activate" in text for text in texts))
    if program in ("make", "ansible-playbook", "spack", "nix", "guix", "pixi", "rpm", "dpkg", "zypper"):
        return True
    return any("cuda" in text and text.endswith((".run", ".tar.gz", ".tar.xz")) for text in texts)
