"""The calculator: its formulas and limits, calls in answers of a model, their mask, a chat."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.finetune.masks import show_labels
from tinygrad_llm.finetune.reasoning import draw_answers, grpo_trainer, make_questions, tools
from tinygrad_llm.generation import Calculator
from tinygrad_llm.generation.calculator import FormulaError, evaluate
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

END = "<|endoftext|>"


@pytest.mark.parametrize(
    ("formula", "value"),
    [("12*3", 36), ("2^3^2", 512), ("-2^2", -4), ("2**-2", Fraction(1, 4)), ("1/3+1/6", 0.5),
     (" ( 1.5 + .5 ) * 4 ", 8), ("7-2-1", 4), ("8/4/2", 1), ("--3", 3), ("2*-3", -6),
     ("3×4÷6−1", 1), ("0^0", 1)],
)  # fmt: skip
def test_formulas(formula, value):
    assert evaluate(formula) == Fraction(value)


@pytest.mark.parametrize(
    ("formula", "message"),
    [("", "ends too early"), ("1/0", "division by zero"), ("0^-1", "division by zero"),
     ("2^0.5", "whole numbers up to 64"), ("9^99", "whole numbers up to 64"),
     ("9^64^2", "whole numbers"), ("((9^64)^64)", "more than 512 bits"), ("(1", "not closed"),
     ("1)", "does not fit"), ("1 2", "does not fit"), ("2a", "'a' is not part"),
     ("__import__('os')", "'_' is not part"), ("1" * 201, "at most 200 letters"),
     ("(" * 40 + "1" + ")" * 40, "more than 30"), ("1e9", "'e' is not part"), ("+", "too early"),
     ("*2", "does not fit"), ("9" * 190, "more than 512 bits"), ("2^" * 60 + "1", "more than 30")],
)  # fmt: skip
def test_what_is_not_computed(formula, message):
    with pytest.raises(FormulaError, match=message):
        evaluate(formula)


@settings(max_examples=60)
@given(st.text("0123456789+-*/^(). ", max_size=30))
def test_a_formula_is_computed_or_refused(formula):
    """Nothing but a fraction or the one error, as Python has it where both know the text."""
    try:
        value = evaluate(formula)
    except FormulaError:
        return
    assert isinstance(value, Fraction) and value.numerator.bit_length() <= 512


def test_calls():
    tool = Calculator()
    assert tool.answer("He has <<12*3=") == "36>>"
    assert tool.answer("<<1/3=") == "0.3333333333>>" and tool.answer("<<1/4=") == "0.25>>"
    assert tool.answer("<<2^64=") == "1.844674407e+19>>"
    assert tool.answer("<<1/0=") == "error>>" and tool.answer("<<rm -rf=") == "error>>"
    for text in ("", "3+4=", "<<3+4", "<<3+4=7>>", "<<3+4=7>> and 2=", "<<1=2="):
        assert tool.answer(text) is None
    assert tool.answer("<<3+4=7>><<7+1=") == "8>>"
    assert tool.answer("<<" + "1" * 1000 + "=") is None  # its beginning is too far away
    assert "<<12*3=36>>" in tool.instruction


def scripted(monkeypatch, tokenizer, script):
    """generate() for drawing with tools: each row writes on as `script[prompt]` says."""
    calls = []

    def generate(model, rows, most, *, stop_tokens, stop_strings, tokenizer, **sampling):
        calls.append(len(rows))
        end, new = stop_tokens[0], []
        for row in rows:
            text = tokenizer.decode(row)
            prompt = next(p for p in script if text.startswith(p))
            rest = script[prompt][len(text.removeprefix(prompt)) :]
            ids = [*tokenizer.encode_ordinary(rest.rstrip("$")), *([end] * rest.endswith("$"))]
            ids = ids[:most]
            asks = tokenizer.encode_ordinary("=")[0]
            if asks in ids:
                ids = ids[: ids.index(asks) + 1]
            new.append(ids)
        T, widest = max(map(len, new)), max(map(len, rows))
        table = np.full((len(rows), widest + T), end)
        for i, ids in enumerate(new):
            table[i, widest : widest + len(ids)] = ids
        return torch.tensor(table)

    monkeypatch.setattr(tools, "generate", generate)
    return calls


def test_a_tools_words_carry_no_loss(monkeypatch):
    tokenizer = CharTokenizer.train("0123456789+-*/=<>?abc ", (END,))
    end = tokenizer.eot_token
    script = {
        "a?": "<<3+4=7>>b$",  # calls once and ends
        "bb?": "c$",  # does not call
        "c?": "3=3 <<2*2=4>><<4-1=3>>",  # an "=" without a call, two calls, cut
        "ca?": "<<1=1>>$",
    }
    calls = scripted(monkeypatch, tokenizer, script)
    prompts = [tokenizer.encode_ordinary(p) for p in script]
    answers = draw_answers(
        None, tokenizer, prompts, 22, stop_token=end, temperature=0.0, tool=Calculator()
    )
    assert answers.texts == ["<<3+4=7>>b", "c", "3=3 <<2*2=4>><<4-1=3>>", "<<1=1>>"]
    assert answers.finished == [True, True, False, True]
    own = [tokenizer.decode(r[m].tolist()) for r, m in zip(answers.ids, answers.mask, strict=True)]
    assert own == [f"<<3+4=b{END}", f"c{END}", "3=3 <<2*2=<<4-1=", f"<<1={END}"]
    assert answers.lengths == [8, 2, 16, 5] and calls == [4, 3, 1]
    shown = show_labels({"ids": answers.ids, "mask": answers.mask}, tokenizer, colour=False)
    assert "a?[<][<][3][+][4][=]7>>[b]" in shown.splitlines()[0]
    short = draw_answers(
        None, tokenizer, prompts, 7, stop_token=end, temperature=0.0, tool=Calculator()
    )
    assert short.texts == ["<<3+4=7", "c", "3=3 <<2", "<<1=1>>"]  # no room for all of the result
    assert short.finished == [False, True, False, False]


def test_a_run_with_the_calculator():
    """Real draws of a model that calls it by chance: the batch is scored, the model learns."""
    tokenizer = CharTokenizer.train("0123456789+=<>", (END,))
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 24, emb_dim=16, n_heads=2, n_layers=1,
                          drop_rate=0.0))  # fmt: skip
    questions = make_questions("sums", 81)
    trainer = grpo_trainer(
        model, tokenizer, questions, questions[:4], calculator=True, answer_tokens=10, steps=2,
        batch_size=8, end=tokenizer.eot_token, progress=False, patience=100, form_weight=0.2,
        method="ppo", temperature=2.0,
    )  # fmt: skip
    trainer.run(plan=False)
    batch = trainer.stream.batches.drawn(7)
    assert (batch["old"] != 0).eq(batch["mask"]).all()


def test_a_chat_with_the_calculator(monkeypatch):
    """The model's tokens are scripted; the tool's stand between them, and the cache goes on."""
    pytest.importorskip("jinja2")
    from tiny_chat import tiny_model, tiny_tokenizer

    from tinygrad_llm.generation import Conversation, conversation

    model, tokenizer = tiny_model(128), tiny_tokenizer()
    writes = iter(tokenizer.encode_ordinary("So <<6*7=!"))
    seen = []

    def chosen(logits, idx, sampling, generators):
        seen.append(tokenizer.decode(idx[0].tolist()))
        expected = model.eval()(idx)[:, -1]
        np.testing.assert_allclose(logits.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
        return torch.tensor([[next(writes)]])

    monkeypatch.setattr(conversation, "chosen", chosen)
    talk = Conversation(model, tokenizer, max_new_tokens=14, tool=Calculator())
    assert "".join(talk.ask("Hi")) == "So <<6*7=42>>!"
    assert seen[-1].endswith("So <<6*7=42>>") and talk.turn.new_tokens == 14
    writes = iter(tokenizer.encode_ordinary("<<6*7="))
    short = Conversation(model, tokenizer, max_new_tokens=8, tool=Calculator())
    assert "".join(short.ask("Hi")) == "<<6*7=42" and short.turn.ended == "tokens"
