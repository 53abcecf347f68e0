"""The checks of exercises that build layers: mostly that they equal the layers of the package."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..check.diagnose_layer import diagnose_layer
from ..mistakes.whole_layers import LAYER_MISTAKES
from .evidence import seen
from .task_checks import Wrong, check, same


def _torch() -> Any:
    import tinygrad_llm

    tinygrad_llm.manual_seed(0)
    return tinygrad_llm


def _copy(mine: Any, theirs: Any) -> None:
    """Copy the parameters of `theirs` into `mine`, which must have the same names."""
    state = theirs.state_dict()
    if (names := seen(sorted(mine.state_dict()))) != sorted(state):
        raise Wrong(f"its parameters are {names}, should be {sorted(state)}")
    mine.load_state_dict(state)


def given(layer: Any) -> Any:
    """The learner's layer with numbers that the check draws in every parameter.

    Then what the layer should return can be computed without asking it for its weights.
    """
    torch = _torch()
    for _, p in sorted(layer.named_parameters()):
        p.data = torch.randn(p.shape) * 0.5
    return layer


def named(layer: Any, output: Any, *inputs: Any, use: Any = None, hint: str = "") -> str:
    """The sentence of the planted mistake that this output is, with its name; hint if of none.

    layer: the true one, with the learner's parameters; output: the learner's
    """
    if output is None or type(layer).__name__ not in LAYER_MISTAKES:
        return hint
    mistakes = diagnose_layer(layer, output, *inputs, **({"use": use} if use else {}))
    return f"{mistakes[0].sentence} [{mistakes[0].name}]" if mistakes else hint


def _same_layer(
    mine: Any, theirs: Any, x: Any, hint: str = "", use: Any = None, more: tuple = ()
) -> None:
    """Equal outputs, and equal gradients of x and of every parameter.

    use: use(layer, x, *more) calls either, if layer(x) is not enough
    """
    _copy(mine, theirs)
    results = []
    for layer in (mine, theirs):
        layer.zero_grad()
        own_x = x.detach().clone()
        floating = own_x.dtype.is_floating_point
        own_x.requires_grad = floating
        y = use(layer, own_x, *more) if use else layer(own_x)
        if y is None:
            raise Wrong("forward: None was returned")
        (y * y).sum().backward()
        grads = {n: p.grad for n, p in layer.named_parameters()}
        results.append((y, own_x.grad if floating else None, grads))
    (y, gx, grads), (y2, gx2, grads2) = results
    same(y, y2, "forward", named(theirs, y, x, *more, use=use, hint=hint))
    if gx2 is not None:
        same(gx, gx2, "the gradient of x")
    for name, g in grads2.items():
        same(grads[name], g, f"the gradient of {name}")


# -------------------------------------------------------------------------------------- layers
@check("linear_layer", "the same as nn.Linear")
def _(m):
    torch = _torch()
    _same_layer(m.Linear(3, 2), torch.nn.Linear(3, 2), torch.randn(2, 4, 3))


@check("embedding_layer", "the same as nn.Embedding")
def _(m):
    torch = _torch()
    ids = torch.tensor([[0, 2, 0], [4, 0, 2]])
    _same_layer(m.Embedding(5, 3), torch.nn.Embedding(5, 3), ids)


@check("layer_norm_layer", "the same as nn.LayerNorm")
def _(m):
    torch = _torch()
    theirs = torch.nn.LayerNorm(4)
    theirs.weight.data = torch.tensor([1.0, 2.0, -0.5, 0.3])
    hint = "σ² is divided by C, and ε is inside the root"
    _same_layer(m.LayerNorm(4), theirs, torch.randn(2, 3, 4), hint)
    _same_layer(m.LayerNorm(4), theirs, 1e-3 * torch.randn(2, 3, 4), hint)


@check("dropout_layer", "in eval nothing is dropped")
def _(m):
    torch = _torch()
    layer, x = m.Dropout(0.4).eval(), torch.randn(50)
    same(layer(x), x, "in eval")


@check("dropout_layer", "in training some are, and the others are scaled up")
def _(m):
    torch = _torch()
    layer, x = m.Dropout(0.4), torch.ones(200, 100)
    y = seen(layer(x))
    if y is None:
        raise Wrong("forward: None was returned")
    dropped = float((y == 0).mean())
    if not 0.36 < dropped < 0.44:
        raise Wrong(f"p = 0.4, and {dropped:.0%} were dropped")
    same(y[y != 0], np.full((y != 0).sum(), 1 / 0.6), "what was kept",
         "it is scaled by 1/(1 − p)")  # fmt: skip
    if (y == y[0]).all():
        raise Wrong("the mask is the same in every row: draw one of x's whole shape")
    if (seen(layer(x)) == y).all():
        raise Wrong("the mask is the same at every call")


@check("feed_forward", "two Linear with GELU between them")
def _(m):
    torch = _torch()
    layer = m.FeedForward(6)
    shapes = [tuple(p) for p in seen([list(p.shape) for p in layer.parameters()])]
    if shapes != [(24, 6), (24,), (6, 24), (6,)]:
        raise Wrong(f"its parameters are {shapes}, should be [(24, 6), (24,), (6, 24), (6,)]")
    x = torch.randn(2, 3, 6)
    w1, b1, w2, b2 = (torch.randn(p.shape) * 0.5 for p in layer.parameters())
    for p, w in zip(layer.parameters(), (w1, b1, w2, b2), strict=True):
        p.data = w.clone()
    expected = torch.nn.functional.gelu(x @ w1.T + b1) @ w2.T + b2
    same(layer(x), expected, "forward", "GELU stands between the two Linear, and only there")


@check("cross_entropy_loss", "the same as nn.functional.cross_entropy")
def _(m):
    torch = _torch()
    for targets in ([1, 0, 3, 2], [1, -100, 3, -100]):
        grads = []
        for f in (m.cross_entropy, torch.nn.functional.cross_entropy):
            logits = (torch.arange(16).float() * 37 % 11 - 5).reshape(4, 4)
            logits.requires_grad = True
            loss = f(logits, torch.tensor(targets))
            if loss is None:
                raise Wrong("None was returned: return the loss")
            loss.backward()
            grads.append((loss, logits.grad))
        same(grads[0][0], grads[1][0], f"the loss for targets {targets}",
             "ignored targets count neither in the numerator nor in the denominator")  # fmt: skip
        same(grads[0][1], grads[1][1], f"its gradient for targets {targets}")


@check("cross_entropy_loss", "large logits")
def _(m):
    torch = _torch()
    loss = m.cross_entropy(torch.tensor([[1000.0, 0.0], [0.0, 1000.0]]), torch.tensor([0, 0]))
    same(loss, 500.0, "logits of 1000", "log of softmax underflows, log_softmax does not")


def _attention(torch, q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


@check("causal_attention", "no position sees a later one")
def _(m):
    torch = _torch()
    q, k, v = (torch.randn(2, 5, 4) for _ in range(3))
    before = m.causal_attention(q, k, v)
    if before is None:
        raise Wrong("None was returned")
    changed_k, changed_v = k.clone(), v.clone()
    changed_k.array[:, 3:] += 1.0
    changed_v.array[:, 3:] += 1.0
    after = m.causal_attention(q, changed_k, changed_v)
    same(after.array[:, :3], before.array[:, :3], "rows 0 to 2 after keys 3 and 4 changed",
         "they must not see them")  # fmt: skip


@check("causal_attention", "the same as scaled_dot_product_attention")
def _(m):
    torch = _torch()
    results = []
    for f in (m.causal_attention, lambda q, k, v: _attention(torch, q, k, v)):
        torch.manual_seed(1)
        xs = [torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3)]
        y = f(*xs)
        (y * y).sum().backward()
        results.append([y, *(x.grad for x in xs)])
    hint = "is the scale 1/√D there, and the softmax over the keys?"
    for name, a, b in zip(("forward", "the gradient of q", "of k", "of v"), *results, strict=True):
        same(a, b, name, hint)


@check("multi_head_attention", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.attention import Attention

    theirs = Attention(6, 2)
    _same_layer(_named_as(m.MultiHeadAttention(6, 2), theirs), theirs, torch.randn(2, 5, 6),
                "move the heads before time, and back behind it before you join them")  # fmt: skip


def _named_as(mine: Any, theirs: Any) -> Any:
    if (names := seen(sorted(mine.state_dict()))) != sorted(theirs.state_dict()):
        raise Wrong(f"its parameters are {names}: keep the given ones")
    return mine


@check("transformer_block", "two residual branches, norms first")
def _(m):
    torch = _torch()
    nn, x = torch.nn, torch.randn(2, 3, 6)
    attention, feed_forward = nn.Linear(6, 6), nn.Linear(6, 6)
    block = m.TransformerBlock(6, attention, feed_forward)
    norms = nn.LayerNorm(6), nn.LayerNorm(6)
    for name, norm in zip(("norm1", "norm2"), norms, strict=True):
        if not seen(hasattr(block, name)):
            raise Wrong(f"it has no {name}")
        norm.weight.data = torch.randn(6)
        getattr(block, name).weight.data = norm.weight.data.clone()
    middle = x + attention(norms[0](x))
    same(block(x), middle + feed_forward(norms[1](middle)), "forward",
         "x + f(norm(x)), twice")  # fmt: skip


@check("kv_cache", "all positions in one call")
def _(m):
    torch = _torch()
    q, k, v = (torch.randn(2, 3, 5, 4) for _ in range(3))
    got = m.attend(q, m.KVCache(), k, v)
    same(got, _attention(torch, q, k, v), "five positions, empty cache", "is the mask causal?")


@check("kv_cache", "one at a time, and two at a time")
def _(m):
    torch = _torch()
    q, k, v = (torch.randn(2, 3, 6, 4) for _ in range(3))
    expected = _attention(torch, q, k, v)
    for step in (1, 2, 3):
        cache = m.KVCache()
        for i in range(0, 6, step):
            part = slice(i, i + step)
            got = m.attend(q[:, :, part], cache, k[:, :, part], v[:, :, part])
            same(got, expected[:, :, part], f"{step} at a time, positions {i} to {i + step - 1}",
                 "the new positions come after all positions in the cache")  # fmt: skip


@check("lora", "starts unchanged")
def _(m):
    torch = _torch()
    linear, x = torch.nn.Linear(6, 4), torch.randn(3, 6)
    same(m.LinearWithLoRA(linear, 2, 8.0)(x), linear(x), "before training", "B starts at zero")


@check("lora", "A and B learn, W does not")
def _(m):
    torch = _torch()
    layer = m.LinearWithLoRA(torch.nn.Linear(6, 4), 2, 8.0)
    shapes = {n: list(p.shape) for n, p in layer.named_parameters() if p.requires_grad}
    learning = {n: tuple(shape) for n, shape in seen(shapes).items()}
    if learning != {"lora_A": (2, 6), "lora_B": (4, 2)}:
        raise Wrong(f"what learns is {learning}, should be lora_A (2, 6) and lora_B (4, 2)")
    if not seen(layer.lora_A).any():
        raise Wrong("A and B are both zero: then neither ever gets a gradient")


@check("lora", "with the scale α/r, and merged")
def _(m):
    torch = _torch()
    linear, x = torch.nn.Linear(6, 4), torch.randn(3, 6)
    a, b = torch.randn(2, 6), torch.randn(4, 2)
    layer = m.LinearWithLoRA(linear, 2, 8.0)
    layer.lora_A.data, layer.lora_B.data = a.clone(), b.clone()
    same(layer(x), linear(x) + x @ a.T @ b.T * 4.0, "forward", "α/r is 4 here")
    same(layer.merged_weight(), linear.weight + b @ a * 4.0, "merged_weight")


@check("tied_weights", "one parameter for both")
def _(m):
    torch = _torch()
    model = m.TiedModel(7, 4, torch.nn.Linear(4, 4))
    if not seen(model.out_head.weight is model.tok_emb.weight):
        raise Wrong("the two weights are different objects: assign the parameter, not its values")
    n = seen(sum(p.numel() for p in model.parameters()))
    if n != 7 * 4 + 4 * 4 + 4:
        raise Wrong(f"{n} parameters are counted, should be {7 * 4 + 4 * 4 + 4}")


@check("tied_weights", "the gradient of both uses")
def _(m):
    torch = _torch()
    body, ids, table = torch.nn.Linear(4, 4), torch.tensor([[1, 2, 1]]), torch.randn(7, 4)
    model = m.TiedModel(7, 4, body)
    model.tok_emb.weight.data = table.clone()
    logits = model(ids)
    if logits is None:
        raise Wrong("forward: None was returned")
    (logits * logits).sum().backward()
    uses = [table.clone().requires_grad_(), table.clone().requires_grad_()]
    y = body(uses[0][ids]) @ uses[1].T
    same(logits, y, "forward")
    (y * y).sum().backward()
    both = uses[0].grad.array + uses[1].grad.array
    same(model.tok_emb.weight.grad, both, "the gradient of the weight", "it has two uses")


def _clipped(m, values, max_norm):
    torch = _torch()
    parameters = []
    for g in values:
        p = torch.nn.Parameter(torch.zeros(2))
        p.grad = None if g is None else torch.tensor(g)
        parameters.append(p)
    return m.clip_grad_norm(parameters, max_norm), [p.grad for p in parameters]


@check("gradient_clipping", "one norm for all")
def _(m):
    norm, grads = _clipped(m, [[3.0, 0.0], None, [0.0, 4.0]], 1.0)
    same(norm, 5.0, "the norm of (3, 0) and (0, 4)", "the norm before clipping is returned")
    same(grads[0], [0.6, 0.0], "the first gradient", "all shrink by the same factor")
    same(grads[2], [0.0, 0.8], "the last gradient")


@check("gradient_clipping", "short gradients stay")
def _(m):
    norm, grads = _clipped(m, [[0.3, 0.0], [0.0, 0.4]], 1.0)
    same(norm, 0.5, "the norm of (0.3, 0) and (0, 0.4)")
    same(grads[0], [0.3, 0.0], "the first gradient", "below max_norm nothing changes")


@check("adamw_step", "the first step")
def _(m):
    w, g = np.array([1.0, -2.0]), np.array([0.5, -3.0])
    mean, square = np.zeros(2), np.zeros(2)
    m.adamw_step(w, g, mean, square, 1, 0.1, decay=0.0)
    same(w, [0.9, -1.9], "after one step of 0.1", "corrected, the first step is lr·sign(g)")


@check("adamw_step", "a gradient of zero")
def _(m):
    w, mean, square = np.array([1.0]), np.zeros(1), np.zeros(1)
    m.adamw_step(w, np.zeros(1), mean, square, 1, 0.1, decay=0.0)
    same(w, [1.0], "the weight after a gradient of 0", "ε keeps 0/√0 from being nan")


@check("adamw_step", "ten steps with decay")
def _(m):
    torch = _torch()
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    theirs = torch.optim.AdamW([p], lr=0.05, betas=(0.8, 0.9), weight_decay=0.3)
    w, mean, square = p.detach().numpy().copy(), np.zeros(3), np.zeros(3)
    for t in range(1, 11):
        g = np.array([math.sin(t), 0.1 * t, -1.0])
        p.grad = torch.tensor(g)
        theirs.step()
        m.adamw_step(w, g, mean, square, t, 0.05, 0.8, 0.9, 1e-8, 0.3)
        same(w, p, f"the weights after {t} steps")
