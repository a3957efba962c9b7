"""``apex.fp16_utils.FP16_Optimizer``: an optimizer that works on float32 copies of a float16 model's parameters."""

from collections.abc import Callable
from itertools import chain
from typing import Any, Optional, Union

import torch
from torch import Tensor

from ..amp.scaler import LossScaler
from .fp16util import clip_grad_norm, master_params_to_model_params

_SCALER_FIELDS = ("_loss_scale", "_unskipped", "_scale_seq_len", "_min_loss_scale", "_max_loss_scale", "dynamic")


class FP16_Optimizer:
    """Wraps an optimizer whose parameters are float16, or float32 (then they are their own masters), on any device.

    ``backward(loss)`` scales the loss and leaves unscaled float32 gradients in the masters; ``step()`` updates the
    masters and rounds them into the model.  With ``dynamic_loss_scale`` a step whose gradients overflowed is skipped;
    with a static scale overflows are not looked for.  ``dynamic_loss_args``: ``init_scale``, ``scale_window``,
    ``min_loss_scale`` and ``max_loss_scale``.

    Raises TypeError for trainable parameters of another type.
    """

    def __init__(
        self,
        init_optimizer: Any,
        static_loss_scale: float = 1.0,
        dynamic_loss_scale: bool = False,
        dynamic_loss_args: Optional[dict[str, Any]] = None,
        verbose: bool = True,
    ) -> None:
        self.verbose = verbose
        self.optimizer = init_optimizer
        self.fp16_groups: list[list[Tensor]] = []
        self.fp32_from_fp16_groups: list[list[Tensor]] = []
        self.fp32_from_fp32_groups: list[list[Tensor]] = []
        for number, group in enumerate(self.optimizer.param_groups):
            self.maybe_print(f"FP16_Optimizer processing param group {number}:")
            self._adopt(group)
        self.all_fp16_params = list(chain.from_iterable(self.fp16_groups))
        self.all_fp32_from_fp16_params = list(chain.from_iterable(self.fp32_from_fp16_groups))
        self.all_fp32_from_fp32_params = list(chain.from_iterable(self.fp32_from_fp32_groups))
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # casts a state that exists to float32
        self.dynamic_loss_scale = dynamic_loss_scale
        self.loss_scaler = LossScaler(
            "dynamic" if dynamic_loss_scale else static_loss_scale, **(dynamic_loss_args or {})
        )
        self.overflow = False
        self.first_closure_call_this_step = True
        self.clip_grad_norm = clip_grad_norm

    def _adopt(self, group: dict[str, Any]) -> None:
        """Put float32 masters in the place of the group's float16 parameters."""
        halves, masters, floats = [], [], []
        for i, param in enumerate(group["params"]):
            if not param.requires_grad:
                continue
            self.maybe_print(f"FP16_Optimizer received {param.dtype} with {param.size()}")
            if param.dtype == torch.float16:
                master = param.detach().clone().float().requires_grad_()
                group["params"][i] = master
                if param in self.optimizer.state:
                    self.optimizer.state[master] = self.optimizer.state.pop(param)
                halves.append(param)
                masters.append(master)
            elif param.dtype == torch.float32:
                floats.append(param)
            else:
                raise TypeError(f"Wrapped parameters must be either float16 or float32. Received {param.dtype}")
        self.fp16_groups.append(halves)
        self.fp32_from_fp16_groups.append(masters)
        self.fp32_from_fp32_groups.append(floats)

    def maybe_print(self, msg: str) -> None:
        if self.verbose:
            print(msg)

    def __getstate__(self) -> Any:
        raise RuntimeError("FP16_Optimizer should be serialized using state_dict().")

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("FP16_Optimizer should be deserialized using load_state_dict().")

    def zero_grad(self, set_grads_to_None: bool = False) -> None:
        """Zero, or drop, the gradients of the masters and of the model."""
        masters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for p in masters + self.all_fp16_params:
            if set_grads_to_None:
                p.grad = None
            elif p.grad is not None:
                p.grad.detach_().zero_()

    def backward(self, loss: Tensor, update_master_grads: bool = True, retain_graph: bool = False) -> None:
        """Back-propagate ``loss`` times the loss scale.

        With several losses in one step, give all of them ``update_master_grads=False``, and call
        :meth:`update_master_grads` after the last.
        """
        torch.autograd.backward(loss.float() * self.loss_scaler.loss_scale(), retain_graph=retain_graph)
        if update_master_grads:
            self.update_master_grads()

    @torch.no_grad()
    def update_master_grads(self) -> None:
        """Bring the model's gradients, unscaled, to the masters; look for overflows and adapt the scale."""
        incoming, outgoing = [], []
        for model, master in zip(self.all_fp16_params, self.all_fp32_from_fp16_params):
            if model.grad is not None:
                if master.grad is None:
                    master.grad = torch.empty_like(master)
                incoming.append(model.grad)
                outgoing.append(master.grad)
        for param in self.all_fp32_from_fp32_params:
            if param.grad is not None:
                incoming.append(param.grad)
                outgoing.append(param.grad)
        self.loss_scaler.clear_overflow_state()
        self.loss_scaler.unscale(incoming, outgoing)
        self.overflow = self.loss_scaler.update_scale()

    def clip_master_grads(self, max_norm: float, norm_type: float = 2) -> Union[Tensor, int]:
        """Clip the masters' gradients together; returns their norm before it, or -1 after an overflow."""
        if self.overflow:
            return -1
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        return self.clip_grad_norm(params, max_norm, norm_type)

    def inspect_master_grad_data(self) -> Optional[list[list[Optional[Tensor]]]]:
        """The masters' gradients, group by group; None (with a message) after an overflow."""
        if self.overflow:
            print(
                "Warning:  calling FP16_Optimizer.inspect_master_grad_data while in an overflow state.  "
                "Gradients are currently invalid (may be inf, nan, or stale).  Returning None."
            )
            return None
        return [
            [None if p.grad is None else p.grad.detach() for p in group["params"]]
            for group in self.optimizer.param_groups
        ]

    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """Update the masters and the model, or skip it after an overflow.

        A ``closure`` computes the loss, calls :meth:`backward` with it, and returns it; it is repeated, each time
        with a smaller scale, while its gradients overflow.
        """
        if self.overflow:
            print(f"Gradient overflow.  Skipping step, reducing loss scale to {self.loss_scaler.loss_scale()}")
            return None
        result = self.optimizer.step() if closure is None else self._step_with_closure(closure)
        self._master_params_to_model_params()
        return result

    def _step_with_closure(self, closure: Callable[[], Any]) -> Any:
        def refresh_and_run() -> Any:
            if not self.first_closure_call_this_step:
                self._master_params_to_model_params()  # the optimizer has moved the masters since
            self.first_closure_call_this_step = False
            loss = closure()
            while self.overflow:
                print(f"OVERFLOW within closure! Reducing loss scale to {self.loss_scaler.loss_scale()}")
                loss = closure()
            return loss

        try:
            return self.optimizer.step(refresh_and_run)
        finally:
            self.first_closure_call_this_step = True

    def _master_params_to_model_params(self) -> None:
        master_params_to_model_params(self.all_fp16_params, self.all_fp32_from_fp16_params)

    def state_dict(self) -> dict[str, Any]:
        """As in apex, with the loss scaler as a dictionary of numbers, which ``torch.load`` reads by default."""
        return {
            "loss_scaler": {name: getattr(self.loss_scaler, name) for name in _SCALER_FIELDS},
            "dynamic_loss_scale": self.dynamic_loss_scale,
            "overflow": self.overflow,
            "first_closure_call_this_step": self.first_closure_call_this_step,
            "optimizer_state_dict": self.optimizer.state_dict(),
            "fp32_from_fp16": self.fp32_from_fp16_groups,
        }

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict`, here or in apex, returned for the same parameters.  Load the model first."""
        saved = state_dict["loss_scaler"]
        fields = saved if isinstance(saved, dict) else vars(saved)
        for name in _SCALER_FIELDS:
            setattr(self.loss_scaler, name, fields[name])
        self.dynamic_loss_scale = state_dict["dynamic_loss_scale"]
        self.overflow = state_dict["overflow"]
        self.first_closure_call_this_step = state_dict["first_closure_call_this_step"]
        self.optimizer.load_state_dict(state_dict["optimizer_state_dict"])
        for current_group, saved_group in zip(self.fp32_from_fp16_groups, state_dict["fp32_from_fp16"]):
            for current, master in zip(current_group, saved_group):
                current.copy_(master)

    @property
    def loss_scale(self) -> float:
        return self.loss_scaler.loss_scale()

    @loss_scale.setter
    def loss_scale(self, value: float) -> None:
        self.loss_scaler._loss_scale = value

    @property
    def state(self) -> Any:
        return self.optimizer.state

    @state.setter
    def state(self, value: Any) -> None:
        self.optimizer.state = value

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    @param_groups.setter
    def param_groups(self, value: Any) -> None:
        self.optimizer.param_groups = value
