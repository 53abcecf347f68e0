"""The data sets of our own making, and the runs that take them where there is no network."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pytest

from tinygrad_llm.data import corpora
from tinygrad_llm.files import downloads
from tinygrad_llm.finetune.options import ClassifyOptions
from tinygrad_llm.finetune.runs import DPO, Classify, Instruct
from tinygrad_llm.finetune.sample_texts import instructions, labelled_texts, preferences
from tinygrad_llm.training.settings import resolved

SAMPLE_DIGESTS = ["165e9c93", "14159405", "07305bcc"]


def test_the_sample_is_the_same_everywhere_and_has_no_odd_rows():
    """Made with Python's own generator: these hashes hold for every version and machine."""
    rows = labelled_texts(), instructions(), preferences()
    digests = [hashlib.sha256(json.dumps(r).encode()).hexdigest()[:8] for r in rows]
    assert digests == SAMPLE_DIGESTS
    assert Counter(label for _, label in rows[0]) == {"ham": 400, "spam": 400}
    for entry in rows[1]:
        assert entry["instruction"] and entry["output"].endswith(".")
    for entry in rows[2]:
        assert entry["chosen"] != entry["rejected"]


@pytest.mark.parametrize("kind", [Classify, Instruct, DPO])
def test_a_set_that_cannot_be_downloaded_is_replaced_by_the_sample(kind, monkeypatch, tmp_path):
    """Only where nothing was named; the note says so, and the run stores which data it had."""
    monkeypatch.setenv(downloads.DATA_VARIABLE, str(tmp_path))

    def no_network(*_, **__):
        raise downloads.DownloadError("no network")

    monkeypatch.setattr(downloads, "_download", no_network)
    run = kind(resolved(kind.options), progress=False)
    notes = []
    run.note = notes.append
    run.read_data()
    assert run.o.data == "sample" and len(run.train) > 300
    assert "sample" in notes[0] and f"finetune {kind.name}" in notes[0]
    published = notes[0].split(" insists on ")[1].rstrip(")")
    named = kind(resolved(kind.options, {"data": published}), progress=False)
    with pytest.raises(downloads.DownloadError, match="no network"):
        named.read_data()  # who names a data set gets it or an error
    remote = corpora.NAMED[published]
    (tmp_path / remote.file_name).write_text("another file")
    run = kind(resolved(kind.options), progress=False)
    with pytest.raises(downloads.DownloadError, match="not the file it should be"):
        run.read_data()


def test_finetuning_on_the_sample(tmp_path):
    sizes = {"emb_dim": 16, "n_heads": 2, "n_layers": 1, "steps": 80, "vocab_size": 300}
    options = resolved(ClassifyOptions, {"data": "sample", "folder": tmp_path / "c", **sizes})
    Classify(options, progress=False).run()
    assert json.loads((tmp_path / "c" / "config.json").read_text())["data"] == "sample"
    assert json.loads((tmp_path / "c" / "test.json").read_text())["accuracy"] > 0.9
