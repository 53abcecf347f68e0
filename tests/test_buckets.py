"""Fine-tuning with few lengths of batches: few shapes, and the numbers of the usual batches."""

import copy
import sys

import numpy as np
import pytest
from conftest import real_gpu
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm import cuda
from tinygrad_llm.arrays import capture
from tinygrad_llm.finetune import (
    DPOLoss,
    InstructionDataset,
    PreferenceDataset,
    TextClassificationDataset,
    classification_trainer,
    collate_classification,
    collate_instructions,
    collate_preferences,
    instruction_trainer,
    preference_trainer,
)
from tinygrad_llm.finetune.buckets import bucket_lengths, padded_length
from tinygrad_llm.models import GPT, GPTClassifier, GPTConfig
from tinygrad_llm.training import stepper
from tinygrad_llm.training.step import model_loss, to_device_of

gpu = pytest.mark.skipif(not real_gpu(), reason="needs CuPy and a GPU")
SHAPE = {"vocab_size": 13, "context_length": 256, "emb_dim": 8, "n_heads": 2, "n_layers": 2}
PAD = 12


class Letters:
    def encode(self, text):
        return [ord(c) % 12 for c in text]


ENTRIES = [
    {"instruction": "abc" * (i % 4), "input": "", "output": "be" * (1 + i % 5), "chosen": "bc" * 2,
     "rejected": "d" * (1 + i % 7)}
    for i in range(24)
]  # fmt: skip
ROWS = [("spam " * (1 + i % 5) + "x" * (i % 3), i % 2) for i in range(24)]


def gpt(**changes):
    torch.manual_seed(3)
    return GPT(GPTConfig(**{**SHAPE, "drop_rate": 0.0, **changes}))


def classifier(pool="last_real", causal=True, drop_rate=0.0):
    model = gpt(drop_rate=drop_rate)
    torch.manual_seed(4)
    return GPTClassifier.from_gpt(model, 2, pool, causal, PAD)


# -------------------------------------------------------------------------------------- lengths
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=50),
    count=st.integers(1, 9),
    longest=st.none() | st.integers(1, 90),
)
@settings(deadline=None, max_examples=80)
def test_every_text_fits_into_one_of_a_few_lengths(lengths, count, longest):
    buckets = bucket_lengths(lengths, count, longest)
    assert 1 <= len(buckets) <= count and buckets == sorted(set(buckets))
    cut = [min(n, longest or n) for n in lengths]
    assert buckets[-1] == max(cut) and set(buckets) <= set(cut)
    for n in cut:
        padded = padded_length(n, buckets)
        assert padded in buckets and padded >= n
        assert not any(n <= b < padded for b in buckets)
    assert padded_length(91, buckets) == 91 and padded_length(5, None) == 5


def test_no_texts_have_no_lengths():
    for lengths, count in (([], 3), ([4], 0)):
        with pytest.raises(ValueError, match="expected texts and at least one length"):
            bucket_lengths(lengths, count)


# ------------------------------------------------------------------------------ the same numbers
def classification_case(pool="last_real", causal=True):
    data = TextClassificationDataset(ROWS, Letters(), 40, PAD)
    batch = [data[i] for i in (0, 5, 10)]
    return (
        classifier(pool, causal),
        model_loss,
        lambda buckets: collate_classification(batch, PAD, buckets),
    )


def instruction_case(**options):
    data = InstructionDataset(ENTRIES, Letters())
    batch = [data[i] for i in (0, 5, 11)]
    return (
        gpt(),
        model_loss,
        lambda buckets: collate_instructions(batch, PAD, buckets=buckets, **options),
    )


def preference_case(average=False):
    data = PreferenceDataset(ENTRIES, Letters())
    batch = [data[i] for i in (0, 5, 11)]
    model = gpt()
    reference = copy.deepcopy(model)
    for i, parameter in enumerate(model.parameters()):
        parameter.array[...] += 0.01 * (i % 3)  # so that the margins are not 0
    return (
        model,
        DPOLoss(reference, average=average),
        lambda buckets: collate_preferences(batch, PAD, buckets=buckets),
    )


CASES = {
    "classify": classification_case,
    "classify mean": lambda: classification_case("mean", False),
    "classify first": lambda: classification_case("first", False),
    "instruct": instruction_case,
    "instruct masked": lambda: instruction_case(mask_instruction=True),
    "instruct cut": lambda: instruction_case(max_length=200),
    "dpo": preference_case,
    "dpo average": lambda: preference_case(True),
}


def loss_and_gradients(model, loss, batch):
    model.zero_grad()
    value = loss(model, batch)
    value.backward()
    grads = {n: p.grad.cpu().numpy().copy() for n, p in model.named_parameters()}
    return value.item(), grads


def close(results, expected):
    assert results[0] == pytest.approx(expected[0], rel=1e-5)
    for name, grad in expected[1].items():
        tolerance = 1e-5 * np.abs(grad).max() + 1e-7
        np.testing.assert_allclose(results[1][name], grad, atol=tolerance, rtol=0, err_msg=name)


def width(batch):
    return (batch["chosen"] if isinstance(batch, dict) else batch[0]).shape[1]


