"""Conv1d: shapes, options, errors, and how language models use it."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn

F = nn.functional


def test_a_causal_convolution_sees_nothing_later():
    torch.manual_seed(0)
    conv = nn.Conv1d(4, 4, kernel_size=3, groups=4, padding=2)
    x = torch.randn(2, 4, 7)
    y = conv(x)[..., :7]
    later = x.clone()
    later[..., 5:] = 100.0
    assert (conv(later)[..., :5] == y[..., :5]).all() and y.shape == (2, 4, 7)
    step = (x[..., 2:5] * conv.weight.view(4, 3)).sum(-1) + conv.bias  # one step, from a state
    assert torch.allclose(step, y[..., 4], atol=1e-6)


@pytest.mark.parametrize("padding,length", [("same", 9), ("valid", 6), (1, 8), ((2,), 10), (0, 6)])
def test_padding(padding, length):
    x, w = torch.randn(1, 2, 9), torch.randn(3, 2, 4)
    assert F.conv1d(x, w, padding=padding).shape == (1, 3, length)
    assert F.conv1d(x[0], w, padding=padding).shape == (3, length)


ERRORS = {
    "channels": (lambda: F.conv1d(torch.ones(1, 3, 5), torch.ones(2, 2, 3)), "2 channels, but got"),
    "groups": (
        lambda: F.conv1d(torch.ones(1, 4, 5), torch.ones(3, 2, 3), groups=2), "divisible by",
    ),
    "kernel": (lambda: F.conv1d(torch.ones(1, 2, 2), torch.ones(2, 2, 3)), "Kernel size"),
    "bias": (
        lambda: F.conv1d(torch.ones(1, 2, 5), torch.ones(2, 2, 3), torch.ones(3)), "2 elements",
    ),
    "dims": (lambda: F.conv1d(torch.ones(5), torch.ones(2, 2, 3)), "2D.*3D"),
    "stride": (lambda: F.conv1d(torch.ones(1, 2, 5), torch.ones(2, 2, 3), stride=0), "stride"),
    "dilation": (lambda: F.conv1d(torch.ones(1, 2, 5), torch.ones(2, 2, 3), dilation=0), "dilat"),
    "negative": (lambda: F.conv1d(torch.ones(1, 2, 5), torch.ones(2, 2, 3), padding=-1), "negat"),
    "same": (
        lambda: F.conv1d(torch.ones(1, 2, 5), torch.ones(2, 2, 3), stride=2, padding="same"),
        "strid",
    ),
    "word": (lambda: F.conv1d(torch.ones(1, 2, 5), torch.ones(2, 2, 3), padding="full"), "'same'"),
    "dtype": (lambda: F.conv1d(torch.ones(1, 2, 5).double(), torch.ones(2, 2, 3)), "dtype"),
    "pair": (lambda: F.conv1d(torch.ones(1, 2, 5), torch.ones(2, 2, 3), stride=(1, 2)), "stride"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_errors_say_what_was_wrong(name):
    call, text = ERRORS[name]
    with pytest.raises(RuntimeError, match=text):
        call()


@pytest.mark.parametrize("arguments", [
    (4, 6, 3, 1, 0, 1, 4), (3, 6, 3, 1, 0, 1, 2), (4, 4, 3, 2, "same"), (4, 4, 3, 1, "full"),
    (4, 4, 3, 1, 0, 1, 0), (4, 4, 3, 1, 0, 1, 1, True, "circular"),
])  # fmt: skip
def test_a_layer_that_cannot_be_made(arguments):
    with pytest.raises(ValueError, match=r"groups|divisible|same|padding"):
        nn.Conv1d(*arguments)


def test_one_dimension_of_numpy_is_the_same():
    x, w = np.random.default_rng(0).normal(size=(2, 9)), np.array([1.0, -2.0, 0.5, 3.0])
    ours = F.conv1d(torch.from_numpy(x)[:, None], torch.from_numpy(w)[None, None])[:, 0]
    expected = np.stack([np.correlate(row, w, "valid") for row in x])
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)
