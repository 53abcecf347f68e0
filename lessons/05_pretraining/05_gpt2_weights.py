# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. GPT-2's weights
#
# **Question.** OpenAI trained GPT-2 for us. Its weights are a file of arrays with names. How do they get
# into a model that somebody else wrote?
#
# **For example.** The file has an array of (768, 2304); our layer holds (2304, 768). Transposed, the numbers
# fit. An array of (768, 768) fits both ways, and only one is right.
#
# **Answer.** One by one, and with care for three things:
#
#     names        h.0.attn.c_attn.weight  is our  trf_blocks.0.att.qkv.weight
#     direction    the file holds W for y = x·W, a Linear expects Wᵀ: every matrix is transposed
#     sharing      the output layer is the token embedding: it has no separate array
#
# A wrong direction is easy to miss: the C x C matrix of an attention's output fits both ways.
#
# **You need.** Chapter 04, lesson 4.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm.generation import generate
from tinygrad_llm.models import GPT, from_pretrained, load_gpt2, save_pretrained
from tinygrad_llm.study.lesson import full_run, save_plot
from tinygrad_llm.weights import load_file

full = full_run("OpenAI's own 124 million weights: a download of 0.5 GB once, then about a minute")

# %% [markdown]
# ## The file
# A tiny GPT with random weights, written in the format of the published files: 2 layers, 64 channels.

# %%
folder = Path(tempfile.mkdtemp())
tl.manual_seed(123)
config = dict(vocab_size=300, context_length=32, emb_dim=64, n_heads=4, n_layers=2, drop_rate=0.0)
original = GPT(config).eval()
with tl.no_grad():
    for p in original.parameters():  # biases that are not 0, so that a forgotten one is noticed
        p.add_(tl.randn(p.shape), alpha=0.1)
save_pretrained(original, folder)
arrays = load_file(folder / "model.safetensors")
print(f"{len(arrays)} arrays")
for name in sorted(arrays)[:13]:
    print(f"  {name:38} {tuple(arrays[name].shape)}")

# %% [markdown]
# ## By hand
# First the sizes: everything except the number of heads can be read off the shapes.

# %%
weights = {name.removeprefix("transformer."): tl.tensor(array) for name, array in arrays.items()}
V, C = weights["wte.weight"].shape
context = weights["wpe.weight"].shape[0]
n_layers = len({name.split(".")[1] for name in weights if name.startswith("h.")})
print(f"V = {V}, context {context}, C = {C}, {n_layers} layers")
assert (V, context, C, n_layers) == (300, 32, 64, 2)

# %% [markdown]
# Then one list of pairs, and one rule: every matrix inside a block is transposed.

# %%
def assign(model, name, value):
    """Write a value into a weight; an error that names both shapes if it does not fit."""
    parameter = model.get_parameter(name)
    if parameter.shape != value.shape:
        raise ValueError(f"{name} has the shape {tuple(parameter.shape)}, the file's array {tuple(value.shape)}")
    with tl.no_grad():
        parameter.copy_(value)


IN_A_BLOCK = {
    "ln_1": "norm1", "attn.c_attn": "att.qkv", "attn.c_proj": "att.out_proj",
    "ln_2": "norm2", "mlp.c_fc": "ff.layers.0", "mlp.c_proj": "ff.layers.2",
}


def load_by_hand(model, weights, transpose=True):
    assign(model, "tok_emb.weight", weights["wte.weight"])  # and so the output layer, which is tied
    assign(model, "pos_emb.weight", weights["wpe.weight"])
    for kind in ("weight", "bias"):
        assign(model, f"final_norm.{kind}", weights[f"ln_f.{kind}"])
        for i in range(n_layers):
            for theirs, ours in IN_A_BLOCK.items():
                value = weights[f"h.{i}.{theirs}.{kind}"]
                if value.dim() == 2 and transpose:
                    value = value.T  # (in, out) -> (out, in)
                assign(model, f"trf_blocks.{i}.{ours}.{kind}", value)
    return model.eval()


tl.manual_seed(0)
by_hand = load_by_hand(GPT(config), weights)
idx = tl.randint(0, V, (2, 10))  # (B, T)
with tl.no_grad():
    expected, actual = original(idx), by_hand(idx)  # (B, T, V)
