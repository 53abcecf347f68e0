# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: loading weights
#
# ## 1. In bfloat16
# Half of the bytes: a peak of about 0.5. The whole model must never exist in float32 on the way; each array is rounded as
# it arrives.

# %%
import gc
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np

import tinygrad_llm as tl
from tinygrad_llm.models import Llama, from_pretrained, save_pretrained
from tinygrad_llm.models.llama import PRESETS, LlamaConfig
from tinygrad_llm.weights import load_file, save_model

folder = Path(tempfile.mkdtemp())
config = LlamaConfig(1024, 64, 256, 768, 4, 4, 2, tie_weights=True)
tl.manual_seed(1)
model = Llama(config)
n_bytes = sum(p.nbytes for p in model.parameters())
save_pretrained(model, folder)
save_model(model, folder / "own.safetensors")


def peak_of(load):
    gc.collect()
    tracemalloc.start()
    loaded = load()
    peak = tracemalloc.get_traced_memory()[1] / n_bytes
    tracemalloc.stop()
    return peak, loaded


try:
    peak, half = peak_of(lambda: from_pretrained(folder, dtype=tl.bfloat16))
    print(f"bfloat16: peak {peak:.2f} times the weights in float32, dtype {half.tok_emb.weight.dtype}")
except (TypeError, RuntimeError, ImportError) as error:  # bfloat16 in NumPy needs the package ml_dtypes
    print("bfloat16 is not available here:", error)
    peak, half = peak_of(lambda: from_pretrained(folder, dtype=tl.float16))
    print(f"float16: peak {peak:.2f} times the weights in float32")
assert 0.5 <= peak < 0.75

# %% [markdown]
# ## 2. The largest array
# It is the embedding: 128,256 rows of 2,048. In 16 bits the model has 2.47 GB; the embedding in 32 bits adds 1.05 GB.

# %%
c = PRESETS["llama3.2-1b"]
weights, widened = 1_235_814_400 * 2, c.vocab_size * c.emb_dim * 4
print(f"peak {1 + widened / weights:.2f} times the weights; read in pieces of 1 MB it is 1.00")
assert 1.4 < 1 + widened / weights < 1.5

# %% [markdown]
# ## 3. As bad as possible
# The model, the arrays as a list, a copy as tensors, another as float64 and back: each is innocent alone.

# %%
def bad():
    model = Llama(config)
    arrays = {name: np.array(a) for name, a in load_file(folder / "own.safetensors").items()}
    checked = {name: a.astype(np.float64) for name, a in arrays.items()}  # "to look for NaN"
    tensors = {name: tl.tensor(a.astype(np.float32)) for name, a in checked.items()}
    model.load_state_dict(tensors, strict=False)
    return model


worst, _ = peak_of(bad)
best, _ = peak_of(lambda: from_pretrained(folder))
print(f"bad {worst:.1f} times the weights, from_pretrained {best:.1f}")
assert worst > 3.5 and best < 1.3
