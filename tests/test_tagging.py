"""Named entities: tags of spans, files, tokens with places, scores, the tagger, its command."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.data.bio import Entity, bio_labels, bio_rules, from_bio, in_characters, to_bio
from tinygrad_llm.evaluation import entity_report, plot_entities, tag_report
from tinygrad_llm.finetune import tag, tagging_trainer
from tinygrad_llm.finetune.tagging import (
    Annotated,
    EntityDictionary,
    TaggingDataset,
    characters,
    collate_tagging,
    evaluate_tagger,
    placed,
    read_annotated,
)
from tinygrad_llm.finetune.tagging.sample import annotated_texts
from tinygrad_llm.finetune.tagging.tagger import _pieces
from tinygrad_llm.models import GPT, Bert, BertConfig, BertForMaskedLM, GPTConfig, Tagger, registry
from tinygrad_llm.testing import assert_close
from tinygrad_llm.text import BPETokenizer, CharTokenizer
from tinygrad_llm.text.tokenizer import ENCODER_TOKENS

TEXT = "山田太郎は東京都で生まれた。"
ENTITIES = [Entity(0, 4, "人名"), Entity(5, 8, "地名")]
SIZES = dict(vocab_size=40, context_length=24, emb_dim=8, n_heads=2, n_layers=1)


# ------------------------------------------------------------------------------------------- tags
def test_spans_to_tags_and_back():
    spans = [(i, i + 1) for i in range(len(TEXT))]
    tags, inexact = to_bio(ENTITIES, spans)
    assert tags == ["B-人名", *["I-人名"] * 3, "O", "B-地名", "I-地名", "I-地名", *["O"] * 6]
    assert inexact == [] and in_characters(from_bio(tags), spans) == ENTITIES


def test_borders_within_a_token_are_reported():
    spans = [(0, 3), (3, 6), (6, 9), (9, 14)]
    tags, inexact = to_bio(ENTITIES, spans)
    assert tags == ["B-人名", "I-人名", "B-地名", "O"]  # the second token belongs to the first one
    assert inexact == ENTITIES
    assert to_bio([Entity(20, 22, "x")], spans) == (["O"] * 4, [Entity(20, 22, "x")])


@given(st.data())
def test_any_entities_survive(data):
    """Entities that do not overlap, adjacent ones of one type too, over tokens of any lengths."""
    cuts = sorted(data.draw(st.sets(st.integers(1, 30), max_size=12)))
    spans = list(zip([0, *cuts], [*cuts, 31], strict=True))
    places = sorted(data.draw(st.sets(st.integers(0, len(spans)), max_size=6)))
    entities = [
        Entity(spans[a][0], spans[b - 1][1], data.draw(st.sampled_from("xy")))
        for a, b in zip(places[::2], places[1::2], strict=False)
    ]  # fmt: skip
    tags, inexact = to_bio(entities, spans)
    assert not inexact
    for strict in (False, True):
        assert in_characters(from_bio(tags, strict), spans) == entities
    first, following = bio_rules(bio_labels("xy"))
    number = {t: k for k, t in enumerate(bio_labels("xy"))}
    path = [number[t] for t in tags]
    assert first[path[0]] and all(following[a, b] for a, b in zip(path, path[1:], strict=False))


def test_tags_that_are_not_legal():
    tags = ["I-x", "O", "B-x", "I-y", "I-y"]
    assert from_bio(tags) == [Entity(0, 1, "x"), Entity(2, 3, "x"), Entity(3, 5, "y")]
    assert from_bio(tags, strict=True) == [Entity(2, 3, "x")]
    for wrong in ("X", "B", "B-", "S-x", "o", ""):
        with pytest.raises(ValueError, match="expected O, B-type or I-type"):
            from_bio([wrong])


# ------------------------------------------------------------------------------------------ files
def written(tmp_path, rows, name="a.json"):
    path = tmp_path / name
    path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    return path


OURS = {"text": TEXT, "entities": [{"name": "山田太郎", "span": [0, 4], "type": "人名"},
                                   {"span": [5, 8], "type": "地名"}]}  # fmt: skip
RESULT = [
    {"id": "a", "from_name": "label", "to_name": "text", "type": "labels",
     "value": {"start": 5, "end": 8, "text": "東京都", "labels": ["地名"]}},
    {"id": "b", "from_name": "c", "to_name": "text", "type": "choices", "value": {"choices": []}},
    {"id": "c", "from_name": "label", "to_name": "text", "type": "labels",
     "value": {"start": 0, "end": 4, "labels": ["人名"]}},
]  # fmt: skip
TASK = {"id": 1, "data": {"text": TEXT}, "annotations": [
    {"was_cancelled": True, "result": []}, {"was_cancelled": False, "result": RESULT},
]}  # fmt: skip
MIN = {"id": 1, "text": TEXT, "label": [v["value"] for v in RESULT[::2]], "annotator": 1}


@pytest.mark.parametrize("row", [OURS, TASK, MIN], ids=["ours", "Label Studio", "JSON-MIN"])
def test_forms_of_files(row, tmp_path):
    rows = read_annotated(written(tmp_path, [row, {"text": "空。"}]))
    assert rows == [Annotated(TEXT, tuple(ENTITIES)), Annotated("空。", ())]
    lines = tmp_path / "a.jsonl"
    lines.write_text("\n".join(json.dumps(r) for r in (row, {"text": "空。"})), "utf-8")
    assert read_annotated(lines) == rows


def changed(row, **changes):
    return {**row, **changes}


@pytest.mark.parametrize(
    "row, words",
    [
        ({"entities": []}, "entry 1 has no 'text'; it has entities"),
        ({"text": None}, "entry 1: its text should be a text, got None"),
        ({"text": " "}, "entry 1: its text is empty"),
        ({"text": "a", "entities": {}}, "entry 1: 'entities' should be a list"),
        ({"text": "a", "entities": [3]}, "entry 1, entity 0: it should be an object, got 3"),
        ({"text": "ab", "entities": [{"span": [0, 3], "type": "x"}]}, "0 <= start < end <= 2"),
        ({"text": "ab", "entities": [{"span": [1, 1], "type": "x"}]}, "0 <= start < end <= 2"),
        ({"text": "ab", "entities": [{"span": [0.0, 1], "type": "x"}]}, "got 0.0 and 1"),
        ({"text": "ab", "entities": [{"span": [True, 2], "type": "x"}]}, "got True and 2"),
        ({"text": "ab", "entities": [{"span": "01", "type": "x"}]}, r"should be \[start, end\]"),
        ({"text": "ab", "entities": [{"span": [0, 1], "type": ""}]}, "its type should be a name"),
        ({"text": "ab", "entities": [{"span": [0, 1], "type": "x", "name": "b"}]},
         "called 'b', but at 0 … 1 the text has 'a'"),
        ({"text": "abc", "entities": [{"span": [n, n + 2], "type": "x"} for n in (0, 1)]},
         "'ab' and 'bc' overlap"),
        ({"data": [], "annotations": []}, "'data' should be an object"),
        ({"data": {"text": "a"}, "annotations": []}, "entry 1 has no annotation"),
        ({"data": {"text": "a"}, "annotations": [{"result": 5}]}, "'result' should be a list"),
        ({"text": "ab", "label": [{"start": 0, "end": 1, "labels": ["x", "y"]}]}, "a list of one"),
    ],
)  # fmt: skip
def test_wrong_entries_are_named(row, words, tmp_path):
    with pytest.raises(ValueError, match=words) as error:
        read_annotated(written(tmp_path, [OURS, row]))
    assert "a.json" in str(error.value)


# ----------------------------------------------------------------------------------------- tokens
def test_characters_and_unknown_ones():
    tokenizer = characters(["東京都", "東京で", "山"], ENCODER_TOKENS)
    assert tokenizer.characters == "京東"  # in two texts
    ids, spans = placed("東🗼京", tokenizer)
    unknown = tokenizer.special_tokens["[UNK]"]
    assert ids[1:-1] == [1, unknown, 0]
    assert spans == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 3)]
    assert placed("東京東京", tokenizer, 4)[1] == [(0, 0), (0, 1), (1, 2), (2, 2)]
    with pytest.raises(ValueError, match="U\\+5C71"):
        placed("山", CharTokenizer("東"))


@given(st.text("ab山東 é🗼\n", max_size=20))
def test_places_of_bytes(text):
    """A BPE's tokens cover the text in order; those within a character have all of it."""
    tokenizer = BPETokenizer.train("ab ab é東京 山 abab " * 9, 268)
    ids, spans = placed(text, tokenizer)
    assert len(ids) == len(spans)
    for i, (a, b) in zip(ids, spans, strict=True):
        piece = tokenizer.decode([i])
        assert text[a:b] == (piece.strip() or piece) or "\ufffd" in piece
    covered = "".join(c for n, c in enumerate(text) if any(a <= n < b for a, b in spans))
    assert covered.split() == text.split() or "".join(covered.split()) == "".join(text.split())


