"""In the style of PyTorch's tutorial on fully_shard: stages 2 and 3, clipping, full tensors."""

import os
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up, self.down = nn.Linear(dim, 3 * dim + 1), nn.Linear(3 * dim + 1, dim)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Model(nn.Module):
    def __init__(self, vocab_size=23, dim=10, n_layers=2):
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocab_size, dim)
        self.layers = nn.ModuleList(Block(dim) for _ in range(n_layers))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, vocab_size)

    def forward(self, tokens):
        h = self.tok_embeddings(tokens)
        for layer in self.layers:
            h = layer(h)
        return self.output(self.norm(h))


def train(mesh, reshard, lines):
    torch.manual_seed(0)
    model = Model()
    for layer in model.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=reshard)
    fully_shard(model, mesh=mesh, reshard_after_forward=reshard)
    lines.append(f"{isinstance(model, FSDPModule)} {tuple(model.norm.weight.to_local().shape)}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(3):
        torch.manual_seed(10 * step + mesh.get_local_rank())
        tokens = torch.randint(0, 23, (3, 7))
        optimizer.zero_grad()
        batches = tokens.chunk(3) if step == 2 else (tokens,)  # micro-batches in the last step
        for i, batch in enumerate(batches):
            model.set_requires_gradient_sync(i == len(batches) - 1)
            logits = model(batch[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        lines.append(f"loss {loss.item():.4f} norm {norm.item():.4f}")
        optimizer.step()
    for name, p in model.named_parameters():
        whole = p.full_tensor().detach()
        lines.append(f"{name} {tuple(whole.shape)} {whole.abs().mean().item():.4f}")


def main(folder):
    init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    lines = []
    train(mesh, True, lines)
    train(mesh, False, lines)
    with open(os.path.join(folder, f"{os.environ['RANK']}.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")
    destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
