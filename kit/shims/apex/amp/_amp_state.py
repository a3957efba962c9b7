"""The state that the parts of amp share.  ``amp._amp_state`` is the object, and shadows this module, as in apex."""

from collections.abc import Iterator
from typing import Any, Optional

import torch


class AmpState:
    """Attributes are public in practice: scripts set ``_amp_state.loss_scalers[0]._loss_scale`` and others.

    ``opt_properties`` and ``loss_scalers`` exist from ``amp.initialize`` on, ``handle`` from the first O1 on.
    """

    opt_properties: Any
    loss_scalers: list[Any]
    handle: Any

    def __init__(self) -> None:
        self.hard_override = False
        self.allow_incoming_model_not_fp32 = False
        self.verbosity = 1
        self.min_loss_scale: Optional[float] = None
        self.max_loss_scale = 2.0**24


_amp_state = AmpState()


def warn_or_err(msg: str) -> None:
    """RuntimeError, or a printed warning where ``_amp_state.hard_override`` is set."""
    if not _amp_state.hard_override:
        raise RuntimeError(msg)
    print("Warning:  " + msg)


def maybe_print(msg: str, rank0: bool = False) -> None:
    """Print unless ``verbosity=0`` was given; with ``rank0``, on the first process of a distributed run only."""
    if _amp_state.verbosity <= 0:
        return
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not (rank0 and distributed and torch.distributed.get_rank() != 0):
        print(msg)


def master_params(optimizer: Any) -> Iterator[torch.Tensor]:
    """The parameters that ``optimizer`` updates: with O2 the float32 copies.  Clip these, after the scaled block."""
    for group in optimizer.param_groups:
        yield from group["params"]
