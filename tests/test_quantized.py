"""Weights that stay quantised: the formats, the layers, QLoRA, and loading into them."""

import tracemalloc

import numpy as np
import pytest
from oracles import oracle

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.arrays.twins import LEAST, large, switch
from tinygrad_llm.layers import lora
from tinygrad_llm.layers.quantized import (
    QuantizedEmbedding,
    QuantizedLinear,
    dequantize,
    load,
    matrices,
    quantize,
    save,
)
from tinygrad_llm.models import registry
from tinygrad_llm.models.exporting import save_gguf
from tinygrad_llm.models.pretrained import from_pretrained, save_pretrained
from tinygrad_llm.tensor import wrap
from tinygrad_llm.training.plan import Measured, make_plan
from tinygrad_llm.weights import quantized
from tinygrad_llm.weights.formats.gguf import KINDS, GGUFFile, encode
from tinygrad_llm.weights.formats.gguf.decode import decode
from tinygrad_llm.weights.quantized import GGUFMatrix
from tinygrad_llm.weights.quantized import matrix as rounding
from tinygrad_llm.weights.quantized.blocks import Blocks8
from tinygrad_llm.weights.quantized.nf4 import NF4_VALUES, dynamic_values

SHAPES = [(1, 64), (3, 64), (40, 128), (257, 64), (600, 192)]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(a, b, limit=2e-6):
    assert np.abs(a - b).max() <= limit * max(1.0, np.abs(b).max())


@pytest.fixture(params=["numpy", "loops"])
def loops(request):
    """With the plain code, and with the compiled loop where Numba is installed."""
    before = large.least
    if request.param == "loops":
        pytest.importorskip("numba")
    switch(request.param == "loops", least=1)
    yield request.param
    large.least = before


