# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. QLoRA: the gradient through a frozen 4-bit base
#
# **Question.** Whole numbers of 4 bits have no gradient: a weight cannot move by 0.001 of a step. How can a model with
# such weights be fine-tuned?
#
# **For example.** The frozen weight 0.31 is stored as 0.3. Its gradient is not computed, but the gradient of
# its *input* is 0.3·g: the layers before need it.
#
# **Predict first.** In LoRA the frozen weight W gets no gradient at all. Then why does the backward pass need W?
# And what must be kept in memory for it?
#
#     y = x·Ŵᵀ + (α/r)·x·Aᵀ·Bᵀ          Ŵ: what the 4-bit codes stand for
#     ∂L/∂x = g·Ŵ + (α/r)·g·B·A         the layers *before* this one need it
#     ∂L/∂A, ∂L/∂B as in LoRA           ∂L/∂Ŵ is not computed
#
# So the gradient flows *through* the codes, not *into* them. Ŵ is a constant that can be decoded, tile by tile, whenever
# it is needed, forward and backward (Dettmers et al., 2023).
#
# **You need.** Lessons 1 and 2, chapter A.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as tl
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.autograd import Function
from tinygrad_llm.layers import lora
from tinygrad_llm.layers.quantized import QuantizedLinear, dequantize, quantize
from tinygrad_llm.models import Llama
from tinygrad_llm.models.llama import PRESETS
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.text import CharTokenizer

# %% [markdown]
# ## By hand: a product whose weight is codes
# A custom op. It saves the codes only, and decodes them twice: once forward, once backward.

# %%
def encode(w):
    """Rows of w as codes −7 … 7 and a step for 32 weights: (O, I/32, 32) int8 and (O, I/32, 1)."""
    blocks = w.reshape(len(w), -1, 32)  # (O, I) -> (O, I/32, 32)
    step = blocks.abs().max(dim=-1, keepdim=True).values / 7
    return tl.round(blocks / step).to(tl.int8), step


def decode(codes, step):
    return (codes.to(step.dtype) * step).reshape(len(codes), -1)  # (O, I/32, 32) -> (O, I)


class FrozenProduct(Function):
    @staticmethod
    def forward(ctx, x, codes, step):
        ctx.codes, ctx.step = codes, step
        return x @ decode(codes, step).T  # (N, I) -> (N, O)

    @staticmethod
    def backward(ctx, g):
        return g @ decode(ctx.codes, ctx.step), None, None  # (N, O) -> (N, I); codes have no gradient


tl.manual_seed(123)
w = tl.randn(48, 64) * 0.1  # (O, I)
codes, step = encode(w)
x, g = tl.randn(5, 64, requires_grad=True), tl.randn(5, 48)
(FrozenProduct.apply(x, codes, step) * g).sum().backward()
through_codes = x.grad
plain = x.detach().clone().requires_grad_()
(plain @ decode(codes, step).T * g).sum().backward()
print("shape of ∂L/∂x", tuple(through_codes.shape), " equal to that of the decoded matrix:", tl.allclose(through_codes, plain.grad))
assert tl.allclose(through_codes, plain.grad, atol=1e-5)
exact = g @ w
print(f"and {((through_codes - exact).norm() / exact.norm()).item():.0%} away from that of the original W")
assert 0.02 < ((through_codes - exact).norm() / exact.norm()).item() < 0.2

# %% [markdown]
# Why not simply train the codes? Rounding is a staircase: its derivative is 0 almost everywhere.

# %%
moved = w + 1e-3 * tl.randn(48, 64)  # a typical step of fine-tuning
changed = (tl.round(moved.reshape(48, 2, 32) / step).to(tl.int8) != codes).float().mean().item()
print(f"a small step changes {changed:.1%} of the codes, and each of those by far more than the step")
assert changed < 0.1

# %% [markdown]
# ## With the package
# `quantize(model, "nf4")` puts quantised layers in place, `lora.add` puts LoRA on top. First a model that knows one
# sentence; its bytes before and after.

