# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: QLoRA
#
# ## 1. Bytes for 7 billion weights
# Only trained numbers have gradients and moments: 16 bytes for each of them in float32.

# %%
import numpy as np

import tinygrad_llm as tl
from tinygrad_llm.autograd import Function
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.weights.quantized import quantize

n, adapter = 7e9, 40e6
sizes = {"all, float32": 16 * n, "LoRA on 16 bits": 2 * n + 16 * adapter, "QLoRA": 4.127 / 8 * n + 16 * adapter}
for name, size in sizes.items():
    print(f"{name:16} {size / 1e9:6.1f} GB")
assert sizes["QLoRA"] < 5e9 < sizes["LoRA on 16 bits"] < 16e9 < sizes["all, float32"]

# %% [markdown]
# ## 2. Merge, and quantise again
# The change is often smaller than half a step of the codes, and rounding throws most of it away.

# %%
rng = np.random.default_rng(0)
w = rng.normal(size=(64, 256)).astype(np.float32)
change = (rng.normal(size=(64, 4)) @ rng.normal(size=(4, 256)) * 0.02).astype(np.float32)
base = quantize(w, "nf4").dequantize()
with_adapter = base + change  # codes and adapter
merged = quantize(base + change, "nf4").dequantize()
lost = np.linalg.norm(merged - with_adapter) / np.linalg.norm(change)
print(f"the change has {np.linalg.norm(change) / np.linalg.norm(w):.0%} of the size of W; "
      f"the new rounding error is {lost:.1f} times the change")
assert lost > 0.5

# %% [markdown]
# So keep the adapter beside the codes, or merge it into float weights.
#
# ## 3. The check finds it
# The codes without their steps have other sizes: the gradient is wrong by the step, row by row.

# %%
codes, step = tl.randint(-7, 8, (3, 2, 4)).double(), tl.rand(3, 2, 1).double() + 0.1


class Product(Function):
    forgotten = False

    @staticmethod
    def forward(ctx, x):
        return x @ (codes * step).reshape(3, 8).T  # (N, 8) -> (N, 3)

    @staticmethod
    def backward(ctx, g):
        decoded = codes if Product.forgotten else codes * step
        return g @ decoded.reshape(3, 8)  # (N, 3) -> (N, 8)


x = tl.randn(2, 8).double().requires_grad_()
gradcheck(Product.apply, x)
print("decoded in backward: right")
Product.forgotten = True
try:
    gradcheck(Product.apply, x)
except Exception as error:
    message = str(error)
    print("without the steps:", message.split("\n")[0][:100])
else:
    message = ""
assert message, "the check must find it"