# --------------------------------------------------------------------------------- formats
@pytest.mark.parametrize("kind", quantized.FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_and_rows_are_those_of_the_dequantised_matrix(kind, shape, loops):
    w = drawn(*shape) * np.random.default_rng(1).lognormal(size=(shape[0], 1)).astype("f4")
    w[0, :32] = 0
    matrix = quantized.quantize(w, kind)
    whole = matrix.dequantize()
    assert whole.shape == matrix.shape == shape and whole.dtype == np.float32
    step = {"int8": 0.02, "q8_0": 0.02, "q4_0": 0.3, "q4_1": 0.25, "nf4": 0.35}[kind]
    assert np.abs(whole - w).max() <= step * np.abs(w).max()
    assert not whole[0, :32].any() or kind == "nf4"  # where a scale of 0 is rounded too
    for n in (1, 3, 20):
        x, g = drawn(n, shape[1], seed=2), drawn(n, shape[0], seed=3)
        close(matrix.product(x), x @ whole.T)
        close(matrix.product_back(g), g @ whole)
        x64 = x.astype(np.float64)
        assert matrix.product(x64).dtype == np.float64
        close(matrix.product(x64), x64 @ whole.T.astype(np.float64), 1e-6)
    ids = np.array([0, shape[0] - 1, 0])
    np.testing.assert_array_equal(matrix.take(ids), whole[ids])
    assert matrix.take(ids[:0]).shape == (0, shape[1])


@pytest.mark.parametrize("name", [n for n, kind in KINDS.items() if not kind.is_plain])
def test_every_format_of_gguf_stays_as_it_is_stored(name, loops):
    if name.startswith(("IQ1", "IQ2", "IQ3")):
        oracle("gguf")
    kind = KINDS[name]
    columns = 2 * kind.weights
    rng = np.random.default_rng(0)
    if name in ("Q8_0", "Q4_0", "Q4_1"):
        raw = encode(drawn(300, columns), name)
    else:
        blocks = rng.integers(0, 256, (300, 2 * kind.n_bytes), np.uint8).view(kind.dtype)
        for field in ("d", "m", "e"):
            if field in (kind.dtype.names or ()):
                blocks[field] = 0.01 if field != "e" else 60
        raw = blocks.view(np.uint8).reshape(-1)
    expected = decode(raw, kind, np.empty((300, columns), np.float32))
    if not np.isfinite(expected).all():
        pytest.skip("random scales of these formats can be infinite")
    matrix = quantized.from_gguf(raw, kind, (300, columns))
    np.testing.assert_allclose(matrix.dequantize(), expected, rtol=1e-6, atol=1e-6)
    x = drawn(2, columns, seed=2)
    close(matrix.product(x), x @ expected.T, 1e-5)


@pytest.mark.parametrize(
    ("kind", "bits"), [("int8", 8.1), ("q8_0", 8.5), ("q4_0", 4.5), ("q4_1", 5), ("nf4", 4.13)]
)
def test_bits_per_weight(kind, bits):
    switch(False)
    try:
        matrix = quantized.quantize(drawn(512, 1024), kind)
    finally:
        switch(True, LEAST)
    assert 8 * matrix.nbytes / (512 * 1024) == pytest.approx(bits, rel=0.01)


def test_nf4_is_the_published_table():
    """QLoRA, appendix E: quantiles of a normal distribution, 8 below 0, 7 above, scaled to ±1."""
    from statistics import NormalDist

    offset = 0.9677083
    normal = NormalDist()
    above = [normal.inv_cdf(p) for p in np.linspace(offset, 0.5, 9)[:-1]]
    below = [-normal.inv_cdf(p) for p in np.linspace(offset, 0.5, 8)[:-1]]
    expected = np.sort([*above, 0.0, *below]) / max(above)
    np.testing.assert_allclose(NF4_VALUES, expected, atol=2e-7)
    assert NF4_VALUES[0] == -1 and NF4_VALUES[7] == 0 and NF4_VALUES[15] == 1


def test_the_8_bit_numbers_of_scales():
    values = dynamic_values()
    assert len(values) == len(set(values.tolist())) == 256 and values[-1] == 1
    assert 0 in values and (np.diff(values) > 0).all()
    positive = values[values > 0]
    assert positive[0] == pytest.approx(0.55e-6, rel=1e-5)
    assert positive[-2] == pytest.approx(0.9929687, rel=1e-6)
    assert set(np.round(-values[values < 0], 9)) <= set(np.round(positive, 9))


def test_nf4_chooses_the_nearest_number():
    w = drawn(4, 64)
    whole = quantized.quantize(w, "nf4").dequantize()
    scale = np.abs(w).max(axis=1, keepdims=True)
    distances = np.abs(w[:, :, None] / scale[:, :, None] - NF4_VALUES)
    nearest = NF4_VALUES[distances.argmin(axis=2)] * scale
    assert np.abs(whole - nearest).max() < 0.01 * scale.max()  # the scale is rounded to 8 bits


def test_what_cannot_be_quantised_is_an_error():
    with pytest.raises(ValueError, match="format of weights must be int8.*got 'q3'"):
        quantized.quantize(drawn(4, 64), "q3")
    with pytest.raises(ValueError, match="rows of 96 weights cannot be nf4"):
        quantized.quantize(drawn(4, 96), "nf4")
    with pytest.raises(ValueError, match=r"only a matrix.*\(4,\)"):
        quantized.quantize(drawn(4), "int8")
    with pytest.raises(ValueError, match="NaN or an infinite"):
        quantized.quantize(np.full((2, 64), np.nan, "f4"), "int8")
    with pytest.raises(ValueError, match=r"matrices of \[32, 64\] columns"):
        quantized.stack([quantized.quantize(drawn(2, n), "q8_0") for n in (32, 64)])


def test_stacked_rows_of_two_formats():
    parts = [quantized.quantize(drawn(n, 64, seed=n), k) for n, k in ((5, "q8_0"), (3, "nf4"))]
    both = quantized.stack(parts)
    whole = both.dequantize()
    assert both.shape == (8, 64) and both.nbytes == sum(part.nbytes for part in parts)
    x, g, ids = drawn(2, 64), drawn(2, 8), np.array([7, 0, 4, 5])
    close(both.product(x), x @ whole.T)
    close(both.product_back(g), g @ whole)
    np.testing.assert_array_equal(both.take(ids), whole[ids])


# ---------------------------------------------------------------------------------- layers
def test_layers_compute_with_the_dequantised_weight():
    linear, table = nn.Linear(64, 10), nn.Embedding(12, 64)
    small, rows = (
        QuantizedLinear(linear.weight, linear.bias, "q4_1"),
        QuantizedEmbedding(table.weight, "q8_0"),
    )
    ids = torch.tensor([[3, 0], [11, 3]])
    np.testing.assert_array_equal(rows(ids).array, rows.matrix.dequantize()[ids.array])
    x = torch.randn(2, 3, 64)
    linear.weight.array[...] = small.matrix.dequantize()
    close(small(x).detach().array, linear(x).detach().array)
    assert "q4_1" in repr(small) and "12, 64, q8_0" in repr(rows)
    assert [name for name, _ in small.named_parameters()] == ["bias"]
    with pytest.raises(IndexError, match="index out of range: 12, expected 0 <= index < 12"):
        rows(torch.tensor([3, 12]))
    with pytest.raises(ValueError, match="got 'q9'"):
        QuantizedLinear(linear.weight, None, "q9")


@pytest.mark.parametrize("loops_at", [0, LEAST])
@pytest.mark.parametrize("kind", ["int8", "q8_0", "q4_0", "q4_1", "nf4"])
def test_some_rows_at_a_time_make_the_same_matrix(kind, loops_at, monkeypatch):
    """As many rows as fit into AT_A_TIME weights, of floats and of a GGUF tensor's bytes."""
    monkeypatch.setattr(large, "least", loops_at)
    w = drawn(601, 128)
    stored = GGUFMatrix(encode(w, "Q8_0").reshape(601, -1), KINDS["Q8_0"], "a file")
    results = []
    for weights in (1 << 22, 1):
        monkeypatch.setattr(rounding, "AT_A_TIME", weights)
        results += [quantized.quantize(w, kind), quantized.quantize(stored, kind)]
    for one, other in ((results[0], results[2]), (results[1], results[3])):
        assert one.arrays.keys() == other.arrays.keys()
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])
    decoded = np.concatenate([stored[:300], stored[300:]])
    close(results[1].dequantize(), quantized.quantize(decoded, kind).dequantize(), 1e-7)


