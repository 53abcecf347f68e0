"""All the ways to give sizes, dtypes, dimensions and devices: checkers find no error in them."""

import numpy as np

import tinygrad_llm as torch

n = np.int64(3)
k = torch.tensor(3)
x = torch.ones(2, 3)
B, T = x.shape
made = [
    torch.randn(2, 3),
    torch.randn((2, 3)),
    torch.randn([2, 3]),
    torch.randn(size=(2, 3)),
    torch.randn(n, 3),
    torch.randn(k, 3),
    torch.randn(x.shape),
    torch.randn(*x.shape),
    torch.ones(B, T),
    torch.randint(3, (2,)),
    torch.randint(0, 3, (2,)),
    torch.randint(0, 3, size=(2,)),
    torch.full((2, 3), 0.5),
    torch.zeros(x.size(0), 1),
    x.new_zeros(2, 3),
    x.new_full((2,), 1.0),
    torch.zeros(2, dtype=torch.int64),
    torch.zeros(2, dtype=float),
    torch.zeros(2, dtype=bool),
    torch.zeros(2, dtype=np.float32),
    torch.zeros(2, dtype=np.dtype("float32")),
    torch.zeros_like(x, dtype=torch.int64),
    x.sum(dtype=torch.float64),
    x.to(dtype=torch.float64),
    torch.zeros(2, device="cpu"),
    torch.zeros(2, device=torch.device("cpu")),
    x.to("cpu"),
    x.to(x),
    x.sum(0),
    x.sum(dim=(0, 1)),
    x.sum(0, keepdim=True),
    x.mean([0, 1]),
    x.squeeze(0),
    x.roll(1, 0),
    x.reshape(-1),
    x.view(3, -1),
    x.view(torch.int32),
    x.permute(1, 0),
    x.permute((1, 0)),
    x.flip(0),
    x.unsqueeze(0).expand(4, -1, -1),
    x.repeat(2, 1),
    torch.max(x, x),
    torch.max(x),
]
