"""Checkpoints: folders that are complete or not there.

A checkpoint is a folder `step-00000500` with

    model.safetensors      the weights
    training.safetensors   the optimizer's arrays and the state of the random generator
    state.json             everything else: step, settings, optimizer, schedule, place in the data
    manifest.json          the size and CRC-32 of every file above: written last

quantized.safetensors for weights that are quantised (see layers/quantized.py), which are in no
state_dict, and files that the caller adds, such as the tokenizer. It is written under a temporary
name, every file is flushed to the disk, and the folder is renamed: whenever the process or the
machine dies, each folder of that name is whole. The older ones are removed only after that, the
last K stay.
"""

from __future__ import annotations

import errno
import math
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.atomic import sync_folder
from ..files.json_files import json_bytes, read_json_object
from ..files.paths import local_path
from ..files.untrusted import describe, translated
from ..layers import quantized
from ..layers.value import VALUE_HEAD, add_value_head
from ..nn import Module
from ..tensor import device
from ..weights import SafeTensorsError, SafeTensorsFile, load_file, pack, unpack
from ..weights.formats.safetensors import load_model, save_file, save_state, write_parts

__all__ = [
    "Checkpoint",
    "StorageError",
    "begin_checkpoint",
    "checkpoints_in",
    "discard_checkpoint",
    "explain_os_error",
    "find_checkpoint",
    "finish_checkpoint",
    "not_written",
    "save_checkpoint",
    "write_rows",
]

_NAME = re.compile(r"step-(\d+)(?:-(\d+))?")
_FORMAT = 1
_QUANTIZED = "quantized.safetensors"


class StorageError(RuntimeError):
    """A checkpoint that is missing, damaged, cannot be written, or does not fit the model."""


def explain_os_error(error: OSError, path: str | Path) -> str:
    """One line for what a disk can do: full, read-only, not allowed, not a folder."""
    path = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: the disk is full"
    if error.errno == errno.EFBIG:
        return f"{path}: the file is larger than this file system or process may write"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hidden = not os.access(os.path.dirname(os.path.abspath(path)), os.X_OK)
        unreadable = hidden or (os.path.lexists(path) and not os.access(path, os.R_OK))
        return f"{path}: {'reading' if unreadable else 'writing'} is not allowed"
    return f"{path}: {error.strerror or error}"


