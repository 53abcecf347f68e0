"""BERT and its relatives against transformers: values and every gradient, padded, both ways."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm import models  # noqa: E402
from tinygrad_llm.models import from_pretrained, registry, save_pretrained  # noqa: E402
from tinygrad_llm.models.encoder import with_head  # noqa: E402
from tinygrad_llm.weights.families.table import to_huggingface  # noqa: E402

from .test_families import exact  # noqa: E402

V, T, B = 37, 11, 3
SHAPE = {"vocab_size": V, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
         "num_attention_heads": 3, "max_position_embeddings": 16}  # fmt: skip
DISTIL = {"vocab_size": V, "dim": 24, "hidden_dim": 20, "n_layers": 3, "n_heads": 3,
          "max_position_embeddings": 16}  # fmt: skip
MODERN = {**SHAPE, "local_attention": 5, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
          "cls_token_id": 2, "sep_token_id": 1, "num_hidden_layers": 4}  # fmt: skip
FAMILIES = {
    "bert": ("Bert", {**SHAPE, "type_vocab_size": 3}),
    "bert, tanh gelu": ("Bert", {**SHAPE, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
    "roberta": ("Roberta", {**SHAPE, "type_vocab_size": 1, "pad_token_id": 1}),
    "roberta, another pad": ("Roberta", {**SHAPE, "type_vocab_size": 2, "pad_token_id": 3}),
    "distilbert": ("DistilBert", DISTIL),
    "modernbert": ("ModernBert", MODERN),
    "modernbert, biases": ("ModernBert", {
        **MODERN, "norm_bias": True, "attention_bias": True, "mlp_bias": True,
        "classifier_bias": True, "decoder_bias": False, "layer_types": [
            "sliding_attention", "full_attention", "full_attention", "sliding_attention"]}),
}  # fmt: skip
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
every_family = pytest.mark.parametrize("name", FAMILIES)
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)
IDS = np.random.default_rng(1).integers(4, V, (B, T))
KINDS = np.random.default_rng(2).integers(0, 2, (B, T))


def theirs(name, head="MaskedLM", **changes):
    kind, options = FAMILIES[name]
    torch.manual_seed(3)
    options = json.loads(json.dumps({**options, **changes}))
    config = getattr(transformers, f"{kind}Config")(**options, attn_implementation="sdpa")
    name = f"{kind}Model" if head is None else f"{kind}For{head}"
    model = getattr(transformers, name)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def ours(model, folder, dtype):
    """The same model here; theirs becomes float64."""
    model.save_pretrained(folder)
    exact(model.double())
    return from_pretrained(folder, dtype=getattr(tg, dtype))


def close(a, b, dtype, name="", least=0.0):
    a, b = (x.detach().numpy() if hasattr(x, "detach") else x for x in (a, b))
    b = b.astype(dtype)
    assert a.shape == b.shape, name
    assert a.dtype == b.dtype, name
    assert np.abs(a - b).max() <= TOLERANCE[dtype] * np.abs(b).max() + least, name


def padded(side, name):
    """ids and attention mask: rows of unequal length, padding at one side."""
    pad = {"roberta": 1, "roberta, another pad": 3}.get(name, 0)
    ids, mask = IDS.copy(), np.ones((B, T), np.int64)
    for row, n in enumerate((0, 3, 7)):
        part = slice(0, n) if side == "left" else slice(T - n, T)
        ids[row, part], mask[row, part] = pad, 0
    return ids, mask


def inputs(name, side):
    ids, mask = (IDS, None) if side == "none" else padded(side, name)
    options = {} if mask is None else {"attention_mask": mask}
    if FAMILIES[name][1].get("type_vocab_size", 0) > 1:
        options["token_type_ids"] = KINDS
    return ids, options


def call(lib, model, ids, options):
    return model(lib.from_numpy(ids), **{k: lib.from_numpy(v) for k, v in options.items()})


def gradients(model):
    named = registry.of(model).names.weights(vars(model.config))
    own = dict(model.named_parameters())
    named = {theirs: weight for theirs, weight in named.items() if weight.name in own}
    return dict(to_huggingface(named, {name: p.grad for name, p in own.items()}))


def their_gradients(model):
    """Those that are there: RoBERTa's padding rows have gradients in both."""
    return {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}


