"""Named mistakes of products, softmax, norms, embedding, dropout, convolution and rope."""

from __future__ import annotations

import numpy as np

from ...arrays.reductions import unbroadcast
from ...ops.activation import gelu_erf, gelu_tanh
from ...ops.matmul import rows
from ...ops.rope import rotate
from .base import (
    FIRST_COPY,
    forgets_g,
    given,
    negated,
    no_g,
    true,
    wrong,
)


# ------------------------------------------------------------------------------------ products
def _both(fa, fb):
    """A's and B's gradient, either replaced."""

    def backward(op, g):
        ga, gb = true(op, g)
        a, b = op.given
        return fa(a, b, g) if fa else ga, fb(a, b, g) if fb else gb

    return backward


wrong(
    "matmul",
    ("transpose of B forgotten", "∂L/∂A is g·B here: it is g·Bᵀ, so that the columns of g meet the "
     "columns of B.", _both(lambda a, b, g: g @ b, None)),
    ("transpose of A forgotten", "∂L/∂B is A·g here: it is Aᵀ·g.",
     _both(None, lambda a, b, g: a @ g)),
    ("second input forgotten", "B gets nothing here: it is a factor like A.",
     lambda op, g: (true(op, g)[0], None)),
    FIRST_COPY,
    no_g("Σ over the columns of Bᵀ"),
)  # fmt: skip


def _solve(f):
    """The backward that f(a, x, g) returns, x the solution."""
    return lambda op, g: f(*op.given, np.linalg.solve(*op.given), g)


def _transposed(a):
    return a.swapaxes(-1, -2)


wrong(
    "solve",
    ("transpose forgotten", "∂L/∂B is A⁻¹·g here: it is A⁻ᵀ·g.", _solve(
        lambda a, b, x, g: (-(np.linalg.solve(a, g) @ _transposed(x)), np.linalg.solve(a, g)))),
    ("sign forgotten", "∂L/∂A has the wrong sign: if A grows, X = A⁻¹·B shrinks.",
     lambda op, g: (-true(op, g)[0], true(op, g)[1])),
    ("B for X", "∂L/∂A is −A⁻ᵀ·g·Bᵀ here: dA is multiplied by the solution X.",
     lambda op, g: (-(true(op, g)[1] @ _transposed(op.given[1])), true(op, g)[1])),
    ("A forgotten", "A gets nothing here: the solution depends on it too.",
     lambda op, g: (None, true(op, g)[1])),
    no_g("of the sum of X"),
)  # fmt: skip
wrong(
    "logabsdet",
    ("transpose forgotten", "This is g·A⁻¹: the gradient is g·A⁻ᵀ.",
     lambda op, g: _transposed(true(op, g)[0])),
    ("the determinant's gradient", "This is g·det A·A⁻ᵀ, the gradient of det A: the logarithm "
     "divides by det A.",
     lambda op, g: true(op, g)[0] * np.linalg.det(op.given[0])[..., None, None]),
    ("diagonal alone", "Only the diagonal gets a gradient here: every element moves the "
     "determinant.", lambda op, g: true(op, g)[0] * np.eye(op.given[0].shape[-1])),
    no_g("A⁻ᵀ"),
)  # fmt: skip


def _others_forgotten(op, g):
    """The true backward, all inputs taken as 1."""
    given, op.saved = op.saved, tuple(np.ones_like(x) for x in op.saved)
    try:
        return tuple(true(op, g))
    finally:
        op.saved = given


wrong(
    "einsum",
    ("other factors forgotten", "This is g summed onto the input's letters: the other inputs are "
     "factors of every term.", _others_forgotten),
    ("only the first input", "Only the first input gets a gradient here.",
     lambda op, g: (true(op, g)[0], *(None for _ in op.given[1:]))),
    ("g forgotten", "This is the einsum of the other inputs alone: g is one "
     "more factor.",
     forgets_g),
    ("wrong sign", "This has the wrong sign: there is none in a product.", negated),
)  # fmt: skip


