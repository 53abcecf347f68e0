"""Models in GGUF files: written and read back, read by llama.cpp, and published ones."""

import dataclasses
import importlib

import llama_cpp
import numpy as np
import pytest
from oracles import oracle
from published import needs_weights

import tinygrad_llm as torch
from tinygrad_llm import text
from tinygrad_llm.files.downloads import DownloadError
from tinygrad_llm.models import registry
from tinygrad_llm.models.exporting import FILE_TYPES, save_gguf
from tinygrad_llm.models.pretrained import from_pretrained, save_pretrained
from tinygrad_llm.weights import packaged
from tinygrad_llm.weights.families.gguf_config import rope_factors
from tinygrad_llm.weights.families.gguf_names import ARCHITECTURES, GGUFSource
from tinygrad_llm.weights.formats import gguf

ASCII = text.CharTokenizer([chr(i) for i in range(32, 127)], ["<|endoftext|>"])
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}  # fmt: skip
SIZES = {"vocab_size": 96, "context_length": 64, "emb_dim": 64, "hidden_dim": 96, "n_layers": 2,
         "n_heads": 4, "n_kv_heads": 2, "head_dim": 32}  # fmt: skip
GPT2 = {"vocab_size": 96, "context_length": 64, "emb_dim": 64, "n_heads": 2, "n_layers": 2,
        "drop_rate": 0.0, "qkv_bias": True}  # fmt: skip


def tiny(module):
    """The fields of a family's preset, with the vocabulary of these tests."""
    presets = importlib.import_module(f"tinygrad_llm.models.{module}").PRESETS
    return {**dataclasses.asdict(presets["tiny"]), "vocab_size": 96}


MODELS = {  # name of a case: (class, fields)
    "gpt2": ("GPT", GPT2),
    "llama": ("Llama", SIZES),
    "llama, tied": ("Llama", {**SIZES, "tie_weights": True, "head_dim": 16, "n_kv_heads": 1}),
    "llama 3": ("Llama", {**SIZES, "rope_scaling": LLAMA3, "rope_base": 500000.0}),
    "qwen2": ("Qwen2", {**SIZES, "head_dim": 16}),
    "qwen3": ("Qwen3", SIZES),
    "qwen3_moe": ("Qwen3Moe", tiny("qwen3_moe")),
    "qwen3_5": ("Qwen35", tiny("qwen3_5")),
    "gemma3": ("Gemma3", tiny("gemma3")),  # its window and those below are 16
    "olmo3": ("Olmo3", tiny("olmo3")),
    "cohere2": ("Cohere2", tiny("cohere2")),
}  # fmt: skip


def made(case):
    """A model with random weights that are large enough for a clear answer."""
    name, fields = MODELS[case]
    family = registry.find(name)
    model = family.model(family.config(**fields))
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        shape = parameter.shape
        drawn = (
            0.15 * rng.standard_normal(shape) if len(shape) > 1 else rng.uniform(0.5, 1.5, shape)
        )
        parameter.array[...] = drawn
    return model.eval()


def log_probabilities(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])), -1)[0].numpy()  # (T, V)


@pytest.mark.parametrize("case", MODELS)
def test_a_model_comes_back_from_its_file(case, tmp_path):
    model = made(case)
    back = from_pretrained(save_gguf(model, tmp_path / "m.gguf", "F32"))
    assert type(back) is type(model) and not back.training
    for (name, a), (_, b) in zip(model.named_parameters(), back.named_parameters(), strict=True):
        # norms are 1 + w in the file, and a DeltaNet's A_log is -exp(A_log)
        atol = {"gemma3": 2e-7, "qwen3_5": 4e-7}.get(case, 0)
        np.testing.assert_allclose(a.array, b.array, rtol=0, atol=atol, err_msg=name)
    ids = [5, 9, 2, 70]
    ours, theirs = log_probabilities(model, ids), log_probabilities(back, ids)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=30 * atol)


@pytest.mark.parametrize("case", MODELS)
def test_llama_cpp_computes_the_same(case, tmp_path):
    path = save_gguf(made(case), tmp_path / "m.gguf", "F32", text.gguf_entries(ASCII))
    ids = np.random.default_rng(1).integers(0, 95, 30).tolist()
    answers = llama_cpp.greedy(path, ids, 4)
    for answer in answers:
        ours = log_probabilities(made(case), ids)[-1]
        assert answer["id"] == ours[:-1].argmax()  # it leaves out the end of the text
        for other in answer["top_logprobs"]:  # llama.cpp keeps keys and values in float16
            assert abs(other["logprob"] - ours[other["id"]]) < 0.02
        ids.append(answer["id"])


