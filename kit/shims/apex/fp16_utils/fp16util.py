"""Models in half precision, and float32 master copies of their parameters."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

clip_grad_norm = torch.nn.utils.clip_grad_norm_


class tofp16(nn.Module):
    """Casts its input to float16."""

    def forward(self, input: Tensor) -> Tensor:
        return input.half()


def _keeps_float32(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and bool(module.affine)


def BN_convert_float(module: nn.Module) -> nn.Module:
    """Turn the batch norms with parameters in ``module`` to float32, in place; returns it."""
    for each in module.modules():
        if _keeps_float32(each):
            each.float()
    return module


def network_to_half(network: nn.Module) -> nn.Sequential:
    """``network``, turned to float16 in place except its batch norms, behind a cast of the input."""
    return nn.Sequential(tofp16(), BN_convert_float(network.half()))


def convert_module(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast the floating-point parameters, gradients and buffers of ``module`` itself, not of its children."""
    for parameter in module.parameters(recurse=False):
        grad, parameter.grad = parameter.grad, None
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
        if grad is not None:
            parameter.grad = grad.to(parameter.dtype)
    for buffer in module.buffers(recurse=False):
        if buffer.is_floating_point():
            buffer.data = buffer.data.to(dtype)


def convert_network(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast ``network`` in place to ``dtype``, except its batch norms with parameters; returns it."""
    for module in network.modules():
        if _keeps_float32(module):
            continue
        convert_module(module, dtype)
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()
    return network


class FP16Model(nn.Module):
    """``network``, turned to float16 in place except its batch norms; casts its inputs to float16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = convert_network(network, torch.half)

    def forward(self, *inputs: Tensor) -> Any:
        return self.network(*(t.half() for t in inputs))


def prep_param_lists(model: nn.Module, flat_master: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    """The model's trainable parameters, and float32 master copies: one for each, or one flat tensor of them all.

    Raises RuntimeError where the parameters to flatten are not all of one type.
    """
    model_params: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    if not flat_master:
        return model_params, [p.detach().clone().float().requires_grad_() for p in model_params]
    types = {p.dtype for p in model_params}
    if len(types) > 1:
        raise RuntimeError(f"prep_param_lists: the parameters are of several types, {types}: use flat_master=False")
    master = nn.Parameter(_flatten([p.detach() for p in model_params]).float())
    master.grad = torch.zeros_like(master)
    return model_params, [master]


@torch.no_grad()
def model_grads_to_master_grads(
    model_params: Sequence[Tensor], master_params: Sequence[Tensor], flat_master: bool = False
) -> None:
    """Copy the model's gradients to the masters of :func:`prep_param_lists`.

    A parameter without a gradient leaves its master without one; RuntimeError if the masters are flat.
    """
    if flat_master:
        grads = [p.grad for p in model_params if p.grad is not None]
        if len(grads) < len(model_params):
            raise RuntimeError("model_grads_to_master_grads: flat_master needs a gradient for every parameter")
        master_params[0].grad = _flatten(grads).to(master_params[0].dtype)
        return
    for model, master in zip(model_params, master_params):
        if model.grad is None:
            master.grad = None
            continue
        if master.grad is None:
            master.grad = torch.empty_like(master)
        master.grad.copy_(model.grad)


@torch.no_grad()
def master_params_to_model_params(
    model_params: Sequence[Tensor], master_params: Sequence[Tensor], flat_master: bool = False
) -> None:
    """Copy the masters of :func:`prep_param_lists` to the model's parameters, rounded to their type."""
    masters = torch.split(master_params[0], [p.numel() for p in model_params]) if flat_master else master_params
    for model, master in zip(model_params, masters):
        model.copy_(master.view_as(model))


def to_python_float(t: Any) -> Any:
    """The number in a tensor of one element, or the first element of a sequence."""
    return t.item() if hasattr(t, "item") else t[0]


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
