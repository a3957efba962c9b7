"""What a published image holds, told by its name alone: CUDA, nvcc, a compiler, the system and its Python."""

import re
from typing import Optional

from kit.gpus import numbers
from kit.recipes.model import Recipe, Span
from kit.record import Record

_DOCKER_HUB = re.compile(
    r"^(?:(?:index\.|registry\.hub\.)?docker\.(?:io|com)/|mirror\.gcr\.io/|public\.ecr\.aws/docker/)?(?:library/)?"
)
_CODENAMES = {
    "xenial": ("ubuntu", "16.04"),
    "bionic": ("ubuntu", "18.04"),
    "focal": ("ubuntu", "20.04"),
    "jammy": ("ubuntu", "22.04"),
    "noble": ("ubuntu", "24.04"),
    "plucky": ("ubuntu", "25.04"),
    "stretch": ("debian", "9"),
    "buster": ("debian", "10"),
    "bullseye": ("debian", "11"),
    "bookworm": ("debian", "12"),
    "trixie": ("debian", "13"),
}
# Of each release: its glibc, and the version of the Python that is called python3 there.
_SYSTEMS = {
    ("ubuntu", "16.04"): ("2.23", "3.5"),
    ("ubuntu", "18.04"): ("2.27", "3.6"),
    ("ubuntu", "20.04"): ("2.31", "3.8"),
    ("ubuntu", "22.04"): ("2.35", "3.10"),
    ("ubuntu", "24.04"): ("2.39", "3.12"),
    ("ubuntu", "25.04"): ("2.41", "3.13"),
    ("debian", "9"): ("2.24", "3.5"),
    ("debian", "10"): ("2.28", "3.7"),
    ("debian", "11"): ("2.31", "3.9"),
    ("debian", "12"): ("2.36", "3.11"),
    ("debian", "13"): ("2.41", "3.13"),
    ("rhel", "7"): ("2.17", ""),
    ("rhel", "8"): ("2.28", ""),
    ("rhel", "9"): ("2.34", ""),
    ("amazonlinux", "2"): ("2.26", ""),
}
# The CUDA of the package nvidia-cuda-toolkit (packages.ubuntu.com, packages.debian.org).
DISTRIBUTION_CUDA = {
    ("ubuntu", "18.04"): "9.1",
    ("ubuntu", "20.04"): "10.1",
    ("ubuntu", "22.04"): "11.5",
    ("ubuntu", "24.04"): "12.0",
    ("debian", "11"): "11.2",
    ("debian", "12"): "11.8",
}
# PEP 668: from these releases on the system's Python refuses packages from pip.
_MANAGED = {"ubuntu": (23, 4), "debian": (12,)}


class Image(Record):
    """What an image holds.  ``cuda``: of its toolkit or libraries, ``12.8``.  ``flavour``: NVIDIA's ``base``,
    ``runtime`` or ``devel``, ``slim``, or ''.  ``nvcc`` and ``compiler`` (gcc and g++): whether it is there.
    ``python``: the version that ``python`` and ``python3`` are, where the image brings one of its own.  None is
    always: not known."""

    name: str
    family: str
    flavour: str = ""
    cuda: Optional[str] = None
    nvcc: Optional[bool] = None
    compiler: Optional[bool] = None
    system: Optional[tuple[str, str]] = None
    python: Optional[str] = None

    @property
    def glibc(self) -> Optional[str]:
        return _SYSTEMS[self.system][0] if self.system in _SYSTEMS else None

    @property
    def system_python(self) -> Optional[str]:
        """The version of the distribution's python3; it need not be installed."""
        return (_SYSTEMS[self.system][1] or None) if self.system in _SYSTEMS else None

    @property
    def managed(self) -> bool:
        """Whether the distribution's python3 takes no packages from pip (PEP 668)."""
        if self.system is None or self.system[0] not in _MANAGED:
            return False
        return numbers(self.system[1]) >= _MANAGED[self.system[0]]

    @property
    def musl(self) -> bool:
        """Alpine: no glibc, so that no wheel of torch fits."""
        return self.system is not None and self.system[0] == "alpine"


def image_at(recipe: Recipe, stage: int) -> Optional[Image]:
    """What is known of the image that a stage goes back to; None of an image that is not known."""
    return image(recipe.image(stage) or "")


