"""A service that is for the GPU is started without one.

Docker gives a container no GPU unless it is asked for: an image with CUDA, or ``NVIDIA_VISIBLE_DEVICES``, does not do
it where NVIDIA's runtime is not the default one.  torch then sees no GPU.

Example
-------
compose.yaml:

    services:
      train:
        image: nvidia/cuda:12.8.1-runtime-ubuntu22.04  # <--
        command: python3 train.py

Instead
-------
compose.yaml:

    services:
      train:
        image: nvidia/cuda:12.8.1-runtime-ubuntu22.04
        command: python3 train.py
        gpus: all
"""

import re
from collections.abc import Iterator
from typing import Any, Optional

from kit.findings import Fix
from kit.recipes.model import Edit, Problem, Recipe, Span
from kit.recipes.rules import Wish

FAILURE = "gpu-not-visible"

_GPU_IMAGE = re.compile(
    r"(^|/)(nvidia/cuda|pytorch/pytorch):[^\s$]*(cuda|base|runtime|devel)|^nvcr\.io/nvidia/pytorch"
)


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    data = recipe.data
    if not isinstance(data, dict):
        return
    if recipe.kind == "compose":
        services = data.get("services")
        for name, service in services.items() if isinstance(services, dict) else ():
            if isinstance(service, dict) and not _asks(service):
                yield from _service(recipe, name, service)
    elif recipe.kind == "devcontainer" and not _asks_editor(data):
        yield from _container(recipe, data)


def _asks(service: dict[str, Any]) -> bool:
    """Whether a service of compose asks for a GPU, or may do so in a part that is not read."""
    deploy = str(service.get("deploy", ""))
    if any(key in service for key in ("gpus", "runtime", "devices", "extends", "<<", "privileged")):
        return True
    return bool(re.search(r"gpu|nvidia|devices|generic_resources", deploy))


def _gpu(image: object, environment: object) -> Optional[str]:
    """What says that a container is for the GPU."""
    if isinstance(image, str) and _GPU_IMAGE.search(image):
        return f"image: {image}"
    text = str(environment)
    found = re.search(r"NVIDIA_(VISIBLE_DEVICES|DRIVER_CAPABILITIES)['\"]?\s*[=:]\s*['\"]?([\w,]+)", text)
    return f"NVIDIA_{found[1]}: {found[2]}" if found and found[2] not in ("void", "none") else None


def _service(recipe: Recipe, name: object, service: dict[str, Any]) -> Iterator[Problem]:
    said = _gpu(service.get("image"), service.get("environment", ""))
    place = recipe.place("services", name, "image") or recipe.place("services", name, "environment")
    if said is None or place is None:
        return
    yield Problem(
        "no-gpu-asked",
        FAILURE,
        "warning",
        place,
        f"The service {name} is for a GPU and asks for none. Docker gives it one only where NVIDIA's runtime is the "
        "default of that machine.",
        (said, "neither gpus nor deploy.resources.reservations.devices nor runtime"),
        (
            Fix("expose-gpu", "Add to the service: gpus: all (Docker Compose 2.30 and newer)"),
            Fix(
                "expose-gpu",
                "Or deploy: resources: reservations: devices: with driver: nvidia, count: all, capabilities: [gpu]",
            ),
        ),
        _line(recipe, place) if recipe.place("services", name, "image") == place else (),
    )


def _line(recipe: Recipe, place: Span) -> tuple[Edit, ...]:
    """``gpus: all`` behind the line of the image, as far in."""
    start, end = recipe.text.rfind("\n", 0, place.start) + 1, recipe.text.find("\n", place.end)
    indent = re.match(r"([ ]+)image:", recipe.text[start : place.start])
    end = len(recipe.text) if end < 0 else end
    return (Edit(Span(end, end), f"\n{indent[1]}gpus: all"),) if indent else ()


def _asks_editor(data: dict[str, Any]) -> bool:
    """Whether a dev container asks for a GPU, or leaves it to a compose file."""
    arguments, needs = str(data.get("runArgs", "")), data.get("hostRequirements")
    gpu = isinstance(needs, dict) and needs.get("gpu") not in (None, False)
    return gpu or "dockerComposeFile" in data or bool(re.search(r"gpu|nvidia|--device|--privileged", arguments))


def _container(recipe: Recipe, data: dict[str, Any]) -> Iterator[Problem]:
    said = _gpu(data.get("image"), data.get("containerEnv", ""))
    features = data.get("features")
    if said is None and isinstance(features, dict) and any("nvidia-cuda" in str(key) for key in features):
        said = "features: nvidia-cuda"
    place = recipe.place("image") or recipe.place("containerEnv") or recipe.place("features")
    if said is None or place is None:
        return
    yield Problem(
        "no-gpu-asked",
        FAILURE,
        "warning",
        place,
        "The dev container is for a GPU and asks for none. It is started without one.",
        (said, "neither hostRequirements.gpu nor --gpus in runArgs"),
        (
            Fix("expose-gpu", 'Add "hostRequirements": {"gpu": "optional"}: a GPU where the machine has one'),
            Fix("expose-gpu", 'Or "runArgs": ["--gpus", "all"], which fails where there is none'),
        ),
    )
