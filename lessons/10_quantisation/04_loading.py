# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Seven ways to load weights, and their peak memory
#
# **Question.** The weights of a model are 8 GB, and the computer has 16 GB. Why can loading fail?
#
# **For example.** Build a model with random weights (8 GB), read a file (8 GB), copy: for a moment there are
# 16 GB, and a machine with 16 GB stops.
#
# **Predict first.** The usual way is: build the model (random weights), read the file, copy. How many copies of the
# weights are in memory at the worst moment? And what is the least possible?
#
# The peak counts, not the end. Three ideas make it small: a model *without* initial weights, a file that is *mapped* (the
# system reads the pages that are touched), and one array at a time, straight to its place.
#
# **You need.** Chapter 05, lesson 5.

# %%
import gc
import tempfile
import time
import tracemalloc
from pathlib import Path

import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm.models import Llama, from_pretrained, save_pretrained
from tinygrad_llm.models.exporting import save_gguf
from tinygrad_llm.models.llama import LlamaConfig
from tinygrad_llm.nn.utils import skip_init
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.weights import SafeTensorsFile, load_file, save_model

# %% [markdown]
# A Llama of 17 MB with random weights, written in every format.

# %%
folder = Path(tempfile.mkdtemp())
config = LlamaConfig(2048, 64, 256, 768, 4, 4, 2)
tl.manual_seed(123)
model = Llama(config).eval()
n_bytes = sum(p.nbytes for p in model.parameters())
save_pretrained(model, folder / "whole")
save_pretrained(model, folder / "shards", shard_bytes=n_bytes // 5)
save_model(model, folder / "own.safetensors")
tl.save(model.state_dict(), folder / "model.pth")
save_gguf(model, folder / "q8_0.gguf", "Q8_0")
ids = tl.randint(0, 2048, (1, 8))
with tl.no_grad():
    expected = model(ids)
print(f"{n_bytes / 1e6:.1f} MB of weights in float32, the largest has the shape {tuple(model.tok_emb.weight.shape)}")

# %% [markdown]
# ## By hand: the peak
# `tracemalloc` counts what the program asks for. Pages of a mapped file do not count: the system can drop them. And an
# array that is asked for but not yet written counts, although the system gives memory only where something is written.

# %%
def peak_of(load):
    """Of the bytes of the weights in float32: the peak and what is held at the end; seconds; the logits' error."""
    gc.collect()
    tracemalloc.start()
    start = time.perf_counter()
    loaded = load()
    seconds = time.perf_counter() - start
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with tl.no_grad():
        difference = ((loaded(ids) - expected).norm() / expected.norm()).item()
    return peak / n_bytes, held / n_bytes, seconds, difference


def whole():
    """Random weights, then all arrays of the file, then copy."""
    model = Llama(config)
    arrays = load_file(folder / "own.safetensors")  # all of them, in memory
    tensors = {name: tl.tensor(a) for name, a in arrays.items()}  # a copy of each
    model.load_state_dict(tensors, strict=False)
    return model


def one_by_one():
    """A model without initial weights, and one array at a time."""
    model = skip_init(Llama, config)
    arrays = SafeTensorsFile(folder / "own.safetensors")  # mapped: nothing is read yet
    with tl.no_grad():
        for name, p in model.named_parameters():
            p.array[...] = arrays[name]  # from the file to its place
    return model


def torch_file():
    """The same from a file of torch.save."""
    model = Llama(config)
    model.load_state_dict(tl.load(folder / "model.pth"))
    return model


by_hand = {"all together": peak_of(whole), "a .pth file": peak_of(torch_file), "one by one": peak_of(one_by_one)}
for name, (peak, held, seconds, difference) in by_hand.items():
    print(f"{name:14} peak {peak:.2f} times the weights, held {held:.2f}, {seconds * 1e3:4.0f} ms")
    assert difference < 1e-6  # the right weights
assert by_hand["all together"][0] > 1.9  # the model, and the file
assert by_hand["one by one"][0] < 1.1

# %% [markdown]
# ## With the package
# `from_pretrained` builds a model without initial weights and fills one array after the other. In shards it is the same. A
# GGUF file of 8 bits is decoded in small pieces, where it belongs; with `quantize="gguf"` it is not decoded at all.

# %%
ways = {
    **by_hand,
    "package": peak_of(lambda: from_pretrained(folder / "whole")),
    "package, shards": peak_of(lambda: from_pretrained(folder / "shards")),
    "package, GGUF": peak_of(lambda: from_pretrained(folder / "q8_0.gguf")),
    "GGUF, kept": peak_of(lambda: from_pretrained(folder / "q8_0.gguf", quantize="gguf")),
}
for name in list(ways)[3:]:
    peak, held, seconds, difference = ways[name]
    print(f"{name:16} peak {peak:.2f} times the weights, held {held:.2f}, {seconds * 1e3:4.0f} ms, "
          f"logits off by {difference:.2%}")
assert ways["package"][0] < 1.15 and ways["package, shards"][0] < 1.15 and ways["package, GGUF"][0] < 1.15
assert 0.26 < ways["GGUF, kept"][1] < 0.35 < 0.9 < ways["package"][1]  # 8.5 bits for 32
assert ways["package"][3] < 1e-6 < ways["GGUF, kept"][3] < 0.05

# %% [markdown]
# ## What a mapped file is
# `SafeTensorsFile` takes no time and no memory: its arrays are windows onto the file. The bytes are read when they are
# looked at, and they cannot be written. `load_file` copies all of them.

# %%
tracemalloc.start()
arrays = SafeTensorsFile(folder / "own.safetensors")
before = tracemalloc.get_traced_memory()[1]
total = sum(float(a.sum()) for a in arrays.values())
after = tracemalloc.get_traced_memory()[1]
tracemalloc.stop()
print(f"{len(arrays)} arrays opened with {before / 1e3:.0f} kB; all of them summed with {after / 1e3:.0f} kB")
assert after < 0.1 * n_bytes

figure, axis = plt.subplots(figsize=(8, 4))
axis.barh(list(ways)[::-1], [peak for peak, *_ in ways.values()][::-1], label="peak")
axis.barh(list(ways)[::-1], [held for _, held, *_ in ways.values()][::-1], 0.4, label="held at the end")
axis.axvline(1, color="black", ls=":"), axis.set_xlabel("memory / weights in float32"), axis.legend()
save_plot(figure, "04_loading")

# %% [markdown]
# ## Exercises
# 1. Load in bfloat16 (`dtype=tl.bfloat16`). What is the peak, compared with the weights in float32? And what must not
#    happen on the way?
# 2. Which single array decides how far a loader that goes one by one is above 1? Compute it for Llama 3.2 1B, if that array
#    is widened as a whole from 16 to 32 bits.
# 3. Count copies: write a loader that is as bad as possible without loading anything twice. How far do you come?
#
# Solutions: `lessons/solutions/10_quantisation/04_loading.py`
