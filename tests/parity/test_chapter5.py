"""The run of the book's chapter 5: every loss to three decimals, every text to the letter.

The file chapter5_torch.json holds what PyTorch 2.13.0 printed; chapter5.py writes it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .chapter5 import data_folder, run

REFERENCE = Path(__file__).parent / "chapter5_torch.json"


@pytest.mark.slow
def test_chapter_5_run_is_the_same():
    if not (data_folder() / "the-verdict.txt").is_file():
        pytest.skip("the-verdict.txt is not in the data folder (TINYGRAD_LLM_DATA)")
    pytest.importorskip("tiktoken")
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    ours = run("ours", quiet=True)
    assert ours["equal"] == reference["equal"]
    assert list(ours["close"]) == list(reference["close"])
    assert len(reference["close"]) == 36
    for name, loss in reference["close"].items():
        assert f"{ours['close'][name]:.3f}" == f"{loss:.3f}", name
