"""The base of the frozen dataclasses: what a dataclass would generate for each class anew stands here once.

Generating six methods for each of two dozen classes took a tenth of the time of ``kit doctor``.  Of a record,
``dataclasses`` generates ``__init__`` alone; in all else it behaves like ``@dataclass(frozen=True)``.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # for type checkers only, and in `typing` since Python 3.11

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
class Record:
    """A subclass is a dataclass without a decorator, and each of its fields is set once."""

    __dataclass_fields__: ClassVar[dict[str, "dataclasses.Field[Any]"]]

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(eq=False, repr=False)(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ or name not in self.__dataclass_fields__:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        self.__dict__[name] = value  # by __init__

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__dataclass_fields__])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or other.__class__ is not self.__class__:
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in zip(self.__dataclass_fields__, self._values())]
        return f"{self.__class__.__qualname__}({', '.join(shown)})"
