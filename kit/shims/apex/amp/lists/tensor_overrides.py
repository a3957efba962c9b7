"""apex's lists for the methods of torch.Tensor: operators, ``cpu()``, and what torch's functions are as methods."""

import torch

from . import torch_overrides

MODULE = torch.Tensor

FP16_FUNCS = ["__matmul__"]

FP32_FUNCS = ["__ipow__", "__pow__", "__rpow__", "cpu"]

CASTS = [f"__{prefix}{name}__" for name in ("add", "sub", "mul", "truediv") for prefix in ("", "r", "i")] + [
    f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge")
]

SEQUENCE_CASTS: list[str] = []

for _names, _more in (
    (FP16_FUNCS, torch_overrides.FP16_FUNCS),
    (FP32_FUNCS, torch_overrides.FP32_FUNCS),
    (CASTS, torch_overrides.CASTS),
    (SEQUENCE_CASTS, torch_overrides.SEQUENCE_CASTS),
):
    _names += [_name for _name in _more if hasattr(MODULE, _name)]
