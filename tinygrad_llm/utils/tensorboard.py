"""PyTorch's `utils.tensorboard`: SummaryWriter, for curves in TensorBoard.

It needs the package tensorboard (pip install "tinygrad_llm[tensorboard]"). Nothing goes over a
network: it writes event files, which `tensorboard --logdir FOLDER` shows.
"""

from __future__ import annotations

import importlib
import math
import socket
import time
from pathlib import Path
from typing import Any

from ..tensor.numbers import number

__all__ = ["SummaryWriter"]


class SummaryWriter:
    """Writes scalars into event files.

    log_dir    the folder; None for runs/DATE_HOST and the comment

    Raises: ModuleNotFoundError if tensorboard is not installed.
    """

    def __init__(
        self, log_dir: Any = None, comment: str = "", purge_step: int | None = None,
        max_queue: int = 10, flush_secs: int = 120, filename_suffix: str = "",
    ) -> None:  # fmt: skip
        try:
            writer: Any = importlib.import_module("tensorboard.summary.writer.event_file_writer")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "SummaryWriter needs the package tensorboard: "
                'pip install "tinygrad_llm[tensorboard]"',
                name="tensorboard",
            ) from error
        self._event: Any = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
        self._summary: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary
        when = time.strftime("%b%d_%H-%M-%S")
        folder = Path(log_dir) if log_dir else Path("runs") / f"{when}_{socket.gethostname()}"
        self.log_dir = str(folder) + ("" if log_dir else comment)
        self._writer = writer.EventFileWriter(
            self.log_dir, max_queue, flush_secs, filename_suffix=filename_suffix
        )
        self._others: dict[str, SummaryWriter] = {}

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: Any = None, walltime: float | None = None,
        new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """One number of a curve: a Python or NumPy number, or a tensor of one element."""
        value = float(number(scalar_value))
        summary = self._summary(value=[self._summary.Value(tag=tag, simple_value=value)])
        event = self._event(wall_time=time.time() if walltime is None else walltime)
        event.summary.CopyFrom(summary)
        if global_step is not None:
            event.step = math.floor(number(global_step))
        self._writer.add_event(event)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: dict[str, Any], global_step: Any = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Several curves in one picture: each has its own folder, as in PyTorch."""
        for tag, value in tag_scalar_dict.items():
            folder = f"{self.log_dir}/{main_tag.replace('/', '_')}_{tag}"
            if folder not in self._others:
                self._others[folder] = SummaryWriter(folder)
            self._others[folder].add_scalar(main_tag, value, global_step, walltime)

    def flush(self) -> None:
        """Write what waits in memory."""
        for writer in (self, *self._others.values()):
            writer._writer.flush()

    def close(self) -> None:
        """Write what waits in memory and close the files."""
        for writer in (self, *self._others.values()):
            writer._writer.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"SummaryWriter has no {name!r} here: it writes add_scalar and add_scalars. Draw "
            "pictures and histograms with matplotlib"
        )
