"""``initialize`` and the checkpoint functions; the options of the four levels and their checks."""

from collections import OrderedDict
from typing import Any, Optional, Union

import torch

from ._amp_state import _amp_state, maybe_print, warn_or_err
from ._initialize import _initialize

__all__ = ["Properties", "initialize", "load_state_dict", "opt_levels", "state_dict"]

_OPTIONS: dict[str, Any] = {
    "enabled": False,
    "opt_level": None,
    "cast_model_type": None,
    "patch_torch_functions": False,
    "keep_batchnorm_fp32": None,
    "master_weights": None,
    "loss_scale": 1.0,
}

# cast_model_type, patch_torch_functions, keep_batchnorm_fp32, master_weights, loss_scale
opt_levels: dict[str, tuple[str, tuple[Any, ...]]] = {
    "O0": ("O0:  Pure FP32 training.", (torch.float32, False, None, False, 1.0)),
    "O1": ("O1:  Insert automatic casts around Pytorch functions.", (None, True, None, None, "dynamic")),
    "O2": (
        "O2:  FP16 training with FP32 batchnorm and FP32 master weights.",
        (torch.float16, False, True, True, "dynamic"),
    ),
    "O3": ("O3:  Pure FP16 training.", (torch.float16, False, False, False, 1.0)),
}


