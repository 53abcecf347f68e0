"""Near-duplicates by runs of characters, against scikit-learn and on a set of instructions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data import data_file

from tinygrad_llm.evaluation.duplicates import near_duplicates


def test_pairs_are_those_of_scikit_learn():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    random = np.random.default_rng(3)
    texts = ["".join(random.choice(list("abC-"), random.integers(1, 9))) for _ in range(40)]
    vectors = text.TfidfVectorizer(analyzer="char", ngram_range=(1, 3)).fit_transform(texts)
    cosines = (vectors @ vectors.T).toarray()
    pairs = near_duplicates(texts, 0.5)
    expected = {(i, j) for i, j in np.argwhere(cosines >= 0.5).tolist() if i < j}
    assert {(p.first, p.second) for p in pairs} == expected and len(expected) > 5
    for pair in pairs:
        assert pair.similarity == pytest.approx(cosines[pair.first, pair.second])
    assert [p.similarity for p in pairs] == sorted((p.similarity for p in pairs), reverse=True)


def test_equal_texts_and_what_is_refused():
    assert near_duplicates(["Abc", "", "aBC", "xyz", ""]) == [(0, 2, pytest.approx(1.0))]
    assert near_duplicates([]) == []
    with pytest.raises(TypeError, match="one text"):
        near_duplicates("abc")
    for threshold, longest in ((0, 3), (1.1, 3), (float("nan"), 3), (0.9, 0)):
        with pytest.raises(ValueError, match="threshold must be"):
            near_duplicates(["a"], threshold, longest)


def test_the_instructions_that_say_the_same():
    path = data_file("evaluation/instruction-examples.json")
    entries = json.loads(path.read_text("utf-8"))
    expected = {"instruction": [(73, 74), (42, 105), (103, 109)], "input": [], "output": [(73, 74)]}
    for name, places in expected.items():
        pairs = near_duplicates([entry[name] for entry in entries], 0.9)
        assert [(pair.first, pair.second) for pair in pairs] == places
