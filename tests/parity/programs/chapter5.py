"""Chapter 5's run: GPT-2 small from random weights on The Verdict, ten epochs.

Continues gpt_model.py. Expects `text` (the story), `EPOCHS`, `record`, `exact` and `note` in its
globals.
"""

import tiktoken
import torch
from torch.utils.data import DataLoader, Dataset

CONFIG = {
    "vocab_size": 50257, "context_length": 256, "emb_dim": 768, "n_heads": 12, "n_layers": 12,
    "drop_rate": 0.1, "qkv_bias": False,
}  # fmt: skip


class GPTDataset(Dataset):
    def __init__(self, txt, tokenizer, max_length, stride):
        self.input_ids, self.target_ids = [], []
        token_ids = tokenizer.encode(txt, allowed_special={"<|endoftext|>"})
        for i in range(0, len(token_ids) - max_length, stride):
            self.input_ids.append(torch.tensor(token_ids[i : i + max_length]))
            self.target_ids.append(torch.tensor(token_ids[i + 1 : i + max_length + 1]))

    def __len__(self):
        return len(self.input_ids)

    def __getitem__(self, idx):
        return self.input_ids[idx], self.target_ids[idx]


def create_dataloader(txt, batch_size, max_length, stride, shuffle, drop_last):
    dataset = GPTDataset(txt, tiktoken.get_encoding("gpt2"), max_length, stride)
    return DataLoader(
        dataset, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, num_workers=0
    )


def loss_of_batch(inputs, targets, model):
    logits = model(inputs)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def loss_of_loader(loader, model, num_batches):
    total, n = 0.0, min(num_batches, len(loader))
    for i, (inputs, targets) in enumerate(loader):
        if i == n:
            break
        total += loss_of_batch(inputs, targets, model).item()
    return total / n


def sample(model, tokenizer):
    model.eval()
    ids = torch.tensor(tokenizer.encode("Every effort moves you")).unsqueeze(0)
    out = generate(model, ids, 50, model.pos_emb.weight.shape[0]).squeeze(0).tolist()
    model.train()
    return tokenizer.decode(out)


split = int(0.90 * len(text))
torch.manual_seed(123)
train_loader = create_dataloader(text[:split], 2, 256, 256, shuffle=True, drop_last=True)
val_loader = create_dataloader(text[split:], 2, 256, 256, shuffle=False, drop_last=False)
tokenizer = tiktoken.get_encoding("gpt2")

torch.manual_seed(123)
model = GPTModel(CONFIG)
model.eval()
first = torch.tensor([tokenizer.encode("Hello, I am")])
exact("greedy from random weights", generate(model, first, 6, 256))
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.0004, weight_decay=0.1)
step = -1
for epoch in range(EPOCHS):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = loss_of_batch(inputs, targets, model)
        loss.backward()
        optimizer.step()
        step += 1
        if step % 5 == 0:
            model.eval()
            with torch.no_grad():
                train_loss = loss_of_loader(train_loader, model, 5)
                val_loss = loss_of_loader(val_loader, model, 5)
            model.train()
            note(f"Ep {epoch + 1} (Step {step:06d}): train {train_loss:.3f}, val {val_loss:.3f}")
            record(f"train {step}", train_loss)
            record(f"val {step}", val_loss)
    text_now = sample(model, tokenizer)
    note(text_now.replace("\n", " "))
    exact(f"text {epoch + 1}", text_now)
