"""``scale_loss`` and ``disable_casts``, and the handle of the oldest interface."""

import contextlib
from collections.abc import Iterator
from typing import Any, Optional, Union

import torch

from ._amp_state import _amp_state, master_params
from ._casts import Autocast, Patches
from .opt import OptimWrapper
from .scaler import LossScaler

__all__ = ["AmpHandle", "NoOpHandle", "disable_casts", "master_params", "scale_loss"]


@contextlib.contextmanager
def scale_loss(
    loss: torch.Tensor,
    optimizers: Any,
    loss_id: int = 0,
    model: Optional[torch.nn.Module] = None,
    delay_unscale: bool = False,
    delay_overflow_check: bool = False,
) -> Iterator[torch.Tensor]:
    """Yield ``loss.float() * scale``; at the end of the block the gradients are unscaled and checked.

    ::

        with amp.scale_loss(loss, optimizer) as scaled_loss:
            scaled_loss.backward()

    Gradients that were there before the block are set aside and added again, so that several blocks accumulate,
    each with a scale of its own.  Where a dynamic scale overflowed, the next ``step()`` of each of the optimizers
    is skipped once.

    Parameters
    ----------
    loss
        A tensor of any shape, as ``backward`` takes it.
    optimizers
        The optimizer, or the list of optimizers, whose gradients this backward makes.
    loss_id
        Which of the ``num_losses`` scales is used.
    model
        Unused, as it was in apex.
    delay_unscale
        Leave the gradients scaled: a later block, without it, unscales their sum.
    delay_overflow_check
        Do not look for overflow in this block.

    Raises
    ------
    RuntimeError
        Before ``amp.initialize``, or for an optimizer that it was not given.
    """
    if not hasattr(_amp_state, "opt_properties"):
        raise RuntimeError(
            "Invoked 'with amp.scale_loss`, but internal Amp state has not been initialized.  model, optimizer = "
            "amp.initialize(model, optimizer, opt_level=...) must be called before `with amp.scale_loss`."
        )
    properties = _amp_state.opt_properties
    if not properties.enabled:
        yield loss
        return
    scaler = _amp_state.loss_scalers[loss_id]

    if not properties.master_weights and not scaler.dynamic and scaler.loss_scale() == 1.0:
        yield loss.float()
        return

    optimizers = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
    for optimizer in optimizers:
        if not hasattr(optimizer, "_amp_stash"):
            raise RuntimeError(f"amp.scale_loss: this {type(optimizer).__name__} was not given to amp.initialize.")
    if not delay_unscale:
        for optimizer in optimizers:
            if not optimizer._amp_stash.params_have_scaled_gradients:
                optimizer._prepare_amp_backward()
    yield loss.float() * scaler.loss_scale()
    if delay_unscale:
        for optimizer in optimizers:
            optimizer._amp_stash.params_have_scaled_gradients = True
        return
    scaler.clear_overflow_state()
    for optimizer in optimizers:
        optimizer._post_amp_backward(scaler)
        optimizer._amp_stash.params_have_scaled_gradients = False
    if not delay_overflow_check and scaler.update_scale():
        for optimizer in optimizers:
            optimizer._amp_stash.skip_next_step(optimizer, loss_id, scaler)


@contextlib.contextmanager
def disable_casts() -> Iterator[None]:
    """No casts within the block (O1; with the other levels there are none)."""
    handle = getattr(_amp_state, "handle", None) or NoOpHandle()
    with handle._disable_casts():
        yield


class AmpHandle:
    """O1 while it is switched on: autocast of this thread, and the functions that were wrapped."""

    def __init__(
        self, loss_scale: Union[float, str] = "dynamic", enable_caching: bool = True, verbose: bool = False
    ) -> None:
        self._enable_caching = enable_caching
        self._verbose = verbose
        self._default_scaler: Optional[LossScaler] = LossScaler(loss_scale)
        self._autocast: Optional[Autocast] = None
        self._patches = Patches()

    def _activate(self, autocast: Autocast) -> Patches:
        self._autocast = autocast
        autocast.enter()
        return self._patches

    def is_active(self) -> bool:
        return self._autocast is not None and self._autocast.active()

    @property
    def _is_active(self) -> bool:  # scripts read it, and some set it
        return self.is_active()

    @_is_active.setter
    def _is_active(self, on: bool) -> None:
        if self._autocast is not None:
            self._autocast.enter() if on else self._autocast.leave()

    @contextlib.contextmanager
    def _disable_casts(self) -> Iterator[None]:
        with self._autocast.off() if self._autocast else contextlib.nullcontext():
            yield

    def _deactivate(self) -> None:
        """Switch O1 off for good: autocast as it was, every function in its place."""
        if self._autocast is not None:
            self._autocast.leave()
        self._autocast = None
        self._patches.undo()

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, num_loss: int = 1) -> OptimWrapper:
        self._default_scaler = None
        return OptimWrapper(optimizer, self, num_loss)

    def scale_loss(self, loss: torch.Tensor, optimizer: Any) -> Any:
        """RuntimeError, as with apex: this interface was withdrawn in 2019."""
        raise RuntimeError(
            "The old Amp API is no longer supported.  Please move to the new API: model, optimizer = "
            "amp.initialize(model, optimizer); with amp.scale_loss(loss, optimizer) as scaled_loss: ..."
        )

    # The cache of cast weights: there is none here, see _casts.
    has_cache = False

    @property
    def cache(self) -> dict[Any, Any]:
        return {}

    def remove_cache(self, param: torch.Tensor) -> None:
        pass

    def _clear_cache(self) -> None:
        pass

    @property
    def verbose(self) -> bool:
        return self._verbose


class NoOpHandle:
    """What ``amp.init(enabled=False)`` returns."""

    has_cache = False
    verbose = False

    def is_active(self) -> bool:
        return False

    @contextlib.contextmanager
    def _disable_casts(self) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def scale_loss(self, loss: torch.Tensor, optimizer: Any) -> Iterator[torch.Tensor]:
        yield loss

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, num_loss: int = 1) -> OptimWrapper:
        return OptimWrapper(optimizer, self, num_loss)

    def _clear_cache(self) -> None:
        pass

    def _deactivate(self) -> None:
        pass
