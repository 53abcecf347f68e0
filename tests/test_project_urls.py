"""The addresses of the project in the wheel's metadata: from a setting, and none without it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hatchling")
ROOT = Path(__file__).resolve().parent.parent


def project_urls() -> list[str]:
    from hatchling.builders.wheel import WheelBuilder
    from hatchling.metadata.spec import construct_metadata_file_2_4

    text = construct_metadata_file_2_4(WheelBuilder(str(ROOT)).metadata)
    assert "\nName: tinygrad_llm\n" in text or "\nName: tinygrad-llm\n" in text
    return [line for line in text.splitlines() if line.startswith("Project-URL")]


def test_no_address_is_invented(monkeypatch):
    monkeypatch.delenv("TINYGRAD_LLM_REPOSITORY", raising=False)
    assert project_urls() == []


def test_the_setting_s_address_and_pages_below_it(monkeypatch):
    address = "https://github.com/someone/tinygrad_llm"
    monkeypatch.setenv("TINYGRAD_LLM_REPOSITORY", f"{address}/")
    urls = [line.removeprefix("Project-URL: ").split(", ") for line in project_urls()]
    assert ["Repository", address] in urls and ["Issues", f"{address}/issues"] in urls
    changelog = dict(urls)["Changelog"]
    assert (ROOT / changelog.removeprefix(f"{address}/blob/main/")).is_file()


def test_an_address_without_its_beginning_is_refused(monkeypatch):
    monkeypatch.setenv("TINYGRAD_LLM_REPOSITORY", "github.com/someone")
    with pytest.raises(ValueError, match=r"is 'github\.com/someone': expected the address"):
        project_urls()
