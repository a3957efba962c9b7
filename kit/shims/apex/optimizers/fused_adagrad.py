"""``apex.optimizers.FusedAdagrad``: a learning rate per element, from the sum of the squared gradients."""

from collections.abc import Iterable
from typing import Any

import torch

from ._foreach import FusedOptimizer, Ready, float32, gradients, store


class FusedAdagrad(FusedOptimizer):
    """Adagrad: Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning", 2011.

    Formula: apex 25.04, csrc/multi_tensor_adagrad.cu; without ``adagrad_w_mode`` equal to torch.optim.Adagrad.
    ``adagrad_w_mode=True`` decays the weights apart from the gradient, by lr * weight_decay.
    """

    sparse_substitute = ""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        set_grad_none: bool = True,
        adagrad_w_mode: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})
        self.adagrad_w_mode = 1 if adagrad_w_mode else 0
        self.set_grad_none = set_grad_none

    def _update(self, ready: Ready) -> None:
        for group, params in ready:
            if not params:
                continue
            decay = group["weight_decay"]
            values, grads = float32(params), gradients(params)
            if decay and not self.adagrad_w_mode:
                grads = list(torch._foreach_add(grads, values, alpha=decay))
            stored = self._state_of(params, "sum")
            total = float32(stored)
            torch._foreach_addcmul_(total, grads, grads)
            store(stored, total)
            denominator = torch._foreach_sqrt(total)
            torch._foreach_add_(denominator, group["eps"])
            update = list(torch._foreach_div(grads, denominator))
            if decay and self.adagrad_w_mode:
                torch._foreach_add_(update, values, alpha=decay)
            torch._foreach_add_(values, update, alpha=-group["lr"])
            store(params, values)
