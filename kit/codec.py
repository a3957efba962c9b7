"""Dataclasses to JSON values and back, by their type hints; what does not fit is one clear error, never half read."""

import dataclasses
import json
import re
from functools import cache
from typing import Any, Union, get_args, get_origin

from kit.errors import KitError


def encode(value: Any) -> Any:
    """A dataclass as what JSON holds; several times as fast as ``dataclasses.asdict``, which copies deeply."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return dict(value)
    return {name: encode(getattr(value, name)) for name in value.__dataclass_fields__}


def decode(kind: Any, value: Any, where: str) -> Any:
    """``value`` from JSON as an instance of ``kind``; lists become tuples, nothing is converted silently."""
    if type(value) is kind:
        return value  # text, numbers, true and false
    origin, arguments = _parts(kind)
    if origin is Union:
        return None if value is None else decode(arguments[0], value, where)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if origin is tuple:
        _require(isinstance(value, list), where, "a list", value)
        return tuple([decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)])
    if origin is dict:
        _require(isinstance(value, dict), where, "an object", value)
        return {key: decode(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    # bool is an int in Python, never in a facts file.
    _require(isinstance(value, kind) and not isinstance(value, bool), where, kind.__name__, value)
    return value


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    _require(isinstance(value, dict), where, "an object", value)
    fields = kind.__dataclass_fields__
    for name in value:
        if name not in fields:
            raise KitError(f"{where}: unknown field {name!r}; the file was written by another version of the kit")
    arguments = {}
    for name, f in fields.items():
        if name in value:
            item = value[name]
            plain = type(item) is f.type or (item is None and f.default is None)  # as most are
            arguments[name] = item if plain else decode(f.type, item, f"{where}.{name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise KitError(f"{where}: the field {name!r} is missing")
    return kind(**arguments)


@cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(kind), get_args(kind)


def read(text: Union[str, bytes], source: str) -> Any:
    """The JSON value in ``text``.  KitError says in one line, with ``source``, why there is none."""
    try:
        return json.loads(text)
    except UnicodeDecodeError:
        raise KitError(f"{source}: not a facts file (binary data); make one with `kit collect -o FILE`") from None
    except (ValueError, RecursionError) as error:
        whole = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if not whole.strip():
            raise KitError(f"{source}: the facts file is empty; make one with `kit collect -o FILE`") from None
        if whole.lstrip().startswith("{") and _at_the_end(error, whole.rstrip()):
            raise KitError(f"{source}: cut off after {len(whole)} characters; collect or copy it again") from None
        raise KitError(f"{source}: not JSON ({error}); make a facts file with `kit collect -o FILE`") from None


def _at_the_end(error: Exception, text: str) -> bool:
    """Whether reading failed only because ``text`` ends, be it in a string, an escape or a word like ``true``."""
    rest = text[getattr(error, "pos", 0) :]
    word = re.fullmatch(r".?|tru?|fa|fals?|nul?|u[0-9a-fA-F]{0,4}", rest)
    return word is not None or "Unterminated string" in str(error)


def _require(condition: bool, where: str, wanted: str, value: Any) -> None:
    if not condition:
        raise KitError(f"{where}: {wanted} is expected, this is {kind_of(value)}")


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names: list[tuple[Any, str]] = [
        (dict, "an object"),
        (list, "a list"),
        (bool, "true or false"),
        (str, "text"),
    ]
    return next((name for kind, name in names if isinstance(value, kind)), "null" if value is None else "a number")
