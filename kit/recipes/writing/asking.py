"""Wishes from what a person asks for: the options of ``kit recipe write``."""

import re
from collections.abc import Sequence
from typing import Any, Optional

from kit import gpus, published
from kit.errors import KitError
from kit.facts import normalise
from kit.recipes.writing import locking
from kit.recipes.writing.wish import NEEDS, Pin, Wishes, choose, extension

# Compiled against torch in ways of their own: no published rule tells which of their files fits which torch.
_OWN_WAYS = ("flash-attn", "xformers", "causal-conv1d", "mamba-ssm", "pytorch3d", "detectron2", "vllm", "deepspeed")


def wished(
    torch: str,
    cuda: Optional[str] = None,
    gpu: Sequence[str] = (),
    packages: Sequence[str] = (),
    *,
    python: Optional[str] = None,
    project: Optional[str] = None,
    constraints: Optional[str] = None,
    shims: Sequence[str] = (),
    offline: bool = False,
) -> Wishes:
    """The wishes behind ``--torch``, ``--cuda``, ``--gpu``, ``--package`` and the rest.

    A package without a version gets the newest that the package index has for this Python; with ``constraints`` they
    decide.  KitError in one line where something cannot be had, with what there is.
    """
    asked_python = python
    version, token, named, python = choose(torch, cuda, gpu, python)
    place = (".".join(version.split(".")[:2]), token, python)
    pins = [Pin("torch", f"{version}+{token}", "torch")]
    for text in packages:
        name, at = _package(text)
        if name != "torch" and any(pin.name == name for pin in pins):
            raise KitError(f"{name} is named twice")
        pins.append(_pin(name, at, place, constrained=constraints is not None, offline=offline))
    for pin in [pin for pin in pins if pin.source in ("pyg", "compiled") and pin.name in NEEDS]:
        if not any(other.name == NEEDS[pin.name] for other in pins):
            pins.append(_pin(NEEDS[pin.name], "", place, constraints is not None, offline))
    return Wishes(
        python=python,
        torch=version,
        token=token,
        pins=tuple(pins),
        gpus=named,
        replacements=replacements(shims, project),
        project=_extras(project),
        constraints=_file(constraints),
        options=options(
            torch,
            cuda,
            gpu,
            packages,
            python_option=asked_python,
            project=project,
            constraints=constraints,
            shims=shims,
        ),
    )


def options(
    torch: Optional[str],
    cuda: Optional[str],
    gpu: Sequence[str],
    packages: Sequence[str],
    *,
    python_option: Optional[str] = None,
    project: Optional[str] = None,
    constraints: Optional[str] = None,
    shims: Sequence[str] = (),
) -> tuple[str, ...]:
    """The options that ask for the same again, for the head of what is written."""
    words: list[str] = []
    pairs: list[tuple[str, Any]] = [("--torch", torch), ("--cuda", cuda)]
    pairs += [("--gpu", one) for one in gpu] + [("--package", one) for one in packages]
    pairs += [("--image-python", python_option), ("--constraints", constraints)]
    pairs += [("--shim", one) for one in shims]
    for name, value in pairs:
        words += [name, value] if value is not None else []
    if project is not None:
        words += ["--project", project] if project else ["--project"]
    return tuple(words)


def _package(text: str) -> tuple[str, str]:
    """``'numpy==2.4.6'`` -> ``('numpy', '2.4.6')``."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise KitError(f"not a package: {text!r}; it looks like numpy or numpy==2.4.6") from None
    (pin,) = tuple(requirement.specifier) or (None,)
    exact = pin is None or (pin.operator == "==" and "*" not in pin.version)
    if requirement.url or requirement.marker or requirement.extras or not exact:
        raise KitError(f"{text!r}: a recipe holds one version: write NAME, or NAME==VERSION")
    return normalise(requirement.name), pin.version if pin else ""


def _pin(name: str, version: str, place: tuple[str, str, str], constrained: bool, offline: bool) -> Pin:
    minor, token, python = place
    if name == "torch":
        raise KitError("torch is named by --torch, not by --package")
    if name == "apex":
        raise KitError(
            "the package index's apex is another package, and NVIDIA's has no wheels: see kit page apex-wrong-package"
        )
    if name in _OWN_WAYS:
        raise KitError(
            f"{name} is built for one torch in a way of its own, which this does not know; install it by its own page"
        )
    if name in published.PYG or name == "pyg-lib":
        return extension(name, version, place)
    if name in ("torchvision", "torchaudio"):
        return Pin(name, f"{version.partition('+')[0] or _companion(name, minor)}+{token}", "torch")
    if version or constrained:
        return Pin(name, version)
    old = name == "numpy" and gpus.numbers(minor) < (2, 3)  # compiled with NumPy 1
    return Pin(name, locking.newest(name, python, offline, "<2" if old else ""))


def _companion(name: str, minor: str) -> str:
    """The first release of torchvision or torchaudio for a minor release of torch."""
    major, number = map(int, minor.split("."))
    if major != 2:
        raise KitError(f"which {name} belongs to torch {minor} is not known: write --package {name}==VERSION")
    if name == "torchaudio":
        return f"2.{min(number, 11)}.0"  # 2.11 was its last, and loads with later torch
    return f"0.{number + 15}.{1 if number == 0 else 0}"  # torchvision 0.15.0 was withdrawn


def replacements(shims: Sequence[str], project: Optional[str]) -> tuple[str, ...]:
    """The kit's own packages that are to be put in.  KitError where there is no such, or no kit in the image."""
    from kit.shims import find

    for name in shims:
        find(name)  # KitError, with what there is
        if project is None:
            raise KitError(f"--shim {name} needs the kit in the image: --project installs it from the build's folder")
    return tuple(shims)


def _extras(project: Optional[str]) -> Optional[str]:
    """``'lab, test'`` -> ``'lab,test'``."""
    if not project:
        return project
    names = [normalise(name.strip()) for name in project.split(",")]
    if not all(name.replace("-", "").isalnum() for name in names):
        raise KitError(f"not names of extras: {project!r}; they look like lab,test")
    return ",".join(names)


def _file(constraints: Optional[str]) -> Optional[str]:
    """A path inside the build's folder: nothing else can be copied into an image."""
    if constraints is None:
        return None
    parts = constraints.split("/")
    if not re.fullmatch(r"\w[\w./+-]*", constraints) or ".." in parts or not parts[-1]:
        raise KitError(f"--constraints {constraints}: name a file in the folder that the image is built from")
    return constraints