def image(name: str) -> Optional[Image]:
    """What is known of an image by its name, such as ``nvidia/cuda:12.8.0-runtime-ubuntu22.04``."""
    plain = _DOCKER_HUB.sub("", name.partition("@")[0])
    place, _, tag = plain.partition(":")
    if place in ("nvidia/cuda", "nvcr.io/nvidia/cuda", "nvidia/cudagl", "nvcr.io/nvidia/cudagl"):
        return _cuda(name, tag)
    if place == "pytorch/pytorch":
        found = re.fullmatch(r"[\d.]+-cuda(\d+\.\d+)-cudnn\d+-(runtime|devel)", tag)
        devel = found is not None and found[2] == "devel"
        return Image(name, "pytorch", found[2], found[1], devel, devel or None) if found else None
    if place == "nvcr.io/nvidia/pytorch":
        return Image(name, "ngc", nvcc=True, compiler=True)
    if place == "python":
        return _python(name, tag)
    if re.fullmatch(r"mcr\.microsoft\.com/(vscode/)?devcontainers/python", place):
        found = re.fullmatch(r"(?:[\d.]+-)?(3\.\d+)(?:-(\w+))?", tag)
        system = _CODENAMES.get(found[2]) if found else None
        return Image(name, "python", "", None, False, True, system, found[1]) if found else None
    if place in ("continuumio/miniconda3", "condaforge/miniforge3", "condaforge/mambaforge", "mambaorg/micromamba"):
        return Image(name, "conda", nvcc=False, compiler=False)
    return _distribution(name, place, tag)


def _cuda(name: str, tag: str) -> Optional[Image]:
    found = re.fullmatch(r"(\d+\.\d+)[\d.]*(?:-cudnn[\d.]*)?-(base|runtime|devel)(?:-([a-z]+)([\d.]+))?", tag)
    if not found:
        return None
    devel, what = found[2] == "devel", found[3] or ""
    system = (what if what in ("ubuntu", "debian") else "rhel", found[4]) if what else None
    if system and system[0] == "rhel":
        system = ("rhel", system[1].partition(".")[0])
    return Image(name, "cuda", found[2], found[1], devel, devel, system)


def _python(name: str, tag: str) -> Optional[Image]:
    found = re.fullmatch(r"(\d\.\d+)?[\w.]*?(?:-(slim))?(?:-([a-z]+)[\d.]*)?", tag)
    if not found or found[3] in ("windowsservercore", "nanoserver"):
        return None
    system = ("alpine", "") if found[3] == "alpine" else _CODENAMES.get(found[3] or "")
    whole = not found[2] and not (system and system[0] == "alpine")
    return Image(name, "python", found[2] or "", None, False, whole, system, found[1])


def _distribution(name: str, place: str, tag: str) -> Optional[Image]:
    system: Optional[tuple[str, str]] = None
    plain = tag.partition("-")[0]
    if place in ("ubuntu", "debian"):
        plain = plain if place == "ubuntu" else re.sub(r"^(\d+)\.\d+$", r"\1", plain)
        system = _CODENAMES.get(plain) or (place, plain)
    elif re.fullmatch(r"(centos|rockylinux|rockylinux/rockylinux|almalinux|.*/ubi[789](/ubi(-minimal)?)?)", place):
        found = re.search(r"ubi(\d)", place) or re.match(r"(?:centos)?(\d)", tag)
        system = ("rhel", found[1]) if found else None
    elif place == "amazonlinux" and plain in ("2", "2023"):
        system = (place, plain)
    elif place == "alpine":
        return Image(name, "distribution", nvcc=False, compiler=False, system=("alpine", ""))
    if system not in _SYSTEMS:
        return None
    return Image(name, "distribution", nvcc=False, compiler=False, system=system)


def written(recipe: Recipe, stage: int, text: str) -> Optional[Span]:
    """Where ``text`` stands in the FROM of the stage that ``stage`` goes back to; None where a build argument or
    another file says it."""
    *_, root = recipe.lineage(stage)
    found = re.search(r"^[ \t]*FROM\b[^\n]*?" + f"({re.escape(text)})", recipe.at(_line(recipe, root)), re.I | re.M)
    if recipe.kind != "dockerfile" or not found:
        return None
    start = _line(recipe, root).start
    return Span(start + found.start(1), start + found.end(1))


def _line(recipe: Recipe, stage: int) -> Span:
    start = recipe.text.rfind("\n", 0, recipe.stages[stage].span.start) + 1
    end = recipe.text.find("\n", start)
    return Span(start, len(recipe.text) if end < 0 else end)


def copied_in(recipe: Recipe, stage: int, before: int) -> bool:
    """Whether programs may be copied in from another image, in a stage or those that it goes on from."""
    for one in recipe.lineage(stage):
        later = [s.span.start for s in recipe.stages if s.span.start > recipe.stages[one].span.start]
        text = recipe.text[recipe.stages[one].span.start : min([before, *later])]
        for line in re.findall(r"^[ \t]*(?:COPY|ADD|%files)\b[^\n]*", text, re.I | re.M):
            if ("--from=" in line or "cuda" in line or line.startswith("%files from")) and "astral-sh/uv" not in line:
                return True
    return False
