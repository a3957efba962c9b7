"""What amp keeps for an optimizer: float32 master weights, gradients set aside, the step that is skipped once."""

import functools
from types import MethodType
from typing import Any, Optional

import torch

from ._amp_state import maybe_print

_LOW = (torch.float16, torch.bfloat16)
Tensors = list[torch.Tensor]


class AmpOptimizerState:
    """``optimizer._amp_stash``, made whole at the first backward, ``zero_grad`` or ``add_param_group``.

    The names are apex's; NVIDIA's own training scripts read ``all_fp16_params`` and ``all_fp32_from_fp16_params``.
    "fp16" means half precision of either kind.  Without master weights every parameter is its own master, and
    stands in ``all_fp16_params`` or ``all_fp32_params`` by its type.
    """

    def __init__(self, master_weights: bool) -> None:
        self.master_weights = master_weights
        self.lazy_init_called = False
        self.already_patched = False
        self.params_have_scaled_gradients = False
        self.fp16_groups: list[Tensors] = []
        self.fp32_from_fp16_groups: list[Tensors] = []
        self.fp32_from_fp32_groups: list[Tensors] = []
        self.all_fp16_params: Tensors = []
        self.all_fp32_from_fp16_params: Tensors = []
        self.all_fp32_from_fp32_params: Tensors = []
        self.all_fp32_params: Tensors = []
        self.set_aside: dict[torch.Tensor, Optional[torch.Tensor]] = {}

    @property
    def own_masters(self) -> Tensors:
        """The parameters that the optimizer updates itself."""
        return (
            self.all_fp32_from_fp32_params if self.master_weights else [*self.all_fp16_params, *self.all_fp32_params]
        )

    def take(self, optimizer: Any, group: dict[str, Any]) -> None:
        """Account for the parameters of a group; with master weights, put the float32 copies in their place."""
        halves: Tensors = []
        masters: Tensors = []
        singles: Tensors = []
        for i, param in enumerate(group["params"]):
            if self.master_weights and not param.requires_grad:
                continue
            if param.dtype not in (*_LOW, torch.float32):
                raise TypeError(
                    "Optimizer's parameters must be either float32 or in half precision (float16, bfloat16). "
                    f"Received {param.type()}"
                )
            if param.dtype == torch.float32:
                singles.append(param)
                continue
            halves.append(param)
            if self.master_weights:
                master = param.detach().clone().float().requires_grad_()
                group["params"][i] = master
                masters.append(master)
                if param in optimizer.state:
                    optimizer.state[master] = optimizer.state.pop(param)
        self.all_fp16_params += halves
        if self.master_weights:
            self.fp16_groups.append(halves)
            self.fp32_from_fp16_groups.append(masters)
            self.fp32_from_fp32_groups.append(singles)
            self.all_fp32_from_fp16_params += masters
            self.all_fp32_from_fp32_params += singles
        else:
            self.all_fp32_params += singles

    def skip_next_step(self, optimizer: Any, loss_id: int, scaler: Any) -> None:
        """Replace the next ``optimizer.step()``, once, by one that says so and leaves the weights as they are."""
        if self.already_patched:
            return
        self.already_patched = True
        step = optimizer.step

        @functools.wraps(step)
        def skip_step(self_: Any, closure: Any = None) -> None:
            _refuse_closure(closure)
            scale = scaler.loss_scale()
            maybe_print(f"Gradient overflow.  Skipping step, loss scaler {loss_id} reducing loss scale to {scale}")
            for master in self.all_fp32_from_fp16_params:
                master.grad = None  # model.zero_grad() does not reach them
            optimizer._opt_called = True  # or learning rate schedulers take the skipped step for a forgotten one
            optimizer.step = step
            self.already_patched = False

        optimizer.step = MethodType(skip_step, optimizer)


def _process_optimizer(optimizer: Any, properties: Any) -> None:
    """Give the optimizer its stash, and the methods that work on it.  RuntimeError where it has them already."""
    if hasattr(optimizer, "_amp_stash"):
        raise RuntimeError("A given optimizer should only be passed through amp.initialize once.")
    optimizer._amp_stash = AmpOptimizerState(bool(properties.master_weights))
    for method in _METHODS:
        setattr(optimizer, method.__name__, MethodType(method, optimizer))
    add_param_group = optimizer.add_param_group

    @functools.wraps(add_param_group)
    def new_add_param_group(self: Any, new_group: dict[str, Any]) -> None:
        self._amp_lazy_init()
        assert isinstance(new_group, dict), "param group must be a dict"
        params = new_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need an order, which a set has not. Please use a list instead.")
        new_group["params"] = [params] if isinstance(params, torch.Tensor) else list(params)
        self._amp_stash.take(self, new_group)
        add_param_group(new_group)

    optimizer.add_param_group = MethodType(new_add_param_group, optimizer)
    if properties.master_weights:
        _keep_masters(optimizer)


