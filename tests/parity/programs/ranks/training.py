"""In the style of PyTorch's DDP and torchrun tutorials: a Trainer, a sampler, a checkpoint."""

import os
import sys

import torch
import torch.nn.functional as F
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler


class Numbers(Dataset):
    def __init__(self, size):
        generator = torch.Generator().manual_seed(7)
        self.data = [
            (torch.rand(20, generator=generator), torch.rand(1, generator=generator))
            for _ in range(size)
        ]

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]


class Trainer:
    def __init__(self, model, train_data, optimizer, save_every, snapshot_path):
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.global_rank = int(os.environ["RANK"])
        self.model = model
        self.train_data = train_data
        self.optimizer = optimizer
        self.save_every = save_every
        self.epochs_run = 0
        self.snapshot_path = snapshot_path
        self.lines = []
        self.model = DDP(self.model)

    def _run_batch(self, source, targets):
        self.optimizer.zero_grad()
        output = self.model(source)
        loss = F.mse_loss(output, targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def _run_epoch(self, epoch):
        self.train_data.sampler.set_epoch(epoch)
        losses = [self._run_batch(source, targets) for source, targets in self.train_data]
        self.lines.append(
            f"[rank {self.global_rank}] epoch {epoch} steps {len(self.train_data)} "
            f"losses {' '.join(f'{loss:.5f}' for loss in losses)}"
        )

    def _save_snapshot(self, epoch):
        state = {"MODEL_STATE": self.model.module.state_dict(), "EPOCHS_RUN": epoch}
        torch.save(state, self.snapshot_path)
        self.lines.append(f"epoch {epoch} | saved a snapshot")

    def train(self, max_epochs):
        for epoch in range(self.epochs_run, max_epochs):
            self._run_epoch(epoch)
            if self.local_rank == 0 and epoch % self.save_every == 0:
                self._save_snapshot(epoch)


def main(folder):
    init_process_group(backend="gloo")
    torch.manual_seed(int(os.environ["RANK"]))  # DDP makes the ranks' weights equal
    data = Numbers(50)
    model = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = DataLoader(data, batch_size=8, shuffle=False, sampler=DistributedSampler(data))
    trainer = Trainer(model, loader, optimizer, 2, os.path.join(folder, "snapshot.pt"))
    trainer.train(3)
    norm = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.lines.append(f"norm {norm.item():.4f}")
    for name, parameter in trainer.model.named_parameters():
        trainer.lines.append(f"{name} {parameter.detach().sum().item():.4f}")
    with open(os.path.join(folder, f"{os.environ['RANK']}.txt"), "w") as file:
        file.write("\n".join(trainer.lines) + "\n")
    destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
