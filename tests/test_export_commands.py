"""tinygrad-llm export and quantize, checked by transformers and llama.cpp."""

import json

import llama_cpp
import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_llm as torch
from tinygrad_llm import text
from tinygrad_llm.cli import app
from tinygrad_llm.layers import lora, quantized
from tinygrad_llm.models import registry
from tinygrad_llm.models.exporting import compare, save_gguf
from tinygrad_llm.models.pretrained import from_pretrained, save_pretrained
from tinygrad_llm.training import find_checkpoint, save_checkpoint
from tinygrad_llm.weights.formats.gguf import GGUFFile

ASCII = text.CharTokenizer([chr(i) for i in range(32, 127)], ["<|endoftext|>"])
SIZES = {"vocab_size": 96, "context_length": 64, "emb_dim": 64, "hidden_dim": 128, "n_layers": 2,
         "n_heads": 4, "n_kv_heads": 2, "head_dim": 16}  # fmt: skip
GPT = {"vocab_size": 96, "context_length": 64, "emb_dim": 64, "n_heads": 2, "n_layers": 2,
       "drop_rate": 0.0}  # fmt: skip
CASES = {"GPT": GPT, "Llama": SIZES, "Qwen3": SIZES}


def run(tmp_path, name):
    """A run's folder with one checkpoint of a random model and its tokenizer."""
    torch.manual_seed(2)
    family = registry.find(name)
    model = family.model(family.config(**CASES[name])).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.array[...] *= 4
    ASCII.save(tmp_path / "tokenizer.json")
    config = {"model": registry.describe(model), "seed": 1}
    data = {"tokenizer.json": (tmp_path / "tokenizer.json").read_bytes()}
    folder = tmp_path / "run"
    save_checkpoint(folder / "checkpoints", 5, model, {}, config, files=data)
    assert find_checkpoint(folder).build_model()
    return folder, model


def invoke(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return done.exit_code, done.output, done.exception


def last(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])), -1)[0, -1].numpy()


@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_runs_what_was_trained_here(name, tmp_path):
    folder, model = run(tmp_path, name)
    code, output, _ = invoke("export", "gguf", folder, tmp_path / "m.gguf", "--kind", "F32")
    assert code == 0 and "MB for llama.cpp\n" in output
    ids = list(ASCII.encode("What is it?"))
    assert llama_cpp.n_tokens(tmp_path / "m.gguf", "What is it?") == len(ids)
    ours = last(model, ids)
    for token in llama_cpp.greedy(tmp_path / "m.gguf", ids, 1)[0]["top_logprobs"]:
        assert abs(token["logprob"] - ours[token["id"]]) < 5e-3