def test_places_in_a_normalised_text(tmp_path):
    """WordPiece in small letters without accents, with a word that it does not know."""
    from tinygrad_llm.text import from_pretrained

    words = [*ENCODER_TOKENS, "cafe", "in", "tok", "##yo", "!", "is", "open"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}), "utf-8"
    )
    tokenizer = from_pretrained(tmp_path)
    text = "Café Zzz in  Tokyo!"
    ids, spans = placed(text, tokenizer)
    assert [text[a:b] for a, b in spans] == ["", "Café", " Zzz ", "in", "Tok", "yo", "!", ""]
    assert tokenizer.decode(ids[1:2]) == "cafe"


# ----------------------------------------------------------------------------------------- scores
def test_scores_by_hand():
    a, b, c = Entity(0, 2, "x"), Entity(3, 5, "x"), Entity(6, 9, "y")
    true = [[a, b, c], [a], []]
    predicted = [[a, Entity(3, 5, "y"), Entity(7, 9, "y")], [], [b]]
    report = entity_report(true, predicted)
    assert report.micro == pytest.approx((1 / 4, 1 / 4, 1 / 4, 4))
    assert report.per_type["x"] == pytest.approx((1 / 2, 1 / 3, 2 / 5, 3))
    assert report.per_type["y"] == pytest.approx((0.0, 0.0, 0.0, 1))
    assert report.macro == pytest.approx((1 / 4, 1 / 6, 1 / 5, 4))
    assert report.errors == {"right": 1, "wrong type": 1, "wrong boundary": 1,
                             "wrong type and boundary": 0, "missed": 1, "spurious": 1}  # fmt: skip
    assert report.confusion.tolist() == [[1, 1, 1], [0, 1, 0], [1, 0, 0]]
    assert report.worst() == [0, 1, 2] and report.f1 in report.interval
    table = report.worst_table(["ab cd efg", "ab", "xyzuv"], 1)
    assert table.split("\n") == ["ab cd efg", "  wrong type               cd (x) -> cd (y)",
                                 "  wrong boundary           efg (y) -> fg (y)"]  # fmt: skip


