"""What takes a language model takes one that is not a GPT, through LanguageModel alone."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_models import Bag, BagConfig, Windowed, WindowedConfig

import tinygrad_llm as tg
from tinygrad_llm import optim
from tinygrad_llm.cli import main
from tinygrad_llm.finetune import (
    GPTClassifier,
    InstructionDataset,
    PreferenceDataset,
    TextClassificationDataset,
    classification_trainer,
    classify,
    freeze,
    instruction_trainer,
    predict,
    preference_trainer,
    respond,
    response_log_probabilities,
    train_only,
)
from tinygrad_llm.finetune.preferences import log_probabilities
from tinygrad_llm.generation import generate
from tinygrad_llm.layers import lora
from tinygrad_llm.models import registry, save_pretrained
from tinygrad_llm.nn import functional as F
from tinygrad_llm.study import compare, trace
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.training import (
    EvaluationBatches,
    TokenBatches,
    Trainer,
    evaluate_perplexity,
    find_checkpoint,
    flops_utilization,
)

SHAPE = {"vocab_size": 290, "context_length": 64, "emb_dim": 16, "drop_rate": 0.1}
TEXT = "to be or not to be, that is the question: ### Instruction: Response " * 12
ENTRIES = [
    {"instruction": f"Say {c}.", "input": "", "output": c * 3, "chosen": c * 3, "rejected": c}
    for c in "abcdefgh"
]
ROWS = [("to be to be", 0), ("the question", 1), ("be to be", 0), ("question that", 1)] * 4


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """Bag is registered, for these tests only."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    registry.register(Bag, BagConfig)


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(TEXT, 290)


def bag(**changes):
    tg.manual_seed(4)
    return Bag(
        {"vocab_size": 290, "context_length": 64, "emb_dim": 16, "drop_rate": 0.1, **changes}
    )


def weights(model):
    return {name: value.array.tobytes() for name, value in model.state_dict().items()}


def pretraining(tokenizer, folder, steps=12):
    ids = np.array(tokenizer.encode(TEXT), np.int32)
    model = bag()
    return Trainer(
        model, optim.AdamW(model.parameters(), lr=1e-2), TokenBatches(ids[:-40], 4, 8, seed=3),
        steps=steps, validation=EvaluationBatches(ids[-40:], 4, 8), folder=folder,
        checkpoint_every=5, progress=False,
    )  # fmt: skip


def test_pretraining_is_saved_resumed_and_built_again(tokenizer, tmp_path):
    whole = pretraining(tokenizer, tmp_path / "whole")
    assert whole.run().val_loss < whole.metrics.lines[0]["val_loss"]
    part = pretraining(tokenizer, tmp_path / "part")
    part.steps = 7
    part.run()
    rest = pretraining(tokenizer, tmp_path / "part")
    rest.run(resume=True)
    assert weights(rest.model) == weights(whole.model)
    checkpoint = find_checkpoint(tmp_path / "part")
    assert checkpoint.config["model"]["class"] == "Bag"
    built = checkpoint.build_model()
    assert isinstance(built, Bag) and weights(built) == weights(whole.model)
    assert pretraining(tokenizer, None).plan().flops > 0
    assert flops_utilization(built, 100.0, 1e9) == 100 * built.flops_per_token(64) / 1e9
    ids = np.array(tokenizer.encode(TEXT), np.int32)
    assert 1 < evaluate_perplexity(built, EvaluationBatches(ids, 4, 8)) < 290