@pytest.mark.parametrize("name", CASES)
def test_transformers_runs_what_was_trained_here(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    real = pytest.importorskip("torch")
    folder, model = run(tmp_path, name)
    code, output, _ = invoke("export", "hf", folder, tmp_path / "hf")
    assert code == 0 and output.endswith("for transformers\n")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    words = "What is  it? (3)"
    ids = list(ASCII.encode(words))
    assert tokenizer(words)["input_ids"] == ids and tokenizer.decode(ids) == words
    with real.no_grad():
        expected = real.log_softmax(theirs(real.tensor([ids])).logits, -1)[0, -1].numpy()
    np.testing.assert_allclose(last(model, ids), expected, atol=1e-5)


def test_bpe_files_of_transformers(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    import json

    from tinygrad_llm.text.gguf_entries import huggingface_files

    sentence = "the cat sat on the mat, and the dog? It's there -- again. "
    ours = text.BPETokenizer.train(sentence * 5, 280)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(huggingface_files(ours)["tokenizer.json"]))
    for words in (sentence, "the mat's  cat\n\nthere", "émile 日本 12345"):
        assert theirs.encode(words).ids == list(ours.encode(words))


@pytest.mark.parametrize("kind", [None, "int8", "q4_1"])
def test_a_run_with_lora_layers_is_merged(kind, tmp_path):
    """Also of a base that is quantised; files never hold such layers themselves."""
    model = run(tmp_path, "Llama")[1]
    if kind is not None:
        quantized.quantize(model, kind)
    torch.manual_seed(4)
    lora.add(model, rank=2, alpha=4.0)
    for layer in lora.layers(model):
        layer.lora.lora_B.data = 0.1 * torch.randn(*layer.lora.lora_B.shape)
    ids = [3, 1, 40, 7]
    expected = last(model, ids)
    for write in (save_pretrained, save_gguf):
        with pytest.raises(ValueError, match="LoRA layers or quantised matrices.*plain"):
            write(model, tmp_path / "refused")
    config = {"model": registry.describe(model), "lora": lora.settings(model), "seed": 1}
    data = {"tokenizer.json": (tmp_path / "tokenizer.json").read_bytes()}
    save_checkpoint(tmp_path / "tuned" / "checkpoints", 5, model, {}, config, files=data)
    for form in ("hf", "gguf"):
        options = ["--kind", "F32"] if form == "gguf" else []
        code, _, error = invoke("export", form, tmp_path / "tuned", tmp_path / form, *options)
        assert code == 0, error
        np.testing.assert_allclose(last(from_pretrained(tmp_path / form), ids), expected, atol=1e-5)


def published(tmp_path, pre="smollm"):
    """A published tokenizer of llama.cpp's kind `pre`, byte-level BPE, with a chat template."""
    tokens = [chr(c) for c in range(33, 127)] + ["Ġ", "Ċ", "th", "the", "Ġthe", "<s>", "</s>"]
    return text.from_pretrained({
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["t h", "th e", "Ġ the"],
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 2) + [3, 3],
        "tokenizer.ggml.bos_token_id": len(tokens) - 2,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": "{{ bos_token }}{{ messages[0].content }}",
    })  # fmt: skip


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2", "gpt-4o"])
def test_a_published_tokenizer_goes_into_gguf_and_comes_back(pre, tmp_path):
    ours = published(tmp_path, pre)
    ours.save(tmp_path / "hf")
    for tokenizer in (ours, text.from_pretrained(tmp_path / "hf")):
        entries = text.gguf_entries(tokenizer)
        assert entries["tokenizer.ggml.pre"] == pre and entries["tokenizer.ggml.add_bos_token"]
        assert not entries["tokenizer.ggml.add_eos_token"]
        back = text.from_pretrained(entries)
        assert back.vocab_size == ours.vocab_size and back.names == ours.names
        for words in ("the cat the", " the\nthe 123", "then 4 the</s>"):
            assert list(back.encode(words, allowed_special="all")) == list(
                ours.encode(words, allowed_special="all")
            )
    model = run(tmp_path, "Llama")[1].changed()
    larger = type(model)(dict(SIZES, vocab_size=ours.vocab_size + 3))  # rows without a token
    path = save_gguf(larger, tmp_path / "m.gguf", "F32", text.gguf_entries(ours))
    assert len(GGUFFile(path).metadata["tokenizer.ggml.tokens"]) == ours.vocab_size + 3
    for words in ("the cat the", " the the 123"):
        assert llama_cpp.n_tokens(path, words) == len(ours.encode(words))


def test_a_published_model_keeps_its_tokenizer(tmp_path):
    ours = published(tmp_path)
    model = registry.find("Llama").model(dict(SIZES, vocab_size=ours.vocab_size))
    save_gguf(model, tmp_path / "m.gguf", "F32", text.gguf_entries(ours))
    code, output, error = invoke("export", "hf", tmp_path / "m.gguf", tmp_path / "hf")
    assert code == 0 and output.endswith("a Llama for transformers\n"), error
    code, output, error = invoke("export", "gguf", tmp_path / "hf", tmp_path / "n.gguf")
    assert code == 0 and "without a tokenizer" not in output, error
    for place in ("hf", "n.gguf"):
        read = text.from_pretrained(tmp_path / place)
        assert list(read.encode("the cat")) == list(ours.encode("the cat"))
        assert read.names["chat_template"] == ours.names["chat_template"]


def test_a_name_that_is_nearly_one(tmp_path):
    for command in (("export", "hf"), ("generate",)):
        code, _, error = invoke(*command, "smollm2", *([tmp_path / "x"] if command[1:] else []))
        assert code != 0 and "did you mean smollm2-135m-instruct?" in str(error)
        assert "gemma-3-270m, all-minilm-l6-v2, gpt2" in str(error)


def test_quantize_keeps_metadata_and_says_what_is_lost(tmp_path):
    _, model = run(tmp_path, "Llama")
    path = save_gguf(model, tmp_path / "m.gguf", "F16", text.gguf_entries(ASCII))
    small = tmp_path / "s.gguf"
    code, output, _ = invoke("quantize", path, small, "--kind", "Q4_1")
    before, after = GGUFFile(path), GGUFFile(small)
    assert code == 0 and "of their size (root mean square)" in output
    for key in set(before.metadata) - {"general.file_type"}:
        np.testing.assert_array_equal(before.metadata[key], after.metadata[key])
    assert after.kind("blk.0.ffn_up.weight").name == "Q4_1"
    assert after.kind("token_embd.weight").name == "Q8_0"
    error, old, new = compare(before, after)
    assert 0.01 < error < 0.1 and new < 0.6 * old
    same = save_gguf(from_pretrained(path), tmp_path / "t.gguf", "Q4_1")
    for name in after:
        np.testing.assert_array_equal(GGUFFile(same).raw(name), after.raw(name))