@pytest.mark.parametrize("name", CASES)
def test_padding_to_a_bucket_changes_no_number(name):
    model, loss, collate = CASES[name]()
    plain = collate(None)
    expected = loss_and_gradients(model, loss, plain)
    widths = set()
    for bucket in (250, 255):
        padded = collate([bucket])
        widths.add(width(padded))
        close(loss_and_gradients(model, loss, padded), expected)
    if name not in ("classify", "classify mean", "classify first", "instruct cut"):
        assert widths == {250, 255}  # it is really padded


class Seeming:
    """Stands for a graph that is captured."""

    def check(self, ids, n, ignored, name):
        """Ids would be checked before a replay."""

    def constant(self, host):
        return sys.modules["cupy"].asarray(host)


@pytest.mark.parametrize("name", CASES)
def test_a_captured_step_computes_the_same_loss(name, other_device):
    """The stand-in refuses what a graph cannot hold; the numbers are those of the usual step."""
    model, loss, collate = CASES[name]()
    expected = loss_and_gradients(model, loss, collate(None))
    model.to(other_device)
    if isinstance(loss, DPOLoss):
        loss.reference.to(other_device)
    batch = collate([40, 250])
    moved = to_device_of(model, batch)
    loss_and_gradients(model, loss, moved)  # as the calls that come before a capture
    with pytest.MonkeyPatch.context() as patch:  # a graph seems to be captured
        patch.setattr(capture.capturing, "graph", Seeming())
        value = loss(model, moved)
        value.backward()
    grads = {n: p.grad.cpu().numpy() / 2.0 for n, p in model.named_parameters()}
    close((value.item(), grads), expected)  # the gradients of both calls were added


# ------------------------------------------------------------------------------------- trainers
def trainers(graph, device="cpu", drop_rate=0.0, progress=False):
    shared = dict(steps=40, batch_size=4, graph=graph, buckets=3, lr=1e-3, progress=progress)
    words = Letters()
    yield classification_trainer(
        classifier(drop_rate=drop_rate).to(device),
        TextClassificationDataset(ROWS, words, 40, PAD), **shared
    )  # fmt: skip
    yield instruction_trainer(
        gpt(drop_rate=drop_rate).to(device), InstructionDataset(ENTRIES, words),
        pad_token_id=PAD, **shared,
    )  # fmt: skip
    model = gpt(drop_rate=drop_rate).to(device)
    yield preference_trainer(
        model, copy.deepcopy(model), PreferenceDataset(ENTRIES, words), pad_token_id=PAD, **shared
    )


def test_a_graph_needs_few_lengths():
    for run in trainers(graph=True):
        widths = {width(run.stream.next()) for _ in range(60)}
        assert 1 < len(widths) <= 3
    *_, instructing, preferring = trainers(graph=None)  # on the CPU nothing is captured
    for run in (instructing, preferring):
        assert len({width(run.stream.next()) for _ in range(60)}) > 3


def test_the_steps_before_a_capture_are_the_usual_ones(other_device):
    """Tuples and dicts of tensors, and the targets that a reduction sees."""
    for usual, graphed in zip(
        trainers(False, other_device), trainers(True, other_device), strict=True
    ):
        seen = []

        def reduce(parameters, targets, seen=seen):
            seen.append(int(targets))
            return targets

        losses = []
        for run in (usual, graphed):
            run.steps = 2
            run.setup.reduce = reduce
            run.run(plan=False)
            losses.append([x["loss"] for x in run.metrics.lines if "loss" in x])
        assert len(losses[0]) == 2 and losses[1] == pytest.approx(losses[0], rel=1e-4)
        assert len(seen) == 4 and seen[:2] == seen[2:]


def test_a_loss_that_cannot_be_captured_is_trained_without_a_graph(monkeypatch, capsys):
    class Refusing:
        def __init__(self, setup):
            pass

        def __call__(self, batch, targets):
            raise RuntimeError("x cannot be captured in a CUDA graph: do it outside the capture")

    monkeypatch.setattr(stepper, "graphable", lambda *arguments: True)
    monkeypatch.setattr(stepper, "GraphedStep", Refusing)
    losses = []
    for graph in (False, None):
        run = next(trainers(graph, drop_rate=0.1, progress=True))
        torch.manual_seed(2)
        run.run(plan=False)
        losses.append([x["loss"] for x in run.metrics.lines if "loss" in x])
    assert losses[0] == losses[1] and len(losses[0]) == 40
    assert capsys.readouterr().out.count("without a CUDA graph: x cannot be captured") == 1
    run = next(trainers(True))
    with pytest.raises(RuntimeError, match="cannot be captured"):
        run.run(plan=False)


@gpu
def test_a_graph_makes_the_same_steps_of_fine_tuning():
    cuda.fast_dropout()
    try:
        for drop_rate in (0.0, 0.1):
            pairs = zip(
                trainers(False, "cuda", drop_rate), trainers(True, "cuda", drop_rate), strict=True
            )
            for usual, graphed in pairs:
                losses = []
                for run in (usual, graphed):
                    torch.manual_seed(2)
                    run.run(plan=False)
                    losses.append([x["loss"] for x in run.metrics.lines if "loss" in x])
                assert len(losses[0]) == 40
                assert graphed.stepper._graphed.graphed._graphs  # some steps were captured
                if not drop_rate:
                    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-4)
                else:
                    assert np.isfinite(losses[1]).all()
    finally:
        cuda.fast_dropout(False)
