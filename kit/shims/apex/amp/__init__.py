"""apex.amp on torch.amp: the interface of apex 25.04, the last release that had it.

Real mixed precision, not a stand-in: O1 switches on autocast for the whole thread and adds the casts in which
apex's lists differ from torch's; O2 and O3 cast the model, O2 with float32 master weights and batch norm; losses
are scaled with apex's numbers and checkpoints have apex's format.  Besides what apex offered it runs on any device
that ``torch.autocast`` knows, the CPU among them, and in bfloat16 (``cast_model_type=torch.bfloat16``).

The native rewrite, and the long-term cure: https://pytorch.org/docs/stable/notes/amp_examples.html
"""

from ._amp_state import _amp_state as _amp_state
from ._amp_state import master_params
from .amp import (
    float_function,
    half_function,
    init,
    promote_function,
    register_float_function,
    register_half_function,
    register_promote_function,
)
from .frontend import initialize, load_state_dict, state_dict
from .handle import disable_casts, scale_loss

__all__ = [
    "disable_casts",
    "float_function",
    "half_function",
    "init",
    "initialize",
    "load_state_dict",
    "master_params",
    "promote_function",
    "register_float_function",
    "register_half_function",
    "register_promote_function",
    "scale_loss",
    "state_dict",
]
