"""Splits equal to pandas', and examples and batches as the losses want them."""

from __future__ import annotations

import hashlib
import json
from functools import partial

import pytest
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.finetune import (
    STYLES,
    InstructionDataset,
    PreferenceDataset,
    PromptStyle,
    TextClassificationDataset,
    balanced,
    collate_instructions,
    collate_preferences,
    random_split,
    read_sms_spam,
    real_lengths,
    sample,
    sms_spam_splits,
    split_in_order,
)
from tinygrad_llm.nn.functional import cross_entropy
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.utils.data import DataLoader

END = 50256


class Letters:
    """One id a character; special tokens are refused as every tokenizer here refuses them."""

    def encode(self, text):
        if "<|endoftext|>" in text:
            raise ValueError("disallowed special token")
        return [ord(c) for c in text]


def entry(**changes):
    return {"instruction": "Add.", "input": "1 2", "output": "3", **changes}


# ------------------------------------------------------------------------------------- splits
def test_sampling_draws_what_pandas_draws():
    """Constants from pandas 3.1: Series(range(10)).sample(...)."""
    assert sample(range(10), 4, seed=123) == [4, 0, 7, 5]
    assert sample(range(10), seed=7) == [8, 5, 0, 2, 1, 9, 7, 3, 6, 4]


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.data())
def test_sampling_against_pandas(n_rows, seed, data):
    pandas = pytest.importorskip("pandas")
    n = data.draw(st.integers(0, n_rows))
    frame = pandas.DataFrame({"x": range(n_rows)})
    assert sample(range(n_rows), n, seed) == frame.sample(n, random_state=seed).x.tolist()
    assert sample(range(n_rows), None, seed) == frame.sample(frac=1, random_state=seed).x.tolist()


def test_the_splits_of_the_spam_data_are_the_books():
    """The hashes come from the books' code, run with pandas 3.1."""
    expected = [
        (1045, 517, "8a066fcb76c3d41668e83c5da80fb5968f053b1eef42eea2f875cae5fe44a423"),
        (149, 79, "88ba1d478c04b4698721c60b7ef26cdf5630f8bb9ae231a4b0b95be951f46be7"),
        (300, 151, "14bfb3d256e166ea179210b8617d1332af94ad5122d0439bf6ae1b65f41d1a8e"),
    ]
    for rows, (n, n_spam, digest) in zip(
        sms_spam_splits(data_file("sms-spam.tsv")), expected, strict=True
    ):
        text = "\n".join(f"{('ham', 'spam')[label]}\t{message}" for message, label in rows)
        assert (len(rows), sum(label for _, label in rows)) == (n, n_spam)
        assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_spam_rows():
    rows = read_sms_spam(data_file("sms-spam.tsv"))
    assert len(rows) == 5572 and sum(label for _, label in rows) == 747


@pytest.mark.parametrize("line", ["maybe\thello", "ham hello", "ham\ta\tb"])
def test_a_wrong_spam_file(tmp_path, line):
    (tmp_path / "x").write_text(f"ham\tgood\n{line}\n")
    with pytest.raises(ValueError, match="line 2: expected ham or spam, a tab and a message, got"):
        read_sms_spam(tmp_path / "x")


@given(st.lists(st.sampled_from("aab"), min_size=1), st.integers(0, 99))
def test_balanced(labels, seed):
    rows = [(i, label) for i, label in enumerate(labels)]
    chosen = balanced(rows, seed=seed)
    counts = {label: labels.count(label) for label in labels}
    assert set(chosen) <= set(rows) and len(set(chosen)) == len(chosen)
    for label in counts:
        assert sum(row[1] == label for row in chosen) == min(counts.values())
    by_key = balanced(rows, label=lambda row: row[1], seed=seed)
    assert by_key == chosen


def test_balanced_order():
    rows = [(i, i % 3 == 0) for i in range(9)]
    others = [row for row in rows if not row[1]]
    assert balanced(rows, seed=3) == sample(others, 3, 3) + [(0, True), (3, True), (6, True)]


@given(st.integers(0, 200), st.floats(0, 1), st.floats(0, 1), st.integers(0, 9))
def test_splits_lose_and_double_nothing(n, a, b, seed):
    b *= 1 - a
    parts = random_split(range(n), a, b, seed)
    assert [len(p) for p in parts[:2]] == [int(n * a), int(n * b)]
    assert sorted(sum(parts, [])) == list(range(n))
    train, validation, test = split_in_order(range(n), a, b)
    assert train + test + validation == list(range(n))


