# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: GPT-2's weights

# %%
import tinygrad_llm as tl
from tinygrad_llm.models import GPT, GPTConfig, build_gpt2
from tinygrad_llm.nn.utils import skip_init
from tinygrad_llm.weights.families.gpt2 import to_huggingface

tl.manual_seed(123)
config = dict(vocab_size=300, context_length=32, emb_dim=64, n_heads=1, n_layers=2, drop_rate=0.0)
model = GPT(config).eval()
weights = to_huggingface(model.state_dict(), prefix="")  # name -> NumPy array
idx = tl.randint(0, 300, (1, 12))
with tl.no_grad():
    expected = model(idx)

# %% [markdown]
# ## 1. The stored mask
# It is the causal mask, a constant that was once saved with the weights. The package leaves it out.

# %%
mask = tl.tril(tl.ones(32, 32)).view(1, 1, 32, 32)
with_masks = {**weights, "h.0.attn.bias": mask, "h.1.attn.bias": mask}
with tl.no_grad():
    assert tl.equal(build_gpt2(with_masks)(idx), expected)
print("a file with masks is read; the masks are left out")

# %% [markdown]
# ## 2. OpenAI's names
# `ln_1` has g and b (gain and bias), layers have w and b, the two embeddings nothing.

# %%
def openai_name(name):
    *path, kind = name.split(".")
    if path[0] == "h":
        path = [f"h{path[1]}", *path[2:]]
    if path[-1] in ("wte", "wpe"):
        return "/".join(["model", *path])
    norm = path[-1].startswith("ln_")
    return "/".join(["model", *path, "b" if kind == "bias" else "g" if norm else "w"])


variables = {}
for name, array in weights.items():
    is_matrix = name.startswith("h.") and array.ndim == 2
    variables[openai_name(name)] = array[None] if is_matrix else array  # (in, out) -> (1, in, out)
print("model/h0/attn/c_attn/w", variables["model/h0/attn/c_attn/w"].shape)
with tl.no_grad():
    assert tl.equal(build_gpt2(variables)(idx), expected)

# %% [markdown]
# ## 3. 124 or 163 million
# The output layer: V·C = 50,257·768 = 38.6 million. GPT-2 shares it with the embedding; the book's class
# has a separate one. (The book also leaves out the biases of q, k and v: 12·3·768 fewer.)

# %%
def count(**changes):
    return skip_init(GPT, GPTConfig.gpt2_small(**changes)).n_parameters()


tied, book = count(), count(tie_weights=False, qkv_bias=False)
print(f"tied {tied:,}; with a separate output layer and without those biases {book:,}")
assert book - tied == 50257 * 768 - 12 * 3 * 768
assert (tied, book) == (124_439_808, 163_009_536)
