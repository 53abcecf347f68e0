"""The models that are known by name: class, config, and how their weights are read and written.

    register(MyModel, MyConfig)            # from now on checkpoints of it can be built again
    build(describe(model))                 # a new model of the same shape, with random weights

Checkpoints store `describe(model)`; `from_pretrained`, `load` and `save` in models/pretrained.py
find a family's functions and files here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any, TypeVar

from ..files.downloads import RemoteFile
from ..files.untrusted import describe as in_words
from ..weights.families.table import Names
from .base import LanguageModel, Model
from .config import Config, ModelConfig
from .encoder import MaskedEncoder

__all__ = [
    "Family",
    "build",
    "build_around",
    "build_from",
    "config_from",
    "describe",
    "families",
    "find",
    "masked",
    "of",
    "register",
    "trainable",
]

_Kind = TypeVar("_Kind", bound=Model)


@dataclass(frozen=True)
class Family:
    """What is known of a kind of model.

    name        of its class; checkpoints store it
    model       the class; its `from_config(config)` makes a model
    config      the class of its config
    names       the table of its weights' names in published files: a module of weights/families, or
                its Names for another head
    load        load(path, **config_changes) -> model, from such files; None for the way that most
                families share, load_family in models/loading.py
    presets     published sizes by name, and "tiny"
    files       the published weights by name, for from_pretrained
    """

    name: str
    model: type[Model]
    config: type[Config]
    names: ModuleType | Names | None = None
    load: Callable[..., LanguageModel] | None = None
    presets: Mapping[str, ModelConfig] = field(default_factory=dict)
    files: Mapping[str, RemoteFile] = field(default_factory=dict)


_FAMILIES: dict[str, Family] = {}


def register(model: type[Model], config: type[Config], **more: Any) -> None:
    """Adds a class of models with the class of its config; more: the other fields of Family.

    Raises: ValueError if another class of this name is known already.
    """
    name = model.__name__
    if name in _FAMILIES and _FAMILIES[name].model is not model:
        raise ValueError(
            f"register: there is another model called {name} ({_FAMILIES[name].model.__module__}): "
            "give the class another name"
        )
    _FAMILIES[name] = Family(name, model, config, **more)


def families() -> Iterator[Family]:
    """All families, in the order in which they were registered."""
    return iter(tuple(_FAMILIES.values()))


def find(name: str) -> Family:
    """The family whose class has this name.

    Raises: KeyError, which lists the names there are.
    """
    if name not in _FAMILIES:
        raise KeyError(
            f"a model {in_words(name)} is not known here; there are {', '.join(_FAMILIES)}, and "
            "models.registry.register adds one"
        )
    return _FAMILIES[name]


def of(model: object) -> Family | None:
    """The family of a model; None if its class is not registered."""
    kind = getattr(type(model), "undivided_class", type(model))  # before fully_shard
    family = _FAMILIES.get(kind.__name__)
    return family if family is not None and family.model is kind else None


def trainable() -> dict[str, Family]:
    """The language models that train from random weights, by the name that commands have for them.

    The name is that of the class in small letters: "gpt", "llama". Their presets have a "tiny".
    """
    return {f.name.lower(): f for f in families()
            if "tiny" in f.presets and issubclass(f.model, LanguageModel)}  # fmt: skip


def masked() -> dict[str, Family]:
    """The masked language models that train from random weights, by name: "bert", "roberta"."""
    kinds = {f.name.lower(): f for f in families()
             if "tiny" in f.presets and issubclass(f.model, MaskedEncoder)}  # fmt: skip
    return {name.removesuffix("formaskedlm"): family for name, family in kinds.items()}


def describe(model: object) -> dict[str, Any] | None:
    """{"class": name, "config": fields} of a model, as JSON can hold it.

    None if its class, or that of a model inside it, is not registered: nothing could build it.
    """
    family = of(model)
    described = _described(model.config) if family and isinstance(model, Model) else None
    return None if family is None or described is None else {**described, "class": family.name}


def build(description: Mapping[str, Any]) -> Model:
    """A new model as `describe` described one, with random weights.

    Raises: KeyError if its class is not known; ValueError or TypeError if its config is wrong.
    """
    config = config_from(description)
    return find(description["class"]).model.from_config(config)  # several may share its config


def build_from(config: Config) -> Model:
    """A new model of the family that this config belongs to, with random weights.

    Raises: TypeError if the config's class is not registered.
    """
    family = _family_of(config)
    if family is None:
        raise TypeError(
            f"{type(config).__name__} belongs to no registered model: call "
            "models.registry.register(its model's class, its class) first"
        )
    return family.model.from_config(config)


def build_around(kind: type[_Kind], config: Any) -> _Kind:
    """A new model with another inside, which is new too: config.model is the other one's config.

    The other fields of the config are the arguments of the class.
    Raises: as build_from.
    """
    arguments = {each.name: getattr(config, each.name) for each in fields(config)}
    return kind(**{**arguments, "model": build_from(config.model)})


def config_from(description: Mapping[str, Any]) -> Config:
    """The config in a description; a described config inside it becomes a config too.

    Raises: as `build`.
    """
    if not isinstance(description, Mapping) or not {"class", "config"} <= set(description):
        kind = type(description).__name__
        raise ValueError(f"a model's description should have a class and a config, got a {kind}")
    if not isinstance(description["class"], str) or not isinstance(description["config"], Mapping):
        raise ValueError("a model's description should have the class's name and an object config")
    given = {
        name: config_from(value) if _is_description(value) else value
        for name, value in description["config"].items()
    }
    return find(description["class"]).config(**given)


def _is_description(value: Any) -> bool:
    return isinstance(value, Mapping) and "class" in value


def _family_of(config: Config) -> Family | None:
    return next((family for family in families() if family.config is type(config)), None)


def _described(config: Config) -> dict[str, Any] | None:
    declared: Any = config  # a subclass of Config is a dataclass
    values = {each.name: getattr(config, each.name) for each in fields(declared)}
    inside = {
        name: _described(value) for name, value in values.items() if isinstance(value, Config)
    }
    family = _family_of(config)
    if family is None or None in inside.values():
        return None
    return {"class": family.name, "config": {**values, **inside}}