def test_the_split_of_the_instructions():
    train, validation, test = split_in_order(range(1100))
    assert (len(train), len(validation), len(test)) == (935, 55, 110)
    assert (train[0], test[0], validation[0]) == (0, 935, 1045)


def test_wrong_splits():
    with pytest.raises(ValueError, match="can't sample 4 of 3 rows"):
        sample([1, 2, 3], 4)
    with pytest.raises(ValueError, match="no rows to balance"):
        balanced([])
    with pytest.raises(ValueError, match="train and validation are more than 1 together"):
        random_split([1], 0.7, 0.4)
    with pytest.raises(ValueError, match="test must be between 0 and 1, got -0.1"):
        split_in_order([1], 0.7, -0.1)


# ----------------------------------------------------------------------------- classification
ROWS = [("abc", 0), ("a", 1), ("abcde", 1)]


def test_classification_pads_to_the_longest():
    data = TextClassificationDataset(ROWS, Letters())
    assert len(data) == 3 and data.max_length == 5 and data.lengths == [3, 1, 5]
    ids, label = data[0]
    assert ids.tolist() == [97, 98, 99, END, END] and label.item() == 0
    assert ids.dtype == label.dtype == torch.int64
    assert label.shape == ()


def test_classification_truncates():
    data = TextClassificationDataset(ROWS, Letters(), max_length=2, pad_token_id=0)
    assert [ids.tolist() for ids, _ in (data[i] for i in range(3))] == [[97, 98], [97, 0], [97, 98]]
    assert data.lengths == [2, 1, 2]


def test_classification_in_a_data_loader():
    data = TextClassificationDataset(ROWS, Letters())
    ids, labels = next(iter(DataLoader(data, batch_size=3)))
    assert ids.shape == (3, 5) and labels.tolist() == [0, 1, 1]
    ids.array[:] = 0
    assert data[1][0].tolist()[0] == 97, "a batch that is written to leaves the data alone"
    data[1][0].array[:] = 0
    assert data[1][0].tolist()[0] == 97


@pytest.mark.parametrize(
    ("rows", "options", "kind", "message"),
    [
        ([], {}, ValueError, "no rows to classify"),
        ([("a", 0), ("", 1)], {}, ValueError, "row 1: the text '' has no tokens"),
        ([("a", "spam")], {}, TypeError, "row 0: the label must be an integer, got 'spam'"),
        ([("a", True)], {}, TypeError, "must be an integer, got True"),
        ([("a", -1)], {}, ValueError, "row 0: the label must be 0 or more, got -1"),
        ([("a", 0)], {"max_length": 0}, ValueError, "max_length must be at least 1, got 0"),
    ],
)
def test_wrong_classification_data(rows, options, kind, message):
    with pytest.raises(kind, match=message):
        TextClassificationDataset(rows, Letters(), **options)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_real_lengths(lengths):
    rows = [("x" * n, 0) for n in lengths]
    data = TextClassificationDataset(rows, Letters(), max_length=6)
    assert real_lengths(torch.tensor(data.ids)).tolist() == data.lengths == lengths


def test_real_lengths_counts_padding_at_the_end_only():
    ids = torch.tensor([[7, END, 3, END], [END, END, END, END], [END, 1, 2, 3]])
    assert real_lengths(ids).tolist() == [3, 1, 4]


# ------------------------------------------------------------------------------- instructions
def test_alpaca_prompt():
    style = STYLES["alpaca"]
    begin = (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nAdd."
    )
    assert style.prompt(entry()) == begin + "\n\n### Input:\n1 2"
    assert style.prompt(entry(input="")) == begin
    assert style.prompt({"instruction": "Add."}) == begin
    assert style.answer("3") == "\n\n### Response:\n3"


def test_phi3_prompt():
    style = STYLES["phi3"]
    assert style.prompt(entry()) + style.answer("3") == "<|user|>\nAdd.\n1 2\n<|assistant|>\n3"
    assert style.prompt(entry(input="")) == "<|user|>\nAdd."


@pytest.mark.parametrize("style", ["alpaca", "phi3", PromptStyle("mine", "Q: ", " / ", " A: ")])
def test_instruction_examples(style):
    data = InstructionDataset([entry(), entry(input="")], Letters(), style)
    for i, (ids, n) in enumerate(data[i] for i in range(len(data))):
        text = "".join(map(chr, ids))
        prompt = data.style.prompt(data.entries[i])
        assert text == prompt + data.style.answer("3")
        assert text[:n] == prompt


