"""Questions for training, hard negatives, finetune rerank, searches by vectors, rag --rerank."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.finetune import PairModel, rank
from tinygrad_llm.finetune.embedding.search_test import SearchTest, compared_searches
from tinygrad_llm.finetune.pairs import character_tokenizer
from tinygrad_llm.finetune.runs import Embed, Rerank
from tinygrad_llm.finetune.runs.rerank import compared_lists, read_passages
from tinygrad_llm.models import BertConfig, BertForSequenceClassification
from tinygrad_llm.retrieval import Chunk, Passage, build_index, chat_prompt, load_index, reranked
from tinygrad_llm.retrieval.answers import ASKED, REFUSAL
from tinygrad_llm.retrieval.questions import (
    GAP,
    Question,
    cloze_questions,
    half_questions,
    sentences,
    sentences_of_chunks,
    split_by_source,
    title_questions,
)
from tinygrad_llm.retrieval.training_data import hard_negatives, instruction_rows, passage_rows
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.settings import resolved

TEXTS = {
    "tea": 'Green tea steeps for two minutes and "black" tea steeps for five of them.',
    "garden": "Tomatoes need water early in the morning and a stick to climb on.",
    "bicycle": 'Oil the chain after rain and pump "both" tyres up once in a week or two.',
    "bread": "The dough rests for one night in the cold before it is baked at noon.",
}
TINY = ["--emb-dim", 8, "--n-heads", 1, "--n-layers", 1, "--steps", 2, "--plain"]


def index(more=()):
    return build_index([*({"text": t, "title": n} for n, t in TEXTS.items()), *more])


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return end.value.code


# ------------------------------------------------------------------------------------ questions
def test_halves_and_gaps_of_an_index():
    chunks = index().chunks
    gaps = {q.answer: q for q in cloze_questions(chunks, None, 9)}
    assert set(gaps) == {"black", "both"} and GAP in gaps["both"].text
    halves = half_questions(chunks, None, 9, seed=3)
    assert len(halves) == 4
    for half in halves:
        (right,) = half.relevant
        assert f"{half.answer} {half.text}" == chunks[right].text
    assert half_questions(chunks, None, 2, seed=3) == halves[:2]


def test_japanese_sentences():
    text = "富士山の標高は3776メートルである。山頂は「剣ヶ峰」と呼ばれ、噴火口のふちにある。短い。"
    assert len(sentences(text)) == 2
    chunks = [
        Chunk(text, "山", 0),
        Chunk("これは切れた文の残りであり、続く文ではない。" + text, "山", 1),
    ]
    assert len(sentences_of_chunks(chunks)) == 2, "a chunk's first piece may lack its beginning"
    (gap,) = cloze_questions(chunks, None, 5)
    assert gap.answer == "剣ヶ峰" and gap.relevant == {0, 1} and f"は{GAP}と" in gap.text
    half = half_questions(chunks[:1], None, 1)[0]
    assert half.answer + half.text in text


def test_questions_are_split_by_document():
    chunks = index().chunks
    questions = half_questions(chunks, None, 9)
    a, b = split_by_source(questions, chunks, 0.5)
    sources = [{chunks[i].source for q in part for i in q.relevant} for part in (a, b)]
    assert len(a) == len(b) == 2 and not sources[0] & sources[1]
    both = Question("x", "y", frozenset(range(len(chunks))))
    assert split_by_source([both], chunks) == ([], [])


def test_a_copy_of_a_right_chunk_is_not_wrong():
    copied = index([{"text": TEXTS["tea"], "title": "copy"}])
    (question,) = title_questions(copied.chunks, {"tea": "How is tea made?"})
    assert question.relevant == {0, 4}
    one = Question("tea steeps", "", frozenset([0]))
    (wrong,) = hard_negatives(copied, [one], 3)
    assert sorted(wrong) == [1, 2, 3], "the copy is left out, others fill the list"
    with pytest.raises(ValueError, match="3 of the 5 chunks have other texts"):
        hard_negatives(copied, [one], 4)
    with pytest.raises(ValueError, match="n must be 1"):
        hard_negatives(copied, [one], 0)


def test_rows_for_training():
    made = index()
    questions = cloze_questions(made.chunks, None, 9)
    wrong = hard_negatives(made, questions, 2)
    rows = passage_rows(made, questions, wrong)
    assert [set(row) for row in rows] == [{"question", "passage", "negative1", "negative2"}] * 2
    for row, question, others in zip(rows, questions, wrong, strict=True):
        assert row["passage"] == made.chunks[min(question.relevant)].text
        assert row["negative2"] == made.chunks[others[1]].text
    for share in (0.0, 1.0):
        for entry, question in zip(
            instruction_rows(made, questions, wrong, share), questions, strict=True
        ):
            right = made.chunks[min(question.relevant)].text
            assert (right in entry["instruction"]) == (entry["output"] != REFUSAL) == (share == 0)
            assert entry["instruction"].endswith(
                chat_prompt(ASKED.format(question.text), ["-"])[11:]
            )
    with pytest.raises(ValueError, match="unanswerable"):
        instruction_rows(made, questions, wrong, 1.5)


def test_files_of_questions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = index()
    made.save("rag-index")
    assert run("rag", "questions", "--negatives", 2, "--out", "p.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(rows) == 4 and {row["passage"] for row in rows} == set(TEXTS.values())
    instruct = ["--kind", "gaps", "--form", "instruct", "--unanswerable", 0, "--out", "i.jsonl"]
    assert run("rag", "questions", *instruct) == 0
    printed = capsys.readouterr().out
    assert "2 questions in i.jsonl" in printed and "finetune instruct i.jsonl" in printed
    entries = [json.loads(line) for line in (tmp_path / "i.jsonl").read_text().splitlines()]
    assert {e["output"] for e in entries} == {"black", "both"}
    assert all(e["instruction"].startswith("Context:\n") for e in entries)


# --------------------------------------------------------------------------------- finetune rerank
def test_the_right_passage_stands_at_a_random_place(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [
        {"question": f"q{i}", "passage": "right", "negative1": "a", "n2": "b"} for i in range(9)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    made = read_passages(str(path), "question", "passage", ["negative1", "n2"], 1)
    assert all(row.seconds[row.label] == "right" for row in made)
    assert {row.label for row in made} == {0, 1, 2}, "equal scores are right by chance only"
    with pytest.raises(ValueError, match="negative9"):
        read_passages(str(path), "question", "passage", ["negative9"])
    path.write_text('{"question": "q", "passage": " ", "negative1": "a"}')
    with pytest.raises(ValueError, match="'passage' is empty"):
        read_passages(str(path), "question", "passage", ["negative1"])


def test_measures_of_lists():
    scores, baseline = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]]), np.zeros((2, 3))
    compared = {c.name: c for c in compared_lists(scores, baseline, np.array([2, 0]), "none")}
    assert compared["recall@1"].score.value == 0.5 and compared["MRR"].score.value == 0.75
    assert compared["MRR"].baseline.value == pytest.approx((1 / 3 + 1) / 2)
    assert compared["nDCG@10"].score.value == pytest.approx((1 / np.log2(3) + 1) / 2)


@pytest.mark.slow
@pytest.mark.ci
def test_finetune_rerank_and_ask(tmp_path, monkeypatch, capsys):
    """From an index to questions, a cross-encoder, and an order of passages."""
    monkeypatch.chdir(tmp_path)
    more = [
        {"text": f"Number {i} of the {w} lines says that {w} follows after {i} others.", "title": w}
        for i, w in enumerate("red green blue white black brown grey pink".split())
    ]
    index(more).save("rag-index")
    assert run("rag", "questions", "rag-index", "--out", "q.jsonl", "--negatives", 2) == 0
    assert "12 questions in" in capsys.readouterr().out
    columns = ["--negative-columns", "negative1,negative2"]
    assert run("finetune", "rerank", "q.jsonl", *TINY, *columns, "--out", "run") == 0
    shown = capsys.readouterr().out
    assert "test recall@1 " in shown and "test nDCG@10 " in shown and "shared pairs" in shown
    assert run("finetune", "ask", "run", "When is water needed?", "--input", "tea|tomatoes") == 0
    assert {line.split()[1] for line in capsys.readouterr().out.splitlines()} == {"tea", "tomatoes"}
    asked = ["rag", "ask", "Which tea steeps?", "--passages", "--k", 2]
    assert run(*asked, "--rerank", "run") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    hits = load_index("rag-index").search("Which tea steeps?", 20)
    expected = reranked("Which tea steeps?", hits, "run", 2)
    assert len(lines) == min(2, len(hits))
    assert all(p.chunk.source in line for p, line in zip(expected, lines, strict=True))
    assert run(*asked, "--rerank", "rag-index") == 2
    assert "--rerank" in capsys.readouterr().err
    pairs = ["--first-column", "question", "--second-column", "passage", "--batch-size", 4]
    supervised = ["--loss", "supervised", *pairs, "--negative-column", "negative1"]
    assert run("finetune", "embed", "q.jsonl", *TINY, *supervised, "--out", "vectors") == 0
    shown = capsys.readouterr().out
    assert "test MRR " in shown and "before training " in shown and "mrr " in shown
    assert json.loads((tmp_path / "vectors" / "test.json").read_text())["nDCG@10"]["gain"]


def test_passages_are_sorted_by_their_scores():
    torch.manual_seed(0)
    tokenizer = character_tokenizer(["abc def"])
    config = BertConfig(tokenizer.vocab_size, 24, 8, 8, 2, 1, n_classes=1)
    model = PairModel(BertForSequenceClassification(config).eval(), tokenizer, "rerank", 20)
    passages = [Passage(i, Chunk(t, "s", i), 0.0, 0.5) for i, t in enumerate(("a", "b", "c d"))]
    order = rank("fed", ["a", "b", "c d"], model)
    assert [s for _, s in order] == sorted((s for _, s in order), reverse=True)
    sorted_anew = reranked("fed", passages, model, 2)
    assert [(p.id, p.score, p.cosine) for p in sorted_anew] == [(i, s, 0.5) for i, s in order[:2]]
    assert reranked("fed", [], model) == []
    with pytest.raises(ValueError, match="k must be 1"):
        reranked("fed", passages, model, 0)
    with pytest.raises(TypeError, match="passages must be a list of texts"):
        rank("fed", "abc", model)
    model.kind = "choice"
    with pytest.raises(ValueError, match="a run of finetune rerank"):
        rank("fed", ["a"], model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "rerank"], "rag questions"),
        (["finetune", "rerank", "none.csv"], "none.csv"),
        (["finetune", "rerank", "empty.jsonl"], "empty.jsonl"),
        (["finetune", "rerank", "sample", "--negative-columns", "a,a"], "must differ"),
        (["rag", "questions", "none"], "there is no index"),
        (["rag", "questions", "made", "--kind", "x"], "--kind must be halves or gaps"),
        (["rag", "questions", "made", "--n", "0"], "--n must be"),
        (["rag", "questions", "made", "--negatives", "9"], "--negatives"),
        (["rag", "questions", "made", "--way", "vectors"], "words alone"),
        (["rag", "questions", "made", "--form", "instruct"], "needs --kind gaps"),
        (["rag", "questions", "made", "--unanswerable", "2"], "a share"),
        (["rag", "questions", "made", "--out", "empty.jsonl"], "is there already"),
        (["rag", "questions", "short"], "has no sentence"),
        (["rag", "ask", "tea", "--index", "made", "--rerank", "none"], "--rerank"),
    ],
)  # fmt: skip
def test_refused(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    index().save("made")
    build_index([{"text": "short"}]).save("short")
    (tmp_path / "empty.jsonl").write_text("")
    assert run(*arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_run_needs_rows_for_each_part(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [{"question": f"q{i}", "passage": "right", "negative1": "a"} for i in range(2)]
    path.write_text("\n".join(map(json.dumps, rows)))
    for kind, options in (
        (Rerank, {"negative_columns": "negative1"}),
        (Embed, {"loss": "supervised", "first_column": "question", "second_column": "passage"}),
    ):
        made = kind(resolved(kind.options, {"data": str(path), **options}), progress=False)
        made.note = lambda line: None
        with pytest.raises(OptionError, match="data"):
            made.read_data()


# ------------------------------------------------------------------------------ vectors by search
def test_a_search_among_all_passages():
    rows = [("q1", "one", "x"), ("q1", "two", "x"), ("q2", "three", "one")]
    test = SearchTest.of(rows, ["far"])
    assert test.passages == ["one", "x", "two", "three", "far"]
    assert test.questions == ["q1", "q2"] and test.right == [{0, 2}, {3}]
    vectors = {t: np.eye(5)[i] for i, t in enumerate(test.passages)}
    vectors |= {"q1": np.array([0.5, 0.9, 0.1, 0, 0]), "q2": np.array([0, 0, 0.1, 0.2, 0.3])}
    measures = test.measures(lambda texts: np.stack([vectors[t] for t in texts]))
    assert measures["recall@1"].tolist() == [0, 0] and measures["MRR"].tolist() == [0.5, 0.5]
    assert measures["recall@5"].tolist() == [1, 1]
    lines, stored = compared_searches(test.baseline(), measures, test.baseline())
    assert "before training" in lines and set(stored["MRR"]) == {
        "after", "before", "gain", "baseline", "difference"
    }  # fmt: skip
    assert "before training" not in compared_searches(None, measures, measures)[0]