def test_nothing_to_score():
    report = entity_report([[], []], [[], []])
    assert report.micro == (0.0, 0.0, 0.0, 0) == report.macro and report.types == []
    assert "all" in str(report)
    with pytest.raises(ValueError, match="1 texts with true entities, 0 with predicted"):
        entity_report([[]], [])
    with pytest.raises(ValueError, match="row 0 has 1 true and 2 predicted tags"):
        tag_report([["O"]], [["O", "O"]])


def test_a_plot(tmp_path):
    report = entity_report([ENTITIES], [ENTITIES[:1]])
    path = plot_entities(report, tmp_path / "a.png", entity_report([ENTITIES], [[]]))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_dictionary():
    """The longest name, its most frequent type, and none that is mostly not an entity."""
    rows = [
        Annotated("東京都と東京", (Entity(0, 3, "a"), Entity(4, 6, "b"))),
        Annotated("東京", (Entity(0, 2, "b"),)), Annotated("との人と", (Entity(0, 1, "a"),)),
    ]  # fmt: skip
    known = EntityDictionary(rows)
    assert known.types == {"東京都": "a", "東京": "b"}
    assert known.tag("東京と東京都") == [Entity(0, 2, "b"), Entity(3, 6, "a")]
    assert EntityDictionary([Annotated("x", ())]).tag("x") == []


# ----------------------------------------------------------------------------------------- models
def base(name):
    torch.manual_seed(0)
    if name == "gpt":
        return GPT(GPTConfig(**SIZES)).eval()
    config = registry.masked()[name].presets["tiny"].resized(**SIZES)
    own = {"pad_token_id": None} if name == "roberta" else {}
    return registry.build_from(config.resized(**config.dropout(0.0), **own)).eval()


