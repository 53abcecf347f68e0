"""Instruction tuning: the trainer, and what is cut out of what the model writes."""

from __future__ import annotations

import pytest

import tinygrad_llm as torch
from tinygrad_llm.finetune import (
    STYLES,
    InstructionDataset,
    extract_response,
    instruction_trainer,
    respond,
    respond_to_all,
    word_overlap,
)
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT
from tinygrad_llm.text import BPETokenizer

ALPACA = STYLES["alpaca"]
ENTRIES = [
    {"instruction": "Say the colour.", "input": colour, "output": f"It is {colour}."}
    for colour in ("red", "blue", "green", "pink")
]


@pytest.fixture(scope="module")
def tokenizer():
    text = "".join(ALPACA.prompt(e) + ALPACA.answer(e["output"]) for e in ENTRIES) * 3
    return BPETokenizer.train(text, 330)


def model(tokenizer, **changes):
    shape = dict(vocab_size=tokenizer.vocab_size, context_length=128, emb_dim=32, n_heads=2)
    return GPT({**shape, "n_layers": 1, "drop_rate": 0.0, **changes})


# --------------------------------------------------------------------------------- extraction
PROMPT = ALPACA.prompt({"instruction": "Name a fruit."})


@pytest.mark.parametrize(
    "written, expected",
    [
        ("\n\n### Response:\nAn apple.", "An apple."),
        ("\n\n### Response:\n\n An apple.\n", "An apple."),
        ("An apple.", "An apple."),
        ("\n\n### Response:\nAn apple.\n\n### Instruction:\nName a", "An apple."),
        ("\n\n### Response:\nAn apple.\n\n### Response:\nA pear.", "An apple."),
        ("\n\n### Response:\n", ""),
        ("", ""),
        ("\n\n### Response:\n1 < 2\n### Heading", "1 < 2\n### Heading"),
    ],
)
def test_the_response_alone(written, expected):
    assert extract_response(PROMPT + written, PROMPT) == expected


def test_the_other_style():
    style = STYLES["phi3"]
    prompt = style.prompt({"instruction": "Name a fruit."})
    written = "\n<|assistant|>\nAn apple.\n<|user|>\nAnd"
    assert extract_response(prompt + written, prompt, "phi3") == "An apple."


def test_a_text_without_its_prompt():
    with pytest.raises(ValueError, match="does not begin with the prompt: 'Hello'"):
        extract_response("Hello", PROMPT)


@pytest.mark.parametrize(
    "response, expected, score",
    [
        ("It is red.", "it is RED", 1.0),
        ("blue", "It is red.", 0.0),
        ("It is blue.", "It is red.", 2 / 3),
        ("red red red", "red", 0.5),
        ("", "red", 0.0),
        ("", "", 1.0),
    ],
)
def test_word_overlap(response, expected, score):
    assert word_overlap(response, expected) == pytest.approx(score)


# ----------------------------------------------------------------------------------- training
@pytest.mark.parametrize("mask_instruction", [False, True])
def test_it_learns_the_answers(tokenizer, mask_instruction, tmp_path):
    data = InstructionDataset(ENTRIES, tokenizer)
    gpt = model(tokenizer)
    trainer = instruction_trainer(
        gpt, data, data, epochs=90, batch_size=4, lr=1e-2, mask_instruction=mask_instruction,
        pad_token_id=tokenizer.eot_token, folder=tmp_path, progress=False,
    )  # fmt: skip
    result = trainer.run()
    assert result.val_loss < 0.1 < trainer.metrics.lines[0]["val_loss"]
    for answered in respond_to_all(gpt, tokenizer, ENTRIES):
        assert answered["model_response"] == answered["output"]
    assert not any("model_response" in entry for entry in ENTRIES)


def test_only_what_counts_is_counted(tokenizer):
    data = InstructionDataset(ENTRIES, tokenizer)
    lengths = [(len(ids), start) for ids, start in data.examples]
    for mask, expected in (
        (False, sum(n for n, _ in lengths)),
        (True, sum(n - (start - 1) for n, start in lengths)),
    ):
        trainer = instruction_trainer(
            model(tokenizer), data, epochs=1, batch_size=4, mask_instruction=mask,
            pad_token_id=tokenizer.eot_token, progress=False,
        )  # fmt: skip
        assert trainer.run().tokens == expected


def test_with_lora(tokenizer):
    gpt = model(tokenizer)
    lora.add(gpt, rank=2, names=["att.*"])
    data = InstructionDataset(ENTRIES, tokenizer)
    trainer = instruction_trainer(
        gpt, data, data, epochs=5, lr=1e-2, pad_token_id=tokenizer.eot_token, progress=False
    )
    result = trainer.run()
    assert trainer.config["lora"]["names"] == ["trf_blocks.0.att.qkv", "trf_blocks.0.att.out_proj"]
    assert result.val_loss < trainer.metrics.lines[0]["val_loss"]


# ---------------------------------------------------------------------------------- answering
def test_generation_ends_at_the_end_of_text(tokenizer):
    gpt = model(tokenizer)
    with torch.no_grad():
        gpt.out_head.weight.zero_()
        gpt.out_head.weight[tokenizer.eot_token] = 1.0
        gpt.final_norm.weight.zero_()
        gpt.final_norm.bias.fill_(1.0)
    assert respond(gpt, tokenizer, ENTRIES[0]) == ""
    expected = tokenizer.encode("a")[0]
    with torch.no_grad():
        gpt.out_head.weight.zero_()
        gpt.out_head.weight[expected] = 1.0
    assert respond(gpt, tokenizer, ENTRIES[0], max_new_tokens=3) == "aaa"
    seen = []
    respond_to_all(
        gpt, tokenizer, ENTRIES[:2], max_new_tokens=1, progress=lambda i, n: seen.append((i, n))
    )
    assert seen == [(1, 2), (2, 2)]


def test_sampling_is_repeatable(tokenizer):
    gpt = model(tokenizer)
    say = lambda seed: respond(  # noqa: E731
        gpt, tokenizer, ENTRIES[0], max_new_tokens=8, temperature=1.0, seed=seed
    )
    assert say(1) == say(1) != say(2)


def test_a_prompt_without_room(tokenizer):
    with pytest.raises(ValueError, match="leaves no room in the context of 16: 'Say the colour.'"):
        respond(model(tokenizer, context_length=16), tokenizer, ENTRIES[0])


def test_what_the_trainer_refuses(tokenizer):
    data = InstructionDataset(ENTRIES, tokenizer)
    with pytest.raises(ValueError, match="max_length is 129, but the model's context is 128"):
        instruction_trainer(model(tokenizer), data, max_length=129)
    with pytest.raises(ValueError, match="entry 0: its prompt has .* cut at max_length=8 before"):
        instruction_trainer(model(tokenizer), data, max_length=8, mask_instruction=True)
    with pytest.raises(ValueError, match="has no examples"):
        instruction_trainer(model(tokenizer), InstructionDataset([], tokenizer))
