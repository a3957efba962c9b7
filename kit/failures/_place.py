"""Where a failure is reproduced: what a throwaway environment offers to the failure files, and what several share."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Protocol, Union

from kit.facts import Attempt


class Index(Protocol):
    """The package index of a throwaway environment; kit.throwaway.index has the words."""

    def page(self, build: str) -> str: ...

    def add(self, file: Any, build: Optional[str] = None, requires_python: str = "") -> None: ...


class Place(Protocol):
    """A throwaway environment; kit.throwaway has the words.  Paths are pathlib's."""

    variables: dict[str, str]

    @property
    def python(self) -> str: ...

    @property
    def site(self) -> Any: ...

    @property
    def work(self) -> Any: ...

    @property
    def index(self) -> Index: ...

    @property
    def tag(self) -> str: ...

    def share(self, *names: str) -> None: ...

    def write(self, path: Any, content: Union[str, bytes]) -> Any: ...

    def copy(self, source: Any, target: Any) -> Any: ...

    def remove(self, *paths: Any) -> None: ...

    def compile(self, source: str, name: str, *options: Any) -> Any: ...

    def wheel(
        self, name: str, version: str, files: Mapping[str, Any], *, tag: str = ..., requires: Sequence[str] = ()
    ) -> Any: ...

    def repack(self, name: str) -> Any: ...

    def sdist(self, name: str, version: str, files: Mapping[str, Any]) -> Any: ...

    def install(self, *wheels: Any) -> None: ...

    def pip(self, *arguments: str) -> Attempt: ...
