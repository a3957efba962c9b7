"""``apex.optimizers.FusedSGD``: stochastic gradient descent with momentum."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.optimizer import required

from ._foreach import FusedOptimizer, Ready, float32, gradients, store


class FusedSGD(FusedOptimizer):
    """SGD as in torch.optim.SGD, with the choice of decaying the weights after the momentum.

    Formula: apex 25.04, csrc/multi_tensor_sgd_kernel.cu.  The first momentum of a parameter is its gradient, without
    dampening.  apex takes a whole group for new if its last parameter is; here, as in torch, each one counts alone.

    ``most_recent_scale``: what the gradients of the next step are still multiplied by; back at 1 after the step.
    ``materialize_master_grads``: a choice about memory; kept as an attribute, without effect.
    Raises ValueError for a negative ``lr``, ``momentum`` or ``weight_decay``, and for ``nesterov`` without a momentum
    or with dampening.
    """

    sparse_substitute = ", please consider torch.optim.SGD instead"

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = required,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        wd_after_momentum: bool = False,
        materialize_master_grads: bool = True,
        set_grad_none: bool = False,
    ) -> None:
        if lr is not required and lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if weight_decay < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)
        self.wd_after_momentum = wd_after_momentum
        self.materialize_master_grads = materialize_master_grads
        self.most_recent_scale = 1.0
        self.scale_set_by_backward = False
        self.set_grad_none = set_grad_none

    def _update(self, ready: Ready) -> None:
        for group, params in ready:
            if not params:
                continue
            decay, momentum = group["weight_decay"], group["momentum"]
            values, update = float32(params), gradients(params)
            if self.most_recent_scale != 1.0:
                update = list(torch._foreach_mul(update, 1.0 / self.most_recent_scale))
            if decay and not self.wd_after_momentum:
                update = list(torch._foreach_add(update, values, alpha=decay))
            if momentum:
                update = self._with_momentum(group, params, update)
            if decay and self.wd_after_momentum:
                update = list(torch._foreach_add(update, values, alpha=decay))
            torch._foreach_add_(values, update, alpha=-group["lr"])
            store(params, values)
        self.most_recent_scale = 1.0
        self.scale_set_by_backward = False

    def _with_momentum(
        self, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        first = [self.state[p].get("momentum_buffer") is None for p in params]
        buffers = self._state_of(params, "momentum_buffer")
        velocity = float32(buffers)
        torch._foreach_mul_(velocity, group["momentum"])
        torch._foreach_add_(velocity, grads, alpha=1 - group["dampening"])
        if group["dampening"]:
            for v, g, is_first in zip(velocity, grads, first):
                if is_first:
                    v.copy_(g)
        store(buffers, velocity)
        return list(torch._foreach_add(grads, velocity, alpha=group["momentum"])) if group["nesterov"] else velocity
