"""Hooks on tensors and modules, and custom ops, for studying gradients."""

import torch
import torch.nn as nn

torch.manual_seed(123)

# ------------------------------------------------------------------------------ tensors' hooks
x = torch.randn(4, 3, requires_grad=True)
w = torch.randn(3, 3, requires_grad=True)
doubled = w.register_hook(lambda g: 2 * g)
w.register_hook(lambda g: record("w on its way", g))  # noqa: F821
y = x @ w
y.retain_grad()
seen = []
y.register_hook(lambda g: seen.append("first"))
y.register_hook(lambda g: g + 1)
y.register_hook(lambda g: record("y on its way", g))  # noqa: F821
loss = (y * w.sum()).sum() + (w * w).sum()
loss.backward()
for name, tensor in (("w", w), ("x", x), ("y", y)):
    record(f"{name}.grad", tensor.grad)  # noqa: F821
print(seen, y.retains_grad, x.retains_grad)
doubled.remove()
(3 * w).sum().backward()
record("w.grad after the hook was removed", w.grad)  # noqa: F821

weights = [torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)]


def step_and_clear(p):
    with torch.no_grad():
        p -= 0.1 * p.grad
    p.grad = None


for p in weights:
    p.register_post_accumulate_grad_hook(step_and_clear)
for _ in range(3):
    (weights[0] * weights[1] ** 2).sum().backward()
    for p in weights:
        record("stepped in backward", p)  # noqa: F821
        print(p.grad)

# ------------------------------------------------------------------------------ modules' hooks
model = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2))
for name, layer in model.named_children():
    layer.register_full_backward_hook(
        lambda module, into, out, name=name: print(
            name, type(module).__name__, [g.shape for g in into], [g.shape for g in out]
        )
    )
twice = model[1].register_full_backward_pre_hook(lambda module, out: (out[0] * 2,))
model[2].register_full_backward_hook(lambda module, into, out: (into[0].clamp(-0.5, 0.1),))
inputs = torch.randn(6, 3, requires_grad=True)
for _ in range(2):
    model(inputs).pow(2).sum().backward()
    record("inputs.grad", inputs.grad)  # noqa: F821
    for p in model.parameters():
        record("parameter", p.grad)  # noqa: F821
    twice.remove()


# ------------------------------------------------------------------------------ custom ops
class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, beta):
        s = torch.sigmoid(beta * x)
        ctx.save_for_backward(x, s)
        ctx.beta = beta
        return x * s

    @staticmethod
    def backward(ctx, g):
        x, s = ctx.saved_tensors
        print("needs", ctx.needs_input_grad)
        return g * (s + ctx.beta * x * s * (1 - s)), None


class StraightThrough(torch.autograd.Function):
    """Round, with the gradient of the identity."""

    @staticmethod
    def forward(x):
        return x.round()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return g


class SortedPair(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        values, places = x.sort()
        ctx.save_for_backward(places)
        ctx.mark_non_differentiable(places)
        return values, places

    @staticmethod
    def backward(ctx, g, _):
        (places,) = ctx.saved_tensors
        return torch.zeros_like(g).scatter(-1, places, g)


a = torch.randn(5, requires_grad=True)
b = Swish.apply(a, 1.5)
print(b.requires_grad, b.is_leaf, Swish.apply(a.detach(), 1.0).requires_grad)
c = StraightThrough.apply(3 * b)
values, places = SortedPair.apply(c + b)
print(places.tolist(), places.requires_grad, values.requires_grad)
(values * torch.arange(5)).sum().backward()
record("through three custom ops", a.grad)  # noqa: F821
for wrong in (lambda ctx, g: (g, None, g), lambda ctx, g: g):
    Swish.backward = staticmethod(wrong)
    try:
        Swish.apply(a, 1.0).sum().backward()
    except RuntimeError as error:
        print(error)


# -------------------------------------------------------------- hooks with keyword arguments
class Scaled(nn.Module):
    def forward(self, x, *, factor=1.0):
        return x * factor


scaled = Scaled()
scaled.register_forward_pre_hook(
    lambda module, args, kwargs: (args, {"factor": kwargs["factor"] * 2}), with_kwargs=True
)
scaled.register_forward_hook(
    lambda module, args, kwargs, out: print(kwargs) or out + 1, with_kwargs=True
)
record("scaled", scaled(torch.ones(2), factor=3.0))  # noqa: F821

# --------------------------------------------------------------- backward from several tensors
p, q = torch.ones(2, requires_grad=True), torch.tensor([2.0, 3.0], requires_grad=True)
r = p * q
torch.autograd.backward([r.sum(), r * 2], [None, torch.tensor([1.0, -1.0])], retain_graph=True)
record("p.grad", p.grad)  # noqa: F821
record("q.grad", q.grad)  # noqa: F821
torch.autograd.backward(r.sum(), inputs=[q])
record("p.grad as before", p.grad)  # noqa: F821
record("q.grad and more", q.grad)  # noqa: F821
torch.autograd.backward((p * q).sum(), torch.tensor(2.0))
record("p.grad at last", p.grad)  # noqa: F821
