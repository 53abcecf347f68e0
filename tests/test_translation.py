"""finetune translate: pairs as data, batches by tokens, what is written, the run and its files."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.cli import main
from tinygrad_llm.data.batches import ExampleBatches, Stream
from tinygrad_llm.data.parallel import pair_lines, read_parallel
from tinygrad_llm.finetune import translate
from tinygrad_llm.finetune.runs import Translate
from tinygrad_llm.finetune.sequences import (
    PairDataset,
    SequenceLoss,
    collate_pairs,
    sequence_trainer,
    write,
)
from tinygrad_llm.finetune.translation import (
    TranslateOptions,
    TranslationMemory,
    cross_attentions,
    sentence_pairs,
)
from tinygrad_llm.models import T5, T5Config, Transformer, TransformerConfig
from tinygrad_llm.optim.lr_scheduler import WarmupInverseSqrtLR
from tinygrad_llm.text import SimpleTokenizer, load_tokenizer
from tinygrad_llm.training import Checkpoint
from tinygrad_llm.training.settings import resolved

TINY = {"emb_dim": 16, "n_heads": 2, "n_layers": 1, "batch_tokens": 400, "pairs": 200}


# -------------------------------------------------------------------------------- batches by tokens
def lengths(n=300, seed=0):
    return np.random.default_rng(seed).integers(2, 20, (n, 2))


@pytest.mark.parametrize("columns", [1, 2])
def test_batches_by_tokens_hold_all_examples_and_no_more_tokens(columns):
    sizes = lengths()[:, 0] if columns == 1 else lengths()
    batches = ExampleBatches(range(300), 4, list, lengths=sizes, tokens=120, seed=3)
    rows = sizes.reshape(300, -1)
    orders = []
    for epoch in range(3):
        parts = [batches.indices(epoch * len(batches) + i) for i in range(len(batches))]
        assert sorted(np.concatenate(parts).tolist()) == list(range(300))
        assert all(len(p) * rows[p].max(0).sum() <= 120 for p in parts)
        orders.append([p.tolist() for p in parts])
    assert orders[0] != orders[1] != orders[2]
    padding = sum(len(p) * rows[p].max(0).sum() for p in parts) / rows.sum()
    assert padding < 1.35 if columns == 2 else padding < 1.05
    other = ExampleBatches(range(300), 4, list, lengths=sizes, tokens=120, seed=4)
    assert [other.indices(i).tolist() for i in range(len(other))] != orders[0]


def test_batches_by_tokens_continue_where_they_were():
    def made():
        return ExampleBatches(range(90), 4, list, lengths=lengths(90), tokens=60, seed=1)

    stream, again = Stream(made()), Stream(made())
    for _ in range(2 * len(made()) + 3):
        stream.next()
    again.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    assert [stream.next() for _ in range(9)] == [again.next() for _ in range(9)]
    with pytest.raises(ValueError, match="Use the same data and tokens"):
        other = ExampleBatches(range(90), 4, list, lengths=lengths(90), tokens=61)
        other.load_state_dict(made().state_dict())


def test_a_long_example_is_a_batch_by_itself():
    batches = ExampleBatches("abcd", 1, list, lengths=[2, 50, 2, 3], tokens=10)
    assert sorted(len(batches.indices(i)) for i in range(len(batches))) == [1, 3]
    for wrong in ({"lengths": None, "tokens": 5}, {"lengths": [1] * 4, "tokens": 0}):
        with pytest.raises(ValueError, match="tokens="):
            ExampleBatches("abcd", 1, list, **wrong)


# ------------------------------------------------------------------------------------ pairs as data
WORDS = SimpleTokenizer.train("a b c d e <|unk|>", cut="blanks")


def test_pairs_have_their_ends_and_are_cut():
    end = WORDS.eot_token
    data = PairDataset([("a b c d", "b"), ("c", "a b c d e")], WORDS, WORDS, (end, end), 4, 3)
    a, b, c = (WORDS.vocab[w] for w in "abc")
    assert data[0] == ([a, b, c, end], [b, end])
    assert data[1] == ([c, end], [a, b, c]), "a target that was cut has no end"
    assert data.cut == 2 and data.lengths.tolist() == [[4, 2], [2, 3]]
    ids, mask, labels = collate_pairs([data[0], data[1]])
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert ids.tolist()[1] == [c, end, 0, 0] and labels.tolist()[0] == [b, end, -100]
    with pytest.raises(ValueError, match="pair 1, target: .* has no tokens"):
        PairDataset([("a", "b"), ("a", " ")], WORDS, WORDS, (end, end))
    with pytest.raises(ValueError, match="max_source must be at least 2"):
        PairDataset([("a", "b")], WORDS, WORDS, (end, end), 1)


def test_words_of_texts_that_are_cut_already(tmp_path):
    tokenizer = SimpleTokenizer.train("i don 't know . i know .", cut="blanks", min_count=2)
    assert sorted(tokenizer.vocab) == [".", "<|endoftext|>", "<|unk|>", "i", "know"]
    ids = tokenizer.encode("i don 't know .")
    assert tokenizer.decode(ids) == "i <|unk|> <|unk|> know ."
    tokenizer.save(tmp_path / "t.json")
    assert load_tokenizer(tmp_path / "t.json") == tokenizer
    assert SimpleTokenizer.train("i don 't").encode("don't") != tokenizer.encode("don't")
    with pytest.raises(ValueError, match="cut must be punctuation or blanks"):
        SimpleTokenizer({"a": 0}, cut="letters")
    with pytest.raises(ValueError, match="no word occurs 9 times"):
        SimpleTokenizer.train("a b", min_count=9)


def test_parallel_files(tmp_path):
    a, b = tmp_path / "x.ja", tmp_path / "x.en"
    a.write_text("一 。\n\n二 。\n", "utf-8")
    b.write_text("one .\n\ntwo .", "utf-8")
    assert read_parallel(a, b) == [("一 。", "one ."), ("二 。", "two .")]
    b.write_text("one .\n", "utf-8")
    with pytest.raises(ValueError, match="have 3 and 1 lines"):
        read_parallel(a, b)
    with pytest.raises(ValueError, match="line 2 is empty in one"):
        pair_lines(["a", ""], ["b", "c"], "these")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_parallel(a, tmp_path / "none.en")


def test_the_sample_is_the_same_everywhere():
    pairs = sentence_pairs(1500)
    assert len(set(pairs)) == 1500
    assert pairs[:2] == sentence_pairs(2)
    assert all(source.endswith(" 。") and target.endswith(" .") for source, target in pairs)


# -------------------------------------------------------------------------------------- the trainer
def test_the_papers_schedule():
    C, warmup = 16, 5
    optimizer = tg.optim.SGD([tg.nn.Parameter(tg.zeros(1))], lr=(C * warmup) ** -0.5)
    schedule = WarmupInverseSqrtLR(optimizer, warmup)
    for step in range(1, 30):
        paper = C**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert math.isclose(optimizer.param_groups[0]["lr"], paper, rel_tol=1e-12)
        optimizer.step()
        schedule.step()
    with pytest.raises(ValueError, match="at least 1"):
        WarmupInverseSqrtLR(optimizer, 0)


def make_model(kind, vocab):
    if kind == "t5":
        return T5(T5Config(vocab_size=vocab, context_length=32, emb_dim=16, hidden_dim=24,
                           n_layers=1, n_decoder_layers=1, n_heads=2, head_dim=8))  # fmt: skip
    return Transformer(TransformerConfig(vocab_size=vocab, context_length=32, emb_dim=16,
                       hidden_dim=24, n_layers=1, n_decoder_layers=1, n_heads=2))  # fmt: skip


@pytest.mark.parametrize("kind", ["transformer", "t5"])
def test_one_trainer_for_all_encoder_decoders(kind):
    tg.manual_seed(0)
    rows = [("a b c", "c b a"), ("b c", "c b"), ("d a", "a d"), ("e", "e")] * 5
    end = WORDS.eot_token
    data = PairDataset(rows, WORDS, WORDS, (end, end))
    model = make_model(kind, WORDS.vocab_size)
    keywords = {"lr": 5e-3, "label_smoothing": 0.2, "batch_tokens": 40, "progress": False}
    trainer = sequence_trainer(model, data, data, steps=60, **keywords)
    assert trainer.plan().flops > 60 * 6 * 40 * sum(p.numel() for p in model.parameters()) / 3
    result = trainer.run(plan=False)
    assert result.val_loss < 1.2 < math.log(WORDS.vocab_size)
    batch = collate_pairs([data[0], data[1]])
    loss = SequenceLoss(0.2)
    plain = model.eval().loss(batch[0], batch[2], attention_mask=batch[1])
    assert loss(model, batch).item() == plain.item(), "validation losses are not smoothed"
    long = PairDataset([("a " * 40, "b")], WORDS, WORDS, (end, end))
    with pytest.raises(ValueError, match="a text has 41 tokens, but the model's context is 32"):
        sequence_trainer(model, long, steps=1)


def test_what_is_written_does_not_depend_on_its_neighbours():
    tg.manual_seed(1)
    model = make_model("transformer", WORDS.vocab_size).train()
    end = WORDS.eot_token
    sources = [[*WORDS.encode(t), end] for t in ("a b c d", "e", "b a", "c c c", "d e a")]
    for options in ({}, {"num_beams": 3}, {"temperature": 1.0, "seed": 5}):
        together = write(model, sources, 9, end=end, **options)
        alone = write(model, sources, 9, end=end, batch_size=1, **options)
        assert together == alone and all(end not in ids for ids in together)
    assert model.training


def test_maps_of_cross_attention():
    tg.manual_seed(2)
    model = make_model("transformer", WORDS.vocab_size)
    end = WORDS.eot_token
    source, target = [*WORDS.encode("a b c"), end], [*WORDS.encode("c b"), end]
    maps = cross_attentions(model, (WORDS, WORDS), source, target)
    assert [w.shape for w in maps.weights] == [(2, 3, 4)]
    assert maps.source == ["a", "b", "c", "<|endoftext|>"] and maps.target[:2] == ["c", "b"]
    np.testing.assert_allclose(maps.mean().sum(-1), 1.0, atol=1e-6)
    # The layer's output from these weights is what the layer itself returns.
    cross, kept = model.eval().decoder.trf_blocks[0].cross, {}
    hook = cross.register_forward_hook(
        lambda m, args, options, y: kept.update(x=args[0], memory=options["memory"], y=y),
        with_kwargs=True,
    )
    with tg.no_grad():
        model(tg.tensor([source]), model.shifted(tg.tensor([target])))
        hook.remove()
        values = cross.kv(kept["memory"])[..., 16:].view(1, 4, 2, 8).transpose(1, 2)  # (1, H, S, D)
        y = tg.from_numpy(maps.weights[0][None]) @ values  # (1, H, T, D)
        y = cross.out_proj(y.transpose(1, 2).reshape(1, 3, 16))
    assert (y - kept["y"]).abs().max().item() < 1e-6


def test_the_translation_memory_finds_the_most_similar_sentence():
    memory = TranslationMemory([[1, 2, 3], [1, 4], [5, 5, 6]], ["x", "y", "z"])
    assert memory.translate([[1, 2, 3], [4, 4, 1], [6, 5, 9], [7]]) == ["x", "y", "z", "x"]
    with pytest.raises(ValueError, match="pair them"):
        TranslationMemory([], [])


# ------------------------------------------------------------------------------------------ the run
def call(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        main([str(a) for a in arguments])
    shown = capsys.readouterr()
    return done.value.code or 0, shown.out, shown.err


def flags(settings):
    return [x for k, v in settings.items() for x in (f"--{k.replace('_', '-')}", v)]


def test_a_run_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Its lines, its files, and asking."""
    monkeypatch.chdir(tmp_path)
    command = ["finetune", "translate", "sample", *flags(TINY), "--out", "a", "--beams", "2"]
    code, out, err = call(capsys, *command, "--steps", 30)
    assert code == 0, err
    for line in (
        r"data +sample, ja to en: 200 pairs for training, 75 for validation, 76 for the test",
        r"tokenizers +words, \d+ and \d+ tokens",
        r"time +about .* as just measured, [\d,]+ tokens/s",
        r"translation memory +\d+\.\d\d \[.*\] .* s  \(the baseline\)",
        r"greedy +\d+\.\d\d \[ *\d+\.\d\d, +\d+\.\d\d\]",
        r"2 beams - greedy: [+-]\d",
        r"sampled, temperature 0.7",
        r"validation loss +\d\.\d{4} \(nats per token; perplexity",
    ):
        assert re.search(line, out), f"{line} not in\n{out}"
    rows = json.loads(Path("a/translations.json").read_text("utf-8"))
    assert len(rows) == 76 and {"source", "expected", "greedy", "2 beams"} < set(rows[0])
    scores = json.loads(Path("a/test.json").read_text("utf-8"))["scores"]
    assert scores["greedy"]["low"] <= scores["greedy"]["bleu"] <= scores["greedy"]["high"]
    assert Path("a/attention.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = call(capsys, "finetune", "ask", "a", "彼 は 水 を 飲み ます 。", "--beams", 2)
    assert code == 0 and out.strip(), err
    long = " ".join(["水"] * 80)
    assert "reads at most 64" in call(capsys, "finetune", "ask", "a", long)[2]


def test_a_run_goes_on_from_a_checkpoint_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(Translate, "report", lambda run, result: None)
    settings = {**TINY, "data": "sample", "steps": 8, "checkpoint_every": 4, "folder": "x"}
    whole = Translate(resolved(TranslateOptions, settings, {"folder": tmp_path / "a"}), False)
    whole.run()
    checkpoint = Checkpoint.open(tmp_path / "a/checkpoints/step-00000004")
    rest = Translate.continued(checkpoint, {}, {}, False)
    assert rest.o.steps == 8 and rest.folder == tmp_path / "a"
    rest.run()
    for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    assert rest.source_tokenizer == whole.source_tokenizer != whole.tokenizer


def test_a_folder_and_a_table_of_the_user(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = sentence_pairs(60)
    Path("mine").mkdir()
    for part, rows in {"train": pairs[:40], "dev": pairs[40:50], "test": pairs[50:]}.items():
        for side, language in enumerate(("ja", "en")):
            Path("mine", f"{part}.{language}").write_text("\n".join(r[side] for r in rows), "utf-8")
    table = "\n".join(["ja\ten", *map("\t".join, pairs)])
    Path("mine.tsv").write_text(table, "utf-8")
    for data in ("mine", "mine.tsv"):
        run = Translate(resolved(TranslateOptions, {**TINY, "data": data, "shared": True}), False)
        run.prepare()
        assert run.source_tokenizer is run.tokenizer and run.more_tokenizers() == {}
        assert len(run.train) + len(run.val) + len(run.test) == 60
    options = {**TINY, "data": "mine", "tokenizer": "bpe", "vocab_size": 300}
    run = Translate(resolved(TranslateOptions, options), False)
    run.prepare()
    assert run.tokenizer.vocab_size == 300 and set(run.more_tokenizers()) == {"source_tokenizer"}


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"target": "ja"}, "name two languages"),
        ({"tokenizer": "char"}, "tokenizer must be words or bpe"),
        ({"beams": "2,x"}, "beams must be numbers from 1 to 64"),
        ({"n_heads": 3}, "must be a multiple of"),
        ({"schedule": "linear"}, "schedule must be cosine or inverse_sqrt"),
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "leave nothing"),
        ({"data": "nowhere.tsv"}, "there is no file nowhere.tsv"),
    ],
)
def test_what_cannot_be(wrong, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Translate(resolved(TranslateOptions, {**TINY, **wrong}), False).prepare()


def test_translate_needs_tokens_and_a_context():
    model = make_model("transformer", WORDS.vocab_size)
    assert isinstance(translate(model, (WORDS, WORDS), "a b", max_new_tokens=4), str)
    with pytest.raises(ValueError, match="has no tokens"):
        translate(model, (WORDS, WORDS), " ")
    with pytest.raises(ValueError, match="the model reads at most 32"):
        translate(model, (WORDS, WORDS), "a " * 40)
    bare = SimpleTokenizer.train("a b", special_tokens=())
    with pytest.raises(ValueError, match="a token that ends texts"):
        translate(model, (bare, bare), "a")
