"""In the style of PyTorch's tutorial on pipeline parallelism: a model in two stages, by hand and
with pipeline().
"""

import os
import sys

import torch
import torch.distributed as dist
import torch.nn as nn
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    SplitPoint,
    pipeline,
)

rank = int(os.environ["RANK"])
world_size = int(os.environ["WORLD_SIZE"])
lines = []


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Transformer(nn.Module):
    """Stages are made by taking layers away, as the tutorial does."""

    def __init__(self, dim=8, vocab_size=17, n_layers=4):
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocab_size, dim)
        self.layers = nn.ModuleDict({str(i): Block(dim) for i in range(n_layers)})
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, vocab_size)

    def forward(self, tokens):
        h = self.tok_embeddings(tokens) if self.tok_embeddings else tokens
        for layer in self.layers.values():
            h = layer(h)
        h = self.norm(h) if self.norm else h
        return self.output(h) if self.output else h


def manual_model_split(model, device):
    if rank == 0:
        for i in (2, 3):
            del model.layers[str(i)]
        model.norm = None
        model.output = None
    else:
        for i in (0, 1):
            del model.layers[str(i)]
        model.tok_embeddings = None
    return PipelineStage(model, rank, world_size, device)


def tokenwise_loss_fn(outputs, targets):
    return nn.functional.cross_entropy(outputs.reshape(-1, 17), targets.reshape(-1))


def train(stage, schedule, x, y, steps=3):
    module = stage.submod
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        optimizer.zero_grad()
        losses = []
        if rank == 0:
            out = schedule.step(x)
        else:
            out = schedule.step(target=y, losses=losses)
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 100.0)
        optimizer.step()
        shown = " ".join(f"{loss.item():.4f}" for loss in losses)
        lines.append(f"step {step} losses {shown} norm {norm.item():.4f}")
        lines.append(f"output {None if out is None else list(out.shape)}")
    for name, p in module.named_parameters():
        lines.append(f"{name} {p.detach().abs().sum().item():.3f} {p.grad.abs().sum().item():.4f}")


def main(folder):
    dist.init_process_group(backend="gloo")
    device = torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 17, (8, 6), generator=generator)
    y = torch.randint(0, 17, (8, 6), generator=generator)
    for kind in (ScheduleGPipe, Schedule1F1B):
        torch.manual_seed(1)
        stage = manual_model_split(Transformer(), device)
        train(stage, kind(stage, n_microbatches=4, loss_fn=tokenwise_loss_fn), x, y)
        schedule = kind(stage, n_microbatches=4, loss_fn=tokenwise_loss_fn, scale_grads=False)
        train(stage, schedule, x, y, steps=1)
        losses = []
        with torch.no_grad():
            out = schedule.eval(x) if rank == 0 else schedule.eval(target=y, losses=losses)
        lines.append(f"{len(losses)} {None if out is None else f'{out.sum().item():.3f}'}")

    torch.manual_seed(2)
    layers = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 3))
    data = torch.randn(12, 5, generator=generator)
    target = torch.randn(12, 3, generator=generator)
    pipe = pipeline(module=layers, mb_args=(data[:3],), split_spec={"2": SplitPoint.BEGINNING})
    lines.append(f"{pipe.num_stages} stages")
    stage = pipe.build_stage(rank, device)
    schedule = Schedule1F1B(stage, 4, nn.functional.mse_loss)
    losses = []
    if rank == 0:
        schedule.step(data)
    else:
        schedule.step(target=target, losses=losses)
        lines.append(" ".join(f"{loss.item():.4f}" for loss in losses))
    for name, p in stage.submod.named_parameters():
        lines.append(f"{name} {p.grad.abs().sum().item():.5f}")
    try:
        Schedule1F1B(stage, 1, nn.functional.mse_loss)
    except ValueError as error:
        lines.append(str(error))
    with open(os.path.join(folder, f"{rank}.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
