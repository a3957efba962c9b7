"""Layer norm and RMS norm with apex's output types and its behaviour under autocast.

Ba, Kiros and Hinton, "Layer Normalization", 2016; Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
The rules of apex's CUDA path (25.04) hold on every device here:

* the arithmetic is in float32, or in float64 for float64 inputs, and rounded once;
* the output has the input's type; in the ``Mixed`` layers and ``mixed_dtype_`` functions it has the weight's;
* under autocast all tensors are first cast to the autocast type (torch's own layer norm goes to float32 instead).

``memory_efficient`` saves memory in apex's backward pass and changes no result: it is accepted, without effect.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = Union[int, Sequence[int]]


def manual_rms_norm(input: Tensor, normalized_shape: Shape, weight: Optional[Tensor], eps: float) -> Tensor:
    """RMS norm written out: x / sqrt(mean(x²) + eps) * weight, in float32.

    A 16-bit weight gives an output of its type; without a weight the output is float32 at least.
    """
    dimensions = tuple(range(-len(_size(normalized_shape)), 0))
    normalized = input * torch.rsqrt(input.float().square().mean(dimensions, keepdim=True) + eps)
    if weight is None:
        return normalized
    if weight.dtype in (torch.float16, torch.bfloat16):
        normalized = normalized.to(weight.dtype)
    return weight * normalized


def fused_layer_norm(
    input: Tensor, normalized_shape: Shape, eps: float = 1e-6, memory_efficient: bool = False
) -> Tensor:
    """Layer norm without weight and bias; output of the input's type."""
    return _layer_norm(input, normalized_shape, None, None, eps)


def fused_layer_norm_affine(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    normalized_shape: Shape,
    eps: float = 1e-6,
    memory_efficient: bool = False,
) -> Tensor:
    """Layer norm; output of the input's type."""
    return _layer_norm(input, normalized_shape, weight, bias, eps)


def mixed_dtype_fused_layer_norm_affine(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    normalized_shape: Shape,
    eps: float = 1e-6,
    memory_efficient: bool = False,
) -> Tensor:
    """Layer norm; output of the weight's type."""
    return _layer_norm(input, normalized_shape, weight, bias, eps, mixed=True)


def fused_rms_norm(
    input: Tensor, normalized_shape: Shape, eps: float = 1e-6, memory_efficient: bool = False
) -> Tensor:
    """RMS norm without weight; output of the input's type."""
    return _rms_norm(input, normalized_shape, None, eps)


def fused_rms_norm_affine(
    input: Tensor, weight: Tensor, normalized_shape: Shape, eps: float = 1e-6, memory_efficient: bool = False
) -> Tensor:
    """RMS norm; output of the input's type."""
    return _rms_norm(input, normalized_shape, weight, eps)


def mixed_dtype_fused_rms_norm_affine(
    input: Tensor, weight: Tensor, normalized_shape: Shape, eps: float = 1e-6, memory_efficient: bool = False
) -> Tensor:
    """RMS norm; output of the weight's type."""
    return _rms_norm(input, normalized_shape, weight, eps, mixed=True)


