"""Categorical, Normal, Bernoulli, Uniform: PyTorch's samples, densities, gradients and errors."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
import tinygrad_llm.distributions  # noqa: E402, F401

RNG = np.random.default_rng(7)


def positive(*shape):
    return RNG.uniform(0.2, 2.0, shape)


def share(*shape):
    return RNG.uniform(0.05, 0.95, shape)


def normal(*shape):
    return RNG.normal(size=shape)


# name: (class, arguments by name, values for log_prob)
CASES = {
    "categorical by probs": ("Categorical", {"probs": positive(3, 4)}, np.array([0, 3, 2])),
    "categorical by logits": ("Categorical", {"logits": normal(2, 5)}, np.array([4, 1])),
    "one row": ("Categorical", {"logits": normal(6)}, np.array([0, 5, 2, 2])),
    "three dimensions": ("Categorical", {"probs": positive(2, 3, 4)}, np.ones((5, 2, 3), int)),
    "a class of chance 0": ("Categorical", {"probs": np.array([[0.5, 0.0, 0.5]])}, np.array([2])),
    "normal": ("Normal", {"loc": normal(3, 2), "scale": positive(3, 2)}, normal(3, 2)),
    "normal broadcast": ("Normal", {"loc": normal(3, 1), "scale": positive(4)}, normal(5, 3, 4)),
    "normal number": ("Normal", {"loc": 0.5, "scale": positive(3)}, normal(3)),
    "normal 0-d": ("Normal", {"loc": normal(), "scale": positive()}, normal(4)),
    "bernoulli by probs": ("Bernoulli", {"probs": share(3, 2)}, RNG.integers(0, 2, (3, 2)) * 1.0),
    "bernoulli by logits": ("Bernoulli", {"logits": normal(4)}, np.array([0.0, 1.0, 1.0, 0.0])),
    "bernoulli number": ("Bernoulli", {"probs": 0.3}, np.array([1.0, 0.0])),
    "uniform": ("Uniform", {"low": normal(3), "high": normal(3) + 5.0}, np.full(3, 2.0)),
    "uniform broadcast": ("Uniform", {"low": -1.0, "high": positive(2, 3)}, np.zeros((2, 3))),
}
PROPERTIES = "mean variance stddev mode batch_shape event_shape"
every_case = pytest.mark.parametrize("name", sorted(CASES))
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def made(lib, name, dtype, grad=False):
    """(distribution, its parameters, values) of a case."""
    kind, arguments, values = CASES[name]
    given = {
        k: v if isinstance(v, float) else lib.tensor(np.asarray(v, dtype)) for k, v in
        arguments.items()
    }  # fmt: skip
    parameters = [v.requires_grad_(grad) for v in given.values() if not isinstance(v, float)]
    values = lib.tensor(values if values.dtype.kind == "i" else values.astype(dtype))
    return getattr(lib.distributions, kind)(**given), parameters, values


def close(ours, theirs, dtype):
    """Equal; a distribution of Python numbers is float32 in every case."""
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    finite = np.abs(theirs[np.isfinite(theirs)]) if theirs.size else theirs
    scale = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * max(scale, 0.01))


@every_case
@every_dtype
def test_samples_are_the_same_numbers(name, dtype):
    for shape in ((), (4,), (2, 3), (50,)):
        drawn = []
        for lib in (tg, torch):
            lib.manual_seed(11)
            d, *_ = made(lib, name, dtype)
            drawn.append([d.sample(shape), d.sample(shape)])
            if d.has_rsample:
                drawn[-1].append(d.rsample(shape))
            drawn[-1].append(lib.rand(3))  # and as many numbers were used
        for ours, theirs in zip(*drawn, strict=True):
            assert str(ours.dtype) == str(theirs.dtype) and not ours.requires_grad
            close(ours, theirs, dtype)


@every_case
@every_dtype
@pytest.mark.parametrize("what", ["log_prob", "entropy", "perplexity", "rsample"])
def test_values_and_gradients(name, dtype, what):
    results = []
    if name == "bernoulli number":
        dtype = "float32"
    for lib in (tg, torch):
        lib.manual_seed(3)
        d, parameters, values = made(lib, name, dtype, grad=True)
        if what == "rsample" and not d.has_rsample:
            with pytest.raises(NotImplementedError):
                d.rsample()
            return
        y = getattr(d, what)(*{"log_prob": (values,), "rsample": ((3,),)}.get(what, ()))
        u = np.random.default_rng(0).normal(size=tuple(y.shape)).astype(dtype)
        grads = []
        if parameters:
            y.backward(lib.tensor(u))
            grads = [p.grad for p in parameters]
        results.append([y, *grads])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            close(ours, theirs, dtype)


@every_case
def test_properties(name):
    ours, theirs = (made(lib, name, "float64")[0] for lib in (tg, torch))
    for what in PROPERTIES.split():
        a, b = getattr(ours, what), getattr(theirs, what)
        if isinstance(b, torch.Tensor):
            close(a, b, "float64")
        else:
            assert tuple(a) == tuple(b)
    assert repr(ours) == repr(theirs) and str(ours.support) == str(theirs.support)
    bigger = (4, *theirs.batch_shape)
    a, b = ours.expand(bigger), theirs.expand(bigger)
    assert a.batch_shape == tuple(b.batch_shape) and a.sample((2,)).shape == tuple(
        b.sample((2,)).shape
    )
    close(a.entropy(), b.entropy(), "float64")
    if theirs.has_enumerate_support:
        for expand in (True, False):
            a, b = ours.enumerate_support(expand), theirs.enumerate_support(expand)
            assert a.tolist() == b.tolist() and str(a.dtype) == str(b.dtype)


@pytest.mark.parametrize("name", ["normal", "uniform", "normal broadcast", "uniform broadcast"])
def test_cdf(name):
    results = []
    for lib in (tg, torch):
        d, _, values = made(lib, name, "float64")
        results.append([d.cdf(values)] + ([d.icdf(values * 0 + 0.3)] if "uniform" in name else []))
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs, "float64")


PAIRS = [
    ("categorical by probs", "categorical by probs"), ("one row", "three dimensions"),
    ("normal", "normal"), ("normal broadcast", "normal broadcast"), ("normal 0-d", "normal number"),
    ("bernoulli by probs", "bernoulli other"), ("bernoulli number", "bernoulli by logits"),
    ("uniform", "uniform"), ("uniform", "normal number"), ("normal number", "uniform"),
    ("a class of chance 0", "categorical 3"), ("categorical 3", "a class of chance 0"),
]  # fmt: skip
CASES["categorical 3"] = ("Categorical", {"logits": normal(2, 3)}, np.array([0, 1]))
CASES["bernoulli other"] = ("Bernoulli", {"probs": share(3, 2)}, np.ones((3, 2)))
CASES["wide"] = ("Uniform", {"low": -20.0, "high": np.full(3, 30.0)}, np.zeros(3))
PAIRS += [("uniform", "wide"), ("wide", "uniform")]


@pytest.mark.parametrize("p,q", PAIRS)
@every_dtype
def test_kl_divergence(p, q, dtype):
    results = []
    if p == "bernoulli number":
        dtype = "float32"
    for lib in (tg, torch):
        a, first, _ = made(lib, p, dtype, grad=True)
        b, second, _ = made(lib, q, dtype, grad=True)
        if p == "one row":
            a = lib.distributions.Categorical(logits=first[0][:4])
        kl = lib.distributions.kl_divergence(a, b)
        grads = []
        if kl.requires_grad and bool(lib.isfinite(kl).all()):
            kl.sum().backward()
            grads = [x.grad for x in first + second]
        results.append([kl, *grads])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            close(ours, theirs, dtype)


ERRORS = {
    "scale": lambda d, lib: d.Normal(0.0, -1.0),
    "nan": lambda d, lib: d.Normal(lib.tensor([float("nan")]), 1.0),
    "none": lambda d, lib: d.Categorical(),
    "both": lambda d, lib: d.Bernoulli(0.5, 0.5),
    "0-d": lambda d, lib: d.Categorical(probs=lib.tensor(1.0)),
    "0-d logits": lambda d, lib: d.Categorical(logits=lib.tensor(1.0)),
    "negative": lambda d, lib: d.Categorical(probs=lib.tensor([-1.0, 2.0])),
    "above 1": lambda d, lib: d.Bernoulli(2.0),
    "order": lambda d, lib: d.Uniform(1.0, 0.0),
    "number": lambda d, lib: d.Normal(0.0, 1.0).log_prob(3),
    "shape": lambda d, lib: d.Normal(lib.zeros(2), 1.0).log_prob(lib.zeros(3)),
    "class": lambda d, lib: d.Categorical(lib.ones(3)).log_prob(lib.tensor(5)),
    "half a class": lambda d, lib: d.Categorical(lib.ones(3)).log_prob(lib.tensor(1.5)),
    "half a coin": lambda d, lib: d.Bernoulli(0.5).log_prob(lib.tensor(0.5)),
    "outside": lambda d, lib: d.Uniform(0.0, 1.0).log_prob(lib.tensor(2.0)),
    "text": lambda d, lib: d.Normal("a", 1.0),
}


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_errors(name, monkeypatch):
    # torch._dynamo turns the checks off for the whole process when something imports it
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    with pytest.raises(ValueError) as theirs:
        ERRORS[name](torch.distributions, torch)
    with pytest.raises(ValueError) as ours:
        ERRORS[name](tg.distributions, tg)
    if name not in ("order", "text"):
        assert str(ours.value).split("\n")[0][:60] == str(theirs.value).split("\n")[0][:60]


def test_checks_can_be_left_out():
    for lib in (tg, torch):
        d = lib.distributions.Normal(0.0, -1.0, validate_args=False)
        assert d.log_prob(lib.tensor(0.5)).isnan()
        c = lib.distributions.Categorical(lib.ones(3), validate_args=False)
        assert abs(c.log_prob(lib.tensor(1.7)).item() + 1.0986) < 1e-4


def test_a_policy_gradient_step():
    """REINFORCE as tutorials write it."""
    losses = []
    for lib in (tg, torch):
        lib.manual_seed(0)
        policy = lib.nn.Linear(4, 3)
        m = lib.distributions.categorical.Categorical(logits=policy(lib.ones(5, 4)))
        action = m.sample()
        loss = -(m.log_prob(action) * lib.arange(5.0)).mean() - 0.01 * m.entropy().mean()
        loss.backward()
        losses.append([loss, policy.weight.grad])
    for ours, theirs in zip(*losses, strict=True):
        close(ours, theirs, "float32")


def test_a_pair_without_a_formula():
    d = tg.distributions
    with pytest.raises(NotImplementedError, match="p type Normal and q type Bernoulli"):
        d.kl_divergence(d.Normal(0.0, 1.0), d.Bernoulli(0.5))
    with pytest.raises(AttributeError, match="nearest is Categorical"):
        d.Categorial  # noqa: B018


def independent(lib, n, dtype, grad=False, name="normal broadcast"):
    base, parameters, values = made(lib, name, dtype, grad)
    return lib.distributions.Independent(base, n), parameters, values


@every_dtype
@pytest.mark.parametrize("name", ["normal broadcast", "uniform broadcast", "categorical by probs"])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_independent(n, name, dtype):
    """Samples under a seed, log p and entropy of events, gradients, sizes."""
    results = []
    for lib in (tg, torch):
        n = min(n, 1) if name.startswith("cat") else n
        d, parameters, values = independent(lib, n, dtype, True, name)
        lib.manual_seed(5)
        samples = [d.sample(), d.sample((2, 3))] + ([d.rsample((2,))] if d.has_rsample else [])
        log_p, entropy = d.log_prob(values), d.entropy()
        y = log_p.exp().sum() + (entropy * 0.3).sum()
        y = y + sum(s.sum() for s in samples[2:])
        y.backward()
        sizes = tuple(d.batch_shape), tuple(d.event_shape), d.has_rsample, repr(d)
        results.append((sizes, [*samples, log_p, entropy, *[p.grad for p in parameters]]))
    assert results[0][0] == results[1][0]
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        close(ours, theirs, dtype)


@every_dtype
def test_normal_icdf(dtype):
    """Values and gradients, also at 0 and 1, and cdf as its inverse."""
    shares = np.array([0.0, 1e-4, 0.1, 0.5, 0.8, 0.9999, 1.0], dtype)
    results = []
    for lib in (tg, torch):
        loc, scale, p = (lib.tensor(np.asarray(v, dtype)).requires_grad_()
                         for v in (0.3, 1.7, shares[1:-1]))  # fmt: skip
        d = lib.distributions.Normal(loc, scale)
        y = d.icdf(p)
        y.pow(2).sum().backward()
        results.append([d.icdf(lib.tensor(shares)), y, loc.grad, scale.grad, p.grad])
        np.testing.assert_allclose(d.cdf(y).detach(), shares[1:-1], atol=1e-6)
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs, dtype)


def test_errors_of_independent():
    for lib in (tg, torch):
        d = lib.distributions
        with pytest.raises(ValueError, match="Expected reinterpreted_batch_ndims <= "):
            d.Independent(d.Normal(lib.zeros(3), 1.0), 2)
        with pytest.raises(NotImplementedError):
            d.Independent(d.Bernoulli(lib.full((3,), 0.5)), 1).rsample()
        with pytest.raises(NotImplementedError):
            d.Independent(d.Normal(lib.zeros(3), 1.0), 1).icdf(lib.tensor(0.5))