def _linear(which, f):
    def backward(op, g):
        grads = true(op, g)
        if grads[which] is not None:
            grads[which] = f(op.given[0], op.given[1], g)
        return tuple(grads)

    return backward


wrong(
    "linear",
    ("transposed weight gradient", "∂L/∂W is xᵀ·g here, of shape (I, O): W is (O, I), so it is "
     "gᵀ·x.", _linear(1, lambda x, w, g: rows(x).T @ rows(g))),
    ("mean over the rows", "∂L/∂W is divided by the number of rows: their gradients add up. (The "
     "loss divides, if it is a mean; g brings that along.)",
     _linear(1, lambda x, w, g: rows(g).T @ rows(x) / max(len(rows(x)), 1))),
    ("bias from one row", "∂L/∂b is the first row of g: b was added to every row, sum over them.",
     _linear(2, lambda x, w, g: rows(g)[0] if len(rows(g)) else np.zeros(len(w)))),
    ("bias not summed", "∂L/∂b is g itself: b was added to every row, sum over them.",
     _linear(2, lambda x, w, g: g)),
    ("W transposed", "∂L/∂x is g·Wᵀ here: forward took Wᵀ, so backward takes W.",
     _linear(0, lambda x, w, g: g @ w.T)),
    no_g("∂y/∂x"),
)  # fmt: skip


def _hidden(x, w, b, approximate="none"):
    """a = gelu(h) and gelu′(h) of feed forward's first layer, over rows."""
    h = rows(x) @ w.T + (0.0 if b is None else b)
    a, derivative = np.empty_like(h), np.empty_like(h)
    (gelu_tanh if approximate == "tanh" else gelu_erf)(h, a, derivative)
    return h, a, derivative


def _feed_forward(which, f):
    """The true gradients with that of one input from f(g, (h, a, gelu′(h)), arrays), over rows."""

    def backward(op, g):
        grads = true(op, g)
        if grads[which] is not None:
            grads[which] = f(rows(g), _hidden(*op.given[:3], **op.chosen), op.given).reshape(
                grads[which].shape
            )
        return tuple(grads)

    return backward


wrong(
    "linear_gelu_linear",
    ("gelu's derivative forgotten", "∂L/∂W uses g·V: on the way to h it is multiplied by gelu′(h).",
     _feed_forward(1, lambda g, hidden, given: (g @ given[3]).T @ rows(given[0]))),
    ("gelu for its derivative", "∂L/∂x multiplies by gelu(h): it is gelu′(h).",
     _feed_forward(0, lambda g, hidden, given: ((g @ given[3]) * hidden[1]) @ given[1])),
    ("h for a", "∂L/∂V is gᵀ·h here: V was multiplied with a = gelu(h).",
     _feed_forward(3, lambda g, hidden, given: g.T @ hidden[0])),
    ("bias from one row", "∂L/∂b is one row's u: b was added to every row, sum over them.",
     _feed_forward(2, lambda g, hidden, given: ((g @ given[3]) * hidden[2])[:1].sum(0))),
    ("mean over the rows", "∂L/∂c is a mean over the rows: their gradients add up.",
     _feed_forward(4, lambda g, hidden, given: g.sum(0) / max(len(g), 1))),
    no_g("∂y/∂x"),
)  # fmt: skip


# --------------------------------------------------------------------------- softmax and friends
def _softmax(x, dim):
    e = np.exp(x - x.max(dim, keepdims=True)) if x.size else x
    return e / e.sum(dim, keepdims=True)


def over_dim(f):
    """f(g, p, y, dim) with p = softmax(x), y the op's output, g in a shape that broadcasts."""

    def backward(op, g):
        x, dim = op.given[0], op.chosen.get("dim", -1)
        p = _softmax(x, dim)
        g = g.reshape([1 if n in _dims(dim, x.ndim) else s for n, s in enumerate(x.shape)]) if (
            g.size != x.size or g.ndim != x.ndim) else g  # fmt: skip
        return np.asarray(f(g, p, np.log(p), dim))

    return backward


