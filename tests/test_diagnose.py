"""The diagnosis of wrong gradients: by name where there is one, otherwise by their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_llm import ops
from tinygrad_llm.autograd.engine import OPS
from tinygrad_llm.study.check.diagnose import diagnose
from tinygrad_llm.study.mistakes import MISTAKES


def attempt(name, backward):
    """An op with this backward."""
    true = OPS[name]
    return type(f"My{true.__name__}", (true,), {"backward": backward})


def mapped(name, f, *which):
    """The true gradients with f on those of some inputs."""

    def backward(self, g):
        grads = OPS[name].backward(self, g)
        grads = grads if isinstance(grads, tuple) else (grads,)
        return tuple(f(a) if i in which and a is not None else a for i, a in enumerate(grads))

    return attempt(name, backward)


@pytest.mark.parametrize("name", OPS)
def test_the_true_backward_has_no_findings(name):
    assert diagnose(name, OPS[name]) == []


@pytest.mark.parametrize("name", OPS)
def test_every_mistake_is_called_by_its_name(name):
    for mistake in MISTAKES[name]:
        findings = diagnose(name, mistake.planted())
        assert [f.mistake for f in findings] == [mistake], (mistake.name, findings)
        assert findings[0].text == mistake.sentence and findings[0].kind == "mistake"


def text_of(name, cls):
    findings = diagnose(name, cls)
    assert findings, "no findings"
    assert all(f.mistake is None for f in findings), findings
    return " ".join(f.text for f in findings)


def test_a_constant_factor():
    text = text_of("layer_norm", mapped("layer_norm", lambda a: 3.0 * a, 0))
    assert "gradient of x" in text and "times 3" in text and "ratio 3" in text


def test_a_sign():
    text = text_of("layer_norm", mapped("layer_norm", lambda a: -a, 1))
    assert "gradient of w" in text and "other sign" in text
    text = text_of("softmax", mapped("softmax", abs, 0))
    assert "Only signs are wrong" in text


def test_a_mean_for_a_sum():
    def backward(self, g):
        gx, gw, gb = ops.LayerNorm.backward(self, g)
        rows = g.size // g.shape[-1]
        return gx, None if gw is None else gw / rows, gb

    text = text_of("layer_norm", attempt("layer_norm", backward))
    assert "gradient of w" in text and "1 / the number of rows" in text


def test_a_transpose():
    def backward(self, g):
        gx, gw, gb = ops.Linear.backward(self, g)
        return gx, gw.T.reshape(gw.shape), gb

    text = text_of("linear", attempt("linear", backward))
    assert "gradient of w" in text and "transpose" in text


def test_a_wrong_shape_and_a_missing_sum():
    def backward(self, g):
        gx, _, gb = ops.LayerNorm.backward(self, g)
        return gx, g * self.saved[0], gb

    text = text_of("layer_norm", attempt("layer_norm", backward))
    assert "has shape" in text and "A sum is missing: over dim 0" in text


def test_a_factor_of_each_row():
    def backward(self, g):
        gx, gw, gb = ops.LayerNorm.backward(self, g)
        return gx * self.saved[1], gw, gb

    assert "same all along dim" in text_of("layer_norm", attempt("layer_norm", backward))


def test_a_difference_of_each_row():
    cls = mapped("softmax", lambda a: a - a.mean(-1, keepdims=True) + 1.0, 0)
    assert "difference is the same all along dim" in text_of("softmax", cls)


def test_a_factor_that_is_an_input():
    def backward(self, g):
        return g * self.saved[1] * self.saved[0], g * self.saved[0]

    cls = attempt("div", lambda self, g: (OPS["div"].backward(self, g)[0] / self.saved[1], None))
    assert "gradient of x" in text_of("div", cls)
    assert "times x" in text_of("mul", attempt("mul", backward))


def test_moved_elements():
    cls = mapped("cumsum", lambda a: np.flip(a), 0)
    assert diagnose("cumsum", cls)
    text = text_of("sin", mapped("sin", lambda a: np.roll(a, 1, -1), 0))
    assert "off by one" in text


def test_nan_and_zero():
    assert "NaN or infinite" in text_of("exp", mapped("exp", lambda a: a * np.nan, 0))
    assert "0 everywhere" in text_of("exp", mapped("exp", lambda a: 0.0 * a, 0))


def test_some_elements_are_right():
    def first_lost(a):
        a = a.copy()
        a.flat[0] = 0.0
        return a

    text = text_of("exp", mapped("exp", first_lost, 0))
    assert "wrong in 1 of" in text and "are 0" in text


def test_two_mistakes_in_two_inputs():
    """Each wrong input is explained by its own mistake."""

    def backward(self, g):
        xhat, r, w = self.saved
        u = g if w is None else g * w
        rows = tuple(range(g.ndim - 1))
        return r * u, g.sum(rows), g.sum(rows)

    findings = diagnose("layer_norm", attempt("layer_norm", backward))
    assert [(f.input, f.mistake.name) for f in findings] == [
        ("x", "mean and variance held constant"),
        ("w", "x̂ left out of ∂L/∂w"),
    ]


def test_a_mistake_together_with_an_error_without_a_name():
    """x's mistake is named although w and b are wrong in a way that has no name."""

    def backward(self, g):
        xhat, r, w = self.saved
        u = g * w  # raises where w was left out: that can wait
        return r * (u - u.mean(-1, keepdims=True)), 7.0 * (g * xhat).sum(), g.sum(0)

    x, w, b = diagnose("layer_norm", attempt("layer_norm", backward))
    assert (x.kind, x.input, x.mistake.name) == ("mistake", "x", "variance held constant")
    assert (w.kind, w.input, b.kind, b.input) == ("shape", "w", "shape", "b")
    assert "A sum is missing" in b.text


def test_options_come_after_the_plain_calls():
    """A learner who has not reached the options reads only about the plain calls."""

    def backward(self, g):
        gw = np.zeros(self.shape)
        gw[self.saved[0]] = g
        return gw, None

    (finding,) = diagnose("embedding", attempt("embedding", backward))
    assert finding.mistake is not None and finding.mistake.name == "= for +="

    def without_options(self, g):
        gw = np.zeros(self.shape)
        np.add.at(gw, self.saved[0], g)
        return gw, None

    text = text_of("embedding", attempt("embedding", without_options))
    assert text.startswith("Right on 4 calls like the worked example; with other options")
    assert "padding_idx" in text or "scale_grad_by_freq" in text


def test_what_is_not_a_gradient():
    assert diagnose("exp", attempt("exp", lambda self, g: None))[0].kind == "nothing"
    findings = diagnose("mul", attempt("mul", lambda self, g: g))
    assert findings[0].kind == "number" and "2 inputs" in findings[0].text
    findings = diagnose("exp", attempt("exp", lambda self, g: "g"))
    assert findings[0].kind == "number" and "str" in findings[0].text
    findings = diagnose("exp", attempt("exp", lambda self, g: g @ g @ g))
    assert findings[0].kind == "error" and "The call" in findings[0].text


def test_an_unknown_op():
    with pytest.raises(ValueError, match="no op is called 'nothing'"):
        diagnose("nothing", OPS["exp"])