def test_quantize_of_a_run_says_what_is_lost(tmp_path):
    folder, model = run(tmp_path, "Llama")
    out = tmp_path / "r.gguf"
    code, output, _ = invoke("quantize", folder, out, "--kind", "Q4_1")
    error, old, new = compare(model, GGUFFile(out))
    assert code == 0 and f"changed by {error:.2%} of their size (root mean square)" in output
    assert old == sum(p.nbytes for p in model.parameters()) and new < 0.3 * old
    exact = save_gguf(model, tmp_path / "e.gguf", "F32")
    assert compare(GGUFFile(exact), GGUFFile(out))[0] == pytest.approx(error, rel=1e-6)
    assert 0.01 < error < 0.1


def test_what_cannot_be_exported_is_one_line(tmp_path):
    folder, model = run(tmp_path, "Llama")
    path = save_gguf(model, tmp_path / "m.gguf")
    for words, *arguments in [
        ("FORMAT must be hf, gguf, onnx or html", "export", "exe", folder, tmp_path / "x"),
        ("kind must be F32", "export", "gguf", folder, tmp_path / "x", "--kind", "Q9"),
        ("kind must be F32", "quantize", path, tmp_path / "x", "--kind", "Q9"),
        ("OUT is the file that is read", "quantize", path, path),
    ]:
        code, _, error = invoke(*arguments)
        assert code != 0 and words in str(error)
    assert not (tmp_path / "x").exists()
    save_pretrained(model, tmp_path / "hf")
    code, output, _ = invoke("export", "gguf", tmp_path / "hf", tmp_path / "y.gguf")
    assert code == 0 and "without a tokenizer" in output


# ------------------------------------------------------------------------------------- model cards
def test_a_card_says_what_the_runs_files_say(tmp_path):
    folder, model = run(tmp_path, "Llama")
    saved = find_checkpoint(folder)
    options = {"corpus": "tinyshakespeare", "steps": 5, "seed": 9, "tokenizer": "char"}
    facts = {"name": "tinyshakespeare", "characters": 1115394, "sha256": "ab12"}
    config = {**saved.config, "options": options, "text": facts}
    data = {"tokenizer.json": (tmp_path / "tokenizer.json").read_bytes()}
    save_checkpoint(folder / "checkpoints", 7, model, {}, config, files=data)
    lines = [{"step": 7, "tokens": 1400, "loss": 2.5}, {"step": 7, "val_loss": 2.75},
             {"step": 9, "loss": 1.0}]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert invoke("export", "hf", folder, tmp_path / "hf", "--licence", "CC BY 4.0")[0] == 0
    card = (tmp_path / "hf" / "README.md").read_text()
    for part in (
        'license: other\nlicense_name: "CC BY 4.0"\n',
        f"A Llama with {model.n_parameters():,} parameters",
        "\ntinygrad-llm pretrain tinyshakespeare --steps 5 --tokenizer char --seed 9\n",
        "| licence of the data | public domain |", "| characters of the data | `1115394` |",
        "| training loss | 2.5000 |", "| validation loss | 2.7500 |", "| tokens seen | 1,400 |",
        "| step | 7 |", "Of the weights: CC BY 4.0.",
    ):  # fmt: skip
        assert part in card, part


def test_what_a_card_does_not_know_it_says(tmp_path):
    folder, _ = run(tmp_path, "GPT")
    assert invoke("export", "gguf", folder, tmp_path / "m.gguf")[0] == 0
    card = (tmp_path / "m.gguf.md").read_text()
    assert (
        "license" not in card and "| data | not known |" in card and "llama-cli -m m.gguf" in card
    )
    assert "| losses | not known |" in card and "must state one before" in card
    assert "--licence must be" in str(
        invoke("export", "hf", folder, tmp_path / "hf", "--licence", "a\nb: c")[2]
    )
    again = tmp_path / "again.gguf"
    assert invoke("export", "gguf", tmp_path / "m.gguf", again, "--kind", "Q8_0")[0] == 0
    assert "Not trained here" in (tmp_path / "again.gguf.md").read_text()
