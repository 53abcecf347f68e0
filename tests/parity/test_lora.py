"""PEFT reads our adapters and this package reads PEFT's: the same logits in both directions."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.layers import lora  # noqa: E402

X = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)


def program(torch):
    """One small network, for the library given."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 10)
            self.act = nn.GELU()
            self.second = nn.Linear(10, 4)

        def forward(self, x):
            return self.second(self.act(self.first(x)))

    torch.manual_seed(0)
    return Net().eval()


def test_an_adapter_made_here_loads_in_peft(tmp_path):
    ours = program(tg)
    lora.add(ours, rank=3, alpha=12, dropout=0.1)
    for layer in lora.layers(ours):
        layer.lora.lora_B.data = tg.randn(*layer.lora.lora_B.shape)
    lora.save(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(program(torch), tmp_path).eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(X)).numpy()
    outputs = ours(tg.from_numpy(X)).detach().numpy()
    assert np.abs(outputs - program(tg)(tg.from_numpy(X)).detach().numpy()).max() > 0.1
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("targets", [["first"], ["first", "second"]])
def test_an_adapter_of_peft_loads_here(tmp_path, targets):
    config = peft.LoraConfig(r=2, lora_alpha=7, lora_dropout=0.2, target_modules=targets)
    theirs = peft.get_peft_model(program(torch), config).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name:
                p.normal_()
        expected = theirs(torch.from_numpy(X)).numpy()
    theirs.save_pretrained(tmp_path)
    ours = program(tg)
    assert sorted(lora.load(ours, tmp_path)) == targets
    np.testing.assert_allclose(ours(tg.from_numpy(X)).detach().numpy(), expected, atol=1e-5)
    lora.merge(ours)
    np.testing.assert_allclose(ours(tg.from_numpy(X)).detach().numpy(), expected, atol=1e-5)


def test_modules_that_are_trained_whole_go_both_ways(tmp_path):
    """PEFT's modules_to_save: a new output layer beside LoRA layers."""
    ours = program(tg)
    lora.add(ours, rank=2, names=["first"], modules_to_save=["second"])
    with tg.no_grad():
        ours.second.weight.normal_()
        lora.layers(ours)[0].lora.lora_B.normal_()
    lora.save(ours, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(program(torch), tmp_path / "ours").eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(ours(tg.from_numpy(X)).detach().numpy(), expected, atol=1e-5)

    config = peft.LoraConfig(r=2, target_modules=["first"], modules_to_save=["second"])
    theirs = peft.get_peft_model(program(torch), config).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                p.normal_()
        expected = theirs(torch.from_numpy(X)).numpy()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = program(tg)
    assert lora.load(ours, tmp_path / "theirs") == ["first"]
    np.testing.assert_allclose(ours(tg.from_numpy(X)).detach().numpy(), expected, atol=1e-5)