@both_dtypes
@pytest.mark.parametrize("side", ["none", "left", "right"])
@every_family
def test_logits_and_every_gradient(tmp_path, name, side, dtype):
    model = theirs(name)
    here = ours(model, tmp_path, dtype)
    assert type(here).__name__ == type(model).__name__
    assert not here.training
    ids, options = inputs(name, side)
    logits, own = call(torch, model, ids, options).logits, call(tg, here, ids, options)
    real = options.get("attention_mask", np.ones((B, T)))[..., None]
    close(own.detach().numpy() * real.astype(dtype), logits.detach().numpy() * real, dtype)
    g = np.random.default_rng(4).standard_normal(logits.shape) * real
    logits.backward(torch.from_numpy(g))
    own.backward(tg.from_numpy(g.astype(dtype)))
    expected, there = their_gradients(model), gradients(here)
    largest = max(np.abs(g).max() for g in expected.values())
    missing = set(expected) - set(there)
    assert all("decoder" in n or "projector" in n or "pooler" in n for n in missing), missing
    for weight, gradient in there.items():
        if weight in expected:
            # the embedding of padding has no gradient in nn.Embedding(padding_idx=...)
            rows = np.abs(expected[weight]).reshape(len(gradient), -1).any(-1)
            close(gradient[rows], expected[weight][rows], dtype, weight, 1e-7 * largest)


@every_family
def test_the_loss_equals_cross_entropy(tmp_path, name):
    model = theirs(name)
    here = ours(model, tmp_path, "float64")
    labels = np.where(np.random.default_rng(5).random((B, T)) < 0.3, IDS, -100)
    loss = model(torch.from_numpy(IDS), labels=torch.from_numpy(labels)).loss
    close(here.loss(tg.from_numpy(IDS), tg.from_numpy(labels)), loss, "float64")


@every_family
def test_without_a_head(tmp_path, name):
    model = theirs(name, head=None)
    here = ours(model, tmp_path, "float64")
    ids, options = inputs(name, "right")
    hidden = call(torch, model, ids, options).last_hidden_state
    real = options["attention_mask"][..., None]
    close(call(tg, here, ids, options).detach().numpy() * real, hidden.detach().numpy() * real,
          "float64")  # fmt: skip


TEXT, TOKENS = "SequenceClassification", "TokenClassification"
CLASSIFYING = [
    ("bert", TEXT, {}), ("bert", TOKENS, {}), ("roberta", TEXT, {}), ("roberta", TOKENS, {}),
    ("distilbert", TEXT, {}), ("distilbert", TOKENS, {}),
    *((name, TEXT, {"classifier_pooling": pool}) for pool in ("cls", "mean")
      for name in ("modernbert", "modernbert, biases")),
    ("modernbert", TOKENS, {}), ("modernbert, biases", TOKENS, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "head", "changes"), CLASSIFYING)
@both_dtypes
def test_classifying_heads(tmp_path, name, head, changes, dtype):
    model = theirs(name, head, num_labels=4, **changes)
    here = ours(model, tmp_path / "a", dtype)
    assert type(here).__name__ == type(model).__name__
    assert here.config.n_classes == 4
    ids, options = inputs(name, "right")
    scores, own = call(torch, model, ids, options).logits, call(tg, here, ids, options)
    close(own, scores, dtype)
    g = np.random.default_rng(6).standard_normal(scores.shape)
    scores.backward(torch.from_numpy(g))
    own.backward(tg.from_numpy(g.astype(dtype)))
    expected, there = their_gradients(model), gradients(here)
    assert set(expected) == set(there)
    largest = max(np.abs(g).max() for g in expected.values())
    for weight, gradient in there.items():
        rows = np.abs(expected[weight]).reshape(len(gradient), -1).any(-1)
        close(gradient[rows], expected[weight][rows], dtype, weight, 1e-7 * largest)
    labels = np.random.default_rng(7).integers(0, 4, (B, T) if "Token" in head else B)
    loss = model(torch.from_numpy(ids), labels=torch.from_numpy(labels)).loss
    close(here.loss(tg.from_numpy(ids), tg.from_numpy(labels)), loss, dtype)
    save_pretrained(here, tmp_path / "b")
    again = type(model).from_pretrained(tmp_path / "b").double().eval()
    exact(again)
    close(own, call(torch, again, ids, options).logits, dtype)
    back = from_pretrained(tmp_path / "b")
    assert type(back) is type(here)
    assert back.config == here.config
    assert type(registry.build(registry.describe(here))) is type(here)


