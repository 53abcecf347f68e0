"""Where the tests find real data sets: not in the repository, and tests download nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def data_file(name: str) -> Path:
    """The path of a data file such as "tinyshakespeare.txt"; the test is skipped if it is not here.

    Looks in the folder that TINYGRAD_LLM_DATA names, then in shared/data beside the repository.
    """
    chosen = os.environ.get("TINYGRAD_LLM_DATA")
    folders = [Path(chosen), SHARED] if chosen else [SHARED]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    pytest.skip(f"{name} is neither in TINYGRAD_LLM_DATA nor in {SHARED}")
