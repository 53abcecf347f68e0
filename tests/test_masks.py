"""Which tokens carry the loss: properties of the one mask, and its picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.finetune import collate_instructions, collate_preferences
from tinygrad_llm.finetune.masks import loss_mask, show_labels, targets_of

PAD = 0
TURNS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3)


def conversation(turns):
    """Tokens of turns of (asked, answered), all different, and the spans of the answers."""
    ids, spans = [], []
    for asked, answered in turns:
        first = len(ids) + asked
        spans.append((first, first + answered))
        ids = list(range(1, first + answered + 1))
    return ids, spans


@given(st.lists(TURNS, min_size=1, max_size=4), st.integers(0, 5), st.booleans())
def test_what_counts_in_texts_of_several_turns(texts, more, end):
    rows = [conversation(turns) for turns in texts]
    T = max(len(ids) for ids, _ in rows) + more
    ids = np.full((len(rows), T), PAD)
    for row, (text, _) in zip(ids, rows, strict=True):
        row[: len(text)] = text
    mask = loss_mask([len(t) for t, _ in rows], [spans for _, spans in rows], T, end)
    targets = targets_of(ids, mask)
    for b, (text, spans) in enumerate(rows):
        answered = {t for first, stop in spans for t in range(first, stop)}
        for t in range(T):
            ends = end and t == len(text)
            assert mask[b, t] == (t in answered or ends)  # no prompt, no padding but the first
            if t:  # the target of a token stands at the token before it
                assert targets[b, t - 1] == (ids[b, t] if mask[b, t] else -100)
        assert targets[b, -1] == -100
        if end and len(text) < T:
            assert targets[b, len(text) - 1] == PAD  # the end is learned


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
def test_instructions_and_preferences_count_the_same_answers(sizes):
    """DPO's mask and the targets of instruction tuning, but the end, which DPO leaves out."""
    texts = [(list(range(1, p + a + 1)), p) for p, a in sizes]
    inputs, targets = collate_instructions(texts, PAD, mask_instruction=True)
    pairs = [{"prompt": ids[:p], "chosen": ids, "rejected": ids} for ids, p in texts]
    batch = collate_preferences(pairs, PAD)
    for b, (ids, p) in enumerate(texts):
        n = len(ids)
        assert targets[b, :n].tolist() == [-100] * (p - 1) + ids[p:] + [PAD]
        assert set(targets[b, n:].tolist()) <= {-100}
        assert batch["chosen_mask"][b].tolist() == [
            p <= t < n for t in range(batch["chosen"].shape[1])
        ]
        assert batch["targets"][b, :n].tolist() == [-100] * (p - 1) + ids[p:] + [-100]


def test_a_text_that_is_cut_has_no_end():
    assert loss_mask([5], [[(2, 5)]], 5).tolist() == [[False, False, True, True, True]]
    assert loss_mask([5], [[(2, 5)]], 3).tolist() == [[False, False, True]]
    assert loss_mask([5], [[(2, 4)]], 7).tolist() == [[False] * 2 + [True] * 2 + [False] * 3]


def test_bad_spans_are_refused():
    with pytest.raises(ValueError, match="the span 2 to 6 is not in a text of 5 tokens"):
        loss_mask([5], [[(2, 6)]], 9)
    with pytest.raises(ValueError, match="2 texts and the spans of 1"):
        loss_mask([5, 4], [[(2, 5)]], 9)


class Letters:
    """A tokenizer whose token n is the letter number n."""

    def decode(self, ids):
        return "".join("·abcdefghij"[i] for i in ids)


def test_a_batch_is_shown():
    batch = collate_instructions([([1, 2, 3, 4], 2), ([5, 6], 1)], PAD, mask_instruction=True)
    assert show_labels(batch, Letters(), colour=False).splitlines() == [
        "ab[c][d][·]  (3 of 5 tokens carry the loss)", "e[f][·]  (2 of 3 tokens carry the loss)",
    ]  # fmt: skip
    coloured = show_labels(batch, Letters())
    assert "\x1b[30;42mc\x1b[0m" in coloured and "\x1b[2mb\x1b[0m" in coloured
    pairs = collate_preferences([{"prompt": [1], "chosen": [1, 2], "rejected": [1, 3]}], PAD)
    assert show_labels(pairs, Letters(), colour=False).splitlines() == [
        "chosen: a[b]  (1 of 2 tokens carry the loss)",
        "rejected: a[c]  (1 of 2 tokens carry the loss)",
    ]
    rollout = {"ids": np.array([[1, 2, 0]]), "mask": np.array([[False, True, True]])}
    assert show_labels(rollout, Letters(), colour=False).startswith("a[b][·]  (2 of 3")
    with pytest.raises(TypeError, match="a batch is"):
        show_labels("text", Letters())
