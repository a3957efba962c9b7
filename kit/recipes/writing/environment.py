"""environment.yml from wishes: conda-forge alone, pinned, each line with its reason."""

import re
from collections.abc import Iterator

from kit import published
from kit.recipes.writing.dockerfile import comment
from kit.recipes.writing.wish import Pin, Wishes

# How conda-forge names what the package index names otherwise; every other name is taken to be the same.
NAMES = {
    "torch": "pytorch",
    "torch-scatter": "pytorch_scatter",
    "torch-sparse": "pytorch_sparse",
    "torch-cluster": "pytorch_cluster",
    "torch-spline-conv": "pytorch_spline_conv",
    "torch-geometric": "pytorch_geometric",
    "matplotlib": "matplotlib-base",
    "opencv-python": "py-opencv",
    "opencv-python-headless": "py-opencv",
    "graphviz": "python-graphviz",
    "tables": "pytables",
    "msgpack": "msgpack-python",
    "build": "python-build",
}
_BUILT = ("torch", "torchvision", "torchaudio", *published.PYG, "pyg-lib")  # for CUDA and for the CPU apart


def environment(wishes: Wishes, head: tuple[str, ...]) -> str:
    """The text; ``head`` are the lines of comment that it begins with."""
    lines = list(_lines(wishes))
    name = f"torch-{wishes.torch}-{wishes.token}"
    more = [
        "Which builds conda-forge has today was not asked: where the solver finds none, it names what is missing.",
        "On a machine without a GPU, before creating it: export CONDA_OVERRIDE_CUDA=" + wishes.cuda
        if wishes.cuda
        else "",
    ]
    text = comment(*head, *filter(None, more)) + f"name: {name}\n"
    text += (
        "channels:  # one channel only: the pytorch and pyg channels have no newer releases, mixing breaks torch\n"
    )
    text += "  - conda-forge\ndependencies:\n"
    width = max(len(spec) for spec, _ in lines)
    return text + "".join(f"  - {spec:{width}}  # {why}\n" for spec, why in lines)


def _lines(wishes: Wishes) -> Iterator[tuple[str, str]]:
    yield f"python ={wishes.python}", "the Python that all of this is built for"
    if wishes.cuda:
        yield (
            f"cuda-version ={wishes.cuda.partition('.')[0]}",
            "the major that the driver has to run; conda-forge chooses the minor",
        )
    for pin in _named(wishes):
        yield _spec(pin, wishes), _why(pin, wishes)
    yield "pip", "for what you add later; never torch or its extensions"


def _named(wishes: Wishes) -> list[Pin]:
    """What was asked for; what that requires is conda's to solve, under other names and in other versions."""
    asked = [pin for pin in wishes.pins if pin.source != "address" and _wanted(pin)]
    named = [pin for pin in asked if pin.named or pin.name in _BUILT]
    return named


def _wanted(pin: Pin) -> bool:
    """Not CUDA's libraries and not the installers: conda brings them as packages of its own."""
    own = re.match(r"nvidia-(?!ml-py)|cuda-|triton$|setuptools$|wheel$", pin.name)
    return own is None


def _spec(pin: Pin, wishes: Wishes) -> str:
    name, version = NAMES.get(pin.name, pin.name), pin.version.partition("+")[0]
    built = pin.name in _BUILT
    if not version:
        return f"{name} * {_device(wishes)}*" if built else name
    return f"{name} =={version}" + (f" {_device(wishes)}*" if built else "")


def _device(wishes: Wishes) -> str:
    """How conda-forge's build strings begin."""
    return "cuda" if wishes.cuda else "cpu"


def _why(pin: Pin, wishes: Wishes) -> str:
    if pin.name == "torch":
        device = f"CUDA {wishes.cuda.partition('.')[0]}" if wishes.cuda else "the CPU"
        return f"a build for {device}, by its build string"
    if pin.name in published.PYG or pin.name == "pyg-lib":
        return "built by conda-forge against its pytorch, for the same device"
    if pin.name in _BUILT:
        return "belongs to the pytorch above, for the same device"
    return "asked for" if not wishes.complete else "as it was in the environment"