@pytest.mark.parametrize("kind", ["int8", "q8_0", "q4_0", "nf4"])
def test_a_matrix_is_rounded_without_a_whole_copy(kind, monkeypatch):
    w = drawn(16384, 128)
    monkeypatch.setattr(rounding, "AT_A_TIME", 1 << 15)
    quantized.quantize(w, kind)  # what is imported and made once is there
    tracemalloc.start()
    made = quantized.quantize(w, kind)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < made.nbytes + 1_500_000 < w.nbytes / 2  # 32,768 weights at a time


@pytest.mark.parametrize("kind", ["int8", "q8_0", "q4_0", "nf4"])
def test_what_is_no_matrix_of_finite_numbers(kind):
    for shape in ((64,), (2, 0), (2, 3, 64)):
        with pytest.raises(ValueError, match="only a matrix can be quantised, got shape"):
            quantized.quantize(np.zeros(shape, np.float32), kind)
    w = drawn(500, 64)
    w[499, 3] = np.inf
    with pytest.raises(ValueError, match="NaN or an infinite number cannot be quantised"):
        quantized.quantize(w, kind)


@pytest.mark.parametrize("kind", ["int8", "q4_1", "nf4"])
def test_qlora_has_the_gradients_of_the_dequantised_base(kind):
    def model():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 8, bias=False))

    small, plain = model(), model()
    quantize(small, kind)
    for mine, theirs in zip((small[0], small[2]), (plain[0], plain[2]), strict=True):
        theirs.weight.array[...] = mine.matrix.dequantize()
    for each in (small, plain):
        torch.manual_seed(4)
        lora.add(each, rank=4)
        for p in lora.parameters(each):
            p.array[...] = drawn(*p.shape, seed=p.shape[0]) * 0.2
    x = drawn(2, 5, 64)
    xs = [torch.from_numpy(x.copy()) for _ in range(2)]
    upstream = torch.from_numpy(drawn(2, 5, 8, seed=9))
    for each, given in zip((small, plain), xs, strict=True):
        given.requires_grad = True
        each(given).backward(upstream)
    close(xs[0].grad.array, xs[1].grad.array, 1e-5)
    assert len(lora.parameters(small)) == 4
    for mine, theirs in zip(lora.parameters(small), lora.parameters(plain), strict=True):
        assert np.abs(theirs.grad.array).max() > 0
        close(mine.grad.array, theirs.grad.array, 1e-5)
    with pytest.raises(RuntimeError, match="call layers.quantized.dequantize"):
        lora.merge(small)
    before = small(xs[0]).detach().array
    dequantize(small)
    close(small(xs[0]).detach().array, before, 1e-5)
    lora.merge(small)
    close(small(xs[0]).detach().array, before, 1e-5)