print("logits", tuple(actual.shape), " largest difference:", (actual - expected).abs().max().item())
assert tl.equal(actual, expected)

# %% [markdown]
# ## With the package
# `load_gpt2` does this for a file or a folder, and `from_pretrained("gpt2")` downloads OpenAI's weights
# first. The file's config.json says what the shapes cannot: 4 heads.

# %%
loaded = load_gpt2(folder)
with tl.no_grad():
    assert tl.equal(loaded(idx), expected)
assert loaded.out_head.weight is loaded.tok_emb.weight
print(loaded.config)

# %% [markdown]
# ## Break it
# Do not transpose the matrices. c_attn (64, 192) does not fit, and that is luck. c_proj (64, 64) fits
# both ways, and no error comes. So look at the logits, never only at the shapes.

# %%
try:
    load_by_hand(GPT(config), weights, transpose=False)
except ValueError as error:
    print("not transposed:", error)
else:
    raise AssertionError("a wrong shape must be refused")

half_right = load_by_hand(GPT(config), weights)
assign(half_right, "trf_blocks.0.att.out_proj.weight", weights["h.0.attn.c_proj.weight"])  # no error!
with tl.no_grad():
    wrong = half_right(idx)
difference = (wrong - expected).abs().mean().item()
print(f"one square matrix not transposed: logits wrong by {difference:.2f} on average, without any error")
assert difference > 0.1

# %% [markdown]
# A damaged file is refused; the error names the arrays and both shapes:

# %%
from tinygrad_llm.models import build_gpt2

damaged = {**weights, "h.1.mlp.c_fc.weight": tl.zeros(64, 200)}
del damaged["ln_f.bias"]
try:
    build_gpt2(damaged, n_heads=4)
except ValueError as error:
    print(error)
    assert "ln_f.bias" in str(error) and "(64, 200)" in str(error)
else:
    raise AssertionError("a damaged file must be refused")

# %% [markdown]
# ## What the weights look like
# Random weights form one bell curve. Trained ones have long tails: a few weights are far larger than the
# others. (With `--full` you see the real ones.)

# %%
model = original
if full:
    from tinygrad_llm.text import GPT2Tokenizer

    tokenizer = GPT2Tokenizer()
    model = from_pretrained("gpt2")
    print(f"GPT-2: {model.n_parameters():,} parameters")
    assert model.n_parameters() == 124_439_808
    for prompt in ("Every effort moves you", "The capital of Japan is", "Machine learning is"):
        ids = generate(model, tokenizer.encode(prompt), 25, temperature=0.8, top_k=40, seed=1)
        print("  ", tokenizer.decode(ids.tolist()).replace("\n", " "))
else:
    ids = generate(model, [1, 2, 3], 8)
    print("random weights write random tokens:", ids.tolist())

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
middle = model.trf_blocks[len(model.trf_blocks) // 2]
for name, p in (("att.qkv", middle.att.qkv.weight), ("ff.layers.0", middle.ff.layers[0].weight)):
    values = p.detach().flatten()
    left.hist((values / values.std()).tolist()[:20000], 80, histtype="step", density=True, label=name)
left.set_yscale("log"), left.set_xlabel("weight / its standard deviation"), left.set_ylabel("density")
left.set_title("weights of a middle block"), left.legend()
norms = model.pos_emb.weight.detach()
similarity = norms @ norms.T / (norms.norm(dim=1).unsqueeze(1) * norms.norm(dim=1))  # (T, T)
image = right.imshow(similarity.numpy(), cmap="RdBu", vmin=-1, vmax=1)
right.set_title("how similar are two positions?"), right.set_xlabel("position"), right.set_ylabel("position")
figure.colorbar(image, ax=right, label="cosine")
save_plot(figure, "05_gpt2_weights")

# %% [markdown]
# ## Exercises
# 1. Older files hold `h.0.attn.bias`, 1 x 1 x T x T ones and zeros. What is it? Does the package read such a
#    file?
# 2. OpenAI's own files (TensorFlow) call a matrix `model/h0/attn/c_attn/w` and give it the shape
#    (1, C, 3C). Write the weights under those names and load them with `build_gpt2`.
# 3. GPT-2 has 124 million parameters by most counts, 163 million by the book's. Where does the
#    difference come from?
#
# Solutions: `lessons/solutions/05_pretraining/05_gpt2_weights.py`
