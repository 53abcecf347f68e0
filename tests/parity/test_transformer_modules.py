"""nn.Transformer and its parts against PyTorch: weights, dropout, values and every gradient."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402

seeds = st.integers(0, 2**32 - 1)
KINDS = ("encoder layer", "decoder layer", "encoder", "decoder", "both")
E, H, F = 6, 2, 7
VALUES = {"float32": 2e-6, "float64": 1e-12}


def make(lib, kind, seed, **options):
    lib.manual_seed(seed)
    nn, options = lib.nn, {**options, "dtype": getattr(lib, options["dtype"])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's notes on nested tensors
        if kind == "encoder layer":
            return nn.TransformerEncoderLayer(E, H, F, **options)
        if kind == "decoder layer":
            return nn.TransformerDecoderLayer(E, H, F, **options)
        norm = nn.LayerNorm(E, dtype=options["dtype"])
        if kind == "encoder":
            return nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, F, **options), 2, norm)
        if kind == "decoder":
            return nn.TransformerDecoder(nn.TransformerDecoderLayer(E, H, F, **options), 3, norm)
        return nn.Transformer(E, H, 2, 1, F, **options)


def masks(lib, kind, which, numbers, dtype, rng):
    """The masks of a call: causal, random ones over memory, padding; booleans or numbers."""
    B, S, T = 3, 5, 4
    hidden = {"src": np.triu(np.ones((S, S), bool), 1), "tgt": np.triu(np.ones((T, T), bool), 1),
              "memory": rng.random((T, S)) < 0.3}  # fmt: skip
    hidden["memory"][:, 0] = False
    pads = {"src": np.zeros((B, S), bool), "tgt": np.zeros((B, T), bool)}
    pads["src"][1, 3:] = pads["tgt"][2, 2:] = True
    pads["memory"] = pads["src"]

    def mask(a):
        if not numbers:
            return lib.from_numpy(a)
        return lib.zeros(*a.shape, dtype=getattr(lib, dtype)).masked_fill(
            lib.from_numpy(a), float("-inf")
        )

    names = {"encoder layer": {"src": "src_mask"}, "encoder": {"src": "mask"}}.get(
        kind, {k: f"{k}_mask" for k in hidden}
    )
    if "decoder" in kind:
        names.pop("src")
    options = {}
    for part, name in names.items():
        if "mask" in which:
            options[name] = mask(hidden[part])
        if "padding" in which:
            options[f"{part}_key_padding_mask"] = mask(pads[part])
    return options


def outcome(lib, kind, seed, which, numbers, batch_first, training, **options):
    """(state, output, gradients by name) of one call; the same calls in both libraries."""
    dtype = options["dtype"]
    layer = make(lib, kind, seed, batch_first=batch_first, **options).train(training)
    rng = np.random.default_rng(seed)
    with lib.no_grad():
        for p in layer.parameters():
            if p.dim() == 1:  # biases and norms that are not 0 and 1
                p += lib.from_numpy(rng.standard_normal(tuple(p.shape)).astype(dtype))
    sizes = {"encoder layer": (5,), "encoder": (5,), "both": (5, 4)}.get(kind, (4, 5))
    arrays = [rng.standard_normal((3, n, E) if batch_first else (n, 3, E)) for n in sizes]
    inputs = [lib.from_numpy(a.astype(dtype)).requires_grad_() for a in arrays]
    state = {k: v.clone() for k, v in layer.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = layer(*inputs, **masks(lib, kind, which, numbers, dtype, rng))
    g = rng.standard_normal(tuple(y.shape)).astype(dtype)
    if "padding" in which and "encoder" in kind:  # what stands at padding means nothing
        pad = (1, slice(3, None)) if batch_first else (slice(3, None), 1)
        g[pad] = 0.0
        y = y.clone()
        with lib.no_grad():
            y[pad] = 0.0
    y.backward(lib.from_numpy(g))
    named = [*layer.named_parameters(), *((f"input {i}", x) for i, x in enumerate(inputs))]
    return state, y, {name: p.grad for name, p in named}


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(
    seed=seeds, which=st.sets(st.sampled_from(["mask", "padding"])), numbers=st.booleans(),
    batch_first=st.booleans(), norm_first=st.booleans(), bias=st.booleans(),
    activation=st.sampled_from(["relu", "gelu"]), dropout=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_values_and_gradients(kind, dtype, seed, which, numbers, batch_first, **options):
    ours, theirs = (
        outcome(lib, kind, seed, which, numbers, batch_first, True, dtype=dtype, **options)
        for lib in (tg, torch)
    )
    assert list(ours[0]) == list(theirs[0])
    for name, weight in theirs[0].items():
        np.testing.assert_array_max_ulp(ours[0][name].numpy(), weight.numpy(), 1)
    close(ours[1].detach().numpy(), theirs[1].detach().numpy(), dtype)
    assert list(ours[2]) == list(theirs[2])
    largest = max(float(g.abs().max()) for g in theirs[2].values())
    for name, gradient in theirs[2].items():
        close(ours[2][name].numpy(), gradient.numpy(), dtype, name, extra=largest)


def close(ours, theirs, dtype, name="the output", extra=0.0):
    limit = VALUES[dtype] * max(float(np.abs(theirs).max()), extra, 1e-2) * 5
    assert ours.shape == theirs.shape
    assert float(np.abs(ours - theirs).max()) <= limit, name


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_without_a_graph(kind):
    with tg.no_grad(), torch.no_grad():
        ours, theirs = (
            make(lib, kind, 3, dtype="float32", batch_first=True).eval() for lib in (tg, torch)
        )
        n = 1 if "encoder" in kind and kind != "both" else 2
        arrays = [np.random.default_rng(i).standard_normal((2, 4 + i, E), np.float32)
                  for i in range(n)]  # fmt: skip
        a = ours(*map(tg.from_numpy, arrays)).numpy()
        b = theirs(*map(torch.from_numpy, arrays)).numpy()
    close(a, b, "float32")


def test_without_a_batch():
    ours, theirs = (make(lib, "both", 5, dtype="float64").eval() for lib in (tg, torch))
    src, tgt = np.random.default_rng(0).standard_normal((2, 4, E))
    a = ours(tg.from_numpy(src), tg.from_numpy(tgt)).detach().numpy()
    b = theirs(torch.from_numpy(src), torch.from_numpy(tgt)).detach().numpy()
    close(a, b, "float64")


def test_a_state_travels_both_ways():
    ours, theirs = (make(lib, "both", s, dtype="float32") for lib, s in ((tg, 1), (torch, 2)))
    ours.load_state_dict({k: tg.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    theirs.load_state_dict(
        {k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()}
    )
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_the_causal_mask(size):
    ours, theirs = (lib.nn.Transformer.generate_square_subsequent_mask(size) for lib in (tg, torch))
    assert ours.dtype is tg.float32
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


WRONG = {
    "activation": lambda lib: lib.nn.TransformerEncoderLayer(4, 2, activation="silu"),
    "heads": lambda lib: lib.nn.TransformerDecoderLayer(5, 2),
    "batches": lambda lib: lib.nn.Transformer(4, 2, 1, 1, 4)(
        lib.zeros(3, 2, 4), lib.zeros(3, 1, 4)
    ),
    "channels": lambda lib: lib.nn.Transformer(4, 2, 1, 1, 4)(
        lib.zeros(3, 2, 5), lib.zeros(3, 2, 4)
    ),
    "causal without a mask": lambda lib: lib.nn.TransformerEncoderLayer(4, 2)(
        lib.zeros(3, 1, 4), is_causal=True
    ),
    "mask of a wrong shape": lambda lib: lib.nn.TransformerEncoderLayer(4, 2)(
        lib.zeros(3, 1, 4), lib.zeros(2, 2)
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        WRONG[name](torch)
    with pytest.raises(theirs.type) as ours:
        WRONG[name](tg)
    assert str(theirs.value).split(",")[0].rstrip(".")[:40] in str(ours.value)


def test_copies_and_custom_parts():
    layer = tg.nn.TransformerEncoderLayer(4, 2, 8)
    encoder = tg.nn.TransformerEncoder(layer, 3)
    assert encoder.layers[0].linear1.weight is not encoder.layers[1].linear1.weight
    decoder = tg.nn.TransformerDecoder(tg.nn.TransformerDecoderLayer(4, 2, 8), 1)
    model = tg.nn.Transformer(4, 2, custom_encoder=copy.deepcopy(encoder), custom_decoder=decoder)
    assert model(tg.zeros(2, 1, 4), tg.zeros(3, 1, 4)).shape == (3, 1, 4)
    from tinygrad_llm.nn.modules.transformer import TransformerEncoder

    assert TransformerEncoder is tg.nn.TransformerEncoder
