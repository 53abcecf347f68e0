"""Matrix products."""

import math

from ..arrays.devices import xp_of
from ..arrays.layout import expanded, in_rows
from ..arrays.matmul import product, products
from ..arrays.reductions import unbroadcast
from ..arrays.silence import quiet
from ..autograd.engine import Op


class Matmul(Op):
    """C = A·B, matrix by matrix over the leading dimensions, which broadcast.

    Backward: ∂L/∂A = g·Bᵀ,   ∂L/∂B = Aᵀ·g.
    A[n, k] is a factor in all of row n of C, so its gradient is Σ g[n, m]·B[k, m] over all m.
    Saves A for ∂L/∂B and B for ∂L/∂A.
    """

    signature = "a(...,N,K) b(...,K,M) -> c(...,N,M)"
    broadcasts = True
    in_rows = True
    in_float32 = True

    def forward(self, a, b):
        self.saved = a if self.needs[1] else None, b if self.needs[0] else None
        self.one_product = b.ndim == 2 < a.ndim  # all rows of A against one B
        if self.one_product:
            return product(rows(a), b).reshape(a.shape[:-1] + b.shape[-1:])  # (..., N, M)
        return products(a, b)

    def backward(self, g):
        a, b = self.saved
        ga = gb = None
        if self.needs[0]:
            if self.one_product:
                ga = product(rows(g), b.T).reshape(g.shape[:-1] + b.shape[:1])  # (..., N, K)
            else:
                ga = products(g, b.swapaxes(-1, -2))
        if self.needs[1]:
            a, g = (rows(a), rows(g)) if self.one_product else (a, g)
            gb = products(a.swapaxes(-1, -2), g)
        return ga, gb


def rows(x):
    """All leading dimensions as one: (..., N, K) -> (…·N, K)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


FEW = 1 << 13  # products that are added up sooner than a way through them is planned


def einsum(equation, arrays):
    """The sum of products, in the best order of two at a time unless they are few."""
    few = math.prod([a.size for a in arrays]) < FEW
    return xp_of(arrays[0]).einsum(equation, *arrays, optimize=not few)


class Einsum(Op):
    """y = Σ of products over the letters that the output lacks: einsum("bik,bkj->bij", a, b).

    Backward: ∂L/∂xᵢ is an einsum as well: of g and the other inputs, onto the letters of xᵢ.
    A letter that only xᵢ has was summed alone: the gradient is the same all along it.
    Saves the inputs.
    """

    signature = "x(...) y(...) -> z(...)"
    views = True  # the output is a view if a single input's dimensions are only permuted
    in_float32 = True

    @quiet  # the engine runs ops with views as they are
    def forward(self, *xs, inputs, output):
        self.saved, self.inputs, self.output = xs, inputs, output
        y = einsum(f"{','.join(inputs)}->{output}", xs)
        return y if len(xs) == 1 and len(inputs[0]) == len(output) else in_rows(y)

    def backward(self, g):
        grads: list = []
        for i, (letters, x) in enumerate(zip(self.inputs, self.saved, strict=True)):
            if not self.needs[i]:
                grads.append(None)
                continue
            others = [k for k in range(len(self.saved)) if k != i]
            terms = [self.output] + [self.inputs[k] for k in others]
            known = "".join(c for c in letters if any(c in t for t in terms))
            arrays = [g] + [self.saved[k] for k in others]
            gx = einsum(f"{','.join(terms)}->{known}", arrays)
            sizes = dict(zip(known, gx.shape, strict=True))  # n where x has n, or where x has 1
            gx = gx.reshape([sizes.get(c, 1) for c in letters])
            gx = unbroadcast(gx, tuple(min(n, m) for n, m in zip(gx.shape, x.shape, strict=True)))
            grads.append(expanded(gx, x.shape))
        return tuple(grads)
