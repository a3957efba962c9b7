"""Recipes with faults, by name: those of the two reports that the kit began with, written anew from what they tell.

``scatter-before`` built the machine on which ``RuntimeError: Not compiled with CUDA support`` came; ``scatter-after``
is what that report calls the repair, which mends some of it and brings faults of its own.  ``point-cloud`` are the
requirements and a program of the other report, which ended in ``cannot import name 'amp' from 'apex'``.
"""

from typing import Any

from kit.errors import KitError

_BEFORE = """\
FROM nvidia/cuda:12.8.0-cudnn-devel-ubuntu22.04

ENV DEBIAN_FRONTEND=noninteractive

RUN apt-get update && apt-get install -y \\
        python3.10 python3.10-dev python3-pip git \\
    && rm -rf /var/lib/apt/lists/*

WORKDIR /workspace
COPY requirements.txt .

# The nightly for the new GPU; if it cannot be had, anything
RUN pip3 install --pre torch torchvision --index-url https://download.pytorch.org/whl/nightly/cu128 || \\
    pip3 install torch torchvision --index-url https://download.pytorch.org/whl/cu128 || \\
    pip3 install torch torchvision

# A wheel if there is one; else compiled; else without
RUN pip3 install torch-scatter torch-sparse torch-cluster torch-spline-conv \\
        -f https://data.pyg.org/whl/torch-2.10.0.dev20251101+cu128.html || \\
    pip3 install --no-build-isolation torch-scatter torch-sparse torch-cluster torch-spline-conv || \\
    echo "no PyG extensions"

RUN pip3 install -r requirements.txt

COPY . .
CMD ["python3", "scripts/train_pipeline.py", "--config", "config.yaml"]
"""

_AFTER = """\
FROM nvidia/cuda:12.8.0-cudnn-devel-ubuntu22.04

# 9.0 is Ada Lovelace (RTX 40), 12.0 is Blackwell (RTX 50)
ENV TORCH_CUDA_ARCH_LIST="9.0;12.0" \\
    CUDA_LAUNCH_BLOCKING=0 \\
    PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True

RUN apt-get update && apt-get install -y software-properties-common git && \\
    add-apt-repository -y ppa:deadsnakes/ppa && \\
    apt-get update && apt-get install -y python3.11 python3.11-dev python3.11-venv && \\
    rm -rf /var/lib/apt/lists/*

RUN python3.11 -m venv /opt/venv
ENV PATH="/opt/venv/bin:$PATH"

RUN pip install --no-cache-dir --pre torch torchvision torchaudio \\
    --index-url https://download.pytorch.org/whl/nightly/cu128

RUN pip install --no-cache-dir six hatchling wheel ninja

# The page of the torch that is there
RUN TORCH_VERSION=$(python -c "import torch; print(torch.__version__.split('+')[0])") && \\
    CUDA_VERSION=$(python -c "import torch; print('cu' + torch.version.cuda.replace('.', ''))") && \\
    pip install --no-cache-dir --no-build-isolation \\
    torch-scatter torch-sparse torch-cluster torch-spline-conv \\
    -f https://data.pyg.org/whl/torch-${TORCH_VERSION}+${CUDA_VERSION}.html

WORKDIR /workspace
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
"""

_REQUIREMENTS = """\
--extra-index-url https://download.pytorch.org/whl/nightly/cu128
--pre
torch
torchvision
torch-geometric
rdkit
numpy
"""

_POINTS_REQUIREMENTS = """\
torch==2.0.1
torchvision==0.15.2
transformers==4.28.1
timm
apex
numpy
"""

_POINTS_PROGRAM = """\
import torch
from timm.models.layers import DropPath, trunc_normal_
from torch import nn


class Block(nn.Module):
    def __init__(self, width: int, drop: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.drop = DropPath(drop)
        trunc_normal_(self.linear.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.linear(x))
"""

_EXAMPLES = {
    "scatter-before": {"Dockerfile": _BEFORE},
    "scatter-after": {"Dockerfile": _AFTER, "requirements.txt": _REQUIREMENTS},
    "point-cloud": {"requirements.txt": _POINTS_REQUIREMENTS, "model.py": _POINTS_PROGRAM},
}


class Texts(dict[str, str]):
    """Texts by the names of their files; a notebook shows them with numbered lines."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def examples() -> tuple[str, ...]:
    """The names that :func:`example` knows."""
    return tuple(_EXAMPLES)


def example(name: str) -> Texts:
    """The texts of an example by the names of its files, as :func:`kit.recipes.check` takes them.  KitError where
    there is none of this name."""
    if name not in _EXAMPLES:
        raise KitError(f"no example is called {name!r}; there are {', '.join(_EXAMPLES)}")
    return Texts(_EXAMPLES[name])
