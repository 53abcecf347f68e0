"""Checkpoints: complete or not there, no matter what happens to the process or the disk."""

import json
import os
import shutil

import numpy as np
import pytest

from tinygrad_llm import nn, random
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.training import StorageError, find_checkpoint, save_checkpoint
from tinygrad_llm.training.checkpoint import checkpoints_in
from tinygrad_llm.training.guard import FolderLock
from tinygrad_llm.weights import SafeTensorsFile

STATE = {"numbers": (1, 2.5), "moments": {0: np.arange(3.0)}, "nothing": None}


def small_gpt(**changes):
    random.manual_seed(0)
    shape = {"vocab_size": 11, "context_length": 8, "emb_dim": 8, "n_heads": 2, "n_layers": 1}
    return GPT(GPTConfig(**{**shape, "drop_rate": 0.0, "qkv_bias": False, **changes}))


def config_of(model):
    import dataclasses

    return {"model": {"class": "GPT", "config": dataclasses.asdict(model.config)}}


def write(folder, step, model=None, **options):
    model = model or nn.Linear(3, 2)
    return save_checkpoint(folder, step, model, STATE, {"name": "test"}, **options)


def test_everything_comes_back(tmp_path):
    model = small_gpt()
    path = save_checkpoint(
        tmp_path, 7, model, STATE, config_of(model), files={"tokenizer.json": b"{}"}
    )
    checkpoint = find_checkpoint(tmp_path)
    assert checkpoint.path == path and path.name == "step-00000007" and checkpoint.step == 7
    state = checkpoint.state()
    assert state["numbers"] == (1, 2.5) and state["nothing"] is None
    assert state["moments"][0].tolist() == [0, 1, 2]
    assert (path / "tokenizer.json").read_bytes() == b"{}"
    again = checkpoint.build_model()
    for (name, a), (other, b) in zip(
        model.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert name == other and a.array.tobytes() == b.array.tobytes()
    assert again.out_head.weight is again.tok_emb.weight  # still tied
    file = SafeTensorsFile(path / "model.safetensors")  # and stored once
    assert "out_head.weight" not in file
    assert file.metadata == {"out_head.weight": "tok_emb.weight"}


def test_the_last_k_are_kept_and_a_run_folder_will_do(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    for step in range(5):
        write(folder, step, keep=2)
    assert [path.name for path in checkpoints_in(folder)] == ["step-00000003", "step-00000004"]
    for path in (tmp_path / "run", folder, folder / "step-00000004"):
        assert find_checkpoint(path).step == 4
    assert find_checkpoint(folder / "step-00000003").step == 3


def test_writing_the_same_step_again_keeps_both_until_the_second_is_whole(tmp_path):
    first = write(tmp_path, 3)
    second = write(tmp_path, 3)
    assert first != second and find_checkpoint(tmp_path).path == second
    write(tmp_path, 3, keep=1)
    assert len(checkpoints_in(tmp_path)) == 1 and find_checkpoint(tmp_path).step == 3


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_newest_one_is_passed_over(tmp_path, name, damage):
    write(tmp_path, 1)
    file = write(tmp_path, 2) / name
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        del data[-1]
    file.unlink()
    if damage != "remove":
        file.write_bytes(data)
    assert find_checkpoint(tmp_path).step == 1
    with pytest.raises(StorageError, match=name.partition(".")[0]):
        find_checkpoint(tmp_path / "step-00000002")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": 3}'])
def test_a_manifest_that_says_nothing_is_not_a_checkpoint(tmp_path, text):
    (write(tmp_path, 1) / "manifest.json").write_text(text)
    with pytest.raises(StorageError, match="holds no valid checkpoint"):
        find_checkpoint(tmp_path)


def test_a_later_format_says_so(tmp_path):
    path = write(tmp_path, 1) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(StorageError, match="has the format 99; this version reads 1"):
        find_checkpoint(path.parent)


def test_missing_places_are_named(tmp_path):
    with pytest.raises(StorageError, match="does not exist"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="holds no checkpoint"):
        find_checkpoint(tmp_path)


def test_what_a_killed_process_left_is_not_a_checkpoint_and_is_cleared_away(tmp_path):
    whole = write(tmp_path, 1)
    shutil.copytree(whole, tmp_path / ".writing-12345")
    (tmp_path / ".writing-12345" / "manifest.json").unlink()
    shutil.copytree(whole, tmp_path / ".removing-step-00000000")
    assert [path.name for path in checkpoints_in(tmp_path)] == ["step-00000001"]
    write(tmp_path, 2)
    assert sorted(os.listdir(tmp_path)) == ["step-00000001", "step-00000002"]


class _Full:
    """Stands for os.fsync on a disk that is full from the n-th file on."""

    def __init__(self, good):
        self.left = good

    def __call__(self, handle):
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("good", range(5))
def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path, monkeypatch, good):
    write(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _Full(good))
        with pytest.raises(
            StorageError, match="checkpoint of step 2 was not written.*disk is full"
        ):
            write(tmp_path, 2, keep=1)
    assert os.listdir(tmp_path) == ["step-00000001"]
    assert find_checkpoint(tmp_path).step == 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="was not written: .*file"):
        write(tmp_path / "file" / "run", 1)


def test_a_checkpoint_of_another_shape_lists_what_does_not_fit(tmp_path):
    model = small_gpt()
    save_checkpoint(tmp_path, 1, model, STATE, config_of(model))
    with pytest.raises(StorageError, match=r"tok_emb.weight.*11, 8.*11, 16"):
        find_checkpoint(tmp_path).load_into(small_gpt(emb_dim=16))


def test_a_checkpoint_without_a_known_model_says_so(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(StorageError, match="does not say what model"):
        find_checkpoint(tmp_path).build_model()
    save_checkpoint(tmp_path, 2, nn.Linear(1, 1), STATE, {"model": {"class": "os", "config": {}}})
    with pytest.raises(StorageError, match="a model 'os' is not known here; there are GPT"):
        find_checkpoint(tmp_path).build_model()


def test_state_that_cannot_be_stored_leaves_no_litter(tmp_path):
    with pytest.raises(TypeError, match="rule is a function"):
        save_checkpoint(tmp_path, 1, nn.Linear(1, 1), {"rule": lambda: 0}, {})
    assert os.listdir(tmp_path) == []


def test_two_runs_do_not_share_a_folder(tmp_path):
    pytest.importorskip("fcntl")
    with FolderLock(tmp_path / "run"):
        with pytest.raises(StorageError, match="in use by another running process"):
            with FolderLock(tmp_path / "run"):
                raise AssertionError("both got the lock")
    with FolderLock(tmp_path / "run"):
        pass
