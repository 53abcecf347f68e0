"""The tokenizers of SmolLM2 and Gemma 3, from the GGUF files that packages of the index hold."""

from __future__ import annotations

import pytest
from published import needs_weights
from tokenizer_texts import drawn

from tinygrad_llm.text import from_pretrained

pytestmark = pytest.mark.weights


def published(name: str):
    needs_weights(name)
    return from_pretrained(name)


@pytest.fixture(scope="module")
def smollm2():
    return published("smollm2-135m-instruct")


@pytest.fixture(scope="module")
def gemma():
    return published("gemma-3-270m")


def test_smollm2(smollm2):
    assert smollm2.vocab_size == 49_152 and smollm2.eot_token == 2 and smollm2.bos_token == 1
    ids = smollm2.chat([{"role": "user", "content": "What is the capital of France?"}])
    assert len(ids) == 37 and ids[:4] == [1, 9690, 198, 2683]
    assert smollm2.encode("1234") == [smollm2.id_of(d) for d in "1234"]
    alone = [smollm2._encode_part(bytes([i]).decode("latin-1"), True) for i in range(128)]
    assert all(alone) and smollm2.id_of("<|im_end|>") == 2
    letters = [smollm2.model.encode(c) for c in smollm2_letters()]
    assert letters.count([0]) == 21, "21 bytes have no token: unknown 0"


def smollm2_letters():
    from tinygrad_llm.text.letters import letter_of_byte

    return list(letter_of_byte().values())


def test_gemma(gemma):
    assert gemma.vocab_size == 262_144
    assert gemma.encode("The capital of France is") == [2, 818, 5279, 529, 7001, 563]
    assert gemma.decode(gemma.encode("a\n\n  b"), skip_special_tokens=True) == "a\n\n  b"
    assert gemma.encode("\n\n\n", add_special_tokens=False) == [gemma.id_of("\n\n\n")]


@pytest.mark.parametrize("name", ["smollm2", "gemma"])
def test_texts_come_back(name, request):
    tokenizer = request.getfixturevalue(name)
    for seed in range(300):
        text = drawn(seed).replace("▁", "_")
        ids = tokenizer.encode(text, disallowed_special=(), add_special_tokens=False)
        if name == "smollm2" and 0 in ids:
            continue  # a byte without a token is lost
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", ["smollm2", pytest.param("gemma", marks=pytest.mark.slow)])
def test_ids_are_those_of_tokenizers(name, request, tmp_path):
    """Written as tokenizer.json and read by `tokenizers`: the same ids."""
    hf = pytest.importorskip("tokenizers")
    tokenizer = request.getfixturevalue(name)
    tokenizer.save(tmp_path)
    theirs = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for seed in range(500):
        text = drawn(seed)
        assert theirs.encode(text).ids == tokenizer.encode(text, allowed_special="all"), text