def _keep_masters(optimizer: Any) -> None:
    step, zero_grad = optimizer.step, optimizer.zero_grad

    @functools.wraps(step)
    def new_step(self: Any, closure: Any = None) -> Any:
        _refuse_closure(closure)
        result = step()
        self._master_params_to_model_params()
        for master in self._amp_stash.all_fp32_from_fp16_params:
            master.grad = None
        return result

    @functools.wraps(zero_grad)
    def new_zero_grad(self: Any, set_to_none: bool = False) -> None:
        self._amp_lazy_init()
        stash = self._amp_stash
        for param in (*stash.all_fp16_params, *stash.all_fp32_from_fp32_params):
            if param.grad is not None and not set_to_none:
                param.grad = param.grad.detach().zero_()
            else:
                param.grad = None
        for master in stash.all_fp32_from_fp16_params:
            master.grad = None

    optimizer.step = MethodType(new_step, optimizer)
    optimizer.zero_grad = MethodType(new_zero_grad, optimizer)


def _refuse_closure(closure: Any) -> None:
    if closure is not None:
        raise RuntimeError("Currently, Amp does not support closure use with optimizers.")


# Methods of the optimizer, under apex's names.


def _amp_lazy_init(self: Any) -> None:
    if not self._amp_stash.lazy_init_called:
        self._lazy_init_maybe_master_weights()
        self._amp_stash.lazy_init_called = True


def _lazy_init_maybe_master_weights(self: Any) -> None:
    stash = self._amp_stash
    for group in self.param_groups:
        stash.take(self, group)
    if stash.master_weights:
        for param in (*stash.all_fp32_from_fp16_params, *stash.all_fp32_from_fp32_params):
            param.grad = None
        self.load_state_dict(self.state_dict())  # casts the state to the masters' type


def _prepare_amp_backward(self: Any) -> None:
    """Set the gradients aside: the block's own are to be unscaled alone."""
    self._amp_lazy_init()
    stash = self._amp_stash
    if stash.master_weights:
        for param in stash.all_fp16_params:
            param.grad = None  # what was in it is in the master's already
    for param in stash.own_masters:
        grad = param.grad
        if grad is not None and grad.layout == torch.strided and grad.untyped_storage().nbytes() > grad.nbytes:
            grad = grad.clone()  # part of a bucket (DDP's gradient_as_bucket_view) that backward writes anew
        stash.set_aside[param] = grad
        param.grad = None


def _post_amp_backward(self: Any, scaler: Any) -> None:
    """Unscale the block's gradients, into the masters' where there are any, and add what was set aside."""
    self._amp_lazy_init()
    stash = self._amp_stash
    fresh, fresh_masters, more, more_masters = [], [], [], []
    for param, master in zip(stash.all_fp16_params, stash.all_fp32_from_fp16_params):
        if param.grad is None:
            continue
        if master.grad is None:
            master.grad = torch.empty_like(master)
            fresh.append(param.grad)
            fresh_masters.append(master.grad)
        else:
            more.append(param.grad)
            more_masters.append(master.grad)
    scaler.unscale(fresh, fresh_masters)
    scaler.unscale_with_stashed(more, more_masters, more_masters)

    fresh, more, stashed = [], [], []
    scaled = scaler.dynamic or scaler.loss_scale() != 1.0
    for param in stash.own_masters:
        before = stash.set_aside.pop(param, None)
        if param.grad is None:
            param.grad = before
        elif before is None:
            fresh.append(param.grad)
        elif scaled:
            more.append(param.grad)
            stashed.append(before)
        else:
            param.grad = param.grad + before
    scaler.unscale(fresh, fresh, models_are_masters=True)
    scaler.unscale_with_stashed(more, stashed, more)


@torch.no_grad()
def _master_params_to_model_params(self: Any) -> None:
    stash = self._amp_stash
    if stash.all_fp16_params:
        torch._foreach_copy_(stash.all_fp16_params, stash.all_fp32_from_fp16_params)


_METHODS = (
    _lazy_init_maybe_master_weights,
    _amp_lazy_init,
    _prepare_amp_backward,
    _post_amp_backward,
    _master_params_to_model_params,
)
