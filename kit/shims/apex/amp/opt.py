"""The wrapper of an optimizer in the oldest interface, which detection code of 2018 still uses."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ._amp_state import master_params, maybe_print
from .scaler import LossScaler


class OptimWrapper:
    """``handle.wrap_optimizer(optimizer)``: ``with optimizer.scale_loss(loss) as scaled: scaled.backward()``."""

    def __init__(self, optimizer: torch.optim.Optimizer, amp_handle: Any, num_loss: int) -> None:
        self._optimizer = optimizer
        self._amp_handle = amp_handle
        self._num_loss = num_loss
        self._loss_idx = 0
        self._skip_next = [False] * num_loss
        self._loss_scaler = [LossScaler("dynamic") for _ in range(num_loss)]

    @contextlib.contextmanager
    def scale_loss(self, loss: torch.Tensor) -> Iterator[torch.Tensor]:
        if not self._amp_handle.is_active():
            yield loss
            return
        assert self._loss_idx < self._num_loss, f"more losses before step() than num_loss={self._num_loss}"
        scaler = self._loss_scaler[self._loss_idx]
        params = list(master_params(self._optimizer))
        before = [param.grad for param in params]
        for param in params:
            param.grad = None
        yield loss * scaler.loss_scale()
        scaler.clear_overflow_state()
        grads = [param.grad for param in params if param.grad is not None]
        scaler.unscale(grads, grads)
        self._skip_next[self._loss_idx] = scaler.update_scale()
        self._loss_idx += 1
        for param, old in zip(params, before):
            if old is not None:
                param.grad = old if param.grad is None else param.grad.add_(old)

    def step(self, closure: Any = None) -> Any:
        if not self._amp_handle.is_active():
            return self._optimizer.step(closure=closure)
        self._loss_idx = 0
        if closure is not None:
            raise NotImplementedError("The `closure` argument is unsupported by the amp optimizer wrapper.")
        if any(self._skip_next):
            maybe_print("Gradient overflow, skipping update")
            self._skip_next = [False] * self._num_loss
            return None
        with self._amp_handle._disable_casts():
            return self._optimizer.step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def __repr__(self) -> str:
        return repr(self._optimizer)
