"""Ctrl-C that waits for the end of the step, and a lock that keeps two runs out of one folder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .checkpoint import StorageError, explain_os_error

__all__ = ["FolderLock", "Interruptions"]

# Signals that end a program: a kill, and a terminal that is closed (Windows has no SIGHUP)
_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_HANGUP = getattr(signal, "SIGHUP", None)
_STOPPING = (signal.SIGINT, *_ENDINGS)


class Interruptions:
    """Within it, the first SIGINT, SIGTERM or SIGHUP is stored in `signal`; a second one stops.

    A second SIGHUP does not: a terminal that closes sends it from the kernel and from the shell.
    A signal that is ignored (SIGHUP under nohup, SIGINT in the background of a script) stays so.
    note: is called with a line for the user. Only the main thread may set handlers; in another
    thread nothing changes.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: Any) -> None:
        if self.signal is not None:
            if number == _HANGUP:
                return
            raise KeyboardInterrupt
        self.signal = number
        with suppress(RuntimeError):  # it came while a line was being printed
            self.note("finishing this step, then saving; once more stops without saving")

    def stop(self, saved: str, command: str) -> None:
        """Ends the program as the signal asked.

        Raises: SystemExit(143) after SIGTERM, SystemExit(129) after SIGHUP, else KeyboardInterrupt.
        """
        self.note(f"{saved}; to continue: {command}")
        if self.signal is not None and self.signal in _ENDINGS:
            raise SystemExit(128 + self.signal)
        raise KeyboardInterrupt

    def __exit__(self, *exc: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class FolderLock:
    """Makes a folder and locks it for this process, within a `with` block.

    The operating system releases the lock when the process ends, however it ends. Where there is
    no such lock (Windows) nothing is locked.
    Raises: StorageError if another process has the lock, or the folder cannot be made.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._file: Any = None

    def __enter__(self) -> FolderLock:
        if self.folder is None:
            return self
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.folder / ".lock", "ab")
        except OSError as error:
            raise StorageError(explain_os_error(error, self.folder)) from error
        try:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError:
            self._file.close()
            raise StorageError(f"{self.folder} is in use by another running process") from None
        except OSError:  # a file system without locks
            pass
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._file is not None:
            self._file.close()