def _dims(dim, ndim):
    return [d % ndim for d in (dim if isinstance(dim, tuple) else (dim,))]


wrong(
    "softmax",
    ("as if element by element", "This is g·y·(1 − y), as if each output depended on its own input "
     "alone: through Σ it depends on all, and −y·Σ g·y over the others is missing.",
     over_dim(lambda g, p, y, dim: g * p * (1.0 - p))),
    ("Σ forgotten", "This is y·g, the gradient with the denominator held constant: Σ g·y must be "
     "subtracted.", over_dim(lambda g, p, y, dim: g * p)),
    ("g left out of Σ", "This is y·(g − Σ y) = y·(g − 1): the sum is of g·y.",
     over_dim(lambda g, p, y, dim: p * (g - 1.0))),
    ("y left out of Σ", "This is y·(g − Σ g): the sum is of g·y.",
     over_dim(lambda g, p, y, dim: p * (g - g.sum(dim, keepdims=True)))),
    ("y in front forgotten", "This is g − Σ g·y: all of it is multiplied by y.",
     over_dim(lambda g, p, y, dim: g - (g * p).sum(dim, keepdims=True))),
    ("mean for Σ", "This subtracts the mean of g·y: it is the sum.",
     over_dim(lambda g, p, y, dim: p * (g - (g * p).mean(dim, keepdims=True)))),
    ("Σ over everything", "Σ g·y is taken over the whole array: it goes along dim alone.",
     over_dim(lambda g, p, y, dim: p * (g - (g * p).sum()))),
)  # fmt: skip
wrong(
    "log_softmax",
    ("Σ forgotten", "This is g: log Σ exp(x) depends on every x, so exp(y)·Σ g is missing.",
     over_dim(lambda g, p, y, dim: g)),
    ("g left out of Σ", "This is g − exp(y): the second term is multiplied by Σ g.",
     over_dim(lambda g, p, y, dim: g - p)),
    ("exp forgotten", "This is g − y·Σ g: saved is the logarithm, the share is exp(y).",
     over_dim(lambda g, p, y, dim: g - y * g.sum(dim, keepdims=True))),
    ("softmax's gradient", "This is softmax's gradient, with exp(y) in front: the logarithm "
     "cancels that.", over_dim(lambda g, p, y, dim: p * (g - (g * p).sum(dim, keepdims=True)))),
    ("as if element by element", "This is g·(1 − exp(y)): Σ g runs over the whole row.",
     over_dim(lambda g, p, y, dim: g * (1.0 - p))),
)  # fmt: skip
wrong(
    "logsumexp",
    ("derivative of the sum", "This is g for every element, as for Σ x: the shares are softmax(x).",
     over_dim(lambda g, p, y, dim: g + 0.0 * p)),
    ("not normalised", "This is g·exp(x): the logarithm divides by Σ exp(x).",
     lambda op, g: over_dim(lambda g, p, y, dim: g * np.exp(op.given[0]))(op, g)),
    ("sign of a difference", "This is g·(1 − softmax(x)): it is the softmax itself.",
     over_dim(lambda g, p, y, dim: g * (1.0 - p))),
    no_g("∂y/∂x = softmax(x)"),
)  # fmt: skip


# --------------------------------------------------------------------------------------- norms
def _layer_norm(gx=None, gw=None, gb=None):
    """The true gradients, but gx = f(u, x̂, r), gw = f(g, x̂), gb = f(g) where f is given."""

    def backward(op, g):
        x, w = given(op, 2)
        xhat = x - x.mean(-1, keepdims=True)
        r = ((xhat * xhat).mean(-1, keepdims=True) + op.chosen.get("eps", 1e-5)) ** -0.5
        grads = [*true(op, g), None, None][:3]
        if gx:
            grads[0] = gx(g if w is None else g * w, xhat * r, r)
        if gw and grads[1] is not None:
            grads[1] = gw(g, xhat * r)
        if gb and grads[2] is not None:
            grads[2] = gb(g)
        return tuple(grads[: len(op.given)])

    return backward