@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("name", ["gpt", "bert", "modernbert"])
def test_padding_changes_nothing(name, crf):
    """Loss, tags and gradients of a batch are those of its texts alone."""
    model = Tagger.from_base(base(name), ["x", "y"], crf, pad_token_id=39, drop_rate=0.0)
    model = model.double().eval()
    rows = [([1, 2, 3, 4, 5], [0, 1, 2, 0, 3]), ([7, 8], [3, 4]), ([9], [0])]
    ids, labels = collate_tagging(rows, 39)
    model.loss(ids, labels).backward()
    together = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    total = 0.0
    for own, tags in rows:
        loss = model.loss(torch.tensor([own]), torch.tensor([tags])) * (len(own) / 8)
        loss.backward()
        total += loss.item()
    assert model.loss(ids, labels).item() == pytest.approx(total, rel=1e-12)
    for name, p in model.named_parameters():
        assert_close(together[name], p.grad, rtol=1e-9, atol=1e-12)
    paths = model.decode(ids)
    assert paths == [model.decode(torch.tensor([own]))[0] for own, _ in rows]
    for path in paths:
        tags = [model.labels[k] for k in path]
        assert from_bio(tags) == from_bio(tags, strict=True)


def test_the_whole_text_is_seen():
    """Also by a GPT: a later token changes what the first one gets."""
    for name in ("gpt", "bert"):
        model = Tagger.from_base(base(name), ["x"], pad_token_id=39).eval()
        a, b = (model(torch.tensor([[1, 2, n]]))[0, 0] for n in (3, 4))
        assert not np.allclose(a.detach().numpy(), b.detach().numpy())


def test_described_and_built_again():
    model = Tagger.from_base(BertForMaskedLM(BertConfig(**SIZES, hidden_dim=8)), ("x", "y"), False)
    other = registry.build(json.loads(json.dumps(registry.describe(model))))
    assert isinstance(other, Tagger) and isinstance(other.model, Bert)
    assert other.config == model.config and other.labels == ["O", "B-x", "I-x", "B-y", "I-y"]
    other.load_state_dict(model.state_dict())
    for types, words in (((), "at least one"), (("x", "x"), "different"), ("xy", "names")):
        with pytest.raises((TypeError, ValueError), match=words):
            Tagger(base("bert"), list(types) if types != "xy" else [3], True)
    with pytest.raises(TypeError, match="an encoder or a language model, got Linear"):
        Tagger(torch.nn.Linear(2, 2), ["x"])
    with pytest.raises(ValueError, match="pad_token_id must be a token"):
        Tagger(base("bert"), ["x"], pad_token_id=40)


def test_rows_that_cannot_be_used():
    tokenizer = characters(["ab", "ab"], ENCODER_TOKENS)
    labels = bio_labels(["x"])
    with pytest.raises(ValueError, match="no texts"):
        TaggingDataset([], tokenizer, labels)
    with pytest.raises(ValueError, match="row 0: the type 'y'"):
        TaggingDataset([Annotated("ab", (Entity(0, 1, "y"),))], tokenizer, labels)
    data = TaggingDataset([Annotated("abab", (Entity(2, 4, "x"),))], tokenizer, labels, limit=4)
    assert data.cut == 1 and data.inexact == [(0, Entity(2, 4, "x"))]
    model = Tagger.from_base(base("bert"), ["x"])
    long = TaggingDataset([Annotated("ab" * 20, ())], tokenizer, labels)
    with pytest.raises(ValueError, match="the longest text is 42"):
        tagging_trainer(model, long, steps=1)


@pytest.fixture(scope="module")
def trained():
    """A tagger that knows which of two letters is a name."""
    rows = [Annotated(t, tuple(Entity(m.start(), m.end(), "x") for m in re.finditer("a+", t)))
            for t in ("aab.", "baa.", "bbab.", "abb.", "bb.")]  # fmt: skip
    tokenizer = characters([r.text for r in rows], ENCODER_TOKENS)
    torch.manual_seed(1)
    config = BertConfig(**{**SIZES, "vocab_size": tokenizer.vocab_size, "context_length": 12})
    model = Tagger(Bert(config), ["x"], True, tokenizer.pad_token, 0.0)
    data = TaggingDataset(rows, tokenizer, model.labels)
    tagging_trainer(model, data, steps=70, batch_size=5, lr=0.03, progress=False, graph=False).run()
    return model, tokenizer, rows