class Properties:
    """The options in force, as attributes; setting one checks that it fits the level.

    ``autocast_dtype`` is not in apex: the type in which O1 casts, from ``cast_model_type=torch.bfloat16``.
    """

    def __init__(self) -> None:
        self.__dict__["options"] = dict(_OPTIONS)
        self.__dict__["autocast_dtype"] = torch.float16

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["options"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.options:
            raise AttributeError(f"amp has no option {name!r}")
        check = getattr(self, f"_check_{name}", None)
        self.options[name] = check(value) if check else value

    def _update_options_dict(self, new_options: dict[str, Any]) -> None:
        unknown = set(new_options) - set(self.options)
        if unknown:
            raise ValueError(f"Tried to set unexpected option {', '.join(sorted(unknown))}")
        self.options.update(new_options)

    def _check_cast_model_type(self, value: Any) -> Any:
        if self.opt_level == "O1" and value is torch.bfloat16:
            self.__dict__["autocast_dtype"] = value
            return None
        if self.opt_level == "O1" and value not in (None, False, torch.float32):
            warn_or_err(
                "O1 inserts casts around Torch functions rather than model weights, so with O1, the model weights "
                "themselves should remain FP32. If you wish to cast the model to a different type, use "
                f"opt_level='O2' or 'O3'. cast_model_type was {value}"
            )
        return value

    def _check_patch_torch_functions(self, value: Any) -> Any:
        if self.opt_level != "O1" and value:
            warn_or_err("Currently, patch_torch_functions=True should only be set by selecting opt_level='O1'.")
        return value

    def _check_keep_batchnorm_fp32(self, value: Any) -> Any:
        if self.opt_level == "O1" and value is not None:
            warn_or_err(
                "With opt_level O1, batchnorm functions are automatically patched to run in FP32, so "
                f"keep_batchnorm_fp32 should be None. keep_batchnorm_fp32 was {value}"
            )
        value = {"True": True, "False": False}.get(value, value) if isinstance(value, str) else value
        assert value is True or value is False or value is None, (
            "keep_batchnorm_fp32 must be a boolean, the string 'True' or 'False', or None, found "
            f"keep_batchnorm_fp32={value}"
        )
        return value

    def _check_master_weights(self, value: Any) -> Any:
        if self.opt_level == "O1" and value is not None:
            warn_or_err(
                "It doesn't make sense to use master_weights with O1. With O1, your model weights themselves should "
                "be FP32."
            )
        return value

    def _check_loss_scale(self, value: Any) -> Any:
        return value if value == "dynamic" else float(value)


def initialize(
    models: Any,
    optimizers: Any = None,
    enabled: bool = True,
    opt_level: str = "O1",
    cast_model_type: Optional[torch.dtype] = None,
    patch_torch_functions: Optional[bool] = None,
    keep_batchnorm_fp32: Union[bool, str, None] = None,
    master_weights: Optional[bool] = None,
    loss_scale: Union[float, str, None] = None,
    cast_model_outputs: Optional[torch.dtype] = None,
    num_losses: int = 1,
    verbosity: int = 1,
    min_loss_scale: Optional[float] = None,
    max_loss_scale: float = 2.0**24,
) -> Any:
    """Prepare models and optimizers for mixed precision; call it once, before any parallel wrapper.

    Parameters
    ----------
    models
        A module or a list of modules, with float32 parameters.
    optimizers
        An optimizer, a list of them, or None for inference.
    enabled
        False: amp does nothing at all, and everything is returned as it was given.
    opt_level
        "O0" float32; "O1" casts around functions; "O2" a half-precision model with float32 batch norm and master
        weights; "O3" half precision throughout.
    cast_model_type
        The model's type with O2 and O3.  With O1, ``torch.bfloat16`` (not in apex) is the type that it casts to.
    patch_torch_functions, keep_batchnorm_fp32, master_weights
        Override what the level says, where not None.
    loss_scale
        A number (as text, too) or "dynamic".
    cast_model_outputs
        The type of the models' outputs.
    num_losses
        How many loss scales are kept, for ``loss_id`` of ``scale_loss``.
    verbosity
        0: print nothing.
    min_loss_scale, max_loss_scale
        Bounds of a dynamic scale.

    Returns
    -------
    Models and optimizers in the form in which they were given, a list for a list; without optimizers the models
    alone, not in a tuple.

    Raises
    ------
    RuntimeError
        For an unknown level, options that contradict it, a model that is in half precision or parallel already, an
        optimizer that was given before.
    """
    _amp_state.opt_properties = properties = Properties()
    _amp_state.verbosity = verbosity
    if not enabled:
        return models if optimizers is None else (models, optimizers)
    if not torch.backends.cudnn.enabled:
        raise RuntimeError("Amp requires torch.backends.cudnn.enabled = True")
    if opt_level not in opt_levels:
        raise RuntimeError(
            f"Unexpected optimization level {opt_level}. Options are 'O0', 'O1', 'O2', 'O3'.  Note that in `O0`, "
            "`O1`, etc., the prefix O is the letter O, not the number zero."
        )
    brief, defaults = opt_levels[opt_level]
    properties._update_options_dict(dict(zip(_OPTIONS, (True, opt_level, *defaults))))
    maybe_print(f"Selected optimization level {brief}", True)
    maybe_print("Defaults for this optimization level are:", True)
    _print(properties)
    _amp_state.min_loss_scale = min_loss_scale
    _amp_state.max_loss_scale = max_loss_scale
    maybe_print("Processing user overrides (additional kwargs that are not None)...", True)
    overrides = {
        "cast_model_type": cast_model_type,
        "patch_torch_functions": patch_torch_functions,
        "keep_batchnorm_fp32": keep_batchnorm_fp32,
        "master_weights": master_weights,
        "loss_scale": loss_scale,
    }
    for name, value in overrides.items():
        if value is not None:
            setattr(properties, name, value)
    maybe_print("After processing overrides, optimization options are:", True)
    _print(properties)
    return _initialize(models, optimizers, properties, num_losses, cast_model_outputs)


def _print(properties: Properties) -> None:
    for name, value in properties.options.items():
        maybe_print(f"{name:22} : {value}", True)


def state_dict(destination: Optional[dict[str, Any]] = None) -> dict[str, Any]:
    """``{"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 0}, ...}``, apex's own format.

    Float32 master weights are not in it: with O2, save ``list(amp.master_params(optimizer))`` as well.
    """
    destination = OrderedDict() if destination is None else destination
    for number, scaler in enumerate(_amp_state.loss_scalers):
        destination[f"loss_scaler{number}"] = {"loss_scale": scaler.loss_scale(), "unskipped": scaler._unskipped}
    return destination


def load_state_dict(state_dict: dict[str, Any]) -> None:
    """Take over the scales of a checkpoint, in the order of its entries.

    Call it after ``initialize``.  RuntimeError where something else than loss scalers is in it.
    """
    scalers = _amp_state.loss_scalers
    if len(state_dict) != len(scalers):
        print(f"Warning: state_dict contains {len(state_dict)} entries, while {len(scalers)} loss_scalers are used")
    unexpected = [key for key in state_dict if "loss_scaler" not in key]
    saved = [value for key, value in state_dict.items() if "loss_scaler" in key]
    for number, value in enumerate(saved):
        if number >= len(scalers):
            print(f"Skipping loss_scaler[{number}], since num_losses was set to {len(scalers)}")
            break
        scalers[number]._loss_scale = value["loss_scale"]
        scalers[number]._unskipped = value["unskipped"]
    if unexpected:
        names = ", ".join(f'"{key}"' for key in unexpected)
        raise RuntimeError(f"Error(s) in loading state_dict. Unexpected key(s) in state_dict: {names}. ")
