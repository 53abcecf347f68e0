"""A checkpoint of divided parameters: one set of files, into which every rank writes its own rows.

    rank 0            the folder under a temporary name, its files with room for all tensors
    every rank        its rows of the weights and of the optimizer's state, at their places
    rank 0            the manifest, and the folder's name

The files are those that one process writes, so one process or another number of ranks reads them.
Nothing is sent, and no rank has the whole model in memory. Where a rank does not see the folder of
rank 0, because it runs on another machine without a common file system, or where parts are not
rows, the parts are sent to rank 0, which writes the files alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..nn import Module
from ..optim import Optimizer
from ..weights import SafeTensorsError
from .checkpoint import (
    StorageError,
    begin_checkpoint,
    discard_checkpoint,
    explain_os_error,
    finish_checkpoint,
    not_written,
    save_checkpoint,
    write_rows,
)
from .optimizer_state import are_rows, own_rows, state_of_rows, whole_state, whole_weights
from .ranks import Ranks

__all__ = ["save_divided"]


def save_divided(
    ranks: Ranks, folder: Path, step: int, model: Module, optimizer: Optimizer,
    state: Mapping[str, Any], config: Mapping[str, Any], files: Mapping[str, bytes], keep: int,
) -> Path | None:  # fmt: skip
    """Write a checkpoint, as save_checkpoint; every rank calls it.

    state: without the optimizer's. Returns the new folder on rank 0, None on the others.
    Raises: StorageError on rank 0 if the disk of any rank refuses.
    """
    if are_rows(model, ranks):
        weights = own_rows(model)
        mine = {**state, "optimizer": state_of_rows(optimizer)}
        temporary, error = None, None
        with ranks.together():
            if ranks.first:
                try:
                    temporary = begin_checkpoint(
                        folder, step, model, mine, config, files=files, weights=weights
                    )
                except StorageError as refused:
                    error = refused
        begun = ranks.same(None if temporary is None else str(temporary))
        if error is not None:
            raise error
        if begun is None:
            return None
        if all(ranks.everyones(os.path.isdir(begun))):
            problems = ranks.everyones(_problem(Path(begun), mine, weights))
            return _finished(temporary, step, keep, problems)
        if temporary is not None:
            discard_checkpoint(temporary)
    whole = {**state, "optimizer": whole_state(optimizer, ranks)}
    joined = whole_weights(model, ranks)
    if not ranks.first:
        return None
    return save_checkpoint(
        folder, step, model, whole, config, files=files, keep=keep, weights=joined
    )


def _problem(temporary: Path, state: Mapping[str, Any], weights: Mapping[str, Any]) -> str | None:
    """Write this rank's rows; what the disk says if it refuses."""
    try:
        write_rows(temporary, state, weights)
    except OSError as error:
        return explain_os_error(error, temporary)
    except SafeTensorsError as error:  # another file than rank 0 has begun
        return str(error)
    return None


def _finished(temporary: Path | None, step: int, keep: int, problems: list[Any]) -> Path | None:
    """The checkpoint's folder on rank 0, after all ranks have written.

    Raises: StorageError there if one of them could not.
    """
    if temporary is None:
        return None
    for rank, problem in enumerate(problems):
        if problem is not None:
            discard_checkpoint(temporary)
            raise StorageError(not_written(step, f"rank {rank}: {problem}"))
    return finish_checkpoint(temporary, step, keep)
