"""A small network on toy data: Dataset, DataLoader, cross-entropy, SGD, accuracy, saving."""

import os
import tempfile

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, random_split


class NeuralNetwork(torch.nn.Module):
    def __init__(self, num_inputs, num_outputs):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(num_inputs, 30),
            torch.nn.ReLU(),
            torch.nn.Linear(30, 20),
            torch.nn.ReLU(),
            torch.nn.Linear(20, num_outputs),
        )

    def forward(self, x):
        return self.layers(x)


class ToyDataset(Dataset):
    def __init__(self, X, y):
        self.features, self.labels = X, y

    def __getitem__(self, index):
        return self.features[index], self.labels[index]

    def __len__(self):
        return self.labels.shape[0]


# a computation graph by hand first
y = torch.tensor([1.0])
x1 = torch.tensor([1.1])
w1 = torch.tensor([2.2], requires_grad=True)
b = torch.tensor([0.0], requires_grad=True)
z = x1 * w1 + b
a = torch.sigmoid(z)
loss = F.binary_cross_entropy(a, y)
grad_w1 = torch.autograd.grad(loss, w1, retain_graph=True)
record("autograd.grad", grad_w1[0])
loss.backward()
record("w1.grad", w1.grad)
record("b.grad", b.grad)
print(w1.grad, b.grad, z, loss)

torch.manual_seed(123)
X = torch.randn(90, 2)
labels = (X[:, 0] * X[:, 1] > 0).long()
train, test = random_split(ToyDataset(X, labels), [70, 20])
loader = DataLoader(train, batch_size=8, shuffle=True, num_workers=0, drop_last=True)
test_loader = DataLoader(test, batch_size=8, shuffle=False)
model = NeuralNetwork(num_inputs=2, num_outputs=2)
print(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for epoch in range(3):
    model.train()
    for batch_idx, (features, targets) in enumerate(loader):
        logits = model(features)
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        record(f"loss {epoch} {batch_idx}", loss)
        exact(f"targets {epoch} {batch_idx}", targets)
        print(f"Epoch: {epoch + 1:03d}/003 | Batch {batch_idx:03d} | Loss: {loss:.2f}")


def compute_accuracy(model, dataloader):
    model = model.eval()
    correct, total = 0.0, 0
    for features, targets in dataloader:
        with torch.no_grad():
            logits = model(features)
        predictions = torch.argmax(logits, dim=1)
        correct += torch.sum(targets == predictions)
        total += len(targets)
    return (correct / total).item()


print("accuracy", compute_accuracy(model, loader), compute_accuracy(model, test_loader))
torch.set_printoptions(sci_mode=False)
with torch.no_grad():
    probas = torch.softmax(model(X[:5]), dim=1)
record("probas", probas)
print(probas)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.pth")
    torch.save(model.state_dict(), path)
    again = NeuralNetwork(2, 2)
    again.load_state_dict(torch.load(path, weights_only=True))
    record("loaded", again(X[:5]))
