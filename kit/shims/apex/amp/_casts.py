"""O1: autocast for the whole thread, and the casts in which apex's lists differ from torch's.

Autocast does nearly all that apex did by replacing functions.  What is left are functions that apex runs in float32
and torch's autocast does not (on CUDA a few, on the CPU most), ``Tensor.cpu()``, and functions that apex refuses in
half precision.  These are wrapped where they are looked up, as apex did it: a torch-function mode would not see the
calls that torch's own Python functions make, and costs every operator 0.3 to 7 microseconds.  A wrapper does nothing
where this thread's autocast is off, so ``torch.autocast(..., enabled=False)`` and ``disable_casts`` reach it too.

Autocast's cache of cast weights stays off: it would outlive a weight that is changed in place between two calls.
"""

import contextlib
import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional

import torch

from .lists import functional_overrides, tensor_overrides, torch_overrides

Function = Callable[..., Any]

# What autocast itself runs in float32 on CUDA, of apex's lists (torch/csrc: autocast_mode.h, since torch 1.10).
_CUDA_HAS = frozenset(
    "softplus softmin log_softmax softmax layer_norm group_norm normalize cosine_similarity poisson_nll_loss "
    "cosine_embedding_loss cross_entropy hinge_embedding_loss kl_div l1_loss mse_loss margin_ranking_loss "
    "multilabel_margin_loss multi_margin_loss nll_loss binary_cross_entropy_with_logits smooth_l1_loss "
    "soft_margin_loss triplet_margin_loss acos asin cosh erfinv exp expm1 log log10 log2 reciprocal rsqrt sinh tan "
    "pow __pow__ __rpow__ cumprod cumsum dist norm prod sum renorm".split()
)
# What autocast runs in half precision everywhere, and on CUDA besides.
_ALL_HAVE = frozenset(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear addmm matmul mm addbmm baddbmm "
    "bmm __matmul__".split()
)
_CUDA_HALVES = _ALL_HAVE | frozenset("conv_tbc prelu addmv addr mv".split())
# Native type promotion, or autocast, widens these by itself; the rest of apex's CASTS refuses mixed arguments.
# In place, apex makes a float32 tensor of a half one and a float32 one; torch would stay in half precision.
_WIDENED = frozenset("addcdiv addcmul bilinear cross dot equal __iadd__ __isub__ __imul__ __itruediv__".split())


class Autocast:
    """Autocast of this thread, on some kinds of devices, switched on and off as a whole."""

    def __init__(self, devices: Iterable[str], dtype: torch.dtype) -> None:
        self.devices = frozenset(devices)
        self.dtype = dtype
        self._contexts: list[Any] = []
        self.in_backward = False

    def enter(self) -> None:
        """Switch it on, where it is off.  NotImplementedError where this torch has none for device and type."""
        for device in sorted(self.devices) if not self._contexts else ():
            context: Any = torch.autocast(device, dtype=self.dtype, cache_enabled=False)
            context.__enter__()
            self._contexts.append(context)
            if not _is_enabled(device):
                self.leave()
                raise NotImplementedError(
                    f"O1 needs torch.autocast({device!r}, dtype={self.dtype}), which torch {torch.__version__} does "
                    "not have. Use cast_model_type=torch.bfloat16, another opt_level, or a newer torch."
                )

    def leave(self) -> None:
        """Leave this thread's autocast as it was before."""
        while self._contexts:
            self._contexts.pop().__exit__(None, None, None)

    @contextlib.contextmanager
    def off_for_backward(self) -> Iterator[None]:
        """No casts within the block but in backward functions that are written in Python."""
        before, self.in_backward = self.in_backward, True
        try:
            with self.off():
                yield
        finally:
            self.in_backward = before

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Casts on these devices within the block."""
        with contextlib.ExitStack() as stack:
            for device in self.devices:
                stack.enter_context(torch.autocast(device, dtype=self.dtype))
            yield

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """No casts on these devices within the block."""
        with contextlib.ExitStack() as stack:
            for device in self.devices:
                stack.enter_context(torch.autocast(device, enabled=False))
            yield

    def active(self, device: Optional[str] = None) -> bool:
        """Is it on, here and now, for tensors of this kind of device?  For any, without ``device``."""
        if device is None:
            return any(map(_is_enabled, self.devices))
        return device in self.devices and _is_enabled(device)


class Patches:
    """Functions replaced where they are looked up, and what stood there before."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace ``owner.name`` (of a module or class, or ``owner[name]`` of a dictionary) by ``make`` of it."""
        if isinstance(owner, dict):
            original, own = owner[name], owner[name]
            owner[name] = make(original)
        else:
            original, own = getattr(owner, name), vars(owner).get(name, _INHERITED)
            setattr(owner, name, make(original))
        self._done.append((owner, name, own))

    def undo(self) -> None:
        while self._done:
            owner, name, own = self._done.pop()
            if isinstance(owner, dict):
                owner[name] = own
            elif own is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, own)


_INHERITED = object()


def half(function: Function, autocast: Autocast) -> Function:
    """``function`` with its float32 tensors cast to autocast's type, while autocast is on."""
    return _wrapper(function, autocast, lambda x: x.to(autocast.dtype) if x.dtype == torch.float32 else x)


def single(function: Function, autocast: Autocast) -> Function:
    """``function`` with its half-precision tensors cast to float32, while autocast is on."""
    return _wrapper(function, autocast, lambda x: x.float() if x.dtype in _LOW else x)


