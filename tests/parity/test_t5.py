"""T5 against transformers: values and every gradient, padded, cached, with beams, both ways."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.generation import generate  # noqa: E402
from tinygrad_llm.models import T5, from_pretrained, registry, save_pretrained  # noqa: E402

from .test_encoders import TOLERANCE, close, gradients, their_gradients  # noqa: E402
from .test_families import exact  # noqa: E402

V, B, S, T = 31, 3, 11, 7
SHAPE = {"vocab_size": V, "d_model": 24, "d_kv": 10, "d_ff": 20, "num_layers": 3,
         "num_decoder_layers": 2, "num_heads": 3, "relative_attention_num_buckets": 8,
         "relative_attention_max_distance": 6, "n_positions": 40, "decoder_start_token_id": 0,
         }  # fmt: skip
FAMILIES = {
    "1.0": {},
    "1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "silu gate, many buckets": {"feed_forward_proj": "gated-silu",
                                "relative_attention_num_buckets": 32,
                                "relative_attention_max_distance": 128},
    "one block": {"num_layers": 1, "num_decoder_layers": 1, "layer_norm_epsilon": 1e-3},
}  # fmt: skip
every_family = pytest.mark.parametrize("name", FAMILIES)
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)
RNG = np.random.default_rng(1)
IDS, TARGETS = RNG.integers(2, V, (B, S)), RNG.integers(2, V, (B, T))


def theirs(name):
    torch.manual_seed(3)
    config = transformers.T5Config(**json.loads(json.dumps({**SHAPE, **FAMILIES[name]})))
    model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def ours(model, folder, dtype="float64"):
    model.save_pretrained(folder)
    exact(model.double())
    return from_pretrained(folder, dtype=getattr(tg, dtype))


def masks(side):
    """Attention masks of source and target, with padding at one side."""
    pairs = []
    for length, counts in ((S, (0, 3, 6)), (T, (2, 0, 4))):
        mask = np.ones((B, length), np.int64)
        for row, n in enumerate(counts):
            mask[row, slice(0, n) if side == "left" else slice(length - n, length)] = 0
        pairs.append(mask)
    return pairs if side != "none" else [None, None]


def both(model, here, side, **more):
    source, target = masks(side)
    options = {"attention_mask": source, "decoder_attention_mask": target}
    options = {k: v for k, v in options.items() if v is not None}
    a = here(tg.from_numpy(IDS), tg.from_numpy(TARGETS),
             **{k: tg.from_numpy(v) for k, v in options.items()})  # fmt: skip
    b = model(input_ids=torch.from_numpy(IDS), decoder_input_ids=torch.from_numpy(TARGETS),
              **{k: torch.from_numpy(v) for k, v in options.items()}, **more).logits  # fmt: skip
    real = np.ones((B, T)) if target is None else target
    return a, b, real[..., None]


@both_dtypes
@pytest.mark.parametrize("side", ["none", "left", "right"])
@every_family
def test_logits_and_every_gradient(tmp_path, name, side, dtype):
    model = theirs(name)
    here = ours(model, tmp_path, dtype)
    assert isinstance(here, T5)
    own, logits, real = both(model, here, side)
    close(own.detach().numpy() * real.astype(dtype), logits.detach().numpy() * real, dtype)
    g = np.random.default_rng(4).standard_normal(logits.shape) * real
    logits.backward(torch.from_numpy(g))
    own.backward(tg.from_numpy(g.astype(dtype)))
    expected, there = their_gradients(model), gradients(here)
    largest = max(np.abs(g).max() for g in expected.values())
    assert set(expected) <= set(there) | {"lm_head.weight"}
    for weight, gradient in there.items():
        if weight in expected:
            close(gradient, expected[weight], dtype, weight, 1e-7 * largest)


@every_family
def test_loss_shifts_the_labels(tmp_path, name):
    model = theirs(name)
    here = ours(model, tmp_path)
    labels = TARGETS.copy()
    labels[1, 4:] = -100
    loss = model(input_ids=torch.from_numpy(IDS), labels=torch.from_numpy(labels)).loss
    close(here.loss(tg.from_numpy(IDS), tg.from_numpy(labels)), loss, "float64")
    smooth = here.loss(tg.from_numpy(IDS), tg.from_numpy(labels), label_smoothing=0.1)
    logits = model(input_ids=torch.from_numpy(IDS), labels=torch.from_numpy(labels)).logits
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(labels).flatten(), label_smoothing=0.1
    )
    close(smooth, expected, "float64")


@every_family
def test_greedy_and_beams(tmp_path, name):
    model = theirs(name)
    here = ours(model, tmp_path)
    mask = masks("right")[0]
    start = [[0]] * B
    for beams in (1, 3):
        expected = model.generate(
            torch.from_numpy(IDS), attention_mask=torch.from_numpy(mask), max_new_tokens=9,
            num_beams=beams, do_sample=False, eos_token_id=1, pad_token_id=1, length_penalty=1.0,
            early_stopping=False,
        ).numpy()  # fmt: skip
        given = here.given(tg.from_numpy(IDS), tg.from_numpy(mask))
        for cached in (True, False):
            ids = generate(given, start, 9, stop_tokens=[1], use_cache=cached, num_beams=beams)
            width = min(ids.shape[1], expected.shape[1])
            np.testing.assert_array_equal(ids.numpy()[:, :width], expected[:, :width])


@every_family
def test_cached_equals_uncached_and_a_row_equals_itself_alone(tmp_path, name):
    here = ours(theirs(name), tmp_path)
    mask = masks("left")[0]
    given = here.given(tg.from_numpy(IDS), tg.from_numpy(mask))
    with tg.no_grad():
        whole = given(tg.from_numpy(TARGETS)).numpy()
        cache = given.new_cache()
        parts = [given(tg.from_numpy(TARGETS[:, i:j]), cache).numpy()
                 for i, j in ((0, 1), (1, 4), (4, T))]  # fmt: skip
        close(np.concatenate(parts, 1), whole, "float64")
        cache.truncate(2)
        again = given(tg.from_numpy(TARGETS[:, 2:]), cache).numpy()
        close(again, whole[:, 2:], "float64")
        for row in range(B):
            real = IDS[row : row + 1, mask[row] == 1]
            alone = here(tg.from_numpy(real), tg.from_numpy(TARGETS[row : row + 1])).numpy()
            close(alone, whole[row : row + 1], "float64")


@every_family
def test_saved_here_and_read_there(tmp_path, name):
    model = theirs(name)
    here = ours(model, tmp_path / "a", "float32")
    save_pretrained(here, tmp_path / "b")
    again = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "b").eval()
    a, b, _ = both(again, here, "none")
    close(a, b, "float32")
    assert from_pretrained(tmp_path / "b").config == here.config
    built = registry.build(registry.describe(here))
    assert built.config == here.config
    built.load_state_dict(here.state_dict())
    close(built.eval()(tg.from_numpy(IDS), tg.from_numpy(TARGETS)), b, "float32")


def test_an_output_layer_of_its_own(tmp_path):
    """Version 1.1's files hold one that differs from the embedding."""
    model = theirs("1.1")
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    from tinygrad_llm.weights.formats.safetensors import save_file

    ours(model, tmp_path)  # writes the folder
    state = {k: v.float().numpy() for k, v in model.state_dict().items()
             if "embed_tokens" not in k}  # fmt: skip
    save_file(state, tmp_path / "model.safetensors")
    here = from_pretrained(tmp_path, dtype=tg.float64)
    assert not here.config.tie_weights
    a, b, _ = both(model, here, "none")
    close(a, b, "float64")


def test_what_is_refused(tmp_path):
    here = ours(theirs("1.0"), tmp_path)
    with pytest.raises(ValueError, match="source has 41 tokens, more than the context_length"):
        here(tg.zeros(1, 41, dtype=tg.int64), tg.zeros(1, 1, dtype=tg.int64))
    given = here.given(tg.zeros(2, 3, dtype=tg.int64))
    with pytest.raises(ValueError, match="2 sources, which 3 texts cannot share"):
        given(tg.zeros(3, 1, dtype=tg.int64))
    with pytest.raises(TypeError, match="T5 writes no text"):
        generate(here, [[0]], 1)
