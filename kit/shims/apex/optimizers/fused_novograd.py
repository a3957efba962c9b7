"""``apex.optimizers.FusedNovoGrad``: Adam whose second moment is one number per parameter tensor."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ._foreach import FusedOptimizer, Ready, advance, float32, gradients, store


class FusedNovoGrad(FusedOptimizer):
    """NovoGrad: Li et al., "Jasper: An End-to-End Convolutional Neural Acoustic Model", 2019.

    Formula: apex 25.04, csrc/multi_tensor_novograd.cu.  Its running gradient norms (not squared) are kept as apex
    keeps them: ``group["exp_avg_sq"]`` is a pair of float32 vectors, for the 16-bit and for the float32 parameters of
    the group that have a gradient.  So the parameters with a gradient must stay the same from step to step.

    ``norm_type``: 2 or 0 (largest absolute value).  ``init_zero``: start the norms at zero instead of the first ones.
    Raises RuntimeError for ``amsgrad``, and in ``step`` for another norm or a changed set of parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        reg_inside_moment: bool = False,
        grad_averaging: bool = True,
        norm_type: int = 2,
        init_zero: bool = False,
        set_grad_none: bool = True,
    ) -> None:
        if amsgrad:
            raise RuntimeError("FusedNovoGrad does not support the AMSGrad variant.")
        defaults = {
            "lr": lr,
            "bias_correction": bias_correction,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "grad_averaging": grad_averaging,
            "norm_type": norm_type,
            "init_zero": init_zero,
        }
        super().__init__(params, defaults)
        self.moment_mode = 0 if reg_inside_moment else 1
        self.set_grad_none = set_grad_none

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            if group["params"] and "exp_avg_sq" in group:
                group["exp_avg_sq"] = [norms.to(group["params"][0].device) for norms in group["exp_avg_sq"]]

    def _update(self, ready: Ready) -> None:
        for group, params in ready:
            corrections = advance(group)
            pair = [
                [p for p in params if p.dtype != torch.float32],
                [p for p in params if p.dtype == torch.float32],
            ]
            norms = [_norms(same, group) for same in pair]
            if "exp_avg_sq" not in group:
                group["exp_avg_sq"] = [torch.zeros_like(n) if group["init_zero"] else n.clone() for n in norms]
            for same, fresh, running in zip(pair, norms, group["exp_avg_sq"]):
                if len(fresh) != len(running):
                    raise RuntimeError(
                        f"FusedNovoGrad: {len(same)} parameters of a group have a gradient, and {len(running)} had "
                        "one in the first step: they must stay the same"
                    )
                if same:
                    _blend(running, fresh, group)
                    self._update_same(group, same, running, corrections)

    def _update_same(
        self, group: dict[str, Any], params: list[Tensor], norms: Tensor, corrections: tuple[float, float]
    ) -> None:
        decay, beta1 = group["weight_decay"], group["betas"][0]
        gain = 1 - beta1 if group["grad_averaging"] else 1.0
        values, grads = float32(params), gradients(params)
        denominators = list((norms / math.sqrt(corrections[1]) + group["eps"]).unbind())
        if self.moment_mode == 0:  # normalise and regularise before the momentum
            grads = list(torch._foreach_div(grads, denominators))
            torch._foreach_add_(grads, values, alpha=decay)
        stored = self._state_of(params, "exp_avg")
        exp_avg = float32(stored)
        torch._foreach_mul_(exp_avg, beta1)
        torch._foreach_add_(exp_avg, grads, alpha=gain)
        store(stored, exp_avg)
        update = list(torch._foreach_div(exp_avg, corrections[0]))
        if self.moment_mode == 1:
            torch._foreach_div_(update, denominators)
            torch._foreach_add_(update, values, alpha=decay)
        torch._foreach_add_(values, update, alpha=-group["lr"])
        store(params, values)


def _norms(params: list[Tensor], group: dict[str, Any]) -> Tensor:
    """The gradients' norms, shape (len(params),), float32."""
    if group["norm_type"] not in (0, 2):
        raise RuntimeError("FusedNovoGrad only support l2/inf norm now.")
    if not params:
        return torch.zeros(0, device=group["params"][0].device if group["params"] else None)
    return torch.stack(list(torch._foreach_norm(gradients(params), 2 if group["norm_type"] == 2 else math.inf)))


def _blend(running: Tensor, fresh: Tensor, group: dict[str, Any]) -> None:
    """Average in place: the squares of L2 norms, the largest values themselves."""
    beta2 = group["betas"][1]
    if group["norm_type"] == 2:
        running.copy_((beta2 * running.square() + (1 - beta2) * fresh.square()).sqrt())
    else:
        running.mul_(beta2).add_(fresh, alpha=1 - beta2)
