"""gradcheck sees wrong gradients, names them, and refuses what it can't judge."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_llm
from tinygrad_llm import nn
from tinygrad_llm.autograd.engine import OPS, Op
from tinygrad_llm.autograd.finite_differences import GradcheckError, compare_gradients, gradcheck
from tinygrad_llm.tensor import wrap


def op_of(forward, backward, **members):
    cls = type("Probe", (Op,), {"name": "probe", "forward": forward, "backward": backward,
                                **members})  # fmt: skip
    OPS.pop("probe", None)
    return cls.apply


def save(self, x):
    self.saved = (x,)
    return x * x


square = op_of(save, lambda self, g: g * 2.0 * self.saved[0])
twice_too_large = op_of(save, lambda self, g: g * 4.0 * self.saved[0])
X = np.array([[0.5, -1.0], [2.0, 0.25]])


def test_right_gradients_pass():
    assert gradcheck(square, X) is True
    assert gradcheck(lambda x, y: (x @ y).tanh(), X, X + 1.0)
    assert gradcheck(lambda x: x.sum(), np.ones(()))
    assert gradcheck(lambda x: x * 2.0, np.ones((0, 3)))


def test_the_worst_element_is_named():
    def forward(self, x):
        self.saved = (x,)
        return x * 3.0

    def backward(self, g):
        g = g * 3.0
        g[1, 0] *= 1.5
        return g

    with pytest.raises(GradcheckError, match=r"input 0\[1, 0\].*ratio 1.5\).*1 of 4") as caught:
        gradcheck(op_of(forward, backward), X)
    worst = caught.value.worst
    assert worst.name == "input 0" and worst.index == (1, 0)
    assert worst.ratio == pytest.approx(1.5) and worst.excess > 1e4
    assert worst.analytic == pytest.approx(1.5 * worst.numeric)
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, AssertionError)


def test_a_verdict_without_an_exception():
    assert gradcheck(twice_too_large, X, raise_exception=False) is False
    assert gradcheck(square, X, raise_exception=False) is True


def test_no_gradient_and_an_infinite_one():
    nothing = op_of(save, lambda self, g: None)
    with pytest.raises(GradcheckError, match="backward says 0,.*ratio 0"):
        gradcheck(nothing, X)
    with pytest.raises(GradcheckError, match="backward says 0,"):
        gradcheck(lambda x: x.detach() * 2.0, X)
    nan = op_of(save, lambda self, g: g * math.nan)
    with pytest.raises(GradcheckError, match="backward says nan"):
        gradcheck(nan, X)


def test_the_upstream_gradient_is_not_uniform():
    """Σ softmax(x) is 1: with a gradient of ones from above, softmax has gradient 0 anyhow."""

    def forward(self, x):
        e = np.exp(x - x.max(-1, keepdims=True))
        self.saved = (e / e.sum(-1, keepdims=True),)
        return self.saved[0]

    elementwise = op_of(forward, lambda self, g: g * self.saved[0] * 0.0)
    with pytest.raises(GradcheckError):
        gradcheck(elementwise, X)


def test_only_float64():
    with pytest.raises(ValueError, match="needs float64, input 0 is torch.float32.*180%"):
        gradcheck(square, X.astype("float32"))
    with pytest.raises(ValueError, match="an output is torch.float32"):
        gradcheck(lambda x: x.float(), X)
    with pytest.raises(ValueError, match="weight is torch.float32"):
        gradcheck(nn.Linear(2, 2), wrap(X))


def test_nothing_to_check():
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(square, wrap(X))
    with pytest.raises(ValueError, match="no floating tensor"):
        gradcheck(lambda x: x > 0, X)


def test_random_functions_are_refused():
    dropout = nn.Dropout(0.5)
    with pytest.raises(ValueError, match="draws random numbers"):
        gradcheck(dropout, np.ones(100))
    dropout.eval()
    assert gradcheck(dropout, np.ones(5))


def test_inputs_are_left_alone():
    x = wrap(X.copy()).requires_grad_()
    gradcheck(lambda x: (x * x).sum(), x)
    assert x.grad is None and x.tolist() == X.tolist()


def test_inputs_of_any_layout():
    assert gradcheck(square, X.T[::-1]) and gradcheck(square, np.broadcast_to(2.0, (3, 2)))
    frozen = X.copy()
    frozen.flags.writeable = False
    assert gradcheck(square, frozen)


def test_which_inputs_are_checked():
    x, y = wrap(X).requires_grad_(), wrap(X + 1.0)
    comparisons = compare_gradients(lambda x, y, n, flag: x * y * n, x, y, 3, flag := True)
    assert [c.name for c in comparisons] == ["input 0"] and flag
    comparisons = compare_gradients(lambda x, y: x + y, (x, X))  # PyTorch gives a tuple
    assert [c.name for c in comparisons] == ["input 0", "input 1"]


def test_several_outputs_of_any_structure():
    def fn(x):
        return {"a": x * 2.0, "b": (x.exp(), [x.argmax()]), "c": x.detach()}

    assert gradcheck(fn, X)
    wrong = op_of(save, lambda self, g: g * self.saved[0])
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: (x * 2.0, wrong(x)), X)


def test_modules_with_all_their_parameters():
    tinygrad_llm.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = wrap(np.random.default_rng(0).standard_normal((5, 3)))
    before = {k: p.numpy(force=True).copy() for k, p in net.named_parameters()}
    assert gradcheck(net, x)
    names = [c.name for c in compare_gradients(net, x)]
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for k, p in net.named_parameters():
        assert p.grad is None and p.numpy(force=True).tobytes() == before[k].tobytes()
    net[0].bias.requires_grad = False
    assert "0.bias" not in [c.name for c in compare_gradients(net, x)]


def test_a_module_with_a_wrong_parameter_gradient():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(wrap(np.array([1.0, 2.0])))

        def forward(self, x):
            return x + self.factor.detach() + self.factor * 2.0

    with pytest.raises(GradcheckError, match=r"Scale.*factor\[.\].*ratio 0.66"):
        gradcheck(Scale(), wrap(X))


def test_parameters_of_a_closure():
    w = wrap(np.array([1.0, 2.0])).requires_grad_()
    assert gradcheck(lambda x: x * w, X, parameters={"w": w})
    with pytest.raises(GradcheckError, match=r"w\["):
        gradcheck(lambda x: x * w.detach(), X, parameters={"w": w})


@pytest.mark.parametrize("n", [1, 3])
def test_directions(n):
    big = np.random.default_rng(0).standard_normal((50, 40))
    assert gradcheck(lambda x: (x * x).sum(), big, directions=n)
    with pytest.raises(GradcheckError, match="input 0"):
        gradcheck(lambda x: twice_too_large(x).sum(), big, directions=n)
    (comparison,) = compare_gradients(lambda x: x.exp(), big, directions=n)
    assert comparison.analytic.shape == (n,)


def test_a_kink_is_spoken_of():
    with pytest.raises(GradcheckError, match="kink"):
        gradcheck(lambda x: x.relu(), np.zeros(2))


def test_on_every_device(device):
    x = wrap(X).to(device).requires_grad_()
    assert gradcheck(lambda x: (x * x).sum(0), x)
