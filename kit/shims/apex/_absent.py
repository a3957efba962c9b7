"""The parts of apex that are their CUDA kernels: what each of them needs, and what to write instead."""

_PARTS = {
    "contrib": (
        "it is compiled CUDA code",
        "contrib.xentropy: torch.nn.functional.cross_entropy(logits, labels, label_smoothing=...); "
        "contrib.clip_grad: torch.nn.utils.clip_grad_norm_; contrib.layer_norm: torch.nn.LayerNorm; "
        "contrib.group_norm: torch.nn.GroupNorm; contrib.groupbn: torch.nn.SyncBatchNorm; "
        "contrib.multihead_attn and fmha: torch.nn.functional.scaled_dot_product_attention; "
        "contrib.optimizers: apex.optimizers, or torch.distributed.optim.ZeroRedundancyOptimizer; "
        "contrib.sparsity: torch.sparse.to_sparse_semi_structured",
    ),
    "transformer": (
        "it is tensor and pipeline parallelism on compiled CUDA code",
        "torch.distributed.tensor.parallel, torch.distributed.pipelining, or megatron-core",
    ),
    "mlp": (
        "MLP is compiled CUDA code",
        "torch.nn.Sequential of torch.nn.Linear and torch.nn.ReLU",
    ),
    "fused_dense": (
        "FusedDense and FusedDenseGeluDense are compiled CUDA code",
        "torch.nn.Linear, and torch.nn.Sequential(Linear, GELU(), Linear)",
    ),
    "RNN": (
        "it is built on torch.nn._functions.rnn, which torch no longer has",
        "torch.nn.LSTM, torch.nn.GRU, or torch.nn.RNN(nonlinearity='relu' or 'tanh')",
    ),
}


def absent(module: str) -> ImportError:
    """The error to raise when ``module``, as "apex.contrib", is imported."""
    reason, instead = _PARTS[module.rpartition(".")[2]]
    return ImportError(
        f"{module} is not part of this replacement for apex: {reason}.  Write instead: {instead}.", name=module
    )