def test_the_gradient_in_float64():
    layer = QuantizedLinear(drawn(5, 32), kind="q4_0")
    x = torch.randn(3, 32, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_a_base_without_lora_is_frozen_and_learns_with_it():
    torch.manual_seed(0)
    model = registry.find("Llama").model(registry.find("Llama").config(**SIZES))
    names = quantize(model, "nf4")
    assert "tok_emb" in names and "out_head" in names
    assert not [p for p in model.parameters() if p.requires_grad]
    assert model.tok_emb.matrix.kind == "q8_0" and model.trf_blocks[0].ff.down.matrix.kind == "nf4"
    lora.add(model, rank=4, names=["qkv", "gate_up"])
    optimizer = torch.optim.AdamW(lora.parameters(model), lr=0.02)
    ids = torch.tensor([[1, 5, 9, 2, 33, 7, 8, 4]])
    losses = []
    for _ in range(15):
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_plan_counts_the_bytes_of_a_quantised_base():
    model = registry.find("Llama").model(registry.find("Llama").config(**SIZES))
    quantize(model, "nf4")
    bare = sum(p.nbytes for p in model.parameters())  # norms
    plan = make_plan(model, 1, 8, Measured(1.0, 8, 0))
    assert plan.weight_bytes == bare + sum(m.nbytes for m in matrices(model)) > 10 * bare


# --------------------------------------------------------------------------------- loading
SIZES = {"vocab_size": 96, "context_length": 64, "emb_dim": 64, "hidden_dim": 128, "n_layers": 2,
         "n_heads": 4, "n_kv_heads": 2, "head_dim": 32}  # fmt: skip
IDS = torch.tensor([[5, 9, 2, 70, 33]])


def llama(**changes):
    torch.manual_seed(1)
    family = registry.find("Llama")
    return family.model(family.config(**{**SIZES, **changes})).eval()


def logits(model):
    with torch.no_grad():
        return model(IDS).array


@pytest.mark.parametrize("kind", quantized.FORMATS)
@pytest.mark.parametrize("tied", [False, True])
def test_loading_into_a_format_is_quantising_after_loading(kind, tied, tmp_path):
    save_pretrained(llama(tie_weights=tied), tmp_path)
    model = from_pretrained(tmp_path, quantize=kind)
    expected = from_pretrained(tmp_path)
    quantize(expected, kind)
    np.testing.assert_array_equal(logits(model), logits(expected))
    assert not [p for p in model.parameters() if p.requires_grad]
    assert (model.tok_emb.matrix is model.out_head.matrix) == tied
    dequantize(model)
    close(logits(model), logits(expected), 1e-5)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_a_gguf_file_stays_as_it_is_stored(kind, tmp_path):
    path = save_gguf(llama(), tmp_path / "m.gguf", kind)
    model = from_pretrained(path, quantize="gguf")
    close(logits(model), logits(from_pretrained(path)), 1e-5)
    assert model.trf_blocks[1].att.qkv.matrix.kind == kind.lower()
    stored = sum(len(GGUFFile(path).raw(n)) for n in GGUFFile(path) if "norm" not in n)
    matrices = {id(m.matrix): m.matrix for m in model.modules() if hasattr(m, "matrix")}
    assert sum(m.nbytes for m in matrices.values()) <= 1.4 * stored


def test_plain_numbers_of_a_gguf_file_stay_floats(tmp_path):
    path = save_gguf(llama(), tmp_path / "m.gguf", "F16")
    model = from_pretrained(path, quantize="gguf")
    assert type(model.trf_blocks[0].att.qkv) is nn.Linear
    np.testing.assert_array_equal(logits(model), logits(from_pretrained(path)))


def test_a_wrong_format_of_loading(tmp_path):
    save_pretrained(llama(), tmp_path)
    with pytest.raises(ValueError, match="quantize must be int8.*gguf, got 'q5'"):
        from_pretrained(tmp_path, quantize="q5")
    with pytest.raises(ValueError, match='quantize="gguf" keeps the formats of a GGUF file'):
        from_pretrained(tmp_path, quantize="gguf")


# --------------------------------------------------------------------------------- on a GPU
@pytest.mark.parametrize("kind", quantized.FORMATS)
@pytest.mark.parametrize("shape", [(3, 64), (257, 64), (600, 192)])
def test_a_gpu_computes_as_a_cpu_does(kind, shape, other_device):
    w = drawn(*shape)
    w[0, :32] = 0
    matrix = quantized.quantize(w, kind)
    there = matrix.on(other_device)
    assert there.on(other_device) is there is not matrix and matrix.on_cpu and not there.on_cpu
    assert there.nbytes == matrix.nbytes and there.device == ("cuda", 0)
    assert all(there.arrays[n].dtype == a.dtype for n, a in matrix.arrays.items())
    np.testing.assert_allclose(there.dequantize().get(), matrix.dequantize(), rtol=1e-6)
    for n, dtype in ((1, "f4"), (3, "f4"), (70, "f4"), (3, "f8")):
        x, g = (drawn(n, m, seed=m).astype(dtype) for m in (shape[1], shape[0]))
        gx, gg = (torch.from_numpy(a).to(other_device).array for a in (x, g))
        y, back = there.product(gx), there.product_back(gg)
        assert y.dtype == back.dtype == x.dtype
        close(y.get(), matrix.product(x), 1e-5)
        close(back.get(), matrix.product_back(g), 1e-5)
    ids = np.array([0, shape[0] - 1, 0])
    np.testing.assert_allclose(
        there.take(torch.from_numpy(ids).to(other_device).array).get(), matrix.take(ids), rtol=1e-6
    )
    here = there.on("cpu")
    for name, array in matrix.arrays.items():
        np.testing.assert_array_equal(here.arrays[name], array)
    np.testing.assert_array_equal(here.dequantize(), matrix.dequantize())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precisions_multiply_in_float32(dtype, device):
    matrix = quantized.quantize(drawn(40, 64), "q4_0").on(device)
    x = torch.from_numpy(drawn(5, 64)).to(getattr(torch, dtype)).to(device)
    exact = x.float().cpu().numpy() @ matrix.on("cpu").dequantize().T
    got = wrap(matrix.product(x.array))
    assert got.dtype == x.dtype
    close(got.float().cpu().numpy(), exact, 2e-3 if dtype == "float16" else 1e-2)
    back = wrap(matrix.product_back(got.array))
    assert back.dtype == x.dtype and back.shape == x.shape


def test_tiles_of_a_gpu_are_smaller_than_a_large_matrix(other_device, monkeypatch):
    from tinygrad_llm.weights.quantized import matrix as matrix_module

    monkeypatch.setattr(matrix_module, "GPU_TILE", 300 * 64)
    for kind in ("nf4", "q4_1", "int8"):
        matrix = quantized.quantize(drawn(1100, 64), kind)
        there = matrix.on(other_device)
        assert 3 <= there.n_tiles <= 5
        x, g = drawn(4, 64), drawn(4, 1100)
        gx, gg = (torch.from_numpy(a).to(other_device).array for a in (x, g))
        close(there.product(gx).get(), matrix.product(x), 1e-5)
        close(there.product_back(gg).get(), matrix.product_back(g), 1e-5)


@pytest.mark.parametrize("name", ["Q4_0", "Q5_0", "Q2_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"])
def test_formats_of_gguf_on_a_gpu(name, other_device):
    kind = KINDS[name]
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (70, 2 * kind.n_bytes), np.uint8).view(kind.dtype)
    for field in {"d", "m"} & set(kind.dtype.names):
        blocks[field] = 0.01
    raw = blocks.view(np.uint8).reshape(-1)
    matrix = quantized.from_gguf(raw, kind, (70, 2 * kind.weights))
    if name == "IQ4_NL":
        with pytest.raises(NotImplementedError, match="iq4_nl are computed on a CPU only: take an"):
            matrix.on(other_device)
        return
    there = matrix.on(other_device)
    close(there.dequantize().get(), matrix.dequantize(), 1e-6)
    assert there.kind == name.lower()


