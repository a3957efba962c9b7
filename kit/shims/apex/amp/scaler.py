"""The loss scaler: apex's numbers, on torch's own foreach operator for unscaling and finding what is not finite.

``torch.amp.GradScaler`` would be the wrong base: it unscales once a step, where apex unscales at the end of every
scaled block, and refuses float16 gradients, which O3 has.  Their states convert into one another below.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Optional, Union

import torch

from ._amp_state import master_params, maybe_print

__all__ = ["LossScaler", "from_grad_scaler", "master_params", "to_grad_scaler"]


class LossScaler:
    """One loss scale.  ``"dynamic"``: start at 2**16, halve on overflow, double after 2000 steps without one.

    A static scale neither looks for overflow nor skips a step.  Attributes have apex's names, because scripts set
    them: ``_loss_scale``, ``_unskipped``, ``_scale_seq_len`` (the window), ``_has_overflow``, ``dynamic``.
    """

    warned_unscaling_non_fp32_grad = False
    has_fused_kernel = True  # torch's foreach operator

    def __init__(
        self,
        loss_scale: Union[float, str],
        init_scale: float = 2.0**16,
        scale_factor: float = 2.0,
        scale_window: int = 2000,
        min_loss_scale: Optional[float] = None,
        max_loss_scale: float = 2.0**24,
    ) -> None:
        if scale_factor != 2.0:
            warnings.warn("scale_factor has no effect, in apex neither: the loss scale changes by 2", stacklevel=3)
        self.dynamic = loss_scale == "dynamic"
        self._loss_scale = min(max_loss_scale, init_scale) if self.dynamic else float(loss_scale)
        self._scale_seq_len = scale_window
        self._min_loss_scale = min_loss_scale
        self._max_loss_scale = max_loss_scale
        self._unskipped = 0
        self._has_overflow = False
        self._found: dict[torch.device, torch.Tensor] = {}  # 1 where something was not finite; read once a step

    def loss_scale(self) -> float:
        """The factor by which the next loss is multiplied."""
        return self._loss_scale

    def clear_overflow_state(self) -> None:
        self._has_overflow = False
        self._found.clear()

    def unscale(
        self,
        model_grads: Sequence[Optional[torch.Tensor]],
        master_grads: Sequence[Optional[torch.Tensor]],
        unused_scale: Optional[float] = None,
        models_are_masters: bool = False,
        scale_override: Optional[float] = None,
    ) -> None:
        """``master = model / scale``, and remember whether anything was not finite.

        Parameters
        ----------
        model_grads, master_grads
            Gradients of the same shapes, pairwise on one device.  A master may be its model's gradient itself.
        scale_override
            In place of the present loss scale.
        """
        scale = self._loss_scale if scale_override is None else scale_override
        if scale == 1.0 and models_are_masters and not self.dynamic:
            return
        pairs = [(old, new) for old, new in zip(model_grads, master_grads) if old is not None and new is not None]
        with torch.no_grad():
            for old, new in pairs:
                if new is not old:
                    new.copy_(old.to_dense() if old.is_sparse else old)
            self._unscale_in_place([new for _, new in pairs], scale)

    def unscale_with_stashed(
        self,
        model_grads: Sequence[torch.Tensor],
        stashed_master_grads: Sequence[torch.Tensor],
        master_grads: Sequence[torch.Tensor],
        scale_override: Optional[tuple[float, float, float]] = None,
    ) -> None:
        """``master = model * out/scale + stashed * out/stashed_scale``; only the model's part is looked at.

        Parameters
        ----------
        scale_override
            The scales of the model's gradients, of the stash and of the result; otherwise the loss scale, 1 and 1.
        """
        scale, stashed_scale, out_scale = scale_override or (self._loss_scale, 1.0, 1.0)
        with torch.no_grad():
            fresh = [
                new if new is old else old.to(new.dtype, copy=True) for old, new in zip(model_grads, master_grads)
            ]
            self._unscale_in_place(fresh, scale / out_scale)
            for new, fresh_grad, stashed in zip(master_grads, fresh, stashed_master_grads):
                total = stashed.to(new.dtype) * (out_scale / stashed_scale) + fresh_grad
                new.copy_(total)

    def _unscale_in_place(self, grads: Iterable[torch.Tensor], scale: float) -> None:
        by_kind: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
        for grad in grads:
            if grad.dtype != torch.float32 and not LossScaler.warned_unscaling_non_fp32_grad:
                LossScaler.warned_unscaling_non_fp32_grad = True
                maybe_print(
                    f"Attempting to unscale a grad with type {grad.type()} Unscaling non-fp32 grads may indicate an "
                    "error. When using Amp, you don't need to call .half() on your model."
                )
            values = grad._values() if grad.is_sparse else grad
            by_kind.setdefault((grad.device, grad.dtype), []).append(values)
        for (device, _), same in by_kind.items():
            found = self._found.setdefault(device, torch.zeros((), dtype=torch.float32, device=device))
            inverse = torch.full((), 1.0 / scale, dtype=torch.float32, device=device)
            torch._amp_foreach_non_finite_check_and_unscale_(same, found, inverse)

    def update_scale(self) -> bool:
        """Take the new scale from what was found since :meth:`clear_overflow_state`.  True: skip this step."""
        if self.dynamic and not self._has_overflow:
            self._has_overflow = any(bool(found) for found in self._found.values())
        if self._has_overflow and self.dynamic:
            self._loss_scale /= 2.0
            if self._min_loss_scale:
                self._loss_scale = max(self._min_loss_scale, self._loss_scale)
            self._unskipped = 0
            return True
        self._unskipped += 1
        if self.dynamic and self._unskipped == self._scale_seq_len:
            self._loss_scale = min(self._max_loss_scale, self._loss_scale * 2.0)
            self._unskipped = 0
        return False


def to_grad_scaler(state: dict[str, Any], loss_id: int = 0) -> dict[str, Any]:
    """A checkpoint's ``amp.state_dict()`` as the state of a ``torch.amp.GradScaler``, for ``load_state_dict``.

    Growth, back-off and interval are the same in both: 2, 0.5 and 2000.
    """
    scaler = state[f"loss_scaler{loss_id}"]
    return {
        "scale": float(scaler["loss_scale"]),
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": int(scaler["unskipped"]),
    }


def from_grad_scaler(*states: dict[str, Any]) -> dict[str, Any]:
    """The states of GradScalers, one for each loss, as one that ``amp.load_state_dict`` takes."""
    return {
        f"loss_scaler{number}": {"loss_scale": state["scale"], "unskipped": state["_growth_tracker"]}
        for number, state in enumerate(states)
    }