def promote(function: Function, autocast: Autocast) -> Function:
    """``function`` with its half-precision tensors cast to float32 where one of its tensors is float32."""
    widen = single(function, autocast)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        kinds = {x.dtype for x in _tensors((args, kwargs))}
        return (widen if torch.float32 in kinds and kinds & _LOW else function)(*args, **kwargs)

    return wrapper


def registered(function: Function, autocast: Autocast, kind: Callable[[Function, Autocast], Function]) -> Function:
    """``kind(function, autocast)``, and for a compiled function the last word: autocast would cast after it."""
    if not isinstance(function, (types.BuiltinFunctionType, types.MethodDescriptorType)):
        return kind(function, autocast)

    @functools.wraps(function)
    def alone(*args: Any, **kwargs: Any) -> Any:
        with autocast.off():
            return function(*args, **kwargs)

    return kind(alone, autocast)


def refuse(function: Function, autocast: Autocast, message: str) -> Function:
    """``function``, but NotImplementedError where one of its tensors is in half precision, while autocast is on."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if any(x.dtype in _LOW and autocast.active(x.device.type) for x in _tensors((args, kwargs))):
            raise NotImplementedError(message)
        return function(*args, **kwargs)

    return wrapper


def install(autocast: Autocast, patches: Patches, allow_banned: bool) -> None:
    """Wrap what of apex's lists autocast leaves out on these devices."""
    only_cuda = autocast.devices <= {"cuda"}
    for lists in (functional_overrides, torch_overrides, tensor_overrides):
        owner = lists.MODULE
        for name in dict.fromkeys(lists.FP16_FUNCS):
            if hasattr(owner, name) and name not in (_CUDA_HALVES if only_cuda else _ALL_HAVE):
                patches.wrap(owner, name, lambda function: half(function, autocast))
        for name in dict.fromkeys(lists.FP32_FUNCS):
            if hasattr(owner, name) and not (only_cuda and name in _CUDA_HAS):
                patches.wrap(owner, name, lambda function: single(function, autocast))
        for name in getattr(lists, "CASTS", ()):
            if name in _WIDENED and hasattr(owner, name):
                patches.wrap(owner, name, lambda function: promote(function, autocast))
    for owner, names in (
        (torch, [f"{name}_" for name in torch_overrides.FP32_FUNCS]),
        (torch.Tensor, [f"{name}_" for name in tensor_overrides.FP32_FUNCS]),
    ):
        for name in dict.fromkeys(names):
            if hasattr(owner, name):
                message = f"Cannot call in-place function {name} with fp16 arguments."
                patches.wrap(owner, name, functools.partial(refuse, autocast=autocast, message=message))
    for name, message in functional_overrides.BANNED_FUNCS:
        if allow_banned:
            patches.wrap(torch.nn.functional, name, lambda function: single(function, autocast))
        else:
            patches.wrap(torch.nn.functional, name, functools.partial(refuse, autocast=autocast, message=message))
    # torch asks that no backward runs under autocast: its operators are to run in the types of the forward.
    engine = ["_engine_run_backward"] if hasattr(torch.autograd, "_engine_run_backward") else ["backward", "grad"]
    for name in engine:
        patches.wrap(torch.autograd, name, functools.partial(_without_casts, autocast=autocast))
    patches.wrap(torch.autograd.function.BackwardCFunction, "apply", functools.partial(_backward, autocast=autocast))
    if not only_cuda:
        patches.wrap(torch.nn.modules.rnn, "_VF", lambda original: _Recurrent(original, autocast))


def _without_casts(run: Function, autocast: Autocast) -> Function:
    @functools.wraps(run)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with autocast.off_for_backward() if autocast.active() else contextlib.nullcontext():
            return run(*args, **kwargs)

    return wrapper


def _backward(apply: Function, autocast: Autocast) -> Function:
    """The backward of functions that are written in Python, under casts as their forward was: both see mixed types.

    torch's own checkpoint runs a whole backward within its own; that stays without.
    """

    @functools.wraps(apply)
    def wrapper(self: Any, *args: Any) -> Any:
        if not autocast.in_backward or self._forward_cls.__module__ == "torch.utils.checkpoint":
            return apply(self, *args)
        with autocast.on():
            return apply(self, *args)

    return wrapper


class _Recurrent:
    """What ``torch.nn.modules.rnn`` calls ``_VF``, with its functions in half precision: the CPU's autocast has none
    for recurrent layers."""

    def __init__(self, original: Any, autocast: Autocast) -> None:
        self._original = original
        self._autocast = autocast

    def __getattr__(self, name: str) -> Any:
        function = half(getattr(self._original, name), self._autocast)
        setattr(self, name, function)
        return function


_LOW = frozenset({torch.float16, torch.bfloat16})


def _wrapper(function: Function, autocast: Autocast, cast: Callable[[torch.Tensor], torch.Tensor]) -> Function:
    def one(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return cast(value) if autocast.active(value.device.type) else value
        if type(value) in (list, tuple) and _floating(value):  # apex leaves a list that holds anything else
            return type(value)([one(v) for v in value])
        return value

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {name: one(value) for name, value in kwargs.items()}
        return function(*[one(value) for value in args], **kwargs)

    return wrapper


def _floating(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_floating, value))
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _is_enabled(device: str) -> bool:
    try:
        return bool(torch.is_autocast_enabled(device))
    except TypeError:  # torch before 2.4: a function for each device
        return bool(torch.is_autocast_cpu_enabled() if device == "cpu" else torch.is_autocast_enabled())
