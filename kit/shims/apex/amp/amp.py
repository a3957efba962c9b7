"""Function decorators and registrations, and ``init``, which switches O1 on."""

import functools
from collections.abc import Iterable
from typing import Any, Callable, Optional, Union

import torch

from . import _casts
from ._amp_state import _amp_state
from .handle import AmpHandle, NoOpHandle

Function = Callable[..., Any]

_DECORATOR_HANDLE: Union[AmpHandle, NoOpHandle, None] = None
_USER_REGISTRY: dict[tuple[Any, str], Function] = {}  # what to wrap at the next init, and how


def _decorated(fn: Function, kind: Function) -> Function:
    # Applied when a script is imported, before initialize, to functions, methods, C operators and the static
    # forward of autograd functions: which cast is meant is decided at each call.
    @functools.wraps(fn, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        autocast = getattr(_DECORATOR_HANDLE, "_autocast", None)
        return fn(*args, **kwargs) if autocast is None else kind(fn, autocast)(*args, **kwargs)

    return wrapper


def half_function(fn: Function) -> Function:
    """A function that gets its floating-point tensors in half precision while O1 is on."""
    return _decorated(fn, _casts.half)


def float_function(fn: Function) -> Function:
    """A function that gets its half-precision tensors as float32 while O1 is on."""
    return _decorated(fn, _casts.single)


def promote_function(fn: Function) -> Function:
    """A function that gets its tensors in the widest of their types while O1 is on."""
    return _decorated(fn, _casts.promote)


def _register(module: Any, name: str, kind: Function) -> None:
    if not hasattr(module, name):
        raise ValueError(f"No function named {name} in module {module}.")
    _USER_REGISTRY[module, name] = kind


def register_half_function(module: Any, name: str) -> None:
    """``module.name`` shall run in half precision from the next ``initialize`` or ``init`` on."""
    _register(module, name, _casts.half)


def register_float_function(module: Any, name: str) -> None:
    """``module.name`` shall run in float32 from the next ``initialize`` or ``init`` on."""
    _register(module, name, _casts.single)


def register_promote_function(module: Any, name: str) -> None:
    """``module.name`` shall get its tensors in the widest of their types from the next ``initialize`` on."""
    _register(module, name, _casts.promote)


def init(
    enabled: bool = True,
    loss_scale: Union[float, str] = "dynamic",
    enable_caching: bool = True,
    verbose: bool = False,
    allow_banned: bool = False,
    devices: Optional[Iterable[str]] = None,
    dtype: torch.dtype = torch.float16,
) -> Union[AmpHandle, NoOpHandle]:
    """Switch O1's casts on for this thread, until the handle's ``_deactivate()``; ``initialize`` calls it.

    Parameters
    ----------
    enable_caching, verbose
        Without effect: no cast is kept, and autocast does not list what it casts.
    allow_banned
        Run ``F.binary_cross_entropy`` in float32 rather than refuse it in half precision.
    devices, dtype
        Not in apex: on which kinds of devices, "cuda" where there is one by default, and in which type.
    """
    global _DECORATOR_HANDLE
    before = getattr(_amp_state, "handle", None)
    if before is not None:
        before._deactivate()
    if not enabled:
        _DECORATOR_HANDLE = NoOpHandle()
        return _DECORATOR_HANDLE
    handle = AmpHandle(loss_scale, enable_caching, verbose)
    autocast = _casts.Autocast(devices or ["cuda" if torch.cuda.is_available() else "cpu"], dtype)
    patches = handle._activate(autocast)
    for (module, name), kind in _USER_REGISTRY.items():
        patches.wrap(module, name, functools.partial(_casts.registered, autocast=autocast, kind=kind))
    _USER_REGISTRY.clear()
    _casts.install(autocast, patches, allow_banned)
    _DECORATOR_HANDLE = _amp_state.handle = handle
    return handle
