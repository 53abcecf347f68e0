# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Keeping a model, and moving it
#
# **Question.** A model has been training for hours. What must be written to disk so that training can go
# on tomorrow, perhaps on another machine with a GPU?
#
# **For example.** A run of 100 steps stops after 60. If only the weights are read again, step 61 moves by
# another amount than it would have: the optimizer has lost its running means.
#
# **Answer.** Not the program: only the numbers and their names. That is the *state dict*, a dictionary
# from the name of each parameter to its tensor. To continue *exactly*, the state of the optimizer and of
# the random number generator is needed too.
#
# **You need.** Lesson 3.

# %%
import io
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot


def new_model():
    return nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 1))


torch.manual_seed(11)
model = new_model()
x = torch.linspace(-3, 3, 100).unsqueeze(1)  # (100) -> (100, 1)
wave = torch.sin(2 * x)  # (100, 1): what is to be learned

# %% [markdown]
# ## By hand
# Names and numbers as JSON text. It works, a person can read it, and it takes about five times the space.

# %%
text = json.dumps({name: p.tolist() for name, p in model.named_parameters()})
other = new_model()  # has different random weights
assert not torch.allclose(other(x), model(x))
with torch.no_grad():
    for name, p in other.named_parameters():
        p.copy_(torch.tensor(json.loads(text)[name]))
assert torch.equal(other(x), model(x))
print("names and shapes:", {name: tuple(p.shape) for name, p in model.named_parameters()})

# %% [markdown]
# ## With the package
# `state_dict()` returns that dictionary, `torch.save` writes it, `torch.load` and `load_state_dict` bring
# it back. The file is PyTorch's `.pth`, and PyTorch's own files can be read as well.

# %%
temporary = tempfile.TemporaryDirectory()  # deleted when the program ends
folder = Path(temporary.name)
torch.save(model.state_dict(), folder / "model.pth")
again = new_model()
print(again.load_state_dict(torch.load(folder / "model.pth")))
assert torch.equal(again(x), model(x))

# %% [markdown]
# A model of another shape is refused, and the message names the parameter and both shapes.

# %%
try:
    nn.Sequential(nn.Linear(1, 25), nn.Tanh(), nn.Linear(25, 1)).load_state_dict(model.state_dict())
except RuntimeError as error:
    print("refused, and 0.weight is named:", "0.weight" in str(error))
    assert "[24, 1]" in str(error) and "[25, 1]" in str(error)

# %% [markdown]
# ## To continue exactly
# AdamW keeps two running means for each weight (lesson 12 of `00_backprop`). Compare three runs: 400 steps
# without interruption; an interruption after 200 with everything saved; the same with only the weights
# saved.

# %%
def train(model, optimizer, steps):
    losses = []
    for _ in range(steps):
        some = torch.randint(0, 100, (16,))  # (16)
        loss = F.mse_loss(model(x[some]), wave[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def start():
    torch.manual_seed(11)
    model = new_model()
    return model, torch.optim.AdamW(model.parameters(), lr=0.02)


model, optimizer = start()
uninterrupted = train(model, optimizer, 400)

model, optimizer = start()
train(model, optimizer, 200)
torch.save(
    {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()},
    folder / "checkpoint.pth",
)

runs = {}
for name in ("everything", "weights only"):
    checkpoint = torch.load(folder / "checkpoint.pth")
    model = new_model()
    model.load_state_dict(checkpoint["model"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    if name == "everything":
        optimizer.load_state_dict(checkpoint["optimizer"])
    torch.set_rng_state(checkpoint["random"])
    runs[name] = train(model, optimizer, 200)
    print(f"{name:14} first losses {runs[name][0]:.4f} {runs[name][1]:.4f} {runs[name][2]:.4f}   "
          f"last {runs[name][-1]:.4f}")
print(f"uninterrupted                 {uninterrupted[200]:.4f} {uninterrupted[201]:.4f} {uninterrupted[202]:.4f}   "
      f"last {uninterrupted[-1]:.4f}")
assert runs["everything"] == uninterrupted[200:]  # to the last bit
assert runs["weights only"][0] == uninterrupted[200] and runs["weights only"] != uninterrupted[200:]

# %%
figure, axis = plt.subplots(figsize=(7.5, 4))
axis.semilogy(range(400), uninterrupted, lw=1, label="uninterrupted")
axis.semilogy(range(200, 400), runs["weights only"], lw=1, label="resumed, weights only")
axis.semilogy(range(200, 400), runs["everything"], ":", lw=2, c="k", label="resumed, everything")
axis.axvline(200, lw=0.8, ls="--", c="grey"), axis.set_xlim(180, 240)
axis.set_xlabel("step"), axis.set_ylabel("loss of a batch"), axis.legend()
save_plot(figure, "04_saving_and_devices")

# %% [markdown]
# ## Moving to a GPU
# A tensor lives on a device. All tensors of one operation must live on the same one. The usual code picks
# a GPU if there is one, and moves the model once and each batch as it comes.

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = model.to(device)
prediction = model(x.to(device))
print("shape", prediction.shape, "  on the model's device:", prediction.device == next(model.parameters()).device)
assert prediction.device.type == device.type

# %% [markdown]
# A file remembers the device of its tensors. `map_location` puts them somewhere else, so a model that was
# trained on a GPU opens on a laptop.

# %%
buffer = io.BytesIO()  # a file in memory
torch.save(model.state_dict(), buffer)
buffer.seek(0)
state = torch.load(buffer, map_location="cpu")
assert all(value.device.type == "cpu" for value in state.values())

# %% [markdown]
# If you expected a GPU and there is none, the package says why:

# %% tags=["package"]
print("why not:", torch.cuda.why_not() or "there is a GPU")

# %% [markdown]
# ## Exercises
# 1. How many bytes do the weights of this model take in memory? Compare with the length of the JSON text
#    and the size of `model.pth`.
# 2. Load only the first layer into a model with a different last layer (24 -> 3), with `strict=False`.
#    What does `load_state_dict` return?
# 3. Save *everything* except the random state, as above. From which step on do the losses differ?
#
# Solutions: `lessons/solutions/01_tensors/04_saving_and_devices.py`