@pytest.mark.parametrize("kind", FILE_TYPES)
def test_llama_cpp_reads_every_format(kind, tmp_path):
    path = save_gguf(made("llama"), tmp_path / "m.gguf", kind, text.gguf_entries(ASCII))
    stored = {gguf.GGUFFile(path).kind(name).name for name in gguf.GGUFFile(path)}
    assert stored == {"F32", kind} | ({"Q8_0"} if kind.startswith("Q4") else set())
    ids = [5, 9, 2, 70]
    answer = llama_cpp.greedy(path, ids, 1)[0]
    ours = log_probabilities(from_pretrained(path), ids)[-1]
    for other in answer["top_logprobs"]:  # it multiplies activations of 8 bits
        limit = 0.1 if kind.startswith("Q") else 0.02
        assert abs(other["logprob"] - ours[other["id"]]) < limit


@pytest.mark.parametrize("case", ["llama", "qwen3_5"])
def test_rows_stay_in_order_in_a_model_that_stays_quantised(case, tmp_path):
    path = save_gguf(made(case), tmp_path / "m.gguf", "Q8_0")
    ids = [5, 9, 2, 70]
    whole = log_probabilities(from_pretrained(path), ids)
    stored = log_probabilities(from_pretrained(path, quantize="gguf"), ids)
    np.testing.assert_allclose(stored, whole, rtol=0, atol=1e-4)


def test_qwen35_files_with_wrong_sizes_are_errors_with_words(tmp_path):
    file = gguf.GGUFFile(save_gguf(made("qwen3_5"), tmp_path / "m.gguf", "F32"))
    arrays = {name: file[name] for name in file}
    wrong = {
        "ssm.group_count": 3, "ssm.time_step_rank": 0, "ssm.inner_size": 1 << 40,
        "full_attention_interval": 0, "rope.dimension_count": 7,
    }  # fmt: skip
    for key, value in wrong.items():
        entries = {k: file.metadata[k] for k in file.metadata} | {f"qwen35.{key}": value}
        gguf.write(tmp_path / "w.gguf", entries, gguf.pending(arrays, ["F32"] * len(arrays)))
        with pytest.raises(ValueError, match="w.gguf|Qwen35Config|Rotary"):
            from_pretrained(tmp_path / "w.gguf")


def test_llama_cpp_cuts_texts_as_our_tokenizer_does(tmp_path):
    xllamacpp = oracle("xllamacpp")
    sentence = "the cat sat on the mat, and the dog? It's there -- again. "
    tokenizer = text.BPETokenizer.train(sentence * 5, 280)
    entries = text.gguf_entries(tokenizer)
    tokens, merges = entries["tokenizer.ggml.tokens"], entries["tokenizer.ggml.merges"]
    assert len(tokens) == 280 and len(merges) == 280 - 257 and xllamacpp
    family = registry.find("Llama")
    fields = {**SIZES, "vocab_size": 280}
    model = family.model(family.config(**fields))
    path = save_gguf(model, tmp_path / "m.gguf", "F32", entries)
    read = text.from_pretrained(gguf.GGUFFile(path).metadata)
    for words in (sentence, "the mat's  cat\n\nthere", "émile 日本 12345"):
        assert list(read.encode(words)) == list(tokenizer.encode(words))
        assert llama_cpp.n_tokens(path, words) == len(tokenizer.encode(words))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_sentencepiece_tokenizer_in_a_gguf_file(kind, tmp_path):
    spm = pytest.importorskip("sentencepiece")
    sentences = ["the cat sat on the mat, and the dog?", "It's there -- again.", "émile 日本 12345"]
    with open(tmp_path / "tokenizer.model", "wb") as file:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences * 5), model_writer=file, model_type=kind,
            vocab_size=330, byte_fallback=kind == "bpe", minloglevel=2, hard_vocab_limit=False,
            remove_extra_whitespaces=kind == "unigram",
            normalization_rule_name="identity" if kind == "bpe" else "nmt_nfkc",
        )  # fmt: skip
    tokenizer = text.from_pretrained(tmp_path / "tokenizer.model")
    family = registry.find("Llama")
    model = family.model(family.config(**{**SIZES, "vocab_size": tokenizer.vocab_size}))
    path = save_gguf(model, tmp_path / "m.gguf", "F32", text.gguf_entries(tokenizer))
    read = text.from_pretrained(gguf.GGUFFile(path).metadata)
    for words in (*sentences, "the mat's  cat\n\nthere ", "ｆull ①", "한국 \U0001f600"):
        ids = tokenizer.encode_ordinary(words)
        assert read.encode_ordinary(words) == ids and read.decode(ids) == tokenizer.decode(ids)
        assert llama_cpp.n_tokens(path, words) == len(ids), words


def test_a_tokenizer_without_a_counterpart_has_no_entries():
    assert text.gguf_entries(text.CharTokenizer("aé")) == {}
    assert text.gguf_entries(text.SimpleTokenizer.train("a b")) == {}