class _Norm(nn.Module):
    """A norm over the last ``len(normalized_shape)`` dimensions, with learnt parameters if ``elementwise_affine``."""

    normalized_shape: torch.Size
    weight: Optional[nn.Parameter]
    parameter_names: tuple[str, ...] = ("weight",)
    mixed = False

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.normalized_shape = _size(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.memory_efficient = memory_efficient
        for name in self.parameter_names:
            shape = self.normalized_shape
            self.register_parameter(name, nn.Parameter(torch.empty(shape)) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        for name, parameter in self.named_parameters():
            nn.init.constant_(parameter, 1.0 if name == "weight" else 0.0)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class FusedLayerNorm(_Norm):
    """Layer norm with ``weight`` and ``bias``; output of the input's type."""

    bias: Optional[nn.Parameter]
    parameter_names = ("weight", "bias")

    def forward(self, input: Tensor) -> Tensor:
        return _layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps, self.mixed)


class FusedRMSNorm(_Norm):
    """RMS norm with ``weight``; output of the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        return _rms_norm(input, self.normalized_shape, self.weight, self.eps, self.mixed)


class MixedFusedLayerNorm(FusedLayerNorm):
    """Layer norm; output of the weight's type.  Raises RuntimeError for ``elementwise_affine=False``."""

    mixed = True

    def __init__(
        self, normalized_shape: Shape, eps: float = 1e-5, *, memory_efficient: bool = False, **kwargs: Any
    ) -> None:
        _refuse_options(type(self).__name__, kwargs)
        super().__init__(normalized_shape, eps, True, memory_efficient)


class MixedFusedRMSNorm(FusedRMSNorm):
    """RMS norm; output of the weight's type.  Raises RuntimeError for ``elementwise_affine=False``."""

    mixed = True

    def __init__(
        self, normalized_shape: Shape, eps: float = 1e-5, *, memory_efficient: bool = False, **kwargs: Any
    ) -> None:
        _refuse_options(type(self).__name__, kwargs)
        super().__init__(normalized_shape, eps, True, memory_efficient)


def _refuse_options(name: str, options: dict[str, Any]) -> None:
    if not options.get("elementwise_affine", True):
        raise RuntimeError(f"{name} does not support `elementwise_affine = False`")
    for option in options:
        warnings.warn(f"{name} does not support `{option}` argument: without effect", stacklevel=3)


def _size(shape: Shape) -> torch.Size:
    return torch.Size((shape,) if isinstance(shape, int) else shape)


def _layer_norm(
    input: Tensor, shape: Shape, weight: Optional[Tensor], bias: Optional[Tensor], eps: float, mixed: bool = False
) -> Tensor:
    return _in_one_type(lambda i, w, b: F.layer_norm(i, _size(shape), w, b, eps), (input, weight, bias), mixed)


def _rms_norm(input: Tensor, shape: Shape, weight: Optional[Tensor], eps: float, mixed: bool = False) -> Tensor:
    rms_norm = getattr(F, "rms_norm", _plain_rms_norm)  # torch 2.4
    return _in_one_type(lambda i, w: rms_norm(i, _size(shape), w, eps), (input, weight), mixed)


def _plain_rms_norm(input: Tensor, shape: torch.Size, weight: Optional[Tensor], eps: float) -> Tensor:
    wide = input.to(torch.promote_types(input.dtype, torch.float32))
    wide = wide * torch.rsqrt(wide.square().mean(tuple(range(-len(shape), 0)), keepdim=True) + eps)
    return (wide if weight is None else wide * weight).to(input.dtype)


def _in_one_type(norm: Callable[..., Tensor], tensors: Sequence[Optional[Tensor]], output_of_weight: bool) -> Tensor:
    """``norm`` of (input, weight, ...) under the rules that the module's docstring states."""
    present = [t for t in tensors if t is not None]
    device = present[0].device.type
    autocast_to = _autocast_dtype(device)
    if autocast_to is not None:
        present = [t if t.dtype == torch.float64 else t.to(autocast_to) for t in present]
    output = present[1 if output_of_weight else 0].dtype
    if any(t.dtype != present[0].dtype for t in present):
        common = functools.reduce(torch.promote_types, (t.dtype for t in present), torch.float32)
        present = [t.to(common) for t in present]
    missing = [None] * (len(tensors) - len(present))  # weight and bias come together: the last ones
    with contextlib.nullcontext() if autocast_to is None else torch.autocast(device, enabled=False):
        return norm(*present, *missing).to(output)


def _autocast_dtype(device: str) -> Optional[torch.dtype]:
    """What autocast, if it is on for this kind of device, casts to."""
    if not hasattr(torch, "get_autocast_dtype"):  # before torch 2.4
        if device == "cpu":
            return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)