@pytest.mark.parametrize("kind", ["bag", "windowed"])
def test_generation(kind):
    tg.manual_seed(4)
    model = bag() if kind == "bag" else Windowed(WindowedConfig(290, 64))
    model.double().eval()
    prompt = tg.tensor([[3, 5, 7], [280, 1, 4]])
    greedy = generate(model, prompt, 70)  # past the context, where the window slides
    assert greedy.shape == (2, 73)
    assert greedy.tolist() == generate(model, prompt, 70, use_cache=False).tolist()
    for i in range(72):
        seen = greedy[:, max(0, i - 63) : i + 1]
        if i >= 2:
            assert model(seen)[:, -1].argmax(-1).tolist() == greedy[:, i + 1].tolist()
    drawn = generate(model, prompt, 9, temperature=1.0, seed=3)
    assert drawn.tolist() == generate(model, prompt, 9, temperature=1.0, seed=3).tolist()


def test_lora_is_added_merged_and_saved(tmp_path):
    model = bag(drop_rate=0.0)
    before, ids = weights(model), tg.tensor([[1, 2, 3, 4]])
    plain = model(ids)
    lora.add(model, rank=2, names=["mix", "out_head"])
    assert np.array_equal(model(ids).array, plain.array)
    tg.manual_seed(1)
    for p in lora.parameters(model):
        tg.nn.init.normal_(p, 0.0, 0.3)
    adapted = model(ids)
    assert model.loss(ids, ids).item() == pytest.approx(
        F.cross_entropy(adapted.flatten(0, 1), ids.flatten()).item(), rel=1e-5
    )
    lora.save(model, tmp_path)
    fresh = bag(drop_rate=0.0)
    lora.load(fresh, tmp_path)
    assert np.array_equal(fresh(ids).array, adapted.array)
    lora.merge(model)
    assert np.allclose(model(ids).array, adapted.array, atol=1e-5)
    lora.unmerge(model)
    lora.remove(model)
    assert weights(model) == before


@pytest.mark.parametrize("with_lora", [False, True])
def test_instruction_tuning(tokenizer, with_lora, tmp_path):
    model = bag(drop_rate=0.0)
    if with_lora:
        lora.add(model, rank=2)
    data = InstructionDataset(ENTRIES, tokenizer, "phi3")
    trainer = instruction_trainer(
        model, data, data, epochs=4, batch_size=4, lr=1e-2, pad_token_id=tokenizer.eot_token,
        folder=tmp_path, progress=False,
    )  # fmt: skip
    assert trainer.run().val_loss < trainer.metrics.lines[0]["val_loss"]
    built = find_checkpoint(tmp_path).build_model()
    assert weights(built) == weights(model)
    answers = [respond(m, tokenizer, ENTRIES[0], "phi3", max_new_tokens=6) for m in (model, built)]
    assert answers[0] == answers[1]
    with pytest.raises(ValueError, match="max_length is 65, but the model's context is 64 tokens"):
        instruction_trainer(bag(), data, max_length=65)


