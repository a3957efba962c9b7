"""``apex.parallel.SyncBatchNorm``: torch.nn.SyncBatchNorm with apex's layout and fusion arguments."""

from typing import Any, Optional

import torch
from torch import Tensor


class SyncBatchNorm(torch.nn.SyncBatchNorm):
    """Batch normalisation with the statistics of all ranks of ``process_group`` (None: of all ranks).

    ``channel_last``: the channels are the input's last dimension, not its second.
    ``fuse_relu``: return relu(output).  Like ``z``, apex has it only for ``channel_last``; here both always work.

    Raises ValueError, from torch, in training on CPU tensors while torch.distributed is initialised.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: Optional[float] = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        channel_last: bool = False,
        fuse_relu: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, process_group)
        self.channel_last = channel_last
        self.fuse_relu = fuse_relu

    def forward(self, input: Tensor, z: Optional[Tensor] = None) -> Tensor:
        """The normalised ``input``, plus ``z`` (same shape) if given, through relu if ``fuse_relu``."""
        output = super().forward(input.movedim(-1, 1)).movedim(1, -1) if self.channel_last else super().forward(input)
        if z is not None:
            output = output + z
        return output.relu() if self.fuse_relu else output
