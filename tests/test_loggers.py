"""--log: the same numbers in TensorBoard's files and in those of Weights & Biases, offline."""

from __future__ import annotations

import json

import pytest
from test_training import trainer

from tinygrad_llm.training import read_metrics
from tinygrad_llm.training.loggers import make_logger
from tinygrad_llm.training.options import OptionError


def curves_of_tensorboard(folder):
    """{name: {step: number}} as TensorBoard itself reads the files."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = module.EventAccumulator(str(folder / "tensorboard"), {"scalars": 0}).Reload()
    names = read.Tags()["scalars"]
    return {name: {e.step: e.value for e in read.Scalars(name)} for name in names}


def expected(folder):
    curves = {}
    for line in read_metrics(folder / "metrics.jsonl"):
        for name in line.keys() - {"step"}:
            curves.setdefault(name, {})[line["step"]] = pytest.approx(line[name], rel=1e-6)
    return curves


def test_tensorboard_has_the_numbers_of_the_json_lines_and_goes_on(tmp_path):
    pytest.importorskip("tensorboard")
    trainer(tmp_path, steps=4, log="tensorboard", eval_every=2).run(plan=False)
    trainer(tmp_path, steps=7, log="tensorboard", eval_every=2).run(resume=True, plan=False)
    curves = curves_of_tensorboard(tmp_path)
    assert curves == expected(tmp_path) and {"loss", "lr", "val_loss"} <= curves.keys()
    assert sorted(curves["loss"]) == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_written_again_counts_once(tmp_path):
    pytest.importorskip("tensorboard")
    first = make_logger("tensorboard", tmp_path, 0, {})
    for step in (1, 2, 3):
        first.log({"step": step, "loss": float(step)})
    first.close()
    again = make_logger("tensorboard", tmp_path, 1, {})  # from the checkpoint of step 1
    again.log({"step": 2, "loss": 20.0})
    again.close()
    assert curves_of_tensorboard(tmp_path) == {"loss": {1: 1.0, 2: 20.0}}


@pytest.mark.slow  # it starts another process
def test_weights_and_biases_writes_its_files_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    trainer(tmp_path, steps=3, log="wandb").run(plan=False)
    trainer(tmp_path, steps=5, log="wandb").run(resume=True, plan=False)
    known = (tmp_path / "wandb" / "id").read_text()
    files = list((tmp_path / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb"))
    assert len(files) == 2
    assert all(b"grad_norm" in file.read_bytes() for file in files)


class Broken:
    def log(self, numbers):
        if numbers["step"] == 2:
            raise OSError("no room")

    def close(self):
        raise AssertionError("it was left")


def test_a_logger_that_fails_does_not_stop_the_run(tmp_path, monkeypatch, capsys):
    from tinygrad_llm.training import storage

    monkeypatch.setattr(storage, "make_logger", lambda *_: Broken())
    result = trainer(tmp_path, steps=4, log="tensorboard", progress=True).run(plan=False)
    assert result.step == 4 and len(json.dumps(read_metrics(tmp_path / "metrics.jsonl"))) > 100
    assert "--log tensorboard has stopped: no room" in capsys.readouterr().out


def test_a_missing_folder_or_package_is_named(tmp_path, monkeypatch):
    with pytest.raises(OptionError, match="none, tensorboard or wandb, got files"):
        trainer(tmp_path, log="files")
    with pytest.raises(OptionError, match='log="tensorboard" writes files: the run needs a folder'):
        trainer(None, log="tensorboard").run(plan=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_llm\[wandb\]"'):
        trainer(tmp_path, log="wandb").run(plan=False)