def test_preference_tuning(tokenizer):
    model = bag(drop_rate=0.0)
    ids = tg.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    mask = tg.tensor([[False, False, True, True], [False, True, True, False]])
    few, whole = (
        response_log_probabilities(model, ids, mask),
        log_probabilities(model(ids), ids, mask),
    )
    assert np.allclose(few.detach().numpy(), whole.detach().numpy(), atol=1e-5)
    data = PreferenceDataset(ENTRIES, tokenizer, "phi3")
    trainer = preference_trainer(
        model, copy.deepcopy(model), data, data, epochs=6, lr=1e-2,
        pad_token_id=tokenizer.eot_token, progress=False,
    )  # fmt: skip
    result = trainer.run()
    assert trainer.metrics.lines[0]["val_loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert result.val_loss < 0.6 and trainer.metrics.lines[-1]["val_margin"] > 0


@pytest.mark.parametrize("pool, causal", [("mean", True), ("first", False), ("last_real", True)])
def test_classification(tokenizer, pool, causal, tmp_path):
    base = bag()
    model = GPTClassifier.from_gpt(
        base, 2, pool, causal, pad_token_id=tokenizer.eot_token, drop_rate=0.0
    )
    assert model.config.model == BagConfig(290, 64, 16, 0.0)
    data = TextClassificationDataset(ROWS, tokenizer, 12, pad_token_id=tokenizer.eot_token)
    trainer = classification_trainer(
        model, data, data, epochs=20, lr=3e-2, folder=tmp_path, progress=False
    )
    assert trainer.run().val_loss < 0.3
    built = find_checkpoint(tmp_path).build_model()
    assert built.config == model.config and weights(built) == weights(model)
    assert np.array_equal(predict(built, data), predict(model.eval(), data))
    assert classify(built, tokenizer, "to be to be", names=["a", "b"])[0] == "a"
    names = train_only(model, ["out_head", "mix"])
    assert {n.rpartition(".")[0] for n in names} == {"out_head", "model.mix"}
    assert freeze(model, "model.*") == [n for n, _ in model.model.named_parameters("model")]


def test_a_trace():
    model = bag()
    with trace(model) as t:
        model.loss(tg.tensor([[1, 2, 3]]), tg.tensor([[2, 3, 4]])).backward()
    assert {"words", "drop", "mix", "norm"} <= set(t.modules)
    assert all(op.backward for op in t.ops if op.path == "mix")


def test_comparing():
    model, ids = bag().eval(), tg.tensor([[1, 2, 3, 4]])
    assert compare(model, copy.deepcopy(model).double(), ids).same
    other = copy.deepcopy(model)
    other.norm.weight.array[3] += 1.0
    assert str(compare(model, other, ids).first.name).startswith("norm ")


def test_transformers_does_not_know_it(tmp_path):
    with pytest.raises(TypeError, match="there is no table of names for a Bag"):
        save_pretrained(bag(), tmp_path / "x")
    assert not (tmp_path / "x").exists()


# ---------------------------------------------------------------------------- the command line
@pytest.fixture
def run(tokenizer, tmp_path, monkeypatch, capsys):
    """A folder with a run of Bag; call(arguments) runs a command there and returns its output."""
    monkeypatch.chdir(tmp_path)
    trainer = pretraining(tokenizer, tmp_path / "runs" / "bag", 5)
    tokenizer.save(tmp_path / "tokenizer.json")
    trainer.files = {"tokenizer.json": Path("tokenizer.json").read_bytes()}
    trainer.run()
    Path("entries.json").write_text(json.dumps(ENTRIES * 3))
    rows = [f'"{text} {i}",{"ab"[label]}' for i, (text, label) in enumerate(ROWS * 2)]
    Path("rows.csv").write_text("\n".join(["text,label", *rows]))

    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main([str(a) for a in arguments])
        shown = capsys.readouterr()
        assert (done.value.code or 0, shown.err) == (0, ""), shown
        return shown.out

    return call


def test_commands(run):
    assert run("generate", "runs/bag", "--prompt", "to be", "--tokens", 5, "--seed", 1)
    base = ["--base", "runs/bag", "--steps", 2, "--plain"]
    style = ["--style", "phi3"]
    out = run(
        "finetune",
        "classify",
        "rows.csv",
        *base,
        "--lora",
        "--lora-names",
        "mix",
        "--drop-rate",
        0.3,
    )
    assert re.search("base +runs/bag.*: 16 channels, context 64, 290 tokens", out)
    assert re.search("^(a|b)  ", run("finetune", "ask", "runs/classify-rows-1", "to be"))
    tuned = find_checkpoint("runs/classify-rows-1").build_model()
    assert isinstance(tuned.model, Bag) and tuned.config.model.drop_rate == 0.3
    assert [n for n, _ in lora.named_layers(tuned)] == ["model.mix"]
    run("finetune", "instruct", "entries.json", *base, *style, "--answers", 1)
    run("finetune", "ask", "runs/instruct-entries-1", "Say a.", "--tokens", 3)
    base[1] = "runs/instruct-entries-1"
    run("finetune", "dpo", "entries.json", *base, *style, "--answers", 1)
    assert isinstance(find_checkpoint("runs/dpo-entries-1").build_model(), Bag)
