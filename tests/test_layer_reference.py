"""Every layer of models against its slow twin, values and gradients; planted mistakes are seen."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm import layers as layers_package
from tinygrad_llm import nn
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.rotary import Rotary
from tinygrad_llm.study.check.diagnose_layer import diagnose_layer
from tinygrad_llm.study.check.layer_reference import LAYER_TWINS, SlowAttention, SlowRotary
from tinygrad_llm.study.check.layer_samples import SCALINGS, layer_calls, same_values
from tinygrad_llm.study.common.layer_exercises import EXERCISES_OF
from tinygrad_llm.study.exercises import exercises
from tinygrad_llm.study.explain.layer_examples import LAYERS
from tinygrad_llm.study.mistakes.whole_layers import LAYER_MISTAKES

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
CALLS = layer_calls()
EVERY = [m for mistakes in LAYER_MISTAKES.values() for m in mistakes]
IDS = [f"{call.layer}-{n}" for n, call in enumerate(CALLS)]


def public_layers():
    """The classes and the loss that layers/ offers; a Protocol only says what others do.

    A named tuple carries arrays from one function to another; TextsCache computes nothing, it cuts
    the tokens of several texts apart for their caches.
    """
    names = {"head_loss"}
    prefix = layers_package.__name__ + "."
    for info in pkgutil.walk_packages(layers_package.__path__, prefix):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            kind = getattr(module, name)
            if inspect.isclass(kind) and not getattr(kind, "_is_protocol", False):
                if not issubclass(kind, tuple) and info.name != prefix + "texts_cache":
                    names.add(name)
    return names


def outcome(call, layer, inputs, used):
    """The output, and the gradients of inputs and parameters for a random upstream gradient."""
    module = getattr(layer, "head", layer)
    parameters = dict(module.named_parameters()) if isinstance(module, nn.Module) else {}
    xs = [x.detach().clone() for x in inputs]
    cache = call.layer.endswith("Cache")
    for x in xs:
        x.requires_grad = x.is_floating_point() and not cache
    for p in parameters.values():
        p.grad = None
    y = call.run(used, xs)
    upstream = np.random.default_rng(1).standard_normal(tuple(y.shape)).astype(y.array.dtype)
    if not cache:
        y.backward(torch.from_numpy(np.array(upstream)))
    owners = {**{f"input {i}": x for i, x in enumerate(xs)}, **parameters}
    return y, {n: x.grad for n, x in owners.items() if x.grad is not None}


def assert_same(a, b, tolerance, what, floor=0.0):
    a, b = (np.asarray(x.detach().numpy(), dtype=np.float64) for x in (a, b))
    bound = tolerance * np.abs(b).max(initial=0.0) + floor
    np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=what)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_a_layer_equals_its_slow_twin(call, dtype):
    layer, inputs = call.made(dtype)
    y, gradients = outcome(call, layer, inputs, layer)
    layer, inputs = call.made(dtype)
    expected, others = outcome(call, layer, inputs, call.twin(layer))
    assert y.dtype is expected.dtype and str(y.dtype) == f"torch.{dtype}"
    # A Rotary's angles are float32 in both, from frequencies that differ in their last digit
    tolerance = 1e-5 if call.layer == "Rotary" else TOLERANCE[dtype]
    assert_same(y, expected, tolerance, "output")
    assert set(gradients) == set(others)
    assert gradients or call.layer.endswith("Cache")
    for name, gradient in gradients.items():
        assert_same(gradient, others[name], tolerance, name, 1e-7)


@settings(max_examples=25, deadline=None)
@given(
    heads=st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3), (6, 2)]),
    T=st.integers(1, 6),
    options=st.fixed_dictionaries(
        {},
        optional={
            "window": st.integers(1, 7),
            "softcap": st.floats(0.3, 4.0),
            "scale": st.floats(0.1, 2.0),
            "bias": st.booleans(),
            "out_bias": st.booleans(),
            "rotary": st.sampled_from([Rotary(4), Rotary(4, interleaved=True, partial=0.5)]),
            "qk_norm": st.just(nn.RMSNorm),
        },
    ),
)
def test_any_attention_equals_the_loop(heads, T, options):
    torch.manual_seed(0)
    layer = Attention(5, heads[0], n_kv_heads=heads[1], head_dim=4, **options).double().eval()
    x = torch.randn(2, T, 5).double()
    assert_same(layer(x), SlowAttention(layer)(x), 1e-12, str(options))


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("pieces", [(1, 1, 1, 1, 1, 1, 1), (3, 1, 3), (2, 5)])
def test_a_text_in_pieces_equals_the_loop_over_all_of_it(window, pieces):
    torch.manual_seed(0)
    layer = Attention(5, 4, n_kv_heads=2, head_dim=4, window=window, rotary=Rotary(4)).double()
    x, cache = torch.randn(2, 7, 5).double(), layer.new_cache(7)
    with torch.no_grad():
        got = torch.cat([layer(part, cache=cache) for part in x.split(list(pieces), 1)], 1)
        assert_same(got, SlowAttention(layer)(x), 1e-12, "pieces")


@pytest.mark.parametrize(
    "scaling", SCALINGS, ids=lambda s: "plain" if s is None else s["rope_type"]
)
@pytest.mark.parametrize("dim", [2, 8, 14, 64])
def test_frequencies_by_the_definition(scaling, dim):
    rotary = Rotary(dim, 500.0, scaling=scaling)
    expected = [SlowRotary(rotary).omega(j) for j in range(dim // 2)]
    np.testing.assert_allclose(rotary.frequencies, expected, rtol=1e-6)


# ------------------------------------------------------------------------------- planted mistakes
def outputs_with(mistake):
    """(call, layer, inputs, expected, wrong) for each call of the mistake's layer."""
    for call in layer_calls(mistake.layer):
        layer, inputs = call.made()
        with torch.no_grad():
            expected = call.run(layer, inputs)
            base = getattr(layer, "head", layer)
            wrong = call.run(mistake.planted(LAYER_TWINS[mistake.layer])(base), inputs)
        yield call, layer, inputs, expected, wrong


