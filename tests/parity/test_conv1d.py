"""conv1d and Conv1d: PyTorch's numbers, gradients, initial weights and text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from .compared import agree

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

# (batch, channels, length, outputs, taps, stride, padding, dilation, groups)
SIZES = [
    (2, 4, 9, 4, 3, 1, 2, 1, 4), (1, 4, 5, 4, 4, 1, 3, 1, 4), (3, 6, 11, 6, 4, 2, 1, 1, 6),
    (2, 3, 7, 5, 3, 1, 0, 1, 1), (2, 3, 10, 5, 3, 2, 1, 2, 1), (1, 8, 13, 4, 5, 3, 4, 2, 2),
    (2, 6, 8, 9, 1, 1, 0, 1, 3), (2, 4, 6, 8, 2, 1, 1, 1, 4), (2, 5, 5, 1, 5, 1, 0, 1, 1),
    (4, 1, 20, 3, 3, 2, 1, 1, 1), (2, 80, 30, 16, 3, 2, 1, 1, 1), (1, 12, 9, 4, 3, 1, 1, 3, 4),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_conv1d(sizes, dtype, bias):
    b, c, t, o, k, s, p, d, g = sizes
    rng = np.random.default_rng(sum(sizes))
    x, w, v = (rng.normal(size=n).astype(dtype) for n in ((b, c, t), (o, c // g, k), (o,)))

    def call(lib, x, w, v=None):
        return lib.nn.functional.conv1d(x, w, v, stride=s, padding=p, dilation=d, groups=g)

    agree(torch, call, x, w, *([v] if bias else []))


@pytest.mark.parametrize("taps,dilation", list(itertools.product([1, 2, 3, 4, 5], [1, 2, 3])))
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_padding_by_name(taps, dilation, padding):
    rng = np.random.default_rng(taps)
    x, w = rng.normal(size=(2, 4, 14)), rng.normal(size=(4, 2, taps))

    def call(lib, x, w):
        return lib.nn.functional.conv1d(x, w, None, 1, padding, dilation, 2)

    agree(torch, call, x, w)


def test_without_a_batch_and_in_other_layouts():
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(7, 4)), rng.normal(size=(6, 4, 3))
    agree(torch, lambda lib, x, w: lib.nn.functional.conv1d(x.t(), w, padding=(1,)), x, w)
    y = rng.normal(size=(2, 9, 4))
    agree(
        torch, lambda lib, x, w: lib.nn.functional.conv1d(x.transpose(1, 2), w, stride=(2,)), y, w
    )


LAYERS = [
    (4, 4, 3, {"groups": 4, "padding": 2}),
    (6, 6, (4,), {"groups": 6, "padding": 3, "bias": False}),
    (3, 8, 5, {}), (8, 4, 2, {"stride": 2, "dilation": 3}), (4, 8, 3, {"groups": 2, "padding": 1}),
    (5, 5, 1, {"padding": "same"}),
]  # fmt: skip


@pytest.mark.parametrize("inputs,outputs,taps,options", LAYERS)
def test_the_layer(inputs, outputs, taps, options):
    layers = []
    for lib in (tg, torch):
        lib.manual_seed(5)
        layers.append(lib.nn.Conv1d(inputs, outputs, taps, **options))
    ours, theirs = layers
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    for name, p in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), p.numpy())
    x = np.random.default_rng(0).normal(size=(2, inputs, 12)).astype("float32")
    y, z = ours(tg.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=2e-5, atol=2e-6)
    assert tuple(y.stride()) == tuple(z.stride())


@pytest.mark.parametrize("bad", [
    lambda lib: lib.nn.functional.conv1d(lib.ones(1, 3, 5), lib.ones(2, 2, 3)),
    lambda lib: lib.nn.functional.conv1d(lib.ones(1, 2, 2), lib.ones(2, 2, 3)),
    lambda lib: lib.nn.functional.conv1d(lib.ones(1, 4, 5), lib.ones(3, 2, 3), groups=2),
    lambda lib: lib.nn.functional.conv1d(lib.ones(5), lib.ones(2, 2, 3)),
    lambda lib: lib.nn.functional.conv1d(lib.ones(1, 2, 5), lib.ones(2, 2, 3), lib.ones(3)),
    lambda lib: lib.nn.functional.conv1d(lib.ones(1, 2, 5), lib.ones(2, 2, 3), stride=0),
    lambda lib: lib.nn.functional.conv1d(lib.ones(1, 2, 5), lib.ones(2, 2, 3), padding=-1),
    lambda lib: lib.nn.Conv1d(3, 4, 3, groups=2),
])  # fmt: skip
def test_errors_are_of_the_same_class(bad):
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        bad(torch)
    with pytest.raises(type(theirs.value)):
        bad(tg)
