"""配置与 TOML 文件互译：冻结的 dataclass 写成 TOML，读回来与原来相等。

流入：dataclass 的实例，或用户手写的 ``.toml`` 文件；流出：TOML 文本，或类型核对过的字段值。
下一个文件：``cli.py`` 用读到的值作各个参数的默认值。
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import types
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ABSENT", "dump_toml", "field_defaults", "load_toml", "read_toml", "typed"]

T = TypeVar("T")

ABSENT = dataclasses.MISSING
"""「没有值」的记号；``None`` 是合法的值，不能兼任。"""


def dump_toml(config: Any) -> str:
    """把一个 dataclass 实例写成 TOML 文本。

    值为 ``None`` 的字段略去不写（TOML 没有空值），所以它的默认值必须也是 ``None``，否则读回来就变了。

    Args:
        config: dataclass 实例；字段可以是 str、int、float、bool、``Path``、``None``、它们的元组，以及嵌套的 dataclass。

    Returns:
        以换行结尾的 TOML 文本；``load_toml`` 读回的实例与 ``config`` 相等。

    Raises:
        TypeError: 字段类型无法用 TOML 表示，或为 ``None`` 而默认值不是。
        UserError: 字符串不是合法的 Unicode（含孤立的代理项）。
    """
    return "\n".join(_toml_lines(config, base=ABSENT, table="")) + "\n"


def read_toml(path: Path, config_type: type[Any]) -> dict[str, Any]:
    """读一个 TOML 文件，并按 dataclass 的字段核对每个键名与类型。

    Args:
        path: TOML 文件。
        config_type: dataclass 类型；它可以有 ``ignored_keys``：不认识、但允许出现的键。

    Returns:
        字段名到值的字典，只含文件里写了的字段；嵌套的 dataclass 对应嵌套的字典。

    Raises:
        UserError: 文件读不了、不是合法的 TOML、有未知的键，或值的类型不对；消息里有文件名和键名。
    """
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot read the config file: {error.strerror}", where=str(path), fix="check the path"
        ) from error
    except RecursionError as error:
        raise UserError("config file is nested too deeply", where=str(path)) from error
    except ValueError as error:  # TOMLDecodeError 与 UnicodeDecodeError 都是 ValueError；前者的消息带行号
        raise UserError(f"not valid TOML: {error}", where=str(path), fix="correct the file") from error
    return _checked_table(table, config_type, path=path, prefix="")


def load_toml(path: Path, config_type: type[T]) -> T:
    """读一个 TOML 文件，得到 dataclass 实例；没写的字段取默认值。

    Args:
        path: TOML 文件。
        config_type: dataclass 类型。

    Returns:
        ``config_type`` 的实例。

    Raises:
        UserError: 同 ``read_toml``；或缺少没有默认值的字段。
    """
    return _build(config_type, read_toml(path, config_type), base=ABSENT, path=path)


def field_defaults(config_type: type[Any], base: Any = ABSENT) -> dict[str, Any]:
    """列出一个 dataclass 各字段的默认值。

    Args:
        config_type: dataclass 类型。
        base: 外层字段给出的默认实例；有它时，默认值取自这个实例而不是类定义。

    Returns:
        字段名到默认值；没有默认值的字段为 ``ABSENT``。
    """
    defaults: dict[str, Any] = {}
    for field in dataclasses.fields(config_type):
        if not field.init:
            continue
        if base is not ABSENT:
            defaults[field.name] = getattr(base, field.name)
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
        else:
            defaults[field.name] = field.default
    return defaults


# ---- 写 ----


def _toml_lines(config: Any, *, base: Any, table: str) -> Iterator[str]:
    """逐行写出一张表：先写本层的值，再写嵌套的表（TOML 要求这个次序）。"""
    nested: list[tuple[str, Any, Any]] = []
    for name, default in field_defaults(type(config), base).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            nested.append((f"{table}{name}", value, default))
        elif value is not None:
            yield f"{name} = {_toml_value(value)}"
        elif default is not None:
            raise TypeError(f"{type(config).__name__}.{name} is None, but its default is {default!r}")
    for full_name, value, default in nested:
        yield f"\n[{full_name}]"
        yield from _toml_lines(value, base=default, table=f"{full_name}.")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) in (int, float):
        return repr(value)  # repr 是能精确读回的最短十进制；inf、nan 恰好也是 TOML 的写法
    if isinstance(value, str | Path):
        return _toml_string(str(value))
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    raise TypeError(f"cannot write a {type(value).__name__} as TOML")


def _toml_string(text: str) -> str:
    """写成 TOML 的基本字符串；转义规则与 JSON 相同，只多一个 DEL。"""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"text is not valid Unicode: {text!a}", fix="use UTF-8 names") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


# ---- 读 ----


def _build(config_type: type[T], values: dict[str, Any], *, base: Any, path: Path) -> T:
    hints = get_type_hints(config_type)
    arguments: dict[str, Any] = {}
    for name, default in field_defaults(config_type, base).items():
        if dataclasses.is_dataclass(hints[name]) and name in values:
            arguments[name] = _build(hints[name], values[name], base=default, path=path)
        else:
            arguments[name] = values.get(name, default)
    lacking = [name for name, value in arguments.items() if value is ABSENT]
    if lacking:
        raise UserError(f"config file lacks {', '.join(lacking)}", where=str(path), fix="add the key")
    return config_type(**arguments)


def _checked_table(table: dict[str, Any], config_type: type[Any], *, path: Path, prefix: str) -> dict[str, Any]:
    hints = get_type_hints(config_type)
    known = list(field_defaults(config_type))
    ignored: tuple[str, ...] = getattr(config_type, "ignored_keys", ())
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known and key in ignored:
            continue
        if key not in known:
            near = get_close_matches(key, known, n=1)
            fix = f'did you mean "{prefix}{near[0]}"?' if near else f"known keys: {', '.join(known)}"
            raise UserError(f'unknown key "{prefix}{key}" in the config file', where=str(path), fix=fix)
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            values[key] = _checked_table(value, hints[key], path=path, prefix=f"{prefix}{key}.")
            continue
        values[key] = _converted(value, hints[key])
        if values[key] is ABSENT:
            raise UserError(
                f'"{prefix}{key}" in the config file must be {_type_name(hints[key])}, not {_shown(value)}',
                where=str(path),
                fix=f"correct {prefix}{key}",
            )
    return values


def _converted(value: Any, hint: Any) -> Any:
    """按类型标注核对一个 TOML 值并转成字段的类型；不符合时返回 ``ABSENT``。"""
    origin, options = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return next((found for option in options if (found := _converted(value, option)) is not ABSENT), ABSENT)
    if origin is Literal:
        return next((option for option in options if type(option) is type(value) and option == value), ABSENT)
    if origin in (tuple, list):
        return _converted_items(value, origin, options)
    if hint is float:
        return float(value) if type(value) in (int, float) else ABSENT
    if hint is Path:
        return Path(value) if isinstance(value, str) else ABSENT
    if hint in (bool, int, str):  # 用 type 而不是 isinstance：true 不能当作 1
        return value if type(value) is hint else ABSENT
    if hint is type(None) or dataclasses.is_dataclass(hint):
        return ABSENT
    raise TypeError(f"a config field cannot have the type {hint!r}")


def typed(text: str, hint: Any) -> Any:
    """命令行上的一个词转成字段的类型；转不成返回 ``ABSENT``。"""
    candidates: list[Any] = [text]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            candidates.insert(-1, kind(text))
    return next((found for one in candidates if (found := _converted(one, hint)) is not ABSENT), ABSENT)


def _converted_items(value: Any, origin: type[Any], options: tuple[Any, ...]) -> Any:
    if not isinstance(value, list):
        return ABSENT
    repeated = origin is list or (len(options) == 2 and options[1] is ...)
    item_hints = [options[0]] * len(value) if repeated else list(options)
    if len(item_hints) != len(value):
        return ABSENT
    items = [_converted(item, hint) for item, hint in zip(value, item_hints, strict=True)]
    return ABSENT if any(item is ABSENT for item in items) else origin(items)


def _type_name(hint: Any) -> str:
    """类型在消息里的写法：``int``、``float | None``、``a table``。"""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_type_name(option) for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(option) for option in get_args(hint))
    if get_origin(hint) in (tuple, list):
        names = [_type_name(option) for option in get_args(hint) if option is not ...]
        return f"an array of {', '.join(names)}"
    if dataclasses.is_dataclass(hint):
        return "a table"
    return {str: "a string", Path: "a path string", bool: "true or false", int: "an integer", float: "a number"}[hint]


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
