"""What Ctrl-C and a request to end mean while an environment is being changed: first it is taken back."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

_SIGNALS = ("SIGTERM", "SIGHUP")


class _Ended(BaseException):
    """A signal asked this process to end."""


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """SIGTERM and SIGHUP raise here, so that a repair is taken back, and end the process afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def ended(number: int, frame: Any) -> None:
        asked.append(number)
        raise _Ended

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, ended)
    try:
        yield
    except _Ended:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.kill(os.getpid(), asked[0])
        raise SystemExit(128 + asked[0]) from None  # a handler of the host's own that returns
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Signals wait until this is over: a second Ctrl-C must not stop what the first one began."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", *_SIGNALS) if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting:
        signal.raise_signal(waiting[0])
