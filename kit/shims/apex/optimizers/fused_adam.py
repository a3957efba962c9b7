"""``apex.optimizers.FusedAdam``: Adam and AdamW, with the step counter in the parameter group."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Optional

import torch

from ._foreach import FusedOptimizer, Ready, adam_direction, advance, float32, gradients, store


class FusedAdam(FusedOptimizer):
    """AdamW, or Adam with L2 regularisation where ``adam_w_mode=False``.

    Formula: apex 25.04, csrc/multi_tensor_adam.cu; equal to torch.optim.AdamW (Adam) up to rounding.  The moments are
    float32 whatever the parameter is.  ``adam_w_mode`` is no part of a checkpoint, in apex neither.

    Raises RuntimeError for ``amsgrad``, and for ``master_weights`` without ``capturable``;
    NotImplementedError for ``capturable``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        adam_w_mode: bool = True,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        set_grad_none: bool = True,
        capturable: bool = False,
        master_weights: bool = False,
    ) -> None:
        if amsgrad:
            raise RuntimeError("FusedAdam does not support the AMSGrad variant.")
        if master_weights and not capturable:
            raise RuntimeError("Master weights is currently only supported with the capturable version.")
        if capturable:
            raise NotImplementedError(
                "FusedAdam(capturable=True) needs the kernels of apex.  For CUDA graphs use "
                "torch.optim.AdamW(params, capturable=True) on float32 parameters, under torch.autocast."
            )
        defaults = {
            "lr": lr,
            "bias_correction": bias_correction,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)
        self.adam_w_mode = 1 if adam_w_mode else 0
        self.set_grad_none = set_grad_none
        self.capturable = capturable
        self.master_weights = master_weights

    def step(
        self,
        closure: Optional[Callable[[], Any]] = None,
        grads: Any = None,
        output_params: Any = None,
        scale: Any = None,
        grad_norms: Any = None,
        grad_scaler: Any = None,
    ) -> Any:
        """As :meth:`FusedOptimizer.step`; the other arguments are of older versions of apex, and refused."""
        if any(argument is not None for argument in (grads, output_params, scale, grad_norms)):
            raise RuntimeError(
                "FusedAdam has been updated.  Simply initialize it identically to torch.optim.Adam, "
                "and call step() with no arguments."
            )
        if grad_scaler is not None:
            raise RuntimeError(
                "FusedAdam.step(grad_scaler=...) needs capturable=True: call grad_scaler.step(optimizer)"
            )
        return super().step(closure)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint of apex's FusedAdam, or of torch.optim.Adam or AdamW.

        Raises ValueError, before anything changes, where the checkpoint used AMSGrad or ``maximize``.
        """
        for saved in state_dict["param_groups"]:
            for option in ("amsgrad", "maximize"):
                if saved.get(option):
                    raise ValueError(
                        f"the checkpoint was written with {option}=True, which FusedAdam does not support"
                    )
        super().load_state_dict(state_dict)
        for group, saved in zip(self.param_groups, state_dict["param_groups"]):
            for name, value in self.defaults.items():
                group.setdefault(name, value)
            for name in ("lr", "step"):  # tensors, if written by a capturable optimizer
                if isinstance(group.get(name), torch.Tensor):
                    group[name] = group[name].item()
            steps = set()
            for p, index in zip(group["params"], saved["params"]):
                if index not in state_dict["state"]:
                    continue
                for name in ("exp_avg", "exp_avg_sq"):  # torch has cast them to the parameter's type
                    moment = state_dict["state"][index][name]
                    self.state[p][name] = moment.to(device=p.device, dtype=torch.float32, copy=True)
                if "step" in self.state[p]:
                    steps.add(int(self.state[p].pop("step")))
            if len(steps) > 1:
                warnings.warn(
                    f"the parameters of one group are at different steps, {min(steps)} to {max(steps)}; FusedAdam "
                    "counts per group: the bias correction goes on from the largest",
                    stacklevel=2,
                )
            if steps:
                group["step"] = max(steps)

    def _update(self, ready: Ready) -> None:
        for group, params in ready:
            corrections = advance(group)
            if not params:
                continue
            decay = group["weight_decay"]
            values, grads = float32(params), gradients(params)
            if decay and not self.adam_w_mode:
                grads = list(torch._foreach_add(grads, values, alpha=decay))
            exp_avg = self._state_of(params, "exp_avg", torch.float32)
            exp_avg_sq = self._state_of(params, "exp_avg_sq", torch.float32)
            update = adam_direction(grads, exp_avg, exp_avg_sq, group, 1 - group["betas"][0], corrections)
            if decay and self.adam_w_mode:
                torch._foreach_add_(update, values, alpha=decay)
            torch._foreach_add_(values, update, alpha=-group["lr"])
            store(params, values)
