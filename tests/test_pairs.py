"""Pairs of texts: rows and their errors, ids, batches, scores, the trainer and its options."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.finetune.pairs import (
    PairDataset,
    Row,
    character_tokenizer,
    collate_pairs,
    ngram_overlap,
    pair_ids,
    pair_loss,
    pair_scores,
    pair_trainer,
    predict_pairs,
    read_pairs,
    read_questions,
)
from tinygrad_llm.finetune.pairs.baselines import choice_by_overlap, majority
from tinygrad_llm.finetune.pairs.report import (
    ChoiceReport,
    RegressionReport,
    compared_accuracy,
    compared_correlations,
)
from tinygrad_llm.finetune.pairs.rows import scored, texts_of
from tinygrad_llm.finetune.pairs.trainer import pair_metrics
from tinygrad_llm.finetune.sample_texts import questions, sentence_pairs
from tinygrad_llm.finetune.splits import group_split
from tinygrad_llm.layers import lora
from tinygrad_llm.models import BertConfig, BertForSequenceClassification
from tinygrad_llm.text import load_tokenizer

TEXTS = ["猫が寝る。", "犬は走る ", "A cat sleeps"]
SIZES = {"context_length": 70, "emb_dim": 16, "hidden_dim": 24, "n_heads": 2, "n_layers": 2}


def tokenizer():
    return character_tokenizer([*TEXTS, "abcdefghijklmnopqrstuvwxyz.?"])


def made(n_classes, drop_rate=0.0):
    torch.manual_seed(1)
    config = BertConfig(
        tokenizer().vocab_size, **SIZES, drop_rate=drop_rate, attention_drop_rate=drop_rate,
        n_classes=n_classes,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def rows_of(kind, n=24):
    if kind == "choice":
        return [Row(q, answers, right) for q, answers, right in questions(n)]
    pairs = sentence_pairs(n)
    if kind == "sts":
        return [Row(a, (b,), score) for a, b, _, score in pairs]
    names = ("contradiction", "entailment", "neutral")
    return [Row(a, (b,), names.index(label)) for a, b, label, _ in pairs]


# ------------------------------------------------------------------------------------ tokenizer
def test_characters_as_tokens(tmp_path):
    t = tokenizer()
    assert [t.token(i) for i in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [t.token(i) for i in t.encode("Ａ　猫Z鬱 ")]
    assert tokens == ["[CLS]", "a", "猫", "z", "[UNK]", "[SEP]"]
    t.save(tmp_path / "t.json")
    again = load_tokenizer(tmp_path / "t.json")
    assert again.encode(TEXTS[0]) == t.encode(TEXTS[0]) and again.pad_token == 0
    assert character_tokenizer(["aab"], 6).vocab_size == 6
    with pytest.raises(ValueError, match="vocab_size must be above 5"):
        character_tokenizer(["a"], 5)


def test_ids_of_a_pair():
    """[CLS] a [SEP] b [SEP], types 0 and 1; the longer text is cut first."""
    t = tokenizer()
    ids, types = pair_ids(t, "abc", "de")
    assert [t.token(i) for i in ids] == ["[CLS]", *"abc", "[SEP]", *"de", "[SEP]"]
    assert types == [0, 0, 0, 0, 0, 1, 1, 1]
    assert pair_ids(t, "abc") == (t.encode("abc"), [0] * 5)
    for a, b, limit, expected in (
        ("abcdef", "gh", 8, ("abc", "gh")), ("ab", "cdefgh", 8, ("ab", "cde")),
        ("abcdef", "ghijkl", 8, ("abc", "gh")), ("abcdef", "ghijkl", 9, ("abc", "ghi")),
        ("ab", "cd", 30, ("ab", "cd")),
    ):  # fmt: skip
        tokens = [t.token(i) for i in pair_ids(t, a, b, limit)[0]]
        assert tokens == ["[CLS]", *expected[0], "[SEP]", *expected[1], "[SEP]"]
    with pytest.raises(ValueError, match="too little room"):
        pair_ids(t, "a", "b", 4)
    with pytest.raises(ValueError, match="'  ' has no tokens"):
        pair_ids(t, "a", "  ")
    assert 4 not in pair_ids(t, "[MASK]", "b")[0], "its spelling is ordinary text"


# ----------------------------------------------------------------------------------------- rows
def test_rows_of_files(tmp_path):
    tsv = tmp_path / "a.tsv"
    tsv.write_text("a\tb\ty\nx\tz\t1.5\nu\tv\t2\n")
    rows = scored(read_pairs(tsv, "a", "b", "y"))
    assert [(r.first, r.seconds, r.label) for r in rows] == [("x", ("z",), 1.5), ("u", ("v",), 2.0)]
    lines = [{"sentence1": "p", "sentence2": "q", "label": 3}] * 2
    for name in ("a.jsonl", "a.json"):  # JSON lines are often called .json
        (tmp_path / name).write_text("\n".join(map(json.dumps, lines)))
        assert [r.label for r in read_pairs(tmp_path / name)] == ["3", "3"]
    entry = {"q": "Which?", "x": "no", "y": "yes", "n": 1}
    (tmp_path / "q.json").write_text(json.dumps([entry]))
    (row,) = read_questions(tmp_path / "q.json", "q", ["x", "y"], "n")
    assert (row.first, row.seconds, row.label) == ("Which?", ("no", "yes"), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\ny\tz\n", r"has no column 'label'; it has a, b \(choose with --first-column, "
         r"--second-column and --label-column\)"),
        ("a\tb\tlabel\nx\t \t1\n", "line 2: 'b' is empty"),
        ("a\tb\tlabel\nx\ty\t1\nx\ty\n", "line 3: 2 columns, the header has 3"),
        ("a\tb\tlabel\nx\ty\tgood\n", "line 2: the label should be a number, got 'good'"),
        ("a\tb\tlabel\nx\ty\tinf\n", "line 2: the label should be a number"),
    ],
)  # fmt: skip
def test_wrong_rows_are_named(tmp_path, text, message):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        scored(read_pairs(path, "a", "b", "label"))


def test_wrong_questions_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    wrong = [(2, "entry 0: 'n' should be the number of the right answer, 0 … 1"),
             ("x", "got 'x'"), (True, "a text or a number"), (-1, "got '-1'")]  # fmt: skip
    for label, message in wrong:
        path.write_text(json.dumps({"q": "a", "x": "b", "y": "c", "n": label}))
        with pytest.raises(ValueError, match=message):
            read_questions(path, "q", ["x", "y"], "n")


def test_the_place_of_a_text_without_tokens():
    with pytest.raises(ValueError, match="my.tsv, line 7: the text"):
        PairDataset([Row("a", ("\u3000",), 0, "my.tsv, line 7")], tokenizer())


def test_no_text_is_in_two_parts():
    rng = np.random.default_rng(0)
    names = [f"text {i}" for i in range(150)]
    rows = [Row(str(rng.choice(names)), (str(rng.choice(names)),), 0) for _ in range(100)]
    parts = group_split(rows, texts_of, 0.5, 0.2, seed=3)
    assert sorted(map(id, [r for p in parts for r in p])) == sorted(map(id, rows))
    texts = [{t for r in part for t in texts_of(r)} for part in parts]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    assert parts == group_split(rows, texts_of, 0.5, 0.2, seed=3)
    single = group_split(list("abcdefghij"), lambda c: [c], 0.7, 0.1, seed=1)
    assert [len(p) for p in single] == [7, 1, 2]
    assert texts_of(Row("q", ("a", "b"), 0)) == ("q",)


# ------------------------------------------------------------------------------------- baselines
def test_baselines():
    assert ngram_overlap("abc", "bcd") == pytest.approx(1 / 3)  # {ab, bc} and {bc, cd}
    assert ngram_overlap("A b", "ab") == 1.0 and ngram_overlap("a", "b") == 0.0
    assert ngram_overlap("", "") == 1.0
    assert majority([2, 1, 1, 0]) == 1
    assert choice_by_overlap(Row("which cat?", ("dog", "cat", "tab"), 0)) == 1


# --------------------------------------------------------------------------- batches and scores
def test_a_batch_is_padded_and_answers_stand_one_under_the_other():
    t = tokenizer()
    data = PairDataset([Row("ab", ("c", "defg"), 1), Row("a", ("b", "c"), 0)], t)
    batch = collate_pairs([data[0], data[1]])
    assert batch["ids"].shape == (4, 9) and batch["labels"].tolist() == [1, 0]
    assert batch["attention_mask"].sum(1).tolist() == [6, 9, 5, 5]
    assert collate_pairs([data[1]], buckets=[4, 7])["ids"].shape == (2, 7)
    numbers = collate_pairs([PairDataset([Row("a", ("b",), 0.5)], t)[0]])
    assert numbers["labels"].dtype == torch.float32


@pytest.mark.parametrize("kind", ["nli", "sts", "choice"])
def test_scores_of_a_batch_equal_those_alone(kind):
    """Padding and the other answers change nothing; the loss is that of the definition."""
    model = made({"nli": 3, "sts": 1, "choice": 1}[kind]).eval()
    data = PairDataset(rows_of(kind, 7), tokenizer())
    batch = collate_pairs([data[i] for i in range(7)])
    with torch.no_grad():
        together = pair_scores(model, batch).numpy()
        alone = np.array(
            [
                [
                    model(torch.tensor([ids]), None, torch.tensor([types])).numpy()[0]
                    for ids, types in data[i].pairs
                ]
                for i in range(7)
            ]
        )  # (B, N, K)
        loss = pair_loss(model, batch).item()
    alone = alone[:, :, 0] if kind == "choice" else alone[:, 0]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * abs(alone).max())
    np.testing.assert_allclose(predict_pairs(model, data, batch_size=3), alone, atol=1e-6)
    labels = np.array([data[i].label for i in range(7)])
    if kind == "sts":
        expected = ((alone[:, 0] - labels) ** 2).mean()
    else:
        logs = alone - np.log(np.exp(alone).sum(1, keepdims=True))
        expected = -logs[np.arange(7), labels].mean()
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["nli", "sts", "choice"])
def test_training_learns(kind):
    rows = rows_of(kind, 8)
    model = made({"nli": 3, "sts": 1, "choice": 1}[kind])
    data = PairDataset(rows, tokenizer())
    trainer = pair_trainer(
        model, data, data, steps=60, batch_size=8, lr=5e-3, progress=False, weight_decay=0.0
    )  # fmt: skip
    before = float(pair_loss(model, collate_pairs(data.examples)).item())
    assert trainer.run(plan=False).loss < 0.6 * before


def test_five_answers_are_learned_completely():
    """Which of five letters is a vowel? Also for sets of letters that training did not have."""
    rng = np.random.default_rng(0)

    def question():
        place = int(rng.integers(5))
        letters = [str(c) for c in rng.choice(list("bcdfghjklmnp"), 4, replace=False)]
        letters.insert(place, str(rng.choice(list("aeiou"))))
        return Row("a vowel?", tuple(letters), place)

    train, test = (PairDataset([question() for _ in range(n)], tokenizer()) for n in (64, 40))
    model = made(1)
    pair_trainer(
        model, train, steps=40, batch_size=16, lr=1e-2, progress=False, weight_decay=0.0
    ).run(plan=False)  # fmt: skip
    assert pair_metrics(predict_pairs(model, test), test) == {"accuracy": 1.0}


def test_answers_with_the_same_tokens_are_counted():
    """Unknown characters make two answers alike, and so does cutting them."""
    rows = [Row("a", ("漢", "字", "b"), 0), Row("a", ("b", "c", "d"), 0)]
    assert PairDataset(rows, tokenizer()).alike == 1
    assert PairDataset([Row("a", ("bcd", "bce"), 0)], tokenizer(), max_length=6).alike == 1


def losses_of(options, with_lora=False):
    model = made(3, drop_rate=0.1)
    if with_lora:
        lora.add(model, 4, 8.0, 0.0, ["att.*", "ff.*"], modules_to_save=["pooler", "classifier"])
    data = PairDataset(rows_of("nli", 16), tokenizer())
    torch.manual_seed(5)
    trainer = pair_trainer(model, data, steps=3, lr=1e-3, progress=False, seed=2, **options)
    before = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    losses = [trainer.run(plan=False).loss]
    changed = {n for n, p in model.named_parameters() if (p.detach().numpy() != before[n]).any()}
    return losses, model, changed


def test_checkpointing_and_lora():
    """Checkpointing gives the same numbers to the last bit; LoRA trains its layers and the head."""
    plain, model, _ = losses_of({"batch_size": 8})
    again, checked, _ = losses_of({"batch_size": 8, "gradient_checkpointing": True})
    assert plain == again and checked.gradient_checkpointing
    for a, b in zip(model.parameters(), checked.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    _, adapted, changed = losses_of({"batch_size": 8}, with_lora=True)
    assert lora.layers(adapted) and changed
    assert all("lora" in name or name.startswith(("pooler", "classifier")) for name in changed)


def test_accumulation_equals_one_batch():
    """Two batches of 4 give the gradient of 8, also where labels are numbers."""
    for kind, n in (("sts", 1), ("choice", 1), ("nli", 3)):
        states = []
        for options in ({"batch_size": 8}, {"batch_size": 4, "accumulation": 2}):
            model = made(n)
            data = PairDataset(rows_of(kind, 8), tokenizer())
            pair_trainer(model, data, steps=1, lr=1e-3, progress=False, **options).run(plan=False)
            states.append(np.concatenate([p.detach().numpy().ravel() for p in model.parameters()]))
        close = abs(states[0] - states[1]) < 2e-5  # AdamW's first step is lr·sign(g)
        assert close.mean() > 0.999


def test_wrong_labels_and_lengths():
    t = tokenizer()
    with pytest.raises(ValueError, match="row 0 has the label 2, the classes are 0 … 1"):
        pair_trainer(made(2), PairDataset([Row("a", ("b",), 2)], t), steps=1)
    with pytest.raises(ValueError, match="numbers need a model with one score, it has 2"):
        pair_trainer(made(2), PairDataset([Row("a", ("b",), 2.0)], t), steps=1)
    mixed = PairDataset([Row("a", ("b", "c"), 0), Row("a", ("b", "c", "d"), 0)], t)
    with pytest.raises(ValueError, match="the same number of answers"):
        pair_trainer(made(1), mixed, steps=1)
    with pytest.raises(ValueError, match="the longest pair is 83"):
        pair_trainer(made(2), PairDataset([Row("a" * 60, ("b" * 20,), 1)], t), steps=1)
    with pytest.raises(ValueError, match="there are no rows"):
        PairDataset([], t)


# --------------------------------------------------------------------------------------- reports
def test_reports(tmp_path):
    rows = [Row("first", ("second",), 0), Row("q", ("r",), 0)]
    report = RegressionReport(np.array([1.0, 5.0]), np.array([1.5, 2.0]))
    assert report.worst() == [1, 0]
    assert report.worst_table(rows, 1).startswith("is  5.00  predicted  2.00  q")
    p = np.array([[0.9, 0.1], [0.3, 0.7]])
    choices = ChoiceReport(np.array([1, 1]), p)
    assert choices.right.tolist() == [False, True] and choices.worst(1) == [0]
    questions_ = [Row("q?", ("a", "b"), 1), Row("s?", ("c", "d"), 1)]
    assert "right b (10.0%), chosen a (90.0%)" in choices.worst_table(questions_, 1)
    compared = compared_accuracy([1, 1, 1, 0], [0, 0, 0, 0], "always x")
    assert compared.score.value == 0.75 and compared.baseline.value == 0.0
    assert "always x" in compared.lines() and compared.stored()["difference"][0] == 0.75
    labels = np.arange(30.0)
    for each in compared_correlations(labels**2, -labels, labels, "minus"):
        assert each.baseline.value == pytest.approx(-1.0) and each.difference.value > 1.9


def test_the_sample_has_all_labels():
    pairs = sentence_pairs()
    assert Counter(label for *_, label, _ in pairs) == {
        "neutral": 600, "entailment": 300, "contradiction": 300
    }  # fmt: skip
    assert {score for *_, score in pairs} == {0.0, 2.0, 3.0, 5.0}
    rows = questions()
    assert len(rows) == 600 and set(Counter(right for *_, right in rows)) == set(range(5))
    assert all(len(set(answers)) == 5 for _, answers, _ in rows)
