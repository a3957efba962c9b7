"""``apex.parallel.LARC``: layer-wise adaptive rate control, as a wrapper around an optimizer."""

from typing import Any, Optional

import torch


class LARC:
    """Scale each gradient so that its parameter moves by a share of its own length.

    You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017: the local learning rate is
    trust_coefficient * |p| / (|g| + weight_decay * |p| + eps).  ``clip=True``: the rate used is min(local, lr);
    ``clip=False``: local * lr.  The weight decay is taken from the optimizer and added to the gradient here; a
    parameter whose value or gradient is all zero keeps its gradient, and gets no weight decay.

    ``optim`` is the wrapped optimizer.  As in apex, this is not a torch.optim.Optimizer: give a learning rate
    scheduler ``larc.optim``.
    """

    def __init__(self, optimizer: Any, trust_coefficient: float = 0.02, clip: bool = True, eps: float = 1e-8) -> None:
        self.optim = optimizer
        self.trust_coefficient = trust_coefficient
        self.eps = eps
        self.clip = clip

    @property
    def state(self) -> Any:
        return self.optim.state

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = self.optim.param_groups
        return groups

    @param_groups.setter
    def param_groups(self, value: list[dict[str, Any]]) -> None:
        self.optim.param_groups = value

    def __repr__(self) -> str:
        return repr(self.optim)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.optim.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.optim.load_state_dict(state_dict)

    def zero_grad(self, set_to_none: Optional[bool] = None) -> None:
        self.optim.zero_grad(*([] if set_to_none is None else [set_to_none]))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self.optim.add_param_group(param_group)

    def step(self) -> None:
        """Adapt the gradients in place, then step the wrapped optimizer with its weight decay switched off."""
        groups = self.optim.param_groups
        decays = [group.get("weight_decay", 0) for group in groups]
        try:
            for group, decay in zip(groups, decays):
                group["weight_decay"] = 0
                self._adapt(group, decay)
            self.optim.step()
        finally:
            for group, decay in zip(groups, decays):
                group["weight_decay"] = decay

    @torch.no_grad()
    def _adapt(self, group: dict[str, Any], decay: float) -> None:
        for p in group["params"]:
            if p.grad is None:
                continue
            size, slope = torch.linalg.vector_norm(p), torch.linalg.vector_norm(p.grad)
            rate = self.trust_coefficient * size / (slope + size * decay + self.eps)
            if self.clip:
                rate = (rate / group["lr"]).clamp(max=1)
            adapted = (p.grad + decay * p) * rate
            p.grad.copy_(torch.where((size != 0) & (slope != 0), adapted, p.grad))
