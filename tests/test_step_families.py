"""One new token at a time through compiled loops: every family, every format of weights."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.layers import lora, quantized, step
from tinygrad_llm.layers.stages_of import Called
from tinygrad_llm.layers.texts_cache import TextsCache
from tinygrad_llm.models import cohere2, gemma3, gpt, llama, olmo3, qwen2, qwen3, qwen3_5, qwen3_moe

LLAMA = dict(vocab_size=61, context_length=90, emb_dim=64, hidden_dim=96, n_layers=2, n_heads=4)
FAMILIES = {
    "gpt": lambda: gpt.GPT(gpt.GPTConfig(61, 90, 24, 3, 2, drop_rate=0.1)),
    "llama": lambda: llama.Llama(llama.PRESETS["tiny"]),
    "mistral": lambda: llama.Llama(llama.LlamaConfig(**LLAMA, n_kv_heads=2, window=7)),
    "qwen2": lambda: qwen2.Qwen2(qwen2.PRESETS["tiny"]),
    "qwen3": lambda: qwen3.Qwen3(qwen3.PRESETS["tiny"]),
    "gemma3": lambda: gemma3.Gemma3(gemma3.PRESETS["tiny"]),
    "olmo3": lambda: olmo3.Olmo3(olmo3.PRESETS["tiny"]),
    "cohere2": lambda: cohere2.Cohere2(cohere2.PRESETS["tiny"]),
    "qwen3 moe": lambda: qwen3_moe.Qwen3Moe(qwen3_moe.PRESETS["tiny"]),
    "qwen3.5": lambda: qwen3_5.Qwen35(qwen3_5.PRESETS["tiny"]),
}
CALLED = {"qwen3 moe": 2, "qwen3.5": 3}  # parts that stay modules: experts, DeltaNets


@pytest.fixture(params=[1, 2], ids=["one core", "two cores"])
def cores(request, loops, monkeypatch):
    """On one core, and each stage shared between two."""
    from tinygrad_llm.arrays import parallel
    from tinygrad_llm.ops.loops import decoding

    monkeypatch.setattr(parallel, "_threads", request.param)
    monkeypatch.setattr(decoding, "SHARED_NUMBERS", 0)
    monkeypatch.setattr(decoding, "SHARED_STAGE", 1)
    return request.param


def model_of(name, dtype):
    """A model with every weight drawn, so that no norm or bias is 1 or 0."""
    tg.manual_seed(1)
    model = FAMILIES[name]()
    for i, p in enumerate(model.parameters()):
        p.array[...] += np.random.default_rng(i).normal(0.0, 0.05, p.array.shape)
    return model.to(dtype).eval()


def close(result, expected, bound=1e-5):
    scale, dtype = np.abs(expected).max(), expected.dtype
    assert result.dtype == dtype
    assert np.abs(result - expected).max() <= (bound if dtype == np.float32 else 1e-12) * scale


def logits_of(model, columns, monkeypatch, padding=None, fused=True):
    """The logits after each call: the prompt columns[0] (B, T), then the others."""
    with monkeypatch.context() as patch, tg.no_grad():
        if not fused:
            patch.setattr(step, "MOST_ROWS", 0)
        cache = model.new_cache()
        options = {} if padding is None else {"padding": tg.tensor(padding)}
        results = [model(tg.tensor(ids), cache=cache, **options).array for ids in columns]
    plans = [plan for plan in (cache.plan or {}).values() if plan is not None]
    return results, plans


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64])
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.suite_cases(8)
def test_every_family_takes_it_and_computes_the_same(name, dtype, cores, monkeypatch):
    """Three rows, two of them padded at the left; in 50 tokens windows of 16 roll over 3 times."""
    if cores == 2 and dtype == tg.float64:
        pytest.skip("the same code")
    model, rng = model_of(name, dtype), np.random.default_rng(0)
    columns = [rng.integers(0, 61, (3, 9)), *rng.integers(0, 61, (50, 3, 1))]
    for padding in (None, [0, 4, 8]):
        fused, plans = logits_of(model, columns, monkeypatch, padding)
        plain, _ = logits_of(model, columns, monkeypatch, padding, fused=False)
        assert len(plans) == 1
        assert sum(isinstance(s, Called) for s in plans[0].steps) == CALLED.get(name, 0)
        for one, other in zip(fused[1:], plain[1:], strict=True):
            close(one, other)


@pytest.mark.parametrize("name", ["gpt", "gemma3", "qwen3.5"])
def test_calls_of_different_sizes_and_steps_back(name, loops, monkeypatch):
    """As speculative decoding calls it: some tokens, some of them taken back, then one."""
    model, rng = model_of(name, tg.float32), np.random.default_rng(0)
    caches = [model.new_cache() for _ in range(2)]
    with tg.no_grad():
        for T, kept in ((12, 12), (1, 1), (4, 2), (5, 5), (1, 1), (8, 3), (1, 1), (1, 1)):
            ids = tg.tensor(rng.integers(0, 61, (1, T)))
            fused = model(ids, cache=caches[0])
            with monkeypatch.context() as patch:
                patch.setattr(step, "MOST_ROWS", 0)
                plain = model(ids, cache=caches[1])
            close(fused.array, plain.array, 2e-5)
            for cache in caches:
                cache.truncate(len(cache) - T + kept)
    assert set(caches[0].plan) == {(1, 12), (1, 1), (1, 4), (1, 5), (1, 8)}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_texts_together_equal_each_alone(name, fused, loops, monkeypatch):
    """Four prompts, cut into three calls; families that keep less than all keys are refused."""
    if not fused:
        monkeypatch.setattr(step, "MOST_ROWS", 0)
    model, rng, together = model_of(name, tg.float32), np.random.default_rng(4), TextsCache()
    texts = [rng.integers(0, 61, n).tolist() for n in (7, 1, 3, 5)]
    caches, last = [model.new_cache() for _ in texts], {}
    if not caches[0].can_join:
        with pytest.raises(ValueError, match="full attention in every layer"):
            together.take(caches, [1] * 4)
        return
    with tg.no_grad():
        for stops in ((2, 0, 1, 4), (7, 0, 1, 5), (7, 1, 3, 5)):
            new = [(i, len(caches[i]), n) for i, n in enumerate(stops) if n > len(caches[i])]
            together.take([caches[i] for i, _, _ in new], [n - old for _, old, n in new])
            idx = tg.tensor([[x for i, old, n in new for x in texts[i][old:n]]])
            logits = model(idx, cache=together, last_only=True).array[0]
            last |= {i: logits[k] for k, (i, _, _) in enumerate(new)}
        for i, ids in enumerate(texts):
            close(last[i], model(tg.tensor([ids])).array[0, -1])
    assert any(plan is not None for plan in (together.plan or {}).values()) == fused


@pytest.mark.parametrize("kind", ["int8", "q8_0", "q4_0", "q4_1", "nf4"])
def test_quantised_weights(kind, cores, monkeypatch):
    config = llama.LlamaConfig(**LLAMA, n_kv_heads=1, head_dim=32)
    tg.manual_seed(2)
    model = llama.Llama(config).eval()
    quantized.quantize(model, kind)
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 61, (3, 5)), *rng.integers(0, 61, (4, 3, 1))]
    fused, plans = logits_of(model, columns, monkeypatch)
    assert plans and not any(isinstance(s, Called) for plan in plans for s in plan.steps)
    plain, _ = logits_of(model, columns, monkeypatch, fused=False)
    quantized.dequantize(model)
    whole, _ = logits_of(model, columns, monkeypatch, fused=False)
    for one, other, third in zip(fused[1:], plain[1:], whole[1:], strict=True):
        close(one, other)
        close(one, third)


def test_parts_with_adapters_are_called_as_modules(loops, monkeypatch):
    model = model_of("llama", tg.float32)
    lora.add(model, rank=2, names=["down"])
    for p in lora.parameters(model):
        p.array[...] = np.random.default_rng(p.array.size).normal(0.0, 0.1, p.array.shape)
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 61, (2, 5)), *rng.integers(0, 61, (3, 2, 1))]
    fused, plans = logits_of(model, columns, monkeypatch)
    plain, _ = logits_of(model, columns, monkeypatch, fused=False)
    assert sum(isinstance(s, Called) for s in plans[0].steps) == 2
    for one, other in zip(fused, plain, strict=True):
        close(one, other)


@pytest.mark.parametrize("kind", ["int8", "q8_0", "q4_0", "q4_1", "nf4"])
@pytest.mark.parametrize("rows", [1, 3, 4, 7, 8, 21])
def test_products_with_packed_weights_against_float64(kind, rows, cores):
    """Within float32's rounding of the product of the dequantised matrix, added up in float64."""
    from tinygrad_llm.weights.quantized import quantize

    rng = np.random.default_rng(rows)
    w = rng.standard_normal((75, 192)).astype(np.float32)
    x = rng.standard_normal((rows, 192)).astype(np.float32)
    matrix = quantize(w, kind)
    exact = x.astype(np.float64) @ matrix.dequantize().astype(np.float64).T
    assert len(matrix.packed()) == 1
    assert np.abs(matrix.product(x) - exact).max() <= 2e-6 * np.abs(exact).max()


