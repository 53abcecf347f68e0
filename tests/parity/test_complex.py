"""Complex tensors for rotary embeddings: PyTorch's values, gradients, text and errors."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

RNG = np.random.default_rng(0)


def meta_rotary(lib, xq, xk, t):
    """Llama's own rotary embedding, as Meta wrote it."""
    dim = xq.shape[-1]
    freqs = 1.0 / (10000.0 ** (lib.arange(0, dim, 2)[: (dim // 2)].to(xq.dtype) / dim))
    freqs = lib.outer(lib.arange(2 * t).to(xq.dtype), freqs)
    freqs_cis = lib.polar(lib.ones_like(freqs), freqs)[1 : t + 1]
    q = lib.view_as_complex(xq.reshape(*xq.shape[:-1], -1, 2))
    k = lib.view_as_complex(xk.reshape(*xk.shape[:-1], -1, 2))
    shape = [d if i == 1 or i == q.ndim - 1 else 1 for i, d in enumerate(q.shape)]
    f = freqs_cis.view(*shape)
    return lib.view_as_real(q * f).flatten(3), lib.view_as_real(k * f).flatten(3).type_as(xk)


def other_rotary(lib, x, angles):
    """With unsqueeze, and with a gradient for the angles."""
    f = lib.polar(lib.ones_like(angles), angles)
    z = lib.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return lib.view_as_real(z * f.unsqueeze(0).unsqueeze(2)).reshape(*x.shape)


def pairs(lib, x):
    return lib.view_as_complex(x)


PROGRAMS = {
    "meta": (lambda lib, a, b: meta_rotary(lib, a, b, 5), (2, 5, 3, 8), (2, 5, 1, 8)),
    "other": (other_rotary, (2, 4, 3, 6), (4, 3)),
    "polar": (lambda lib, a, b: lib.view_as_real(lib.polar(a.abs(), b)), (3, 4), (3, 4)),
    "complex": (lambda lib, a, b: lib.view_as_real(lib.complex(a, b)), (3, 4), (3, 4)),
    "add": (lambda lib, a, b: lib.view_as_real(pairs(lib, a) + pairs(lib, b)), (3, 2), (4, 3, 2)),
    "sub": (lambda lib, a, b: lib.view_as_real(pairs(lib, a) - pairs(lib, b)), (4, 1, 2), (3, 2)),
    "mul": (lambda lib, a, b: lib.view_as_real(pairs(lib, a) * pairs(lib, b)), (4, 1, 2), (3, 2)),
    "div": (lambda lib, a, b: lib.view_as_real(pairs(lib, a) / pairs(lib, b)), (4, 3, 2), (3, 2)),
    "real times complex": (lambda lib, a, b: lib.view_as_real(a * pairs(lib, b)), (3,), (4, 3, 2)),
    "number": (lambda lib, a, b: lib.view_as_real(2.5 * pairs(lib, a) - 1j / pairs(lib, b)),
               (3, 2), (3, 2)),
    "real and imag": (lambda lib, a, b: (pairs(lib, a).real * pairs(lib, b).imag), (3, 2), (3, 2)),
    "abs": (lambda lib, a, b: (pairs(lib, a) * pairs(lib, b)).abs(), (5, 2), (5, 2)),
    "conj": (lambda lib, a, b: (pairs(lib, a) * lib.conj(pairs(lib, b))).real, (5, 2), (5, 2)),
    "neg and sum": (lambda lib, a, b: lib.view_as_real(-(pairs(lib, a) * pairs(lib, b)).sum(0)),
                    (5, 3, 2), (5, 3, 2)),
    "mean and index": (lambda lib, a, b: lib.view_as_real((pairs(lib, a)[1:] * pairs(lib, b)[0])
                                                          .mean(-1)), (5, 3, 2), (5, 3, 2)),
    "shapes": (
        lambda lib, a, b: lib.view_as_real(
            lib.stack([pairs(lib, a).permute(1, 0), pairs(lib, b).t()]).flatten(1)
        ),
        (4, 3, 2),
        (4, 3, 2),
    ),
    "split": (lambda lib, a, b: lib.view_as_real(pairs(lib, a).split([1, 2], 1)[1] *
                                                 pairs(lib, b).chunk(3, 1)[0]),
              (4, 3, 2), (4, 3, 2)),
    "clone and expand": (lambda lib, a, b: lib.view_as_real(pairs(lib, a).clone().expand(4, 3) *
                                                            pairs(lib, b)), (3, 2), (4, 3, 2)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_programs(name, dtype):
    program, *sizes = PROGRAMS[name]
    arrays = [RNG.normal(size=s).astype(dtype) for s in sizes]
    results = []
    for lib in (tg, torch):
        xs = [lib.from_numpy(a.copy()).requires_grad_() for a in arrays]
        out = program(lib, *xs)
        outs = out if isinstance(out, tuple) else (out,)
        total = None
        for i, y in enumerate(outs):
            u = lib.from_numpy(np.random.default_rng(i).normal(size=tuple(y.shape)).astype(dtype))
            total = (y * u).sum() if total is None else total + (y * u).sum()
        total.backward()
        results.append([y.detach().numpy() for y in outs] + [x.grad.numpy() for x in xs])
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * abs(theirs).max() + 1e-15)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_dtypes(dtype):
    ours, theirs = getattr(tg, dtype), getattr(torch, dtype)
    assert repr(ours) == repr(theirs) and ours.itemsize == theirs.itemsize
    assert ours.is_complex and not ours.is_floating_point and tg.zeros(1, dtype=ours).is_complex()
    assert str(ours.to_real()) == str(theirs.to_real())
    for other in ("bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64",
                  "complex64", "complex128"):  # fmt: skip
        a, b = getattr(tg, other), getattr(torch, other)
        assert str(tg.promote_types(ours, a)) == str(torch.promote_types(theirs, b))
        assert tg.can_cast(ours, a) == torch.can_cast(theirs, b)
        assert tg.can_cast(a, ours) == torch.can_cast(b, theirs)
        for shape in ((), (2,)):
            x, y = tg.ones(shape, dtype=a), torch.ones(shape, dtype=b)
            z, w = tg.ones(2, dtype=ours), torch.ones(2, dtype=theirs)
            assert str(tg.result_type(x, z)) == str(torch.result_type(y, w))
            z, w = tg.ones((), dtype=ours), torch.ones((), dtype=theirs)
            if other != "float16":  # PyTorch's ComplexHalf is not here
                assert str(tg.result_type(x, z)) == str(torch.result_type(y, w))
        if other == "float16":
            continue
        assert str(tg.result_type(tg.ones(2, dtype=a), 1j)) == str(
            torch.result_type(torch.ones(2, dtype=b), 1j)
        )


TEXTS = [
    [1 + 0j], [0.5403 + 0.8415j, 1j], [1 + 2j, -3 - 4j], [[1.5 - 2j, 0j], [100 + 1j, -1j]], [],
    [1e-6 + 1j, 2], [float("inf") + 1j, 2 - 3j], 2.5 - 1j, [1e9 + 1j, 1 + 1e-9j],
]  # fmt: skip


@pytest.mark.parametrize("data", TEXTS, ids=str)
def test_printing(data):
    kinds = ("complex64", "complex128")
    for kind in kinds:
        ours = tg.tensor(data, dtype=getattr(tg, kind))
        assert repr(ours) == repr(torch.tensor(data, dtype=getattr(torch, kind)))
        assert ours.tolist() == torch.tensor(data, dtype=getattr(torch, kind)).tolist()


ERRORS = {
    "size": lambda lib: lib.view_as_complex(lib.ones(3, 3)),
    "0-d": lambda lib: lib.view_as_complex(lib.ones(())),
    "stride": lambda lib: lib.view_as_complex(lib.ones(2, 3).t()),
    "integers": lambda lib: lib.view_as_complex(lib.ones(3, 2).long()),
    "real": lambda lib: lib.view_as_real(lib.ones(3)),
    "imag": lambda lib: lib.ones(3).imag,
    "mixed": lambda lib: lib.complex(lib.ones(2), lib.ones(2).double()),
    "polar": lambda lib: lib.polar(lib.ones(2).long(), lib.ones(2).long()),
    "backward": lambda lib: lib.view_as_complex(lib.ones(1, 2).requires_grad_()).sum().backward(),
    "cast": lambda lib: lib.ones(2).add_(lib.tensor([1j, 2j])),
}


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_errors(name):
    with pytest.raises(RuntimeError) as theirs:
        ERRORS[name](torch)
    with pytest.raises(RuntimeError) as ours:
        ERRORS[name](tg)
    if name != "mixed":
        assert str(ours.value)[:20] == str(theirs.value)[:20]


REFUSED = {
    "maximum": lambda lib: lib.maximum(lib.ones(2), lib.tensor(1j)),
    "minimum": lambda lib: lib.minimum(lib.tensor([1j]), lib.ones(2)),
    "alpha": lambda lib: lib.addmm(lib.ones(2, 2), lib.ones(2, 2), lib.ones(2, 2), alpha=1j),
    "beta": lambda lib: lib.addmm(lib.ones(2, 2), lib.ones(2, 2), lib.ones(2, 2), beta=1j),
    "nan": lambda lib: lib.nan_to_num(lib.ones(2), nan=1j),
    "posinf": lambda lib: lib.nan_to_num(lib.ones(2), posinf=1j),
    "full of float32": lambda lib: lib.full((2,), 1j, dtype=lib.float32),
    "full_like": lambda lib: lib.full_like(lib.ones(2), 1j),
    "new_full": lambda lib: lib.ones(2).new_full((2,), 1j),
    "arange": lambda lib: lib.arange(1j),
}


@pytest.mark.parametrize("name", REFUSED)
def test_complex_numbers_where_there_can_be_none(name):
    for lib in (torch, tg):
        with pytest.raises((RuntimeError, TypeError)):
            REFUSED[name](lib)


@pytest.mark.parametrize("dtype", [None, "complex64", "complex128", "bool"])
def test_full_of_a_complex_number(dtype):
    for value in (1 + 2j, 1j, 3 + 0j):
        ours, theirs = (
            lib.full((2, 3), value, dtype=dtype and getattr(lib, dtype)) for lib in (tg, torch)
        )
        assert repr(ours) == repr(theirs)
        ours, theirs = (lib.full_like(lib.tensor([1j, 2]), value) for lib in (tg, torch))
        assert repr(ours) == repr(theirs)


def test_gradients_that_are_not_there_are_refused():
    z = tg.view_as_complex(tg.ones(3, 2).requires_grad_())
    for f in (lambda: z.exp(), lambda: z @ z, lambda: tg.where(z.real > 0, z, z), lambda: z.sqrt()):
        with pytest.raises(RuntimeError, match="complex|dtype"):
            f()
    assert z.detach().exp().dtype is tg.complex64


def test_views_share_memory():
    x = tg.zeros(2, 3, 2)
    z = tg.view_as_complex(x)
    tg.view_as_real(z)[0, 1, 1] = 5.0
    z.real[1, 2] = 7.0
    assert x[0, 1, 1] == 5.0 and x[1, 2, 0] == 7.0 and z[0, 1].item() == 5j
    assert complex(z[0, 1]) == 5j and z.device.type == "cpu"
