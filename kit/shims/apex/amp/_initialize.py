"""What ``initialize`` does to models and optimizers once the options are known."""

import copy
import functools
from collections import deque
from collections.abc import Mapping, MutableMapping
from types import MethodType
from typing import Any, Callable, Optional

import torch

from ..fp16_utils import FP16_Optimizer, convert_network
from ..parallel.LARC import LARC
from . import amp
from ._amp_state import _amp_state, warn_or_err
from ._process_optimizer import _process_optimizer
from .handle import disable_casts
from .scaler import LossScaler

_LOW = (torch.float16, torch.bfloat16)


def _initialize(
    models: Any,
    optimizers: Any,
    properties: Any,
    num_losses: int = 1,
    cast_model_outputs: Optional[torch.dtype] = None,
) -> Any:
    model_list, models_were_list = _as_list(
        models, torch.nn.Module, "models must be either a single model or a list of models."
    )
    _check_not_wrapped(optimizers)
    optimizer_list: list[Any] = []
    optimizers_were_list = False
    if optimizers is not None:
        optimizer_list, optimizers_were_list = _as_list(
            optimizers,
            (torch.optim.Optimizer, LARC),
            "optimizers must be either a single optimizer or a list of optimizers.",
        )
    _check_models(model_list)

    if properties.cast_model_type:
        for model in model_list:
            if properties.keep_batchnorm_fp32:
                convert_network(model, properties.cast_model_type)
            else:
                model.to(properties.cast_model_type)
            _cast_forward(model, properties.cast_model_type, cast_model_outputs or torch.float32)
        for optimizer in optimizer_list:
            optimizer.load_state_dict(optimizer.state_dict())  # casts its state to the parameters' new type
        for model in model_list:
            for module in model.modules():
                module._register_state_dict_hook(_show_float32)
    elif cast_model_outputs is not None:
        for model in model_list:
            _cast_forward(model, None, cast_model_outputs)

    for optimizer in optimizer_list:
        _process_optimizer(optimizer, properties)

    _amp_state.loss_scalers = [
        LossScaler(
            properties.loss_scale,
            min_loss_scale=_amp_state.min_loss_scale,
            max_loss_scale=_amp_state.max_loss_scale,
        )
        for _ in range(num_losses)
    ]

    if properties.patch_torch_functions:
        amp.init(
            loss_scale=properties.loss_scale,
            verbose=_amp_state.verbosity == 2,
            devices={tensor.device.type for model in model_list for tensor in model.state_dict().values()},
            dtype=properties.autocast_dtype,
        )
        for optimizer in optimizer_list:
            _step_without_casts(optimizer)

    given_models = model_list if models_were_list else model_list[0]
    if optimizers_were_list:
        return given_models, optimizer_list
    return (given_models, optimizer_list[0]) if optimizer_list else given_models


def _as_list(given: Any, kind: Any, complaint: str) -> tuple[list[Any], bool]:
    if isinstance(given, kind):
        return [given], False
    if isinstance(given, list):
        return given, True
    raise TypeError(complaint)


def _check_not_wrapped(optimizers: Any) -> None:
    for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
        if isinstance(optimizer, FP16_Optimizer):
            raise RuntimeError(
                "An incoming optimizer is an instance of apex.fp16_utils.FP16_Optimizer. The optimizer(s) passed to "
                "amp.initialize() must be bare instances of either ordinary Pytorch optimizers, or Apex fused "
                "optimizers."
            )


def _check_models(models: list[torch.nn.Module]) -> None:
    for model in models:
        if isinstance(model, (torch.nn.parallel.DistributedDataParallel, torch.nn.parallel.DataParallel)):
            kind = f"{type(model).__module__}.{type(model).__qualname__}"
            raise RuntimeError(
                f"Incoming model is an instance of {kind}. Parallel wrappers should only be applied to the model(s) "
                "AFTER \nthe model(s) have been returned from amp.initialize."
            )
        if _amp_state.allow_incoming_model_not_fp32:
            continue
        tensors: list[tuple[str, str, torch.Tensor]] = [("param", *pair) for pair in model.named_parameters()]
        tensors += [("buffer", *pair) for pair in model.named_buffers()]
        for what, name, tensor in tensors:
            if tensor.dtype in _LOW:
                warn_or_err(
                    f"Found {what} {name} with type {tensor.type()}, expected float32.\n"
                    "When using amp.initialize, you do not need to call .half() on your model\n"
                    "before passing it, no matter what optimization level you choose."
                )


def _cast_forward(model: torch.nn.Module, inputs: Optional[torch.dtype], outputs: torch.dtype) -> None:
    forward = model.forward

    @functools.wraps(forward)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if inputs is not None:
            args, kwargs = _cast(args, inputs), _cast(kwargs, inputs)
        return _cast(forward(*args, **kwargs), outputs)

    model.forward = wrapper


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating-point tensors in ``dtype``, in whatever holds them; what is no container stays what it is."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if hasattr(value, "to") and not isinstance(value, type):  # a batch class of the script's own
        return value.to(dtype)
    if isinstance(value, Mapping):
        result = copy.copy(value) if isinstance(value, MutableMapping) else dict(value)
        for key, one in value.items():
            result[key] = _cast(one, dtype)
        return result
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_cast(one, dtype) for one in value))
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return type(value)(_cast(one, dtype) for one in value)
    return value


def _show_float32(module: Any, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    for key, value in state_dict.items():
        if isinstance(value, torch.Tensor) and value.dtype in _LOW:
            state_dict[key] = value.float()


def _step_without_casts(optimizer: Any) -> None:
    step: Callable[..., Any] = optimizer.step

    @functools.wraps(step)
    def new_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with disable_casts():
            return step(*args, **kwargs)

    optimizer.step = MethodType(new_step, optimizer)