@dataclass
class Checkpoint:
    """A complete checkpoint on the disk: where it is, and what it says without its arrays.

    `step` and `config` (the settings that the run was started with) are read when it is opened;
    `state()` reads the rest, `load_into(model)` the weights. `passed_over` says what is wrong with
    the newer ones that `find_checkpoint` had to leave out.
    Raises: StorageError if a file is damaged.
    """

    path: Path
    step: int
    config: dict[str, Any]
    passed_over: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Opens one checkpoint folder after checking the size and CRC-32 of every file in it.

        Raises: StorageError if a file is missing, cut short or damaged, or has another format.
        """
        path = local_path(path)
        with translated(f"{path} is not a complete checkpoint:", StorageError, ""):
            try:
                manifest = read_json_object(path / "manifest.json")
                if manifest.get("format") != _FORMAT:
                    raise StorageError(
                        f"{path} has the format {describe(manifest.get('format'))}; this version "
                        f"reads {_FORMAT}"
                    )
                for name, (size, checksum) in _files_of(manifest).items():
                    if (path / name).stat().st_size != size:
                        raise StorageError(f"{path / name} should have {size:,} bytes: cut short")
                    if _crc(path / name) != checksum:
                        raise StorageError(f"{path / name} is damaged: its CRC-32 is wrong")
                tree = read_json_object(path / "state.json")
            except OSError as error:
                raise StorageError(f"{path} is not a complete checkpoint: {error}") from error
            step, config = tree.get("step"), tree.get("config")
            if type(step) is not int or step < 0 or not isinstance(config, dict):
                raise StorageError(
                    f"{path / 'state.json'} should hold a step and a config, not {describe(step)} "
                    f"and {describe(config)}"
                )
            return cls(path, step, config)

    def state(self) -> dict[str, Any]:
        """Everything except the weights, as it was passed to `save_checkpoint`.

        Raises: StorageError if it cannot be read.
        """
        with translated(f"{self.path}: the training state", StorageError):
            try:
                tree = read_json_object(self.path / "state.json")
                arrays = load_file(self.path / "training.safetensors")
            except OSError as error:
                raise StorageError(f"{self.path}: the training state: {error}") from error
            state = unpack(tree.get("state"), arrays)
            if not isinstance(state, dict):
                raise StorageError(f"{self.path}: the training state is {describe(state)}")
            return state

    def load_into(self, model: Module) -> None:
        """Copies the weights into a model; of a quantised one, those that are quantised too.

        Raises: StorageError, which lists what does not fit, or says that the file is damaged.
        """
        path = self.path / _QUANTIZED
        if quantized.matrices(model) or path.is_file():
            try:
                quantized.load(model, path)
            except (ValueError, OSError) as error:
                raise StorageError(f"{self.path}: its quantised weights: {error}") from error
        try:
            load_model(model, self.path / "model.safetensors")
        except (SafeTensorsError, OSError) as error:
            raise StorageError(str(error)) from error
        except RuntimeError as error:
            lines = str(error)
            if len(lines) > 1500:  # a name for each weight of a large model
                lines = f"{lines[:1500]}... ({len(lines) - 1500:,} more characters)"
            raise StorageError(f"{self.path} does not fit the model: {lines}") from error

    def build_model(self) -> Module:
        """A new model of the class and config that were saved, with its weights, in eval mode.

        Raises: StorageError if the checkpoint does not name a class of models/registry.py.
        """
        from ..models import registry

        if "model" not in self.config:
            raise StorageError(
                f"{self.path} does not say what model it is of: build one and use load_into(model)"
            )
        with translated(f"{self.path}: the model's config is wrong:", StorageError, ""):
            try:
                config = registry.config_from(self.config["model"])
            except KeyError as error:
                raise StorageError(f"{self.path}: {error.args[0]}") from None
            self._check_sizes(config)
            model: Module = registry.build(self.config["model"])
        if "lora" in self.config:
            from ..layers import lora

            with translated(f"{self.path}: its LoRA layers:", StorageError, ""):
                lora.add(model, **_lora_settings(self.config["lora"]))
        if self.config.get(VALUE_HEAD) is True:
            add_value_head(model)
        self.load_into(model)
        return model.eval()

    def _check_sizes(self, config: Any) -> None:
        """Before memory is allocated: a model of these sizes can have the weights in the file.

        Raises: StorageError if a size in the config is larger than any in the file.
        """
        names = ["model.safetensors", *([_QUANTIZED] if (self.path / _QUANTIZED).is_file() else [])]
        try:
            files = [SafeTensorsFile(self.path / name) for name in names]
        except (SafeTensorsError, OSError) as error:
            raise StorageError(str(error)) from error
        shapes = [file.shape(name) for file in files for name in file]
        largest = max((n for shape in shapes for n in shape), default=0)
        if len(files) > 1:  # codes are cut into tiles: no side of an array is the vocabulary
            largest = sum(math.prod(shape) for shape in shapes)
        rows = ("vocab_size", "emb_dim", "n_heads", "linear_n_heads", "linear_n_key_heads")
        sizes = dict.fromkeys(rows, largest) | {"n_experts": max(largest, len(shapes))}
        sizes |= dict.fromkeys(("n_layers", "n_decoder_layers"), len(shapes))
        if any(name.endswith("pos_emb.weight") for file in files for name in file):
            sizes["context_length"] = largest  # a row for each position
        configs = [config]
        while configs:
            fields = vars(configs.pop())
            configs += [value for value in fields.values() if hasattr(value, "vocab_size")]
            for name, most in sizes.items():
                if (fields.get(name) or 0) > most:
                    raise StorageError(
                        f"{self.path}: {name} is {fields[name]:,} in the config, but the weights "
                        f"are of a smaller model"
                    )
        numbers = sum(math.prod(shape) for shape in shapes)
        n = _numbers_of(self.config["model"])
        if n > numbers * (8 if len(files) > 1 else 1):  # a byte may hold several codes
            raise StorageError(
                f"{self.path}: the config is of a model of {n:,} parameters, but the weights are "
                f"of a smaller model: {numbers:,} numbers"
            )


def _numbers_of(description: Any) -> int:
    """Parameters of the model described, which is built without memory for them."""
    from ..models import registry

    with device("meta"):
        return sum(p.numel() for p in registry.build(description).parameters())


def _files_of(manifest: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(size, CRC-32) of each file, by its name.

    Raises: StorageError if a name is not that of a file in the folder, or a file is left out.
    """
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise StorageError(f"manifest.json: 'files' should be an object, not {describe(files)}")
    for name, entry in files.items():
        if name in ("", ".", "..") or set(name) & set("/\\\0:"):
            raise StorageError(f"manifest.json names {describe(name)}, not a file in its folder")
        integers = isinstance(entry, list) and [type(n) for n in entry] == [int, int]
        if not integers or not all(0 <= n < 1 << 63 for n in entry):
            raise StorageError(f"manifest.json should give {describe(name)} a size and a CRC-32")
    missing = {"model.safetensors", "training.safetensors", "state.json"} - set(files)
    if missing:
        raise StorageError(f"manifest.json does not name {', '.join(sorted(missing))}")
    return {name: (size, checksum) for name, (size, checksum) in files.items()}


