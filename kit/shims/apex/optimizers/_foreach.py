"""What the fused optimizers share: the step, the gradient checks, and float32 arithmetic for 16-bit parameters."""

from collections.abc import Callable, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

#: One entry per parameter group: the group, and those of its parameters that have a gradient.
Ready = Sequence[tuple[dict[str, Any], list[Tensor]]]


class FusedOptimizer(torch.optim.Optimizer):
    """Base class: ``step`` collects the parameters that have a gradient and hands them to ``_update``.

    Like the kernels of apex, the arithmetic is done in float32; float16 and bfloat16 parameters are rounded once,
    when they are stored.  Where an optimizer of apex refuses or skips bfloat16, its counterpart here accepts it.

    ``zero_grad()`` follows ``set_grad_none``: True drops the gradients, False fills them with zeros.
    """

    set_grad_none: bool
    sparse_substitute = ", please consider SparseAdam instead"

    def zero_grad(self, set_to_none: Optional[bool] = None) -> None:
        super().zero_grad(set_to_none=self.set_grad_none if set_to_none is None else set_to_none)

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """Update the parameters once; returns what ``closure``, which recomputes the loss, returned.

        Raises RuntimeError for sparse gradients and for parameters that are not float16, bfloat16 or float32.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update([(group, self._ready(group)) for group in self.param_groups])
        return loss

    def _update(self, ready: Ready) -> None:
        raise NotImplementedError

    def _ready(self, group: dict[str, Any]) -> list[Tensor]:
        name = type(self).__name__
        params = [p for p in group["params"] if p.grad is not None]
        for p in params:
            if p.grad.is_sparse:
                raise RuntimeError(f"{name} does not support sparse gradients{self.sparse_substitute}")
            if p.dtype not in (torch.float16, torch.bfloat16, torch.float32):
                raise RuntimeError(f"{name} only support fp16, bf16 and fp32: got a parameter of {p.dtype}")
        return params

    def _state_of(self, params: Sequence[Tensor], name: str, dtype: Optional[torch.dtype] = None) -> list[Tensor]:
        """The state tensors called ``name``; a missing one starts as zeros, of ``dtype`` or the parameter's own."""
        for p in params:
            if self.state[p].get(name) is None:
                self.state[p][name] = torch.zeros_like(p, dtype=dtype)
        return [self.state[p][name] for p in params]


def float32(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in float32: those that are float32 already are returned themselves, not copied."""
    return [t.float() for t in tensors]


def gradients(params: Sequence[Tensor]) -> list[Tensor]:
    """The gradients in float32.  Float32 ones are the ``.grad`` tensors themselves: do not write to them."""
    return [p.grad.float() for p in params if p.grad is not None]


def store(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Round the results of :func:`float32` into the tensors they came from; float32 ones were updated in place."""
    for target, value in zip(targets, values):
        if value is not target:
            target.copy_(value)


def advance(group: dict[str, Any]) -> tuple[float, float]:
    """Count one step of the group; returns Adam's bias corrections 1 - beta1^step and 1 - beta2^step, or 1 and 1."""
    group["step"] = group.get("step", 0) + 1
    if not group["bias_correction"]:
        return 1.0, 1.0
    beta1, beta2 = group["betas"]
    return 1 - beta1 ** group["step"], 1 - beta2 ** group["step"]


def adam_direction(
    grads: list[Tensor],
    exp_avg: list[Tensor],
    exp_avg_sq: list[Tensor],
    group: dict[str, Any],
    gain: float,
    corrections: tuple[float, float],
) -> list[Tensor]:
    """Update both moments in place and return m̂ / (sqrt(v̂) + eps), with m = beta1 m + gain * g.

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", algorithm 1, where gain is 1 - beta1.
    """
    beta1, beta2 = group["betas"]
    torch._foreach_mul_(exp_avg, beta1)
    torch._foreach_add_(exp_avg, grads, alpha=gain)
    torch._foreach_mul_(exp_avg_sq, beta2)
    torch._foreach_addcmul_(exp_avg_sq, grads, grads, 1 - beta2)
    denominator = torch._foreach_div(exp_avg_sq, corrections[1])
    torch._foreach_sqrt_(denominator)
    torch._foreach_add_(denominator, group["eps"])
    direction = list(torch._foreach_div(exp_avg, corrections[0]))
    torch._foreach_div_(direction, denominator)
    return direction
