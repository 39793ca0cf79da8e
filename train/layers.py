"""Layers of settings into a dataclass: YAML files and key=value words, merged by OmegaConf.

What is wrong is explained in one line: file, line, key, what was expected, the nearest valid name.
Knows nothing of training: `fill(cls, layers, where)` works for any tree of dataclasses.
"""

import ast
import dataclasses
import difflib
import inspect
import textwrap
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llmpose.errors import BadUsage, UserError

T = TypeVar("T")


def fill(cls: type[T], layers: Sequence["Layer"], where: str) -> T:
    """Defaults of cls, then each layer in turn, then the dataclasses' own checks."""
    config = OmegaConf.structured(cls)
    for layer in layers:
        config = layer.merge_into(config, cls)
    try:
        filled = OmegaConf.to_object(config)
    except (OmegaConfBaseException, ValueError) as error:
        key = getattr(error, "full_key", None)
        raise UserError(f"{where}: {f'{key}: ' if key else ''}{_first_line(error)}") from None
    assert isinstance(filled, cls)
    return filled


@dataclass
class Layer:
    """One file or one word: its values, and the line of every key (no lines for a word)."""

    origin: str
    values: dict[str, Any]
    lines: dict[str, int]

    def merge_into(self, config: Any, cls: type) -> Any:
        try:
            merged = OmegaConf.merge(config, self.values)
        except OmegaConfBaseException:
            # Something in this layer is wrong: put it in leaf by leaf, so that the one at fault is known by name.
            for key, value in leaves(self.values):
                try:
                    config = OmegaConf.merge(config, _nested(key, value))
                except OmegaConfBaseException as error:
                    raise self._explained(error, key, value, cls) from None
            raise  # pragma: no cover - a whole layer fails only if a leaf does
        self._refuse_odd_numbers(merged)
        for key, value in leaves(self.values):
            if value == {} and isinstance(OmegaConf.select(merged, key), DictConfig):
                OmegaConf.update(merged, key, {}, merge=False)  # an empty mapping empties; merging would keep all
        return merged

    def _explained(self, error: OmegaConfBaseException, key: str, value: Any, cls: type) -> UserError:
        unknown = _first_unknown(cls, key)
        if unknown is not None:
            parent, _, last = unknown.rpartition(".")
            return self._error(
                unknown, f"no such field{f' in {parent}' if parent else ''}; {choices(last, _fields_at(cls, parent))}"
            )
        fields = _fields_at(cls, key)
        if fields:
            return self._error(key, f"expected a section with the fields {', '.join(fields)}; found {value!r}")
        return self._error(key, f"{_first_line(error)} (given: {value!r})")

    def _error(self, key: str, text: str) -> UserError:
        line = next((self.lines[k] for k in (key, *_parents(key)) if k in self.lines), None)
        error = UserError if self.lines else BadUsage
        return error(f"{self.origin}{f':{line}' if line else ''}: {key}: {text}")

    def _refuse_odd_numbers(self, merged: Any) -> None:
        """`"3_6"` would be read as 36: Python accepts underscores in numbers, people do not mean them."""
        for key, value in leaves(self.values):
            odd = isinstance(value, str) and "_" in value and "${" not in value
            if odd and isinstance(OmegaConf.select(merged, key), int | float):
                raise self._error(key, f"expected a number, found the text {value!r}")


def read_layer(path: Path) -> Layer:
    """One YAML file."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=3, cutoff=0.4)
        hint = f"; in {path.parent} there is: {', '.join(near)}" if near else ""
        raise UserError(f"{path}: no such recipe file{hint}")
    try:
        tree = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=False) if tree is not None else {}
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values, found a {type(values).__name__}")
    return Layer(str(path), {str(k): v for k, v in values.items()}, dict(_lines(tree, "")) or {"": 1})


def word_layer(word: str) -> Layer:
    """One `key=value`; the value is read as YAML."""
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise BadUsage(f"{word!r}: expected key=value, like optim.lr=1e-4, or a recipe file ending in .yaml")
    try:
        value = OmegaConf.to_container(OmegaConf.create(f"value: {text}"), resolve=False)["value"]  # type: ignore[index]
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise BadUsage(f"{word!r}: the value is not valid YAML: {_first_line(error)}") from None
    return Layer("command line", _nested(key, value), {})


def _lines(node: Any, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            yield name, key.start_mark.line + 1
            yield from _lines(value, f"{name}.")


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is not a filled mapping."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _parents(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def _field_type(cls: Any, name: str) -> Any:
    """Type of one field of a dataclass or of a dict's values; None where there is no such field."""
    if dataclasses.is_dataclass(cls):
        return typing.get_type_hints(cls).get(name) if name in {f.name for f in dataclasses.fields(cls)} else None
    if typing.get_origin(cls) is dict:
        return typing.get_args(cls)[1]
    return None


def _first_unknown(cls: Any, key: str) -> str | None:
    """The shortest leading part of key that names no field, if any."""
    at, seen = cls, []
    for part in key.split("."):
        seen.append(part)
        at = _field_type(at, part)
        if at is None:
            return ".".join(seen)
        if not dataclasses.is_dataclass(at) and typing.get_origin(at) is not dict:
            return None
    return None


def _fields_at(cls: Any, key: str) -> list[str]:
    at = cls
    for part in key.split(".") if key else []:
        at = _field_type(at, part)
    return [f.name for f in dataclasses.fields(at)] if dataclasses.is_dataclass(at) else []


def choices(wrong: str, known: Iterable[str]) -> str:
    """ "did you mean 'rank'? valid: rank, alpha"."""
    names = list(known)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + (
        f"valid: {', '.join(names)}" if names else "it has no fields"
    )


def describe_fields(cls: Any, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(key, type, default, meaning) of every field of a tree of dataclasses."""
    meanings = field_meanings(cls)
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        hint = hints[f.name]
        if dataclasses.is_dataclass(hint):
            yield from describe_fields(hint, f"{prefix}{f.name}.")
            continue
        default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        kind = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
        yield (
            f"{prefix}{f.name}",
            kind.replace("typing.", "").replace(f"{__name__}.", ""),
            str(default),
            meanings.get(f.name, ""),
        )
        inner = typing.get_args(hint)[1] if typing.get_origin(hint) is dict else None
        if dataclasses.is_dataclass(inner):
            yield from describe_fields(inner, f"{prefix}{f.name}.<name>.")


def field_meanings(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass (and of the classes it extends)."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for here, after in zip(body.body, body.body[1:], strict=False):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name) and is_text:
                found[here.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