def test_a_token_over_the_prompts_end_is_not_the_prompts():
    """Where the tokenizer joins the prompt's last character to the response's first."""

    class Pairs:
        def encode(self, text):
            return [hash(text[i : i + 2]) for i in range(0, len(text), 2)]

    style = PromptStyle("joined", "", "", "")
    ids, n = InstructionDataset([entry(instruction="abc", input="", output="d")], Pairs(), style)[0]
    assert (len(ids), n) == (2, 1)


def test_the_books_batch():
    """Chapter 7's three inputs and what its collate function makes of them."""
    inputs, targets = collate_instructions([[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]])
    assert inputs.tolist() == [[0, 1, 2, 3, 4], [5, 6, END, END, END], [7, 8, 9, END, END]]
    assert targets.tolist() == [
        [1, 2, 3, 4, END],
        [6, END, -100, -100, -100],
        [8, 9, END, -100, -100],
    ]
    assert inputs.dtype == targets.dtype == torch.int64


def test_cut_batches_and_other_ids():
    inputs, targets = collate_instructions(
        [[1, 2, 3, 4], [5]], pad_token_id=9, ignore_index=-1, max_length=3
    )
    assert inputs.tolist() == [[1, 2, 3], [5, 9, 9]]
    assert targets.tolist() == [[2, 3, 4], [9, -1, -1]]
    assert inputs.is_contiguous() and targets.is_contiguous()


def test_instruction_masking():
    _, targets = collate_instructions([([1, 2, 3, 4, 5], 3), ([6, 7], 1)], mask_instruction=True)
    assert targets.tolist() == [[-100, -100, 4, 5, END], [7, END, -100, -100, -100]]
    _, plain = collate_instructions([([1, 2, 3, 4, 5], 3), ([6, 7], 1)])
    assert plain.tolist()[0] == [2, 3, 4, 5, END]


def test_an_end_of_text_inside_a_text_is_a_target():
    """Texts of several turns: only padding is ignored, not every token that looks like it."""
    _, targets = collate_instructions([[1, END, 2, 3], [4]])
    assert targets.tolist()[0] == [END, 2, 3, END]


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=8), min_size=1, max_size=4),
    st.booleans(),
    st.data(),
)
def test_what_a_batch_counts(texts, mask, data):
    """Every text's tokens but the first, and one end; without the prompt where it is masked."""
    prompts = [data.draw(st.integers(0, len(ids))) for ids in texts]
    inputs, targets = collate_instructions(
        list(zip(texts, prompts, strict=True)), mask_instruction=mask
    )
    assert inputs.shape == targets.shape == (len(texts), max(map(len, texts)))
    for ids, n, x, y in zip(texts, prompts, inputs.tolist(), targets.tolist(), strict=True):
        first = max(n, 1) if mask else 1
        assert [t for t in y if t != -100] == [*ids, END][first:]
        assert x == ids + [END] * (len(x) - len(ids))
        for t in range(len(x) - 1):
            assert y[t] in (-100, x[t + 1])


def test_ignored_targets_change_no_loss():
    inputs, targets = collate_instructions([[1, 2, 3], [4]], pad_token_id=5)
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 6)
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
    kept = [logits[0, 0], logits[0, 1], logits[0, 2], logits[1, 0]]
    alone = cross_entropy(torch.stack(kept), torch.tensor([2, 3, 5, 5]))
    assert loss.item() == pytest.approx(alone.item(), abs=1e-6)


def test_wrong_instruction_data():
    with pytest.raises(ValueError, match="entry 1 has no 'output'; it has instruction"):
        InstructionDataset([entry(), {"instruction": "a"}], Letters())
    with pytest.raises(TypeError, match="entry 0: 'output' must be a text, got int"):
        InstructionDataset([entry(output=3)], Letters())
    with pytest.raises(TypeError, match="entry 0: 'input' must be a text, got NoneType"):
        InstructionDataset([entry(input=None)], Letters())
    with pytest.raises(TypeError, match="entry 0 must be a dict of texts, got str"):
        InstructionDataset(["Add."], Letters())
    with pytest.raises(
        ValueError, match="no prompt style is called 'chatml'; there are alpaca, ph"
    ):
        InstructionDataset([entry()], Letters(), "chatml")
    with pytest.raises(ValueError, match="special"):
        InstructionDataset([entry(output="<|endoftext|>")], Letters())


def test_wrong_instruction_batches():
    with pytest.raises(ValueError, match="example 1 of the batch has no tokens"):
        collate_instructions([[1], []])
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        collate_instructions([[1]], max_length=0)
    with pytest.raises(ValueError, match="no target of this batch counts.*max_length=3"):
        collate_instructions([([1, 2, 3, 4, 5], 4)], max_length=3, mask_instruction=True)
    with pytest.raises(ValueError, match="no target of this batch counts"):
        collate_instructions([])


