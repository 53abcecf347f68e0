"""Hooks: what goes through each layer forward, and which gradient comes back."""

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn

torch.manual_seed(0)
model = nn.Sequential(*(nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(6)))
sizes = {}


def watch(name):
    """A forward hook that keeps the size of the output, and of its gradient when that arrives."""

    def after(module, inputs, output):
        sizes[name] = [output.std().item(), None]
        output.register_hook(lambda g: sizes[name].__setitem__(1, g.norm().item()))

    return after


handles = [layer.register_forward_hook(watch(f"layer {i}")) for i, layer in enumerate(model)]
F.mse_loss(model(torch.randn(16, 32)), torch.randn(16, 32)).backward()
for name, (forward, backward) in sizes.items():
    print(f"{name}   output's deviation {forward:.3f}   gradient's norm {backward:.5f}")
for handle in handles:
    handle.remove()
