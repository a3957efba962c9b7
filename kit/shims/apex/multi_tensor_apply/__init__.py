"""``apex.multi_tensor_apply``: says that the kernels of apex are absent, as apex says it without its extensions."""

from typing import Any


class MultiTensorApply:
    """Stand-in for the launcher of apex's CUDA kernels: never ``available``; calling it raises RuntimeError."""

    available = False
    warned = False
    import_err = ImportError("No module named 'amp_C'", name="amp_C")

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size

    def check_avail(self) -> None:
        raise RuntimeError(
            "Attempted to call MultiTensorApply method, but MultiTensorApply is not available: apex's kernels are "
            f"absent ({self.import_err}).  Use torch's operators on lists of tensors: torch._foreach_mul_(tensors, "
            "scale), torch._foreach_norm(tensors), torch.nn.utils.clip_grad_norm_(parameters, max_norm)."
        )

    def __call__(self, op: Any, noop_flag_buffer: Any, tensor_lists: Any, *args: Any) -> Any:
        self.check_avail()


multi_tensor_applier = MultiTensorApply(2048 * 32)
