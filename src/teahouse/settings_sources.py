"""Where settings come from: defaults < ``teahouse.toml`` < ``TEAHOUSE_*`` variables < command-line options.

Every mistake is reported, not only the first, with the place it was made in. Values are never repeated where they
might be secret.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from teahouse.settings import Network, Secret, Settings, SettingsError, check

PREFIX = "TEAHOUSE_"
CONFIG_VARIABLE = "TEAHOUSE_CONFIG"
CONFIG_FILE = Path("teahouse.toml")


class _Given(NamedTuple):
    """One value as somebody wrote it, and where."""

    key: str
    value: Any
    place: str
    is_text: bool


def load(
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Settings:
    """The settings of this process, checked.

    ``config`` must exist when it is named; without it ``teahouse.toml`` in the working directory is read if there is
    one. ``options`` maps dotted keys to values, None meaning "not given". Raises ``SettingsError``.
    """
    variables = os.environ if environ is None else environ
    broken: list[str] = []
    chosen: dict[str, Any] = {}
    for given in _all_given(config, variables, options or {}, broken):
        kind = _LEAVES.get(given.key)
        if kind is None:
            broken.append(_unknown(given))
            continue
        try:
            chosen[given.key] = _convert(given, kind)
        except (msgspec.ValidationError, TypeError, ValueError):
            # The library's words name its types and may repeat the value; ours say what is expected and where.
            broken.append(_wrong(given, kind))
    if broken:
        raise SettingsError("\n".join(broken))
    settings: Settings = _build(Settings, "", chosen)
    check(settings)
    return settings


def _all_given(
    config: Path | None, variables: Mapping[str, str], options: Mapping[str, object], broken: list[str]
) -> Iterator[_Given]:
    named = config or (Path(variables[CONFIG_VARIABLE]) if variables.get(CONFIG_VARIABLE) else None)
    yield from _from_file(named, broken)
    yield from _from_variables(variables)
    for key, value in options.items():
        if value is not None:
            yield _Given(key, value, f"the option --{key.replace('.', '-').replace('_', '-')}", isinstance(value, str))


def _from_file(named: Path | None, broken: list[str]) -> Iterator[_Given]:
    path = named or CONFIG_FILE
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is not None:
            broken.append(f"{path}: there is no such file; check --config, or run: teahouse init DIR")
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        broken.append(f"{path}: cannot be read as TOML: {error}")
        return
    for key, value in _flatten(tree, ""):
        yield _Given(key, value, str(path), is_text=False)


def _flatten(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, dict) and key not in _LEAVES:
            yield from _flatten(value, key + ".")
        else:
            yield key, value


def _from_variables(variables: Mapping[str, str]) -> Iterator[_Given]:
    for name in sorted(variables):
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            yield _Given(key, variables[name], f"the variable {name}", is_text=True)


def variable(key: str) -> str:
    """The variable that sets a dotted key: ``database.url`` → ``TEAHOUSE_DATABASE__URL``."""
    return PREFIX + key.replace(".", "__").upper()


def leaves() -> Mapping[str, Any]:
    """Every dotted key that can be set, with its type."""
    return dict(_LEAVES)


def _collect(section: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(section, include_extras=True).items():
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from _collect(kind, f"{prefix}{name}.")
        elif not name.startswith("__"):
            yield prefix + name, kind


_LEAVES: dict[str, Any] = dict(_collect(Settings, ""))


def _build(section: type[Any], prefix: str, chosen: Mapping[str, Any]) -> Any:
    values = {}
    for field in msgspec.structs.fields(section):
        key = prefix + field.name
        if key in chosen:
            values[field.name] = chosen[key]
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            values[field.name] = _build(field.type, key + ".", chosen)
    return section(**values)


def _convert(given: _Given, kind: Any) -> Any:
    value = given.value
    if given.is_text and get_origin(kind) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    return msgspec.convert(value, kind, strict=not given.is_text, dec_hook=_decode)


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path) and str(value):
        return Path(value).expanduser()
    if kind in (Secret, Network) and isinstance(value, str):
        return kind(value)
    raise TypeError(f"not {_expected(kind)}")


def _unknown(given: _Given) -> str:
    as_variable = given.place.startswith("the variable ")
    spelled = variable if as_variable else str
    near = difflib.get_close_matches(given.key, _LEAVES, n=1, cutoff=0.6)
    hint = f"; did you mean {spelled(near[0])}?" if near else ""
    if as_variable and ("_SERVICE_" in given.place or "_PORT_" in given.place):
        hint = "; Kubernetes sets it for a Service of that name: use enableServiceLinks: false"
    return f"{spelled(given.key)} ({given.place}): there is no such setting{hint}"


def _wrong(given: _Given, kind: Any) -> str:
    shown = f", got {given.value!r}" if _may_be_shown(kind) else ""
    return f"{given.key} ({given.place}): expected {_expected(kind)}{shown}"


def _may_be_shown(kind: Any) -> bool:
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return bare in (int, float, bool) or get_origin(bare) is Literal


def _expected(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        described = [meta.description for meta in get_args(kind)[1:] if isinstance(meta, msgspec.Meta)]
        return next((text for text in described if text), _expected(get_args(kind)[0]))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list (comma-separated in a variable); each: {_expected(get_args(kind)[0])}"
    return _WORDS.get(kind, str(kind))


_WORDS: dict[Any, str] = {
    bool: "true or false",
    str: "a text",
    Path: "a path",
    Secret: "a text",
    Network: "a network such as 10.0.0.0/8",
}
