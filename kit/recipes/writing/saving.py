"""Puts written files where they were asked for: whole or not at all, and never over another file unasked."""

import os
from collections.abc import Mapping
from typing import Optional

from kit.errors import KitError


def save(files: Mapping[str, str], force: bool = False) -> tuple[str, ...]:
    """Write ``files`` (path -> text).  KitError where one of them is there already and holds something else, unless
    ``force``; then nothing is written."""
    for path, text in files.items():
        there = _read(path)
        if there is not None and there != text and not force:
            raise KitError(
                f"{path} is there already and holds something else: name another, or overwrite it with --force"
            )
    parts = {path: f"{path}.{os.getpid()}.part" for path in files}
    try:
        for path, part in parts.items():
            folder = os.path.dirname(path)
            if folder:
                os.makedirs(folder, exist_ok=True)
            with open(part, "w", encoding="utf-8", newline="\n") as stream:
                stream.write(files[path])
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        raise KitError(f"{error.filename} cannot be written: {error.strerror or error}") from None
    finally:
        for part in parts.values():
            if os.path.exists(part):
                os.unlink(part)
    return tuple(files)


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        raise KitError(f"{path} cannot be written: {error.strerror or error}") from None
