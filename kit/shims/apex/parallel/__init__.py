"""``apex.parallel`` on ``torch.nn.parallel`` and ``torch.nn.SyncBatchNorm``."""

from typing import Any

import torch
from torch import nn

from .distributed import DistributedDataParallel, Reducer
from .sync_batchnorm import SyncBatchNorm

#: None in a torch built without torch.distributed.
ReduceOp = getattr(torch.distributed, "ReduceOp", None)

__all__ = [
    "DistributedDataParallel",
    "ReduceOp",
    "Reducer",
    "SyncBatchNorm",
    "convert_syncbn_model",
    "create_syncbn_process_group",
]


def convert_syncbn_model(module: nn.Module, process_group: Any = None, channel_last: bool = False) -> nn.Module:
    """``module`` with each BatchNorm in it replaced by a :class:`SyncBatchNorm`; children are replaced in place.

    As in torch.nn.SyncBatchNorm.convert_sync_batchnorm, and unlike apex, the new layers keep the parameter objects
    (so an optimizer or a frozen parameter stays right) and the training mode.
    """
    converted = module
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        converted = SyncBatchNorm(
            module.num_features,
            module.eps,
            module.momentum,
            module.affine,
            module.track_running_stats,
            process_group,
            channel_last=channel_last,
        )
        converted.weight, converted.bias = module.weight, module.bias
        converted.running_mean, converted.running_var = module.running_mean, module.running_var
        converted.num_batches_tracked = module.num_batches_tracked
        converted.train(module.training)
    for name, child in module.named_children():
        converted.add_module(name, convert_syncbn_model(child, process_group, channel_last))
    return converted


def create_syncbn_process_group(group_size: int) -> Any:
    """The process group of ``group_size`` neighbouring ranks that holds this rank; None, for all ranks, if it is 0.

    Collective: every rank must call it.  Raises ValueError where the world size is no multiple of ``group_size``.
    """
    if group_size == 0:
        return None
    world_size, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    if world_size % group_size:
        raise ValueError(f"group_size must divide the world size, {world_size}: {group_size}")
    starts = range(0, world_size, group_size)
    groups = [torch.distributed.new_group(ranks=list(range(start, start + group_size))) for start in starts]
    return groups[rank // group_size]
