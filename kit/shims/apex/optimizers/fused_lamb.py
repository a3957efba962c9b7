"""``apex.optimizers.FusedLAMB``: Adam with a learning rate per layer, for large batches."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ._foreach import FusedOptimizer, Ready, adam_direction, advance, float32, gradients, store


class FusedLAMB(FusedOptimizer):
    """LAMB: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", 2019.

    Formula: apex 25.04, csrc/multi_tensor_lamb.cu.  All gradients together are first clipped to the L2 norm
    ``max_grad_norm``, the constructor's, whatever the groups say; each parameter then moves by
    lr * |p| / |update|, or by lr alone where a norm is zero, or where the group has no weight decay and
    ``use_nvlamb`` is False.  The parameters of a group are on one device.

    Unlike apex, the gradients keep their values; apex leaves the updates in their place.
    Raises RuntimeError for ``amsgrad``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        adam_w_mode: bool = True,
        grad_averaging: bool = True,
        set_grad_none: bool = True,
        max_grad_norm: float = 1.0,
        use_nvlamb: bool = False,
    ) -> None:
        if amsgrad:
            raise RuntimeError("FusedLAMB does not support the AMSGrad variant.")
        defaults = {
            "lr": lr,
            "bias_correction": bias_correction,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "grad_averaging": grad_averaging,
            "max_grad_norm": max_grad_norm,
        }
        super().__init__(params, defaults)
        self.adam_w_mode = 1 if adam_w_mode else 0
        self.set_grad_none = set_grad_none
        self.use_nvlamb = use_nvlamb

    def _update(self, ready: Ready) -> None:
        all_grads = [gradients(params) for _, params in ready if params]
        if not all_grads:
            for group, _ in ready:
                advance(group)
            return
        device = all_grads[0][0].device
        global_norm = torch.cat([_norms(grads).to(device) for grads in all_grads]).norm()
        limit = self.defaults["max_grad_norm"]
        divisor = torch.where(global_norm > limit, global_norm / limit, torch.ones_like(global_norm))
        for group, params in ready:
            corrections = advance(group)
            if params:
                self._update_group(group, params, divisor.to(params[0].device), corrections)

    def _update_group(
        self, group: dict[str, Any], params: list[Tensor], divisor: Tensor, corrections: tuple[float, float]
    ) -> None:
        decay = group["weight_decay"]
        values = float32(params)
        grads = list(torch._foreach_div(gradients(params), [divisor] * len(params)))
        if decay and not self.adam_w_mode:
            torch._foreach_add_(grads, values, alpha=decay)
        stored = [self._state_of(params, name) for name in ("exp_avg", "exp_avg_sq")]
        moments = [float32(tensors) for tensors in stored]
        gain = 1 - group["betas"][0] if group["grad_averaging"] else 1.0
        update = adam_direction(grads, moments[0], moments[1], group, gain, corrections)
        for tensors, results in zip(stored, moments):
            store(tensors, results)
        if decay and self.adam_w_mode:
            torch._foreach_add_(update, values, alpha=decay)
        # The kernel keeps the update in the gradient's place: in the parameter's type.
        update = [u.to(p.dtype).float() for u, p in zip(update, params)]
        if decay or self.use_nvlamb:
            size, change = _norms(values), _norms(update)
            trust = torch.where((size != 0) & (change != 0), size / change, torch.ones_like(size))
            torch._foreach_mul_(update, list(trust.unbind()))
        torch._foreach_add_(values, update, alpha=-group["lr"])
        store(params, values)


class FusedMixedPrecisionLamb:
    """Not available: raises NotImplementedError, with the substitute, when constructed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "apex.optimizers.FusedMixedPrecisionLamb needs the kernels of apex.  Use apex.optimizers.FusedLAMB on "
            "float32 parameters, and torch.autocast for the forward pass."
        )


def _norms(tensors: list[Tensor]) -> Tensor:
    """The L2 norms, as one tensor of shape (len(tensors),)."""
    return torch.stack(list(torch._foreach_norm(tensors)))