def test_stacked_rows_on_a_gpu(other_device):
    both = quantized.stack(
        [quantized.quantize(drawn(n, 64, seed=n), k) for n, k in ((5, "q8_0"), (3, "nf4"))]
    )
    there = both.on(other_device)
    assert there.on(other_device) is there
    x, g, ids = drawn(2, 64), drawn(2, 8), np.array([7, 0, 4, 5])
    gx, gg, gids = (torch.from_numpy(a).to(other_device).array for a in (x, g, ids))
    close(there.dequantize().get(), both.dequantize(), 1e-6)
    close(there.product(gx).get(), both.product(x), 1e-5)
    close(there.product_back(gg).get(), both.product_back(g), 1e-5)
    close(there.take(gids).get(), both.take(ids), 1e-6)
    np.testing.assert_array_equal(there.on("cpu").dequantize(), both.dequantize())


@pytest.mark.parametrize("kind", ["int8", "q4_1", "nf4"])
@pytest.mark.parametrize("tied", [False, True])
def test_qlora_on_a_gpu_has_the_gradients_of_a_cpu(kind, tied, other_device, tmp_path):
    model = llama(tie_weights=tied)
    quantize(model, kind)
    lora.add(model, rank=4, names=["att.*", "ff.*"])
    for p in lora.parameters(model):
        p.array[...] = drawn(*p.shape, seed=p.shape[0]) * 0.1
    ids = torch.tensor([[1, 5, 9, 2, 33, 7, 8, 4]])

    def gradients(device):
        model.zero_grad()
        given = ids.to(device)
        loss = model.loss(given[:, :-1], given[:, 1:])
        loss.backward()
        return [loss.item()] + [p.grad.cpu().numpy() for p in lora.parameters(model)]

    expected = gradients("cpu")
    before = [m.dequantize() for m in matrices(model)]
    size = sum(m.nbytes for m in matrices(model))
    model.to(other_device)
    assert {m.device for m in matrices(model)} == {("cuda", 0)}
    assert (model.tok_emb.matrix is model.out_head.matrix) == tied
    for mine, theirs in zip(gradients(other_device), expected, strict=True):
        close(mine, theirs, 2e-5)
    with pytest.raises(RuntimeError, match="input on cpu and quantised weights on cuda: move the"):
        model.trf_blocks[0].ff.down(torch.zeros(1, 128))
    with pytest.raises(IndexError, match="index out of range: 96, expected 0 <= index < 96"):
        model.tok_emb(torch.tensor([96]).to(other_device))
    save(model, tmp_path / "q.safetensors")
    load(model, tmp_path / "q.safetensors")
    assert {m.device for m in matrices(model)} == {("cuda", 0)}
    model.cpu()
    assert sum(m.nbytes for m in matrices(model)) <= 1.5 * size
    for mine, theirs in zip(matrices(model), before, strict=True):
        np.testing.assert_array_equal(mine.dequantize(), theirs)
    for mine, theirs in zip(gradients("cpu"), expected, strict=True):
        close(mine, theirs, 1e-5)