def test_it_learns_and_answers(trained):
    model, tokenizer, rows = trained
    assert evaluate_tagger(model, tokenizer, rows).f1 == 1.0
    assert tag(model, tokenizer, "aab.") == [Entity(0, 2, "x")]
    assert tag(model, tokenizer, "") == [] == tag(model, tokenizer, "bb.")


def test_a_long_text_is_read_in_pieces(trained):
    """More tokens than the context: cut behind sentences, places counted through all of it."""
    model, tokenizer, _ = trained
    text = "aab. bb. baa.\nbb. abb. " * 4 + "b" * 25
    pieces = _pieces(text, tokenizer, model.context_length)
    assert "".join(piece for _, piece in pieces) == text
    assert [text[at : at + len(piece)] for at, piece in pieces] == [piece for _, piece in pieces]
    assert all(len(placed(p, tokenizer)[0]) <= model.context_length + 1 for _, p in pieces)
    assert all(piece.rstrip().endswith(".") for at, piece in pieces if at + len(piece) < 88)
    expected = [
        Entity(at + e.start, at + e.end, e.type)
        for at, piece in pieces for e in tag(model, tokenizer, piece.rstrip())
    ]  # fmt: skip
    assert tag(model, tokenizer, text) == expected and len(pieces) > 8


# ---------------------------------------------------------------------------------------- command
def run(*arguments):
    """The exit code."""
    with pytest.raises(SystemExit) as done:
        main(list(arguments))
    return done.value.code or 0


def test_the_command_and_its_answers(tmp_path, monkeypatch, capsys):
    """From a Label Studio export to a run, its report, a resumed run, and entities of a text."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"data": {"text": r.text}, "annotations": [{"result": [
            {"type": "labels", "value": {"start": e.start, "end": e.end, "labels": [e.type]}}
            for e in r.entities]}]}
        for r in annotated_texts(60)
    ]  # fmt: skip
    written(tmp_path, rows, "export.json")
    small = ["--emb-dim", "8", "--n-layers", "1", "--n-heads", "2", "--steps", "4"]
    assert run("finetune", "ner", "export.json", "--out", "r", *small) == 0
    out = capsys.readouterr().out
    for words in ("60 texts; 48 for training", "test F1", "baseline", "difference", "missed"):
        assert words in out
    numbers = json.loads((tmp_path / "r" / "test.json").read_text("utf-8"))
    assert set(numbers) == {"model", "baseline", "difference"}
    assert (tmp_path / "r" / "entities.png").is_file()
    assert run("finetune", "ner", "--resume", "r", "--steps", "6") == 0
    assert "resuming" in capsys.readouterr().out
    assert run("finetune", "ask", "r", "Kamoroa moved from Rilave.") == 0
    for line in capsys.readouterr().out.splitlines():
        assert re.fullmatch(r".+  (person|place|company)", line)
    (tmp_path / "r" / "wrong.json").write_text("[{}]", "utf-8")
    assert run("finetune", "ner", "r/wrong.json") == 2
    assert "entry 0 has no 'text'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--no-crf", "--model", "gpt", "--no-constrained"],
        ["--model", "bert", "--tokenizer", "bpe", "--lora"],
    ],
)
def test_other_models_and_tokenizers(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--emb-dim", "8", "--n-layers", "1", "--n-heads", "2", "--steps", "2"]
    assert run("finetune", "ner", "sample", "--out", "r", *small, *options) == 0
    assert "test F1" in capsys.readouterr().out


def test_the_published_data():
    """Every entity is a span of characters that tags can say, and none overlaps another."""
    rows = read_annotated(data_file("ner-wikipedia-ja.json"))
    counts = Counter(e.type for row in rows for e in row.entities)
    assert len(rows) == 5343 and counts.total() == 13185
    assert counts["人名"] == 2980 and counts["イベント名"] == 1009 and len(counts) == 8
    some = rows[::20]
    tokenizer = characters([row.text for row in some], ENCODER_TOKENS)
    data = TaggingDataset(some, tokenizer, bio_labels(sorted(counts)))
    assert data.inexact == [] and data.cut == 0
