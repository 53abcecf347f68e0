"""What is hidden equals transformers' DataCollatorForLanguageModeling, number for number."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_llm.data.masking import Masking, mask_tokens, word_starts
from tinygrad_llm.random import Generator

transformers = pytest.importorskip("transformers")

LETTERS = "abcdefgh"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS)]


@pytest.mark.filterwarnings("ignore:Random token replacement")
@pytest.mark.parametrize("whole_words", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_same_masks(whole_words, seed, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"))
    draw = np.random.default_rng(0)
    texts = [
        " ".join("".join(draw.choice(list(LETTERS), draw.integers(1, 5))) for _ in range(n))
        for n in (12, 7, 15, 9)
    ]
    encoded = [
        tokenizer(text, return_special_tokens_mask=True, return_offsets_mapping=True,
                  padding="max_length", max_length=60, truncation=True)
        for text in texts
    ]  # fmt: skip
    keys = ["input_ids", "special_tokens_mask", "attention_mask"]
    keys += ["offset_mapping"] if whole_words else []
    collator = transformers.DataCollatorForLanguageModeling(
        tokenizer, seed=seed, whole_word_mask=whole_words
    )
    theirs = collator([{key: each[key] for key in keys} for each in encoded])
    ids = np.array([each["input_ids"] for each in encoded])
    special = np.array([each["special_tokens_mask"] for each in encoded]).astype(bool)
    shares, starts = {}, None
    if whole_words:  # theirs then has no random tokens
        shares = {"mask_share": 1.0, "random_share": 0.0}
        inside = np.array([word.startswith("##") for word in WORDS])
        starts = word_starts(ids, inside, np.array([word[0] != "[" for word in WORDS]))
    masking = Masking(4, 2, 3, len(WORDS), **shares)
    inputs, labels = mask_tokens(ids, special, masking, Generator().manual_seed(seed), starts)
    assert np.array_equal(inputs, theirs["input_ids"].numpy())
    assert np.array_equal(labels, theirs["labels"].numpy())
    assert (labels != -100).any()