# -------------------------------------------------------------------------------- preferences
def preference(**changes):
    return {"instruction": "Add.", "chosen": "It is 3.", "rejected": "3", **changes}


def test_preference_examples():
    data = PreferenceDataset([preference(), preference(input="1 2")], Letters())
    for i, example in enumerate(data[i] for i in range(len(data))):
        texts = {name: "".join(map(chr, ids)) for name, ids in example.items()}
        assert texts["prompt"] == data.style.prompt(data.entries[i]) + "\n\n### Response:\n"
        assert texts["chosen"] == texts["prompt"] + "It is 3."
        assert texts["rejected"] == texts["prompt"] + "3"


def test_preference_batch():
    batch = [
        {"prompt": [1, 2], "chosen": [1, 2, 3, 4], "rejected": [1, 2, 5]},
        {"prompt": [6], "chosen": [6, 7], "rejected": [6, 8]},
    ]
    out = collate_preferences(batch, pad_token_id=0)
    assert out["chosen"].tolist() == [[1, 2, 3, 4, 0], [6, 7, 0, 0, 0]]
    assert out["rejected"].tolist() == [[1, 2, 5, 0, 0], [6, 8, 0, 0, 0]]
    assert out["chosen_mask"].tolist() == [
        [False, False, True, True, False],
        [False, True, False, False, False],
    ]
    assert out["rejected_mask"].tolist() == [
        [False, False, True, False, False],
        [False, True, False, False, False],
    ]
    assert [p.tolist() for p in out["prompt"]] == [[1, 2], [6]]
    assert out["chosen"].dtype == torch.int64 and out["chosen_mask"].dtype == torch.bool
    whole = collate_preferences(batch, pad_token_id=0, mask_prompt=False)
    assert whole["chosen_mask"].tolist()[0] == [True, True, True, True, False]
    cut = collate_preferences(batch, pad_token_id=0, max_length=3)
    assert cut["chosen"].tolist() == [[1, 2, 3], [6, 7, 0]]
    assert cut["chosen_mask"].tolist() == [[False, False, True], [False, True, False]]


def test_wrong_preferences():
    with pytest.raises(ValueError, match="entry 0 has no 'rejected'"):
        PreferenceDataset([{"instruction": "a", "chosen": "b"}], Letters())
    batch = [{"prompt": [1, 2], "chosen": [1, 2, 3], "rejected": [1, 2, 4]}]
    with pytest.raises(ValueError, match="example 0.*its chosen response.*has 2 tokens.*cut at 2"):
        collate_preferences(batch, max_length=2)
    with pytest.raises(ValueError, match="empty batch"):
        collate_preferences([])


# ------------------------------------------------------------------------------ the real data
@pytest.fixture(scope="module")
def gpt2_tokenizer():
    return BPETokenizer.from_gpt2_files(data_file("vocab.bpe"), data_file("encoder.json"))


def test_the_books_instructions(gpt2_tokenizer):
    entries = json.loads(data_file("instruction-data.json").read_text(encoding="utf-8"))
    train, validation, test = split_in_order(entries)
    data = InstructionDataset(train[:24], gpt2_tokenizer)
    loader = DataLoader(data, 8, collate_fn=partial(collate_instructions, mask_instruction=True))
    for start, (inputs, targets) in zip((0, 8, 16), loader, strict=True):
        for row in range(8):
            kept = [t for t in targets[row].tolist() if t != -100]
            assert kept[-1] == END
            expected = "\n\n### Response:\n" + train[start + row]["output"]
            assert gpt2_tokenizer.decode(kept[:-1]) == expected
            length = real_lengths(inputs[row : row + 1]).item()
            assert inputs[row].tolist()[:length] == data[start + row][0]


def test_the_books_preferences(gpt2_tokenizer):
    path = data_file("instruction-data-with-preference.json")
    entries = json.loads(path.read_text(encoding="utf-8"))
    data = PreferenceDataset(entries[:16], gpt2_tokenizer)
    out = collate_preferences([data[i] for i in range(16)])
    for side in ("chosen", "rejected"):
        for i in range(16):
            ids = out[side][i].array[out[f"{side}_mask"][i].array]
            assert gpt2_tokenizer.decode(ids.tolist()) == entries[i][side]


def test_the_longest_spam_message(gpt2_tokenizer):
    """The book's 120 tokens."""
    train, _, _ = sms_spam_splits(data_file("sms-spam.tsv"))
    assert TextClassificationDataset(train, gpt2_tokenizer).max_length == 120