# %%
old = "the tram stops at the old market, and the driver waves to the baker. "
new = "the boat stops at the new bridge, and the captain waves to the painter. "
tokenizer = CharTokenizer.train(old + new)
config = {**vars(PRESETS["tiny"]), "vocab_size": tokenizer.vocab_size}


def train(model, sentence, steps, lr):
    ids = tl.tensor(tokenizer.encode(sentence * 8))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = tl.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    tl.manual_seed(3)
    losses = []
    for _ in range(steps):
        starts = tl.randint(0, len(ids) - 49, (4,)).tolist()
        batch = tl.stack([ids[s : s + 49] for s in starts])  # (4, 49)
        loss = model.loss(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


tl.manual_seed(1)
base = Llama(config)
losses = train(base, old, 90, 5e-3)
print(f"the base has learned its sentence: loss {losses[0]:.2f} -> {losses[-1]:.2f}")
state = {name: p.detach().clone() for name, p in base.state_dict().items()}


def fresh(kind):
    model = Llama(config)
    model.load_state_dict(state)
    model.requires_grad_(False)
    if kind:
        quantize(model, kind)
    return model


def bytes_of(model):
    matrices = {id(m.matrix): m.matrix.nbytes for m in model.modules() if hasattr(m, "matrix")}
    return sum(matrices.values()) + sum(p.nbytes for p in model.parameters())


sizes = {kind or "float32": bytes_of(fresh(kind)) for kind in (None, "q8_0", "q4_1", "nf4")}
print("bytes of the base:", {name: f"{n:,}" for name, n in sizes.items()})
assert sizes["nf4"] < sizes["q4_1"] < sizes["q8_0"] < sizes["float32"] / 3

# %% [markdown]
# ## Does it learn as well?
# The same LoRA layers (the same seed) on a base of 32 and of 4 bits, for a new sentence:

# %%
results, adapted = {}, {}
for kind in (None, "nf4"):
    model = fresh(kind)
    tl.manual_seed(7)
    lora.add(model, rank=8, alpha=16, names=["trf_blocks.*"])
    results[kind or "float32"] = train(model, new, 70, 1e-2)
    adapted[kind or "float32"] = model
    print(f"{kind or 'float32':8} loss on the new sentence {results[kind or 'float32'][0]:.2f} -> "
          f"{results[kind or 'float32'][-1]:.2f}")
assert all(r[-1] < 0.4 * r[0] for r in results.values())
assert results["nf4"][-1] < results["float32"][-1] + 0.3

# %% [markdown]
# The gradients are exactly those of LoRA on the dequantised base, for every parameter:

# %%
model = adapted["nf4"]
ids = tl.tensor([tokenizer.encode(new)[:49]])
gradients = {}
for step_name in ("codes", "dequantised"):
    if step_name == "dequantised":
        dequantize(model)  # a float matrix in place of each quantised one, with the same values
    model.zero_grad()
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    gradients[step_name] = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
for name, gradient in gradients["codes"].items():
    other = gradients["dequantised"][name]
    assert (gradient - other).abs().max().item() <= 1e-4 * other.abs().max().item() + 1e-7, name
print(f"{len(gradients['codes'])} gradients of A and B: the same through codes and through the dequantised matrices")
assert all(p.grad is None for n, p in model.named_parameters() if not p.requires_grad)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.bar(list(sizes), [n / 1e3 for n in sizes.values()]), left.set_ylabel("kB of the frozen base")
for name, values in results.items():
    right.plot(values, label=name)
right.set_xlabel("step"), right.set_ylabel("loss on the new sentence"), right.legend()
save_plot(figure, "03_qlora")

# %% [markdown]
# ## Exercises
# 1. How many bytes does a model of 7 billion weights take in fine-tuning: all weights in float32 with AdamW (weights,
#    gradients, two moments), LoRA on 16 bits, QLoRA on NF4? Take 40 million LoRA parameters, and leave activations out.
# 2. Merge an adapter into W and quantise the sum again. Is the result as good as the adapter beside the codes?
# 3. Check the backward of `FrozenProduct` with `gradcheck` in float64. Then forget to decode in backward (use the codes
#    without their steps). What does the check say?
#
# Solutions: `lessons/solutions/10_quantisation/03_qlora.py`
