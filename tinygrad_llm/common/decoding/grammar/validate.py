"""一个 JSON 值合不合一份 schema：语法约束的外部检查，与 ``schema.py`` 认得同样的关键字。

流入：值与 schema；流出：第一处不合，一句英文，空串表示合。它不看语法怎样生成，只照 JSON Schema 的定义判断。
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

__all__ = ["first_problem", "is_same", "resolved"]

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: _is_number(v),
    "integer": lambda v: _is_number(v) and v == int(v),
}


def first_problem(value: Any, schema: Any, root: Any = None, path: str = "$") -> str:
    """第一处不合。

    Args:
        value: ``json.loads`` 的结果。
        schema: 字典或布尔值。
        root: ``$ref`` 从哪里查起；缺省为 ``schema``。
        path: 值的位置，写进消息。
    """
    root = schema if root is None else root
    if isinstance(schema, bool):
        return "" if schema else f"{path}: nothing is allowed here"
    if "$ref" in schema and (problem := first_problem(value, resolved(schema["$ref"], root), root, path)):
        return problem
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_TYPES[name](value) for name in types):
        return f"{path}: {type(value).__name__} is not {' or '.join(types)}"
    if "const" in schema and not is_same(value, schema["const"]):
        return f"{path}: not the constant"
    if "enum" in schema and not any(is_same(value, one) for one in schema["enum"]):
        return f"{path}: not in the enumeration"
    if "anyOf" in schema and all(first_problem(value, one, root, path) for one in schema["anyOf"]):
        return f"{path}: fits no branch of anyOf"
    for one in schema.get("allOf", []):
        if problem := first_problem(value, one, root, path):
            return problem
    if isinstance(value, str):
        return _string_problem(value, schema, path)
    if isinstance(value, dict):
        return _object_problem(value, schema, root, path)
    if isinstance(value, list):
        return _array_problem(value, schema, root, path)
    return _number_problem(value, schema, path) if _is_number(value) else ""


def resolved(reference: str, root: Any) -> Any:
    """``#/a/b`` 指的那一处；没有时抛出 ``KeyError``。"""
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, dict):
            found = found[key]
        else:
            raise KeyError(reference)
    return found


def is_same(a: Any, b: Any) -> bool:
    """JSON 的相等：1 与 1.0 相等，1 与 true 不等。"""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b if isinstance(a, str) or isinstance(b, str) else bool(a == b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _string_problem(value: str, schema: dict[str, Any], path: str) -> str:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return f"{path}: {len(value)} characters"
    pattern = schema.get("pattern", "")
    if re.search(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), value, re.ASCII) is None:
        return f"{path}: {value!r} does not match {pattern!r}"
    return ""


def _number_problem(value: float, schema: dict[str, Any], path: str) -> str:
    exact = Decimal(value)
    sides = {
        "minimum": (1, True),
        "maximum": (-1, True),
        "exclusiveMinimum": (1, False),
        "exclusiveMaximum": (-1, False),
    }
    for name, (sign, is_inclusive) in sides.items():
        if name in schema:
            beyond = sign * (exact - Decimal(schema[name]))
            if beyond < 0 or (beyond == 0 and not is_inclusive):
                return f"{path}: {value} breaks {name} {schema[name]}"
    return ""


def _object_problem(value: dict[str, Any], schema: dict[str, Any], root: Any, path: str) -> str:
    properties = schema.get("properties", {})
    if missing := [name for name in schema.get("required", []) if name not in value]:
        return f"{path}: lacks {missing[0]!r}"
    for name, one in value.items():
        inner = properties.get(name, schema.get("additionalProperties", True))
        if problem := first_problem(one, inner, root, f"{path}.{name}"):
            return problem
    return ""


def _array_problem(value: list[Any], schema: dict[str, Any], root: Any, path: str) -> str:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{path}: {len(value)} items"
    prefix = schema.get("prefixItems", [])
    for i, one in enumerate(value):
        inner = prefix[i] if i < len(prefix) else schema.get("items", True)
        if problem := first_problem(one, inner, root, f"{path}[{i}]"):
            return problem
    return ""
