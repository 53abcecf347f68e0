# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: saving a run and resuming it

# %%
import os
import tempfile
from pathlib import Path

import tinygrad_llm as torch
from tinygrad_llm import nn

folder = Path(tempfile.mkdtemp())


def network(hidden):
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 2))


# %% [markdown]
# ## 1. Another shape
# `strict=False` accepts missing and additional names. A wrong shape is never accepted.

# %%
weights = network(8).state_dict()
for strict in (True, False):
    try:
        network(16).load_state_dict(weights, strict=strict)
    except RuntimeError as error:
        print(f"strict={strict}: {str(error).splitlines()[1].strip()[:60]} ...")
    else:
        raise AssertionError("a wrong shape must be refused")

fewer = {name: value for name, value in weights.items() if name != "2.bias"}
result = network(8).load_state_dict({**fewer, "more": torch.zeros(1)}, strict=False)
print("accepted with strict=False: missing", list(result.missing_keys), " unexpected", list(result.unexpected_keys))
assert list(result.missing_keys) == ["2.bias"] and list(result.unexpected_keys) == ["more"]

# %% [markdown]
# ## 2. Tied weights
# Two names, one array. In the file the array is stored once, and loading into a tied model writes it
# twice into the same place.

# %%
class Tied(nn.Module):
    def __init__(self, tie=True):
        super().__init__()
        self.emb = nn.Embedding(1000, 64)
        self.head = nn.Linear(64, 1000, bias=False)
        if tie:
            self.head.weight = self.emb.weight


sizes = {}
for tie in (True, False):
    model = Tied(tie)
    torch.save(model.state_dict(), folder / "m.pth")
    sizes[tie] = os.path.getsize(folder / "m.pth")
    print(f"tied {tie}: {len(model.state_dict())} names, {sum(p.numel() for p in model.parameters()):,} weights, "
          f"file {round(sizes[tie] / 1000, -1):.0f} kB")
assert sizes[True] < 0.6 * sizes[False]

tied = Tied()
torch.save(tied.state_dict(), folder / "m.pth")
loaded = Tied()
loaded.load_state_dict(torch.load(folder / "m.pth", weights_only=True))
assert loaded.head.weight is loaded.emb.weight and torch.equal(loaded.emb.weight, tied.emb.weight)

# %% [markdown]
# ## 3. A file that is cut off
# The reader notices that the file is shorter than its own table of contents says.

# %%
whole = (folder / "m.pth").read_bytes()
(folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
refused = False
try:
    torch.load(folder / "cut.pth", weights_only=True)
except Exception:
    refused = True
print("half a file is refused, not read as zeros:", refused)
assert refused

# %% [markdown]
# Write under another name in the same folder, and rename the file when it is complete: renaming happens
# completely or not at all (`os.replace`). This package's `torch.save` does so for every path.

# %%
def save_whole(obj, path):
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    torch.save(obj, unfinished)
    os.replace(unfinished, path)


save_whole(tied.state_dict(), folder / "m.pth")
again = torch.load(folder / "m.pth", weights_only=True)
assert all(torch.equal(again[name], weight) for name, weight in tied.state_dict().items())
assert not (folder / "m.pth.part").exists()
