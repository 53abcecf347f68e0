"""Bad input costs little: checks are linear, and sizes that fit no machine are refused first."""

import json
import sys
from collections import Counter

import pytest

from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.models.config import MOST_PARAMETERS, ModelConfig
from tinygrad_llm.text import BPETokenizer, CharTokenizer
from tinygrad_llm.training import memory_needed
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.presets import PretrainOptions, nearest_divisor

work = Counter()


@pytest.fixture(autouse=True)
def no_work():
    work.clear()


@pytest.mark.parametrize("n", [10, 1000, 50_000])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_repeated_character_takes_one_pass(n, place):
    letters = [chr(0x4E00 + i) for i in range(n % 20_000)] + [chr(0x20000 + i) for i in range(n)]
    again = letters[0] if place == "first" else letters[-1]

    def profile(frame, event, arg):
        if event == "c_call":
            work[arg.__name__] += 1

    sys.setprofile(profile)
    try:
        with pytest.raises(ValueError, match=f"the character '{again}' is given more than once"):
            CharTokenizer([*letters, again])
    finally:
        sys.setprofile(None)
    assert work["count"] + work["index"] + work["find"] <= 1


class CountedKey(str):
    """A token that counts how often it is hashed."""

    def __hash__(self):
        work["hashes"] += 1
        return super().__hash__()


def test_a_token_that_no_merge_makes_takes_one_pass(tmp_path, monkeypatch):
    merges = [(97, 98)]
    while len(merges) < 300:
        merges.append((255 + len(merges), 97 + len(merges) % 26))
    tokenizer = BPETokenizer(merges, (), "gpt2")
    fields = tokenizer._fields()
    (tmp_path / "vocab.bpe").write_text("\n".join(fields["merges"]), "utf-8")
    from tinygrad_llm.text import bpe

    ids = {bpe._spell(tokenizer.token_bytes(i)): i for i in range(tokenizer.vocab_size)}
    (tmp_path / "encoder.json").write_text(json.dumps({**ids, "never": 5}), "utf-8")
    true = bpe._spell
    monkeypatch.setattr(bpe, "_spell", lambda token: CountedKey(true(token)))
    with pytest.raises(ValueError, match="a token that no merge makes: 'never'"):
        BPETokenizer.from_gpt2_files(tmp_path)
    assert work["hashes"] < 20 * len(ids)


@pytest.mark.parametrize("n", [29, 40, 64, 1000])
def test_merges_that_double(n):
    """Merge i joins the token before it with itself: 2ⁿ bytes, which nobody has."""
    with pytest.raises(ValueError, match="first 28 merges .* not the merges of a text"):
        BPETokenizer([(97, 97), *((255 + i, 255 + i) for i in range(1, n))])


def test_merges_that_double_a_little_are_fine():
    tokenizer = BPETokenizer([(97, 97), *((255 + i, 255 + i) for i in range(1, 12))])
    assert tokenizer.encode_ordinary("a" * 4096) == [256 + 11]


class CountedInt(int):
    """A number that counts divisions."""

    def __mod__(self, other):
        work["divisions"] += 1
        return int.__mod__(self, other)


@pytest.mark.parametrize(
    ("number", "near", "divisor"),
    [(192, 7, 6), (192, 5, 4), (64, 48, 32), (12, 12, 12), (12, 100, 12), (7, 3, 1), (1, 5, 1),
     (768, 13, 12), (2**61 - 1, 3, 1), (10**18 + 9, 10**9, 1), (10**18, 10**9 + 7, 10**9),
     (3 * 2**40, 2**39 + 1, 2**39), (2**200, 3**100, 1)],
)  # fmt: skip
def test_nearest_divisor(number, near, divisor):
    assert nearest_divisor(CountedInt(number), near) == divisor
    assert work["divisions"] <= 20_000
    if number < 10_000:
        every = [h for h in range(1, number + 1) if number % h == 0]
        assert divisor == min(every, key=lambda h: abs(h - near))


# ------------------------------------------------------------------- sizes before any allocation
HUGE = [
    {"emb_dim": 1 << 31, "n_heads": 1},
    {"emb_dim": 1 << 22, "n_heads": 1, "n_layers": 1},
    {"emb_dim": 12, "vocab_size": 1 << 40},
    {"emb_dim": 12, "context_length": 1 << 45},
    {"n_layers": 1 << 17},
    {"n_layers": 10**12},
    {"n_layers": 10**6000},
    {"vocab_size": (1 << 31), "emb_dim": 1 << 14, "n_heads": 1},
    {"emb_dim": 768 * 5000, "n_layers": 60_000},
    {"context_length": 1 << 31, "emb_dim": 1 << 14, "n_heads": 1},
]


@pytest.mark.parametrize("sizes", HUGE, ids=range(len(HUGE)))
def test_models_that_fit_no_memory(sizes):
    with pytest.raises(ValueError, match="at most|fit no memory"):
        GPTConfig(**sizes)
    with pytest.raises(ValueError, match="at most|fit no memory"):
        GPT(sizes)


def test_other_configs():
    with pytest.raises(ValueError, match="fit no memory"):
        ModelConfig(1 << 30, 4, 1 << 20)
    with pytest.raises(ValueError, match="an int of 19932 bits"):
        ModelConfig(10**6000, 4, 4)


def test_the_largest_models_that_people_make_are_fine():
    config = GPTConfig(vocab_size=200_000, context_length=1 << 20, emb_dim=20_480, n_heads=160,
                       n_layers=200)  # fmt: skip
    assert 1e12 < config.least_parameters() < MOST_PARAMETERS
    for name in ("gpt2_small", "gpt2_medium", "gpt2_large", "gpt2_xl"):
        getattr(GPTConfig, name)()


@pytest.mark.parametrize(
    "changes",
    [
        {"emb_dim": 10**6, "n_heads": 1},
        {"emb_dim": 10**15, "n_heads": 1},
        {"vocab_size": 10**12},
        {"context_length": 10**13},
        {"emb_dim": 6 * 10**900},
    ],
)
def test_options_that_do_not_fit_the_machine(changes, monkeypatch):
    monkeypatch.setattr(memory_needed, "machine_memory", lambda: 64 << 30)
    with pytest.raises(OptionError, match="GiB in training.* machine has 64.0 GiB$"):
        PretrainOptions(**changes).check()


@pytest.mark.parametrize("n_layers", [257, 1000, 10**9, 10**400])
def test_more_layers_than_any_model_has(n_layers):
    with pytest.raises(OptionError, match="n_layers must be between 1 and 256"):
        PretrainOptions(n_layers=n_layers).check()


def test_options_that_fit(monkeypatch):
    PretrainOptions().check()
    monkeypatch.setattr(memory_needed, "machine_memory", lambda: None)
    PretrainOptions(emb_dim=60_000).check()
    monkeypatch.undo()
    with pytest.raises(OptionError, match="384 heads are possible|6 heads are possible"):
        PretrainOptions(emb_dim=384, n_heads=7).check()
    with pytest.raises(OptionError, match="does not divide"):
        PretrainOptions(emb_dim=10**18 + 9, n_heads=10**9).check()