def test_gguf_and_a_huggingface_folder_hold_the_same_weights(tmp_path):
    from tinygrad_llm.weights.sources import open_huggingface

    model = made("llama")
    save_pretrained(model, tmp_path / "hf")
    theirs = open_huggingface(tmp_path / "hf")
    ours = GGUFSource(save_gguf(model, tmp_path / "m.gguf", "F32"))
    assert sorted(ours.names()) == sorted(theirs.names())
    for name in theirs.names():
        assert ours.shape(name) == theirs.shape(name)
        np.testing.assert_array_equal(ours.read(name), theirs.read(name))
    for field in ("model_type", "hidden_size", "rms_norm_eps", "rope_theta", "head_dim"):
        assert ours.config[field] == theirs.config[field], field


def test_rows_of_queries_and_keys_are_interleaved_in_the_file(tmp_path):
    model = made("llama")
    file = gguf.GGUFFile(save_gguf(model, tmp_path / "m.gguf", "F32"))
    ours = model.state_dict()["trf_blocks.0.att.qkv.weight"].array
    D = SIZES["head_dim"]
    np.testing.assert_array_equal(file["blk.0.attn_q.weight"][0], ours[0])
    np.testing.assert_array_equal(file["blk.0.attn_q.weight"][1], ours[D // 2])
    np.testing.assert_array_equal(file["blk.0.attn_v.weight"], ours[-2 * D :])


def test_llama_3_factors():
    factors = rope_factors(500000.0, 128, LLAMA3)
    assert factors[0] == 1 and factors[-1] == 8 and (np.diff(factors) >= 0).all()
    assert 1 < factors[np.searchsorted(factors, 4)] < 8


def test_gemma_norms_hold_one_plus_w_and_experts_are_one_array(tmp_path):
    E = 3
    arrays = {
        "token_embd.weight": np.zeros((7, 4), "f4"),
        "output_norm.weight": np.full(4, 1.5, "f4"),
        "blk.0.attn_norm.weight": np.full(4, 3, "f4"),
    }
    gemma = {"general.architecture": "gemma3", "gemma3.block_count": 7}
    gguf.write(tmp_path / "g.gguf", gemma, gguf.pending(arrays, ["F32"] * 3))
    source = GGUFSource(tmp_path / "g.gguf")
    assert (source.read("model.norm.weight") == 0.5).all()
    assert (source.read("model.layers.0.input_layernorm.weight") == 2).all()
    assert source.config["layer_types"].index("full_attention") == 5
    assert source.config["tie_word_embeddings"] is True and source.config["vocab_size"] == 7
    experts = np.arange(E * 8, dtype=np.float32).reshape(E, 2, 4)
    arrays["blk.0.ffn_gate_exps.weight"] = experts
    moe = {"general.architecture": "qwen3moe", "qwen3moe.expert_count": E}
    gguf.write(tmp_path / "e.gguf", moe, gguf.pending(arrays, ["F32"] * 4))
    source = GGUFSource(tmp_path / "e.gguf")
    for i in range(E):
        name = f"model.layers.0.mlp.experts.{i}.gate_proj.weight"
        assert source.shape(name) == (2, 4)
        np.testing.assert_array_equal(source.read(name), experts[i])


def test_wrong_files_are_errors_with_words(tmp_path):
    def written(metadata, arrays):
        kinds = ["F32" if array.dtype == np.float32 else "I32" for array in arrays.values()]
        gguf.write(tmp_path / "w.gguf", metadata, gguf.pending(arrays, kinds))
        return tmp_path / "w.gguf"

    with pytest.raises(ValueError, match="general.architecture is 'mamba'; those that can be read"):
        from_pretrained(written({"general.architecture": "mamba"}, {}))
    with pytest.raises(ValueError, match="config.json has no hidden_size|embedding_length"):
        from_pretrained(written({"general.architecture": "llama"}, {}))
    freqs = {"rope_freqs.weight": np.full(4, 3, np.float32)}
    with pytest.raises(ValueError, match="does not hold Llama 3's factors"):
        GGUFSource(written({"general.architecture": "llama", "llama.rope.freq_base": 1e4}, freqs))
    with pytest.raises(ValueError, match="qwen2 has heads of emb_dim / n_heads channels, here 32"):
        family = registry.find("Qwen2")
        save_gguf(family.model(family.config(**SIZES)), tmp_path / "m.gguf")
    with pytest.raises(ValueError, match="qwen3moe has no place for .*layers.1.mlp.gate_proj"):
        family = registry.find("Qwen3Moe")
        fields = {**tiny("qwen3_moe"), "dense_layers": [1], "dense_hidden_dim": 8}
        save_gguf(family.model(family.config(**fields)), tmp_path / "m.gguf")
    with pytest.raises(ValueError, match="kind must be F32, F16.*got 'Q5_K'"):
        save_gguf(made("llama"), tmp_path / "m.gguf", "Q5_K")
    model = made("llama")
    path = save_gguf(model, tmp_path / "m.gguf")
    file = gguf.GGUFFile(path)
    kept = {
        name: gguf.Pending(file.shape(name), file.kind(name).name, lambda name=name: file.raw(name))
        for name in file
        if name != "blk.1.ffn_up.weight"
    }
    gguf.write(tmp_path / "less.gguf", {k: file.metadata.encoded(k) for k in file.metadata}, kept)
    with pytest.raises(ValueError, match="missing: model.layers.1.mlp.up_proj.weight"):
        from_pretrained(tmp_path / "less.gguf")


def test_every_architecture_names_its_weights_once():
    for arch in ARCHITECTURES.values():
        names = [*arch.block.values(), *arch.top.values()]
        assert len(set(names)) == len(names) and arch.model_types


# ------------------------------------------------------------------------ published weights
def installed(name):
    """The path of packaged weights; the test is skipped where they are not installed."""
    needs_weights(name)
    try:
        return packaged.find(name)
    except DownloadError as error:
        pytest.skip(str(error)[:200])


def greedy(model, ids, n):
    from tinygrad_llm.generation import generate

    with torch.no_grad():
        out = generate(model, torch.tensor([ids]), n, temperature=0.0)
    return out[0].tolist()[len(ids) :]


@pytest.mark.weights
def test_smollm2_answers(tmp_path):
    path = installed("smollm2-135m-instruct")
    model = from_pretrained(path)
    tokenizer = text.from_pretrained(gguf.GGUFFile(path).metadata)
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    turns = [("system", system), ("user", "What is the capital of France?")]
    prompt = "".join(f"<|im_start|>{who}\n{words}<|im_end|>\n" for who, words in turns)
    ids = list(tokenizer.encode(prompt + "<|im_start|>assistant\n", allowed_special="all"))
    assert ids[:4] == [1, 9690, 198, 2683] and len(ids) == 37
    answer = greedy(model, ids, 9)
    assert tokenizer.decode(answer[: answer.index(2)]) == "The capital of France is Paris."
    theirs = llama_cpp.greedy(path, ids, 1)[0]["top_logprobs"]
    ours = log_probabilities(model, ids)[-1]  # it multiplies activations of 8 bits, we do not
    assert max(abs(other["logprob"] - ours[other["id"]]) for other in theirs) < 0.3
    file = save_gguf(model, tmp_path / "m.gguf", "F16", gguf.tokenizer_entries(path))
    theirs = llama_cpp.greedy(file, ids, 7)
    assert [token["id"] for token in theirs] == answer[:7]
    assert abs(theirs[0]["logprob"] - ours[answer[0]]) < 0.01


@pytest.mark.weights
def test_gemma_continues():
    path = installed("gemma-3-270m")
    model = from_pretrained(path)
    ids = [2, 818, 5279, 529, 7001, 563]
    assert log_probabilities(model, ids)[-1].argmax() == 506
    assert llama_cpp.greedy(path, ids, 1)[0]["id"] == 506


@pytest.mark.weights
@pytest.mark.parametrize("name,options,shown", [
    ("smollm2-135m-instruct", ["--chat", "--prompt", "What is the capital of France?"],
     "The capital of France is Paris."),
    ("gemma-3-270m", ["--prompt", "The capital of France is", "--tokens", "1"],
     "The capital of France is the"),
])  # fmt: skip
def test_published_models_answer_from_the_command_line(name, options, shown, capsys):
    from tinygrad_llm.cli import main

    installed(name)
    if "--chat" in options:
        pytest.importorskip("jinja2")
    with pytest.raises(SystemExit) as done:
        main(["generate", name, *options, "--temperature", "0"])
    assert not done.value.code and capsys.readouterr().out.strip() == shown


@pytest.mark.weights
def test_a_prompt_of_the_command_line_begins_with_one_bos():
    from tinygrad_llm.cli.generate import _prompt_ids

    tokenizer = text.from_pretrained(installed("gemma-3-270m"))
    ids = [2, 818, 5279, 529, 7001, 563]
    assert _prompt_ids(tokenizer, "The capital of France is", False) == ids


@pytest.mark.weights
def test_the_package_reads_the_published_file_as_we_do():
    package = oracle("gguf")
    path = installed("smollm2-135m-instruct")
    file, theirs = gguf.GGUFFile(path), package.GGUFReader(path)
    for tensor in theirs.tensors[::40]:
        expected = package.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(file[tensor.name], expected)
    assert len(file) == len(theirs.tensors) == 272
