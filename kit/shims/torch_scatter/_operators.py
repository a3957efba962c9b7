"""``torch.ops.torch_scatter``: the operators of the compiled extension, for TorchScript and for direct calls.

Each is made of torch's own operators, so shapes (fake tensors), gradients and every device follow from those.  Where
the compiled extension is loaded in this process its operators stay.
"""

import torch

from . import _kernels

_SCATTER = "(Tensor src, Tensor index, int dim, Tensor? out, int? dim_size)"
_COO = "(Tensor src, Tensor index, Tensor? out, int? dim_size)"
_CSR = "(Tensor src, Tensor indptr, Tensor? out)"
_ONE, _TWO = " -> Tensor", " -> (Tensor, Tensor)"

_SCHEMAS = {
    "cuda_version": "() -> int",
    **{f"scatter_{how}": _SCATTER + _ONE for how in ("sum", "mul", "mean")},
    **{f"scatter_{how}": _SCATTER + _TWO for how in ("min", "max")},
    **{f"segment_{how}_coo": _COO + _ONE for how in ("sum", "mean")},
    **{f"segment_{how}_coo": _COO + _TWO for how in ("min", "max")},
    **{f"segment_{how}_csr": _CSR + _ONE for how in ("sum", "mean")},
    **{f"segment_{how}_csr": _CSR + _TWO for how in ("min", "max")},
    "gather_coo": "(Tensor src, Tensor index, Tensor? out)" + _ONE,
    "gather_csr": _CSR + _ONE,
}

library = torch.library.Library("torch_scatter", "FRAGMENT")
for _name, _schema in _SCHEMAS.items():
    if not hasattr(torch.ops.torch_scatter, _name):
        library.define(_name + _schema)
        library.impl(_name, getattr(_kernels, _name), "CompositeImplicitAutograd")
