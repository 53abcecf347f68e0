"""A custom op: its formula, its derivative, and the check that the derivative is right."""

import tinygrad_llm as torch
from tinygrad_llm.autograd import Function, gradcheck


class Softsign(Function):
    """y = x / (1 + |x|).   Backward: dL/dx = g / (1 + |x|)^2."""

    @staticmethod
    def forward(ctx, x):
        d = 1 + x.abs()
        ctx.save_for_backward(d)
        return x / d

    @staticmethod
    def backward(ctx, g):
        (d,) = ctx.saved_tensors
        return g / (d * d)


x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
print("equal to finite differences:", gradcheck(Softsign.apply, (x,)))
Softsign.apply(x).square().mean().backward()
print(x.grad)