def test_generating_on_a_gpu_with_a_quantised_model(other_device):
    from tinygrad_llm.generation import generate

    model = llama()
    quantize(model, "nf4")
    expected = generate(model, IDS.tolist(), 12).tolist()
    assert generate(model.to(other_device), IDS.tolist(), 12).tolist() == expected


def test_quantising_a_model_that_is_on_a_gpu(other_device):
    expected, model = llama(), llama().to(other_device)
    quantize(expected, "nf4")
    quantize(model, "nf4")
    assert {m.device for m in matrices(model)} == {("cuda", 0)}
    added = lora.add(model, names=["qkv"])
    assert added and {p.device.type for p in lora.parameters(model)} == {"cuda"}
    dequantize(model)
    assert model.out_head.weight.device.type == "cuda"
    with torch.no_grad():
        got = model(IDS.to(other_device)).cpu().numpy()
    close(got, logits(expected), 1e-5)


def test_a_module_that_does_not_fit_stays_where_it_is(other_device, monkeypatch):
    """Matrices and parameters are moved together: an error leaves all of them in place."""
    model = llama()
    quantize(model, "q8_0")
    monkeypatch.setattr(Blocks8, "on", refuses)
    with pytest.raises(MemoryError):
        model.to(other_device)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert all(m.on_cpu for m in matrices(model))


def refuses(*args):
    raise MemoryError


def test_a_quantised_model_is_trained_without_a_cuda_graph(other_device, monkeypatch):
    """Its products are CuPy's, which cannot be captured."""
    from tinygrad_llm.arrays.twins import twins
    from tinygrad_llm.training.graphed_step import graphable

    models = {kind: llama().to(other_device) for kind in (None, "nf4")}
    monkeypatch.setattr(twins, "gpu", twins.gpu or object())  # as with our kernels
    for kind, model in models.items():
        if kind is not None:
            quantize(model, kind)
        lora.add(model, rank=2, names=["qkv"])
        optimizer = torch.optim.AdamW(lora.parameters(model), lr=0.01)
        assert graphable(model, optimizer, lambda: None) == (kind is None)
