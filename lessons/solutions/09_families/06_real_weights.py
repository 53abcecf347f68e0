# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: reading real weights
#
# ## 1. Three damaged files
# Each error names the array, and both sides where two things do not agree.

# %%
import json
import tempfile
from pathlib import Path

import numpy as np

import tinygrad_llm as tl
from tinygrad_llm.models import Llama, from_pretrained, save_pretrained
from tinygrad_llm.models.exporting import save_gguf
from tinygrad_llm.models.llama import PRESETS
from tinygrad_llm.weights import load_file, save_file

folder = Path(tempfile.mkdtemp())
tl.manual_seed(1)
model = Llama(PRESETS["tiny"]).eval()
save_pretrained(model, folder)
arrays = load_file(folder / "model.safetensors")
q = "model.layers.0.self_attn.q_proj.weight"
damaged = {
    "missing": {name: a for name, a in arrays.items() if name != q},
    "wrong shape": {**arrays, q: np.zeros((60, 64), np.float32)},
    "unknown": {**arrays, "model.layers.0.self_attn.sinks": np.zeros(4, np.float32)},
}
messages = {}
for kind, content in damaged.items():
    save_file(content, folder / "model.safetensors")
    try:
        from_pretrained(folder)
    except ValueError as error:
        messages[kind] = str(error).replace(str(folder), "FOLDER")
        print(f"{kind}: {messages[kind]}")
assert len(messages) == 3 and q in messages["missing"] and "60" in messages["wrong shape"]
assert "sinks" in messages["unknown"]

# %% [markdown]
# ## 2. Shards
# The index says which file holds which array. Nothing is lost: the logits are equal to the last bit.

# %%
ids = tl.randint(0, 512, (1, 9))
shards = Path(tempfile.mkdtemp())
save_pretrained(model, shards, shard_bytes=200_000)
index = json.loads((shards / "model.safetensors.index.json").read_text())
files = sorted(set(index["weight_map"].values()))
print(f"{len(index['weight_map'])} arrays in {len(files)} files, such as {files[0]}")
with tl.no_grad():
    expected = model(ids)
    assert tl.equal(from_pretrained(shards)(ids), expected)
assert len(files) > 1

# %% [markdown]
# ## 3. Fewer bits
# Q8_0 has 8.5 bits per weight, Q4_0 4.5. The errors differ by about 16, the ratio of the steps. (Embeddings stay
# Q8_0 in both; norms stay float32.)

# %%
sizes, errors = {}, {}
for kind in ("F32", "Q8_0", "Q4_0"):
    path = save_gguf(model, folder / f"{kind}.gguf", kind)
    sizes[kind] = path.stat().st_size
    with tl.no_grad():
        errors[kind] = ((from_pretrained(path)(ids) - expected).norm() / expected.norm()).item()
    print(f"{kind:4} {sizes[kind]:8,} bytes, logits off by {errors[kind]:.1%}")
assert sizes["Q4_0"] < sizes["Q8_0"] < sizes["F32"] / 3
assert errors["F32"] < 1e-5 < errors["Q8_0"] < errors["Q4_0"]