def _lora_settings(stored: Any) -> dict[str, Any]:
    """The arguments of lora.add, out of a file; the layers check rank, alpha and dropout.

    Raises: ValueError for another name, and for lists that are not lists of names.
    """
    known = ("rank", "alpha", "dropout", "names", "modules_to_save")
    if not isinstance(stored, dict) or not set(stored) <= set(known):
        raise ValueError(f"they should be an object of {', '.join(known)}, not {describe(stored)}")
    for name in set(stored) & {"names", "modules_to_save"}:
        value = stored[name]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} is {describe(value)}")
    return stored


def _crc(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _order(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)


def checkpoints_in(folder: str | Path) -> list[Path]:
    """The checkpoint folders in a folder, the oldest first; their files are not checked."""
    folder = local_path(folder)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    paths = [Path(folder, name) for name in names if _NAME.fullmatch(name)]
    return sorted((path for path in paths if path.is_dir()), key=_order)


def find_checkpoint(path: str | Path) -> Checkpoint:
    """The newest valid checkpoint at a path: a checkpoint, a folder of them, or a run's folder.

    Damaged ones are passed over, and the result's `passed_over` says what is wrong with each.
    Raises: StorageError if there is none; it says why.
    """
    path = local_path(path)
    if not path.exists():
        raise StorageError(f"{path} does not exist: give a run's folder or a checkpoint in it")
    if (path / "manifest.json").exists():
        return Checkpoint.open(path)
    candidates = checkpoints_in(path) or checkpoints_in(path / "checkpoints")
    problems: list[str] = []
    for candidate in reversed(candidates):
        try:
            checkpoint = Checkpoint.open(candidate)
            checkpoint.passed_over = tuple(problems)
            return checkpoint
        except StorageError as error:
            problems.append(str(error))
    if path.is_file():
        raise StorageError(f"{path} is a file: give a run's folder or a checkpoint in it")
    if problems:
        raise StorageError(f"{path} holds no valid checkpoint: {'; '.join(problems)}")
    raise StorageError(f"{path} holds no checkpoint (no folder named step-...)")


def save_checkpoint(
    folder: str | Path,
    step: int,
    model: Module,
    state: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    files: Mapping[str, bytes] | None = None,
    keep: int = 3,
    weights: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a checkpoint into a folder of checkpoints and removes all but the newest `keep`.

    state: nested dicts, lists, numbers and tensors, see weights/formats/tree.py; config: what JSON
    can hold; files: more files by name; weights: in place of the model's state_dict().
    Returns the new folder.
    Raises: StorageError if the disk refuses; the checkpoints that were there before stay.
    """
    temporary = begin_checkpoint(folder, step, model, state, config, files=files, weights=weights)
    return finish_checkpoint(temporary, step, keep)


def begin_checkpoint(
    folder: str | Path, step: int, model: Module, state: Mapping[str, Any],
    config: Mapping[str, Any], *, files: Mapping[str, bytes] | None = None,
    weights: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """The files of a checkpoint, under a temporary name, which is returned.

    Of tensors that are a Part (see weights/formats/parts.py) there is only the room in them:
    `write_rows` fills it.
    Raises: as save_checkpoint.
    """
    folder = local_path(folder)
    temporary = folder / f".writing-{os.getpid()}-{secrets.token_hex(4)}"
    with _discarded_if_refused(temporary, step):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        temporary.mkdir()
        tree, arrays = pack(state)
        state_dict = model.state_dict() if weights is None else weights
        save_state(state_dict, temporary / "model.safetensors")
        if quantized.matrices(model):
            quantized.save(model, temporary / _QUANTIZED)
        save_file(arrays, temporary / "training.safetensors")
        contents = {"step": step, "config": config, "state": tree}
        for name, data in {"state.json": _json(contents), **(files or {})}.items():
            _write(temporary / name, data)
    return temporary


def write_rows(temporary: Path, state: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    """Write this rank's rows of weights and state into the files that rank 0 has begun.

    Raises: OSError from the disk.
    """
    write_parts(temporary / "model.safetensors", weights)
    write_parts(temporary / "training.safetensors", pack(state)[1])


def finish_checkpoint(temporary: Path, step: int, keep: int = 3) -> Path:
    """The checkpoint under its name, after all files in the temporary folder are written.

    Raises: as save_checkpoint.
    """
    folder = temporary.parent
    with _discarded_if_refused(temporary, step):
        names = sorted(path.name for path in temporary.iterdir())
        sums = {name: [(temporary / name).stat().st_size, _crc(temporary / name)] for name in names}
        _write(temporary / "manifest.json", _json({"format": _FORMAT, "files": sums}))
        sync_folder(temporary)
        final = _free_name(folder, step)
        os.rename(temporary, final)
    sync_folder(folder)
    for path in checkpoints_in(folder)[: -max(1, keep)]:
        _remove(path)
    return final


def discard_checkpoint(temporary: Path) -> None:
    """Remove what begin_checkpoint has written."""
    shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _discarded_if_refused(temporary: Path, step: int) -> Iterator[None]:
    """A block after whose errors the temporary folder is gone.

    Raises: StorageError in place of an OSError.
    """
    try:
        yield
    except BaseException as error:
        discard_checkpoint(temporary)
        if isinstance(error, OSError):
            raise StorageError(not_written(step, explain_os_error(error, temporary))) from error
        raise


def not_written(step: int, line: str) -> str:
    """The message for a checkpoint that the disk refused."""
    return f"the checkpoint of step {step} was not written: {line}"


def _json(value: Any) -> bytes:
    return json_bytes(value, indent=1) + b"\n"


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _free_name(folder: Path, step: int) -> Path:
    """step-00000500; step-00000500-1 if that name is taken: an existing folder is never changed."""
    path = folder / f"step-{step:08d}"
    again = 0
    while path.exists():
        again += 1
        path = folder / f"step-{step:08d}-{again}"
    return path


def _remove(path: Path) -> None:
    """Renames the folder first: one that is half removed does not count as a checkpoint."""
    doomed = path.with_name(f".removing-{path.name}")
    with suppress(OSError):
        os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left: half-written and half-removed folders."""
    for path in folder.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".removing-*"):
        shutil.rmtree(path, ignore_errors=True)