def test_float16_scales_are_widened_exactly(loops):
    """Every finite float16, subnormal ones too, as a scale of codes that are 1."""
    from tinygrad_llm.arrays.stages import Weights
    from tinygrad_llm.ops.loops.decoding import packed_product

    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)].reshape(-1, 1, 32)
    codes = np.ones((len(values), 1, 1, 32), np.int8)
    weights = Weights("bits8", (values.size, 1), codes, values)
    result = packed_product(np.ones((1, 1), np.float32), weights)
    np.testing.assert_array_equal(result[0], values.astype(np.float32).reshape(-1))


BOTH = """
def both(out, codes, table):
    put(out, 0, low(codes, 0, table))
    put(out, 32, high(codes, 0, table))
"""


@pytest.mark.parametrize("lookup", [True, False])
def test_a_table_of_16_numbers(lookup, loops, monkeypatch):
    """By the processor's own instruction where it has one, and by choosing halves."""
    from tinygrad_llm.ops.loops import compiling, lanes

    monkeypatch.setattr(lanes, "LOOKUP", lookup)
    low, high = (lanes._Intrinsic(e.build, 3) for e in (lanes.low_entry, lanes.high_entry))

    names = {"put": lanes.put, "low": low, "high": high, "__name__": __name__}
    exec(BOTH, names)
    compiled = compiling.numba.njit(compiling._for_dtype(names["both"], "f"))
    rng = np.random.default_rng(0)
    codes, table = rng.integers(0, 256, 32, np.uint8), rng.standard_normal(16).astype(np.float32)
    out = np.empty(64, np.float32)
    compiled(out, codes.ctypes.data, table.ctypes.data)
    np.testing.assert_array_equal(out, table[np.concatenate([codes & 15, codes >> 4])])