@pytest.mark.parametrize("rate", [None, 0.3])
@pytest.mark.parametrize("head", [TEXT, TOKENS])
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert"])
def test_dropout_and_names_of_classes(tmp_path, name, head, rate):
    field = "seq_classif_dropout" if name == "distilbert" else "classifier_dropout"
    labels = {0: "no", 1: "maybe", 2: "yes"}
    model = theirs(name, head, id2label=labels, **({} if rate is None else {field: rate}))
    rates = {
        m.p for n, m in model.named_modules() if n in ("dropout", "drop", "classifier.dropout")
    }
    here = ours(model, tmp_path / "a", "float32")
    assert {here.drop_head.p} == rates
    assert here.config.class_names == ("no", "maybe", "yes")
    save_pretrained(here, tmp_path / "b")
    again = type(model).from_pretrained(tmp_path / "b")
    assert again.config.id2label == labels
    assert getattr(again.config, field) == getattr(model.config, field)
    assert from_pretrained(tmp_path / "b").config == here.config
    other = with_head(here, type(here), n_classes=5)
    assert other.config.class_names is None
    with pytest.raises(ValueError, match="class_names must be 3 names, one for each class, got 2"):
        dataclasses.replace(here.config, class_names=("no", "yes"))
    with pytest.raises(ValueError, match=r"at most 1,000 characters each, 'a+'\.\.\. has 1,001"):
        dataclasses.replace(here.config, class_names=("no", "yes", "a" * 1001))
    changed = dataclasses.replace(here.config, **here.config.dropout(0.4))
    assert type(here)(changed).drop_head.p == 0.4


@pytest.mark.parametrize("labels", [{0: "a", 1: "a"}, {0: "", 1: "b"}, {3: "a", 7: "b"}, {}])
def test_labels_that_name_no_classes(tmp_path, labels):
    """A folder whose id2label is of no use as names still has its number of classes."""
    ours(theirs("bert", TEXT, num_labels=max(1, len(labels))), tmp_path, "float32")
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {str(i): name for i, name in labels.items()}
    path.write_text(json.dumps(config))
    there = from_pretrained(tmp_path).config
    assert (there.n_classes, there.class_names) == (max(1, len(labels)), None)


@pytest.mark.parametrize("tied", [True, False])
@every_family
def test_saved_here_and_read_there(tmp_path, name, tied):
    model = theirs(name, tie_word_embeddings=tied)
    here = ours(model, tmp_path / "a", "float32")
    assert here.config.tie_weights is tied
    close(here(tg.from_numpy(IDS)), model(torch.from_numpy(IDS)).logits, "float32")
    save_pretrained(here, tmp_path / "b")
    again = type(model).from_pretrained(tmp_path / "b").eval()
    close(here(tg.from_numpy(IDS)), again(torch.from_numpy(IDS)).logits, "float32")
    back = from_pretrained(tmp_path / "b")
    assert back.config == here.config


@every_family
def test_a_checkpoint_describes_the_class(tmp_path, name):
    for head in ("MaskedLM", None):
        here = ours(theirs(name, head=head), tmp_path / str(head), "float32")
        built = registry.build(registry.describe(here))
        assert type(built) is type(here)
        assert built.config == here.config


def test_what_is_refused(tmp_path):
    here = ours(theirs("bert"), tmp_path, "float32")
    with pytest.raises(ValueError, match="longer than the context_length of 16"):
        here(tg.zeros(1, 17, dtype=tg.int64))
    with pytest.raises(ValueError, match="shape \\(batch, time\\)"):
        here(tg.zeros(3, dtype=tg.int64))
    with pytest.raises(ValueError, match="one number for each token"):
        here(tg.zeros(1, 4, dtype=tg.int64), tg.ones(1, 3, dtype=tg.int64))
    with pytest.raises(ValueError, match="a row of zeros"):
        here(tg.zeros(2, 4, dtype=tg.int64), tg.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]))
    with pytest.raises(TypeError, match="integers or bools"):
        here(tg.zeros(1, 4, dtype=tg.int64), tg.ones(1, 4))
    with pytest.raises(RuntimeError, match="labels must have the shape of ids"):
        here.loss(tg.zeros(1, 4, dtype=tg.int64), tg.zeros(1, 3, dtype=tg.int64))
    distil = models.DistilBert(models.DistilBertConfig(9, 8, 4, 4, 2, 1))
    with pytest.raises(ValueError, match="no kinds of tokens"):
        distil(tg.zeros(1, 2, dtype=tg.int64), token_type_ids=tg.zeros(1, 2, dtype=tg.int64))


@pytest.mark.parametrize("name", ["bert", "distilbert", "modernbert"])
def test_dropout_and_checkpointing_in_training(tmp_path, name):
    """In training dropout acts; blocks that run twice give the same gradients to the last bit."""
    here = ours(theirs(name), tmp_path, "float64").train()
    labels = tg.from_numpy(IDS)
    sides = []
    for on in (False, True):
        here.zero_grad()
        if on:
            here.gradient_checkpointing_enable()
        tg.manual_seed(0)
        here.loss(labels, labels).backward()
        sides.append({n: p.grad.numpy().copy() for n, p in here.named_parameters()})
    for weight, gradient in sides[0].items():
        np.testing.assert_array_equal(gradient, sides[1][weight], weight)


def test_an_encoder_writes_no_text(tmp_path):
    ours(theirs("bert"), tmp_path, "float32")
    with pytest.raises(ValueError, match="is a BertForMaskedLM, which writes no text"):
        models.language_model(tmp_path)