@pytest.mark.parametrize("mistake", EVERY, ids=lambda m: f"{m.layer}-{m.name}")
@pytest.mark.suite_cases(20)
def test_the_comparison_sees_and_names(mistake):
    """It is off by a hundred times what is allowed, on some call, and there it has its name."""
    seen = False
    for call, layer, inputs, expected, wrong in outputs_with(mistake):
        if same_values(wrong, expected, 1e-3):
            continue
        seen = True
        if call.layer != "head_loss":
            named = diagnose_layer(layer, wrong, *inputs, use=call.use, **call.options)
            assert mistake in named, named
    assert seen, f"no call of {mistake.layer} shows {mistake.name!r}"


@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_a_right_layer_is_not_accused(call):
    layer, inputs = call.made()
    if call.layer != "head_loss":
        with torch.no_grad():
            y = call.run(layer, inputs)
        assert diagnose_layer(layer, y, *inputs, use=call.use, **call.options) == []


@pytest.mark.slow
@pytest.mark.ci
def test_mistakes_of_a_layer_differ_from_each_other():
    """For every two mistakes some call tells them apart."""
    for name, mistakes in LAYER_MISTAKES.items():
        outputs = {m.name: [wrong for *_, wrong in outputs_with(m)] for m in mistakes}
        for i, a in enumerate(mistakes):
            for b in mistakes[i + 1 :]:
                pairs = zip(outputs[a.name], outputs[b.name], strict=True)
                assert not all(same_values(x, y) for x, y in pairs), (name, a.name, b.name)


def test_every_mistake_is_explained():
    for m in EVERY:
        assert m.sentence.endswith(".") and len(m.sentence.split()) >= 6, (m.layer, m.name)
    assert len(EVERY) == len({(m.layer, m.name) for m in EVERY})


def test_what_has_no_name_and_what_has_no_twin():
    layer, x = Attention(4, 2), torch.randn(1, 3, 4)
    assert diagnose_layer(layer, torch.randn(1, 3, 4), x) == []
    with pytest.raises(ValueError, match="Linear has no slow twin"):
        diagnose_layer(nn.Linear(4, 4), x, x)
    with pytest.raises(ValueError, match="has no method nothing"):
        type(EVERY[0])("Attention", "n", "s", {"nothing": len}).planted(SlowAttention)


# ----------------------------------------------------------------------------- nothing is missing
def test_every_public_layer_is_taught():
    """A layer without a slow twin, three mistakes, a page or an exercise fails here, by name."""
    public = public_layers()
    known = {e.name for e in exercises()}
    missing = {
        "slow twin": public - set(LAYER_TWINS),
        "calls": public - {call.layer for call in CALLS},
        "three mistakes": {n for n in public if len(LAYER_MISTAKES.get(n, ())) < 3},
        "explain example": public - {"head_loss"} - set(LAYERS),
        "exercise": {n for n in public if not set(EXERCISES_OF.get(n, ())) & known},
    }
    assert {what: names for what, names in missing.items() if names} == {}
    assert {e for names in EXERCISES_OF.values() for e in names} <= known
    gone = {*LAYER_TWINS, *LAYER_MISTAKES, *EXERCISES_OF} - public
    assert gone == set(), "these are taught but are not in layers/"
