"""``apex.parallel.DistributedDataParallel`` and ``Reducer`` on torch.distributed."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Union

import torch
import torch.distributed as dist
from torch import Tensor, nn

_SIXTEEN_BITS = (torch.float16, torch.bfloat16)


class DistributedDataParallel(nn.parallel.DistributedDataParallel):
    """torch's DistributedDataParallel with apex's arguments.

    * ``delay_allreduce=True``: parameters may stay without a gradient (torch's ``find_unused_parameters``).
    * ``gradient_average=False``: sum the gradients over the ranks instead of averaging them.
    * ``gradient_predivide_factor``: divide by it before the sum and, if averaging, by world size / factor after it.
    * ``allreduce_always_fp32``: sum 16-bit gradients in float32.
    * As in apex, buffers are never synchronised, and inputs are not moved to a device.

    Averages differ from apex's by rounding: torch divides before the sum (apex, by default, after it).
    The other arguments tune apex's own scheduling; they are accepted, with a warning where they ask for something.

    Raises ValueError for what apex refuses (``shared_param``; ``delay_allreduce`` with trigger parameters or several
    streams), NotImplementedError for ``retain_allreduce_buffers``.
    """

    def __init__(
        self,
        module: nn.Module,
        message_size: int = 10000000,
        delay_allreduce: bool = False,
        shared_param: Any = None,
        allreduce_trigger_params: Any = None,
        retain_allreduce_buffers: bool = False,
        allreduce_always_fp32: bool = False,
        num_allreduce_streams: int = 1,
        allreduce_communicators: Any = None,
        gradient_average: bool = True,
        gradient_predivide_factor: float = 1.0,
        gradient_average_split_factor: Any = None,
        prof: bool = False,
    ) -> None:
        if shared_param is not None:
            raise ValueError(
                "shared_param is no longer supported as an option: shared parameters need none.  To communicate at "
                "the end of the backward pass, use delay_allreduce=True"
            )
        if delay_allreduce and num_allreduce_streams > 1:
            raise ValueError("num_allreduce_streams > 1 may only be used if delay_allreduce=False.")
        if delay_allreduce and allreduce_trigger_params is not None:
            raise ValueError("Setting allreduce_trigger_params is only valid if delay_allreduce=False.")
        if retain_allreduce_buffers:
            raise NotImplementedError(
                "retain_allreduce_buffers needs the buckets of apex.  To have gradients that are views of torch's "
                "buckets: torch.nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)"
            )
        hints = {
            "message_size": message_size != 10000000,
            "allreduce_trigger_params": allreduce_trigger_params is not None,
            "num_allreduce_streams": num_allreduce_streams != 1,
            "allreduce_communicators": allreduce_communicators is not None,
            "gradient_average_split_factor": gradient_average_split_factor is not None,
            "prof": prof,
        }
        unused = ", ".join(name for name, asked in hints.items() if asked)
        if unused:
            warnings.warn(
                f"DistributedDataParallel: torch schedules the communication itself; without effect: {unused}",
                stacklevel=2,
            )
        own = [(buffer, buffer.clone()) for buffer in module.buffers()]
        super().__init__(module, find_unused_parameters=delay_allreduce)
        self.broadcast_buffers = False
        for buffer, kept in own:  # torch has sent those of rank 0, once
            buffer.copy_(kept)
        widens = allreduce_always_fp32 and any(p.dtype in _SIXTEEN_BITS for p in module.parameters())
        if widens or not gradient_average or gradient_predivide_factor != 1.0:
            self.register_comm_hook(
                self.process_group, _reduction(gradient_average, gradient_predivide_factor, allreduce_always_fp32)
            )

    def enable_allreduce(self) -> None:
        """Reduce the gradients in the following backward passes (as at the start)."""
        self.require_backward_grad_sync = True

    def disable_allreduce(self) -> None:
        """Leave the gradients of the following forward and backward passes local."""
        self.require_backward_grad_sync = False


def _reduction(average: bool, predivide: float, always_float32: bool) -> Callable[[Any, Any], Any]:
    """A communication hook of torch's DistributedDataParallel: g / predivide, summed, then * predivide / ranks."""

    def reduce_bucket(group, bucket):  # type: ignore[no-untyped-def]  # torch checks the annotations, if any
        gradients = bucket.buffer()
        work = gradients.float() if always_float32 and gradients.dtype in _SIXTEEN_BITS else gradients
        if predivide != 1.0:
            work.mul_(1.0 / predivide)

        def finish(future):  # type: ignore[no-untyped-def]
            total = future.value()[0]
            if average:
                total.mul_(predivide / dist.get_world_size(group))
            return total if total.dtype == gradients.dtype else gradients.copy_(total)

        return dist.all_reduce(work, group=group, async_op=True).get_future().then(finish)

    return reduce_bucket


class Reducer:
    """Average gradients over all ranks, only when ``reduce()`` is called.

    Given a module, its parameters are first set to those of rank 0, and ``reduce()`` averages the gradients that its
    parameters then have.  Given tensors, nested in any iterables, it averages those.
    """

    def __init__(self, module_or_grads_list: Union[nn.Module, Iterable[Any]]) -> None:
        self.module = module_or_grads_list if isinstance(module_or_grads_list, nn.Module) else None
        self.grads: list[Tensor] = []
        if self.module is None:
            self.grads = list(_tensors(module_or_grads_list))
        else:
            flat_dist_call([p.detach() for p in self.module.parameters()], dist.broadcast, (0,))

    def reduce(self) -> None:
        grads = self.grads
        if self.module is not None:
            grads = [p.grad for p in self.module.parameters() if p.grad is not None]
        flat_dist_call(grads, dist.all_reduce)


def flatten(bucket: Sequence[Tensor]) -> Tensor:
    """The elements of tensors of one type, in one tensor of one dimension."""
    return torch.cat([tensor.reshape(-1) for tensor in bucket])


def unflatten(coalesced: Tensor, bucket: Sequence[Tensor]) -> list[Tensor]:
    """Parts of ``coalesced`` in the shapes of the tensors of ``bucket``."""
    parts = torch.split(coalesced, [tensor.numel() for tensor in bucket])
    return [part.view_as(tensor) for part, tensor in zip(parts, bucket)]


@torch.no_grad()
def apply_flat_dist_call(bucket: Sequence[Tensor], call: Callable[..., Any], extra_args: Any = None) -> None:
    """Run a collective operation, in place, on all tensors of a type at once; an ``all_reduce`` is averaged."""
    coalesced = flatten(bucket)
    call(coalesced, *(extra_args or ()))
    if call is dist.all_reduce:
        coalesced /= dist.get_world_size()
    for tensor, part in zip(bucket, unflatten(coalesced, bucket)):
        tensor.copy_(part)


def flat_dist_call(tensors: Iterable[Tensor], call: Callable[..., Any], extra_args: Any = None) -> None:
    """:func:`apply_flat_dist_call` for tensors of several types and devices."""
    buckets: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        buckets.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for bucket in buckets.values():
        apply_flat_dist_call(bucket, call, extra_args)


def _tensors(nested: Any) -> Iterator[Tensor]:
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, Iterable):
        for item in nested:
            yield from _tensors(item)