def _mean(a):
    return a.mean(-1, keepdims=True)


def _sum_rows(a):
    return unbroadcast(a, a.shape[-1:])


def _one_row(a):
    return a.reshape(-1, a.shape[-1])[0] if a.size else np.zeros(a.shape[-1:])


wrong(
    "layer_norm",
    ("variance held constant", "This is the gradient with σ² held constant: the third path, "
     "−x̂·mean(u·x̂), is missing.", _layer_norm(lambda u, xhat, r: r * (u - _mean(u)))),
    ("mean held constant", "This is the gradient with μ held constant: the second path, −mean(u), "
     "is missing.", _layer_norm(lambda u, xhat, r: r * (u - xhat * _mean(u * xhat)))),
    ("mean and variance held constant", "This is r·u, with μ and σ² held constant: x reaches y by "
     "three paths, and two are missing.", _layer_norm(lambda u, xhat, r: r * u)),
    ("without r", "The factor r = 1/√(σ² + ε) in front of ∂L/∂x is missing.",
     _layer_norm(lambda u, xhat, r: u - _mean(u) - xhat * _mean(u * xhat))),
    ("w forgotten", "u is g here: what arrives at x̂ is g·w.",
     lambda op, g: _layer_norm(lambda u, xhat, r: r * (g - _mean(g) - xhat * _mean(g * xhat)))(
         op, g)),
    ("sums for means", "The two means are sums here: they lack 1/C.",
     _layer_norm(lambda u, xhat, r: r * (u - u.sum(-1, keepdims=True)
                                         - xhat * (u * xhat).sum(-1, keepdims=True)))),
    ("x̂ missing in the third path", "The third path is mean(u·x̂) here, without the factor x̂.",
     _layer_norm(lambda u, xhat, r: r * (u - _mean(u) - _mean(u * xhat)))),
    ("x̂ left out of ∂L/∂w", "∂L/∂w is Σ g here, which is ∂L/∂b: w multiplies x̂, so it is Σ g·x̂.",
     _layer_norm(gw=lambda g, xhat: _sum_rows(g))),
    ("w from one row", "∂L/∂w is one row's: w serves every row, sum over them.",
     _layer_norm(gw=lambda g, xhat: _one_row(g * xhat))),
    ("b as a mean", "∂L/∂b is the mean over the rows: it is the sum.",
     _layer_norm(gb=lambda g: _sum_rows(g) / max(g.size // g.shape[-1], 1))),
)  # fmt: skip


def _rms_norm(gx=None, gw=None):
    """The true gradients, but gx = f(u, x, r), gw = f(g, x, r) where f is given."""

    def backward(op, g):
        x, w = given(op, 2)
        r = (_mean(x * x) + op.chosen.get("eps", 1e-6)) ** -0.5
        grads = [*true(op, g), None][:2]
        if gx:
            grads[0] = gx(g if w is None else g * w, x, r)
        if gw and grads[1] is not None:
            grads[1] = gw(g, x, r)
        return tuple(grads[: len(op.given)])

    return backward


wrong(
    "rms_norm",
    ("r held constant", "This is r·u, with r held constant: x is in r too, and −x̂·mean(u·x̂) is "
     "missing.", _rms_norm(lambda u, x, r: r * u)),
    ("without r", "The factor r in front of ∂L/∂x is missing.",
     _rms_norm(lambda u, x, r: u - x * r * r * _mean(u * x))),
    ("x for x̂", "The second term is x·mean(u·x): both are x̂ = x·r, so r² is missing.",
     _rms_norm(lambda u, x, r: r * (u - x * _mean(u * x)))),
    ("layer norm's mean", "mean(u) is subtracted here, layer norm's path through μ: there is no μ.",
     _rms_norm(lambda u, x, r: r * (u - _mean(u) - x * r * r * _mean(u * x)))),
    ("w forgotten", "u is g here: what arrives at x̂ is g·w.",
     lambda op, g: _rms_norm(lambda u, x, r: r * (g - x * r * r * _mean(g * x)))(op, g)),
    ("x for x̂ in ∂L/∂w", "∂L/∂w is Σ g·x here: w multiplies x̂ = x·r.",
     _rms_norm(gw=lambda g, x, r: _sum_rows(g * x))),
)  # fmt: skip


# ------------------------------------------------------------------ embedding, dropout, rope
def _table(op, g, add):
    w, ids = op.given[:2]
    gw, count = np.zeros_like(w), np.zeros(len(w))
    flat, each = ids.reshape(-1), g.reshape(ids.size, w.shape[1])
    add(gw, count, flat, each)
    if op.chosen.get("scale_grad_by_freq") and add is not _average:
        gw /= np.maximum(np.bincount(flat, minlength=len(w)), 1)[:, None]
    if op.chosen.get("padding_idx") is not None:
        gw[op.chosen["padding_idx"]] = 0.0
    return gw, None


def _overwrite(gw, count, ids, each):
    gw[ids] = each


def _buffered(gw, count, ids, each):
    first = np.unique(ids, return_index=True)[1] if ids.size else ids
    gw[ids[first]] = each[first]


def _average(gw, count, ids, each):
    np.add.at(gw, ids, each)
    gw /= np.maximum(np.bincount(ids, minlength=len(gw)), 1)[:, None]


wrong(
    "embedding",
    ("= for +=", "The last gradient overwrites the others here (gw[ids] = g, and gw[ids] += g does "
     "the same): a row that was read twice gets both. Use np.add.at or scatter_add_rows.",
     lambda op, g: _table(op, g, _overwrite)),
    ("only the first reading", "A row gets the gradient of its first reading alone: each reading "
     "adds one.", lambda op, g: _table(op, g, _buffered)),
    ("mean of the readings", "A row gets the mean over its readings: that is "
     "scale_grad_by_freq=True, else it is the sum.", lambda op, g: _table(op, g, _average)),
    ("g forgotten", "This counts how often each row was read: add g there.",
     forgets_g),
)  # fmt: skip
wrong(
    "dropout",
    ("scale forgotten", "This is g·keep: what was kept grew by 1/(1 − p), and so does its "
     "gradient.",
     lambda op, g: (g * op.given[1], None)),
    ("mask forgotten", "This is g/(1 − p) everywhere: what was dropped did not reach y.",
     lambda op, g: (g * op.scale, None)),
    ("another mask", "g passes where x was dropped: it must be the same mask.",
     lambda op, g: (g * (op.given[1] == 0) * op.scale, None)),
    ("scaled the wrong way", "This is g·keep·(1 − p): the scale is 1/(1 − p).",
     lambda op, g: (g * op.given[1] * (1.0 - op.chosen.get("p", 0.5)), None)),
)  # fmt: skip


# ----------------------------------------------------------------------------------- convolution
def _conv1d(fx=None, fw=None):
    """The true gradients of conv1d, those of x or of w replaced by f(op, g)."""

    def backward(op, g):
        gx, gw, gb = true(op, g)
        return fx(op, g) if fx else gx, fw(op, g) if fw else gw, gb

    return backward


def _turned_filters(op, g):
    """∂L/∂x with the taps in the other order."""
    x, w = op.saved
    op.saved = x, np.ascontiguousarray(w[..., ::-1])
    try:
        return true(op, g)[0]
    finally:
        op.saved = x, w


def _one_tap(op, g):
    """∂L/∂x by the first tap alone."""
    x, w = op.saved
    first = np.zeros_like(w)
    first[..., 0] = w[..., 0]
    op.saved = x, first
    try:
        return true(op, g)[0]
    finally:
        op.saved = x, w


wrong(
    "conv1d",
    ("taps in the other order", "The filter is turned round for ∂L/∂x here: tap k of w meets g at "
     "the place that tap k read, so only the direction of the walk changes.",
     _conv1d(_turned_filters)),
    ("only the first tap", "∂L/∂x gets the first tap's part alone: a number is read by as many "
     "outputs as there are taps, and their gradients add up.", _conv1d(_one_tap)),
    ("first example of the batch", "∂L/∂w takes the first example alone: the filter is shared by "
     "the batch, so its gradient is the sum over it.",
     lambda op, g: (true(op, g)[0], _of_first_example(op, g), true(op, g)[2])),
    ("mean over time in ∂L/∂b", "∂L/∂b is the mean of g over time here: b is added at each time, "
     "so it is the sum.",
     lambda op, g: (*true(op, g)[:2], None if true(op, g)[2] is None else g.mean(2).sum(0))),
    ("∂L/∂w forgotten", "w gets nothing here: it is a factor like x.",
     _conv1d(fw=lambda op, g: None)),
)  # fmt: skip


# -------------------------------------------------------------------------------- groups of rows
def _of_other_matrix(op, g):
    x, w, offs = op.saved
    op.saved = x, np.roll(w, 1, 0), offs
    try:
        return true(op, g)[0], true(op, g)[1], None
    finally:
        op.saved = x, w, offs


def _same_for_all(op, g):
    gx, gw, _ = true(op, g)
    return gx, None if gw is None else np.broadcast_to(gw.sum(0), gw.shape).copy(), None


def _means(op, g):
    gx, gw, _ = true(op, g)
    counts = np.diff(op.saved[2], prepend=0)
    return gx, None if gw is None else gw / np.maximum(counts, 1)[:, None, None], None


wrong(
    "grouped_mm",
    ("the matrix of another group", "∂L/∂x uses the matrix of the group before: each row goes back "
     "through the matrix that it met.", _of_other_matrix),
    ("one gradient for all groups", "Every matrix gets the sum over all rows here: it learns "
     "from the rows of its group only.", _same_for_all),
    ("mean over the rows", "∂L/∂w[e] is the mean over the group's rows here: it is their sum.",
     _means),
    ("∂L/∂w forgotten", "w gets nothing here: it is a factor like x.",
     lambda op, g: (true(op, g)[0], None, None)),
)  # fmt: skip


def _of_first_example(op, g):
    only = np.zeros_like(g)
    only[:1] = g[:1]
    return true(op, only)[1]


def _turned(op, g, cos=1.0, sin=-1.0, interleaved=None):
    other = op.interleaved if interleaved is None else interleaved
    return rotate(g, op.given[1] * cos, op.given[2] * sin, other), None, None


def _unpaired_dropped(op, g):
    gx = true(op, g)[0].copy()
    gx[..., 2 * op.given[1].shape[-1] :] = 0.0
    return gx, None, None


wrong(
    "rope",
    ("turned the same way", "g is turned as x was: a rotation's transpose turns the other way, "
     "−sin.", lambda op, g: _turned(op, g, sin=1.0)),
    ("sin forgotten", "This is g·cos: each number of a pair also reached its partner, by sin.",
     lambda op, g: _turned(op, g, sin=0.0)),
    ("other pairs", "Halves and neighbours are mixed up: backward must take the same pairs.",
     lambda op, g: _turned(op, g, interleaved=not op.interleaved)),
    ("turned by the opposite angle", "cos is negated as well: that turns by π − θ.",
     lambda op, g: _turned(op, g, cos=-1.0)),
    ("unpaired numbers dropped", "The numbers after the last pair get 0: they were passed on as "
     "they are.",
     _unpaired_dropped),
)  # fmt: skip
