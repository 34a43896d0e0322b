r"""JSON schema → 规则：匹配的文字都是合这份 schema 的 JSON。

流入：schema（字典）；流出：规则名到 ``Expr``。范围内的数见 ``numbers.py``，独立的检查见 ``validate.py``。

写出的是合法的一个子集：性质按 ``properties`` 里的次序写；没有写 ``additionalProperties`` 时不写别的性质；
冒号与逗号之后至多一个空格，或换行加至多 20 个空格的缩进；没有界的整数至多 15 位，小数至多 15 位，指数至多 2 位。
不认识的关键字一律报错，从不忽略：忽略了，写出的东西就可能不合 schema。只作说明的（``title``、``description`` 等）除外。
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import ceil, floor, isfinite
from typing import Any

from tinygrad_llm.common.decoding.grammar.expressions import (
    Chars,
    Expr,
    Ref,
    Repeat,
    Text,
    alt,
    complement,
    json_escaped,
    repeat,
    seq,
)
from tinygrad_llm.common.decoding.grammar.numbers import Bound, integer_between, number_between
from tinygrad_llm.common.decoding.grammar.regex import parse_regex, search_regex
from tinygrad_llm.common.decoding.grammar.validate import first_problem, resolved
from tinygrad_llm.common.errors import UserError

__all__ = ["schema_rules"]

MAX_DEPTH = 40
"""schema 至多套几层。"""
_NOTES = {
    "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated",
    "readOnly", "writeOnly",
}  # fmt: skip
_OF_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set[str](),
    "null": set[str](),
}
_KNOWN = _NOTES.union(*_OF_TYPE.values(), {"type", "enum", "const", "anyOf", "allOf", "$ref"})
_PLAIN = complement([(0, 0x1F), (ord('"'),) * 2, (ord("\\"),) * 2])
_SPACE: Expr = alt(["", " ", seq("\n", repeat(" ", 0, 20))])
_COMMA, _COLON = seq(",", Ref("space")), seq(":", Ref("space"))
_ESCAPE = r'\\(?:["\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))'  # 不写代理项
_SHARED: dict[str, Expr] = {
    "space": _SPACE,
    "char": alt([Chars(_PLAIN), parse_regex(_ESCAPE)]),
    "string": seq('"', repeat(Ref("char")), '"'),
    "number": parse_regex(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?"),
    "value": alt([Ref("object"), Ref("array"), Ref("string"), Ref("number"), "true", "false", "null"]),
}


def schema_rules(schema: Any) -> dict[str, Expr]:
    """译成规则，从 ``root`` 开始。

    Args:
        schema: ``json.loads`` 的结果。

    Raises:
        UserError: 不认识的关键字、写法不对，或明摆着没有值合它；``where`` 指出位置。
    """
    found = _Translator(schema)
    found.rules["root"] = found.expr(schema, "#")
    while found.waiting:
        reference = found.waiting.pop()
        found.rules[reference] = found.expr(_looked_up(reference, schema), reference)
    return found.rules


class _Translator:
    """译一份 schema 时记着的：全文、译好的规则、还没译的引用。"""

    def __init__(self, root: Any) -> None:
        self.root, self.waiting, self.depth = root, list[str](), 0
        self.rules = dict(_SHARED)
        self.rules["array"] = _listed([], Ref("value"), 0, None)
        self.rules["object"] = seq("{", _separated(seq(Ref("string"), _COLON, Ref("value"))), "}")

    def expr(self, schema: Any, where: str) -> Expr:
        """一处 schema。"""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _error(f"the schema nests deeper than {MAX_DEPTH} levels", where, "use $ref for recursion")
        try:
            return self._expr(schema, where)
        finally:
            self.depth -= 1

    def _expr(self, schema: Any, where: str) -> Expr:
        if schema is True or schema == {}:
            return Ref("value")
        if not isinstance(schema, dict):
            raise _error("nothing can satisfy false" if schema is False else "a schema is an object", where)
        _check_keywords(schema, where)
        if "$ref" in schema:
            return self._reference(schema, where)
        if "enum" in schema or "const" in schema:
            return self._enumerated(schema, where)
        for name in ("anyOf", "allOf"):
            if name in schema:
                return self._combined(name, schema, where)
        return alt([self._of_type(name, schema, where) for name in _types(schema, where)])

    def _reference(self, schema: dict[str, Any], where: str) -> Expr:
        _alone("$ref", schema, where)
        reference = schema["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _error(f"$ref {str(reference)[:60]!r} does not point into this schema", where)
        _looked_up(reference, self.root)
        if reference == "#":
            return Ref("root")
        if reference not in self.rules:
            self.rules[reference] = Text("")  # 先占个名字，轮到它时再译
            self.waiting.append(reference)
        return Ref(reference)

    def _enumerated(self, schema: dict[str, Any], where: str) -> Expr:
        values = schema.get("enum", [schema.get("const")])
        if not isinstance(values, list):
            raise _error("enum is not a list", where)
        kept = [value for value in values if not first_problem(value, schema, self.root)]
        if not kept:
            raise _error("no value of the enumeration fits the rest of the schema", where)
        return alt([_literal(value) for value in kept])

    def _combined(self, name: str, schema: dict[str, Any], where: str) -> Expr:
        _alone(name, schema, where)
        branches = schema[name]
        if not isinstance(branches, list) or not branches:
            raise _error(f"{name} is not a list of schemas", where)
        if name == "allOf" and len(branches) > 1:
            raise _error("allOf of several schemas is not supported", where, "merge them into one")
        return alt([self.expr(branch, f"{where}/{name}/{i}") for i, branch in enumerate(branches)])

    def _of_type(self, name: str, schema: dict[str, Any], where: str) -> Expr:
        if name == "object":
            return self._object(schema, where)
        if name == "array":
            prefix = [self.expr(one, f"{where}/prefixItems/{i}") for i, one in enumerate(schema.get("prefixItems", []))]
            low, high = _counts("Items", schema, where)
            items = schema.get("items", True)
            if items is False or high == len(prefix):
                high, item = min(len(prefix), len(prefix) if high is None else high), Text("")
                if low > high:
                    raise _error("minItems exceeds the number of items allowed", where)
            else:
                item = self.expr(items, f"{where}/items")  # type: ignore[assignment]
            return _listed(prefix, item, low, high)
        if name == "string":
            return _string(schema, where)
        if name in ("number", "integer"):
            return _number(schema, where, is_integer=name == "integer")
        return alt(["true", "false"]) if name == "boolean" else Text("null")

    def _array(self, schema: dict[str, Any], where: str) -> Expr:
        given, items = schema.get("prefixItems", []), schema.get("items", True)
        low, high = _counts("Items", schema, where)
        if not isinstance(given, list):
            raise _error("prefixItems is not a list", where)
        prefix = [self.expr(one, f"{where}/prefixItems/{i}") for i, one in enumerate(given)]
        if items is False:
            high = len(prefix) if high is None else min(high, len(prefix))
            if low > high:
                raise _error(f"minItems {low} exceeds the {high} items allowed", where)
        has_more = high is None or high > len(prefix)
        item = self.expr(items, f"{where}/items") if has_more else Text("")
        return _listed(prefix, item, low, high)

    def _object(self, schema: dict[str, Any], where: str) -> Expr:
        """性质依次写出，可有可无的可以略过；逗号只在两个之间。"""
        properties, required = schema.get("properties", {}), schema.get("required", [])
        extra = schema.get("additionalProperties", not properties and not required)
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise _error("properties must be an object and required a list", where)
        if hidden := [name for name in required if name not in properties]:
            if schema.get("additionalProperties", True) is False:
                raise _error(f"{hidden[0]!r} is required but not among the properties", where)
            properties = {**properties, **dict.fromkeys(hidden, schema.get("additionalProperties", True))}
        if not properties and extra is True:
            return Ref("object")
        members = [
            (
                seq(_literal(name), _COLON, self.expr(one, f"{where}/properties/{name}")),
                name in required,
            )
            for name, one in properties.items()
        ]
        more = None
        if extra is not False:
            inner = self.expr(extra, f"{where}/additionalProperties")
            more = seq('"', _other_names(list(properties)), '"', _COLON, inner)
        return seq("{", Ref("space"), self._members(members, more, where), Ref("space"), "}")

    def _members(self, members: Sequence[tuple[Expr, bool]], more: Expr | None, where: str) -> Expr:
        """从第 i 个写起（它之前的都略过），其后的各自可有可无；其后的部分单独成规则，各支共用。"""
        tail: Expr = Text("") if more is None else repeat(seq(_COMMA, more))
        firsts: list[Expr | str] = [] if more is None else [seq(more, tail)]
        is_required = False
        for i in range(len(members) - 1, -1, -1):
            member, must = members[i]
            name = f"{where} after {i}, {len(self.rules)}"
            self.rules[name] = tail
            firsts = [seq(member, Ref(name)), *([] if must else firsts)]
            one = seq(_COMMA, member)
            tail = seq(one if must else repeat(one, 0, 1), Ref(name))
            is_required |= must
        return alt(firsts if is_required else ["", *firsts])


def _check_keywords(schema: Mapping[str, Any], where: str) -> None:
    unknown = sorted(name for name in schema if name not in _KNOWN)
    if unknown:
        fix = "use anyOf" if unknown == ["oneOf"] else "leave it out, and check the value afterwards"
        raise _error(f"the keyword {unknown[0]!r} is not supported", where, fix)


def _alone(name: str, schema: Mapping[str, Any], where: str) -> None:
    """这个关键字旁边不能有别的要求。"""
    if others := sorted(set(schema) - _NOTES - {name}):
        raise _error(f"{name} beside {others[0]!r} is not supported", where, "move both into one schema")


def _types(schema: Mapping[str, Any], where: str) -> list[str]:
    """写出的值取哪几种；没有写 ``type`` 时，由用到的关键字推断。"""
    given = schema.get("type", [])
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or any(name not in _OF_TYPE for name in names):
        raise _error(f"unknown type {str(given)[:60]!r}", where, f"use: {', '.join(_OF_TYPE)}")
    if not names:
        names = [name for name in ("object", "array", "string", "number") if _OF_TYPE[name] & set(schema)]
    return names or list(_OF_TYPE)


def _looked_up(reference: str, root: Any) -> Any:
    try:
        return resolved(reference, root)
    except KeyError:
        raise _error(f"$ref {reference[:60]!r} points to nothing", "#") from None


def _separated(one: Expr) -> Expr:
    return seq(Ref("space"), alt(["", seq(one, repeat(seq(_COMMA, one)))]), Ref("space"))


def _listed(prefix: Sequence[Expr], item: Expr, low: int, high: int | None) -> Expr:
    """数组：前几项各有各的样子，其后的都像 ``item``；共 ``low`` 到 ``high`` 项。"""
    if high == 0:
        return seq("[", Ref("space"), "]")
    if prefix:
        room = None if high is None else max(high - len(prefix), 0)
        rest: Expr = Text("") if room == 0 else repeat(seq(_COMMA, item), max(low - len(prefix), 0), room)
        for i in range(len(prefix) - 1, -1, -1):
            rest = seq(*([_COMMA] if i else []), prefix[i], rest)
            if i >= low:
                rest = Repeat(rest, 0, 1)
            if high is not None and i >= high:
                rest = Text("")
        return seq("[", Ref("space"), rest, Ref("space"), "]")
    most = None if high is None else high - 1
    some = seq(item, repeat(seq(_COMMA, item), max(low - 1, 0), most))
    return seq("[", Ref("space"), some if low else alt(["", some]), Ref("space"), "]")


def _counts(what: str, schema: Mapping[str, Any], where: str) -> tuple[int, int | None]:
    """``minX`` 与 ``maxX``。"""
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}")
    for value in (low, high):
        if value is not None and (type(value) is not int or value < 0):
            raise _error(f"min{what} and max{what} must be whole numbers", where)
    if high is not None and high < low:
        raise _error(f"min{what} {low} exceeds max{what} {high}", where)
    return low, high


def _string(schema: Mapping[str, Any], where: str) -> Expr:
    low, high = _counts("Length", schema, where)
    if "pattern" in schema:
        if low or high is not None:
            raise _error("pattern beside minLength or maxLength is not supported", where, "put the length into pattern")
        if not isinstance(schema["pattern"], str):
            raise _error("pattern is not a string", where)
        return seq('"', json_escaped(search_regex(schema["pattern"])), '"')
    return seq('"', repeat(Ref("char"), low, high), '"')


def _number(schema: Mapping[str, Any], where: str, *, is_integer: bool) -> Expr:
    for name in _OF_TYPE["number"] & set(schema):
        if isinstance(schema[name], bool) or not isinstance(schema[name], int | float) or not isfinite(schema[name]):
            raise _error(f"{name} is not a number", where)
    lows = [Bound(_exact(schema[n]), n[0] == "e") for n in ("minimum", "exclusiveMinimum") if n in schema]
    highs = [Bound(_exact(schema[n]), n[0] == "e") for n in ("maximum", "exclusiveMaximum") if n in schema]
    low = max(lows, key=lambda bound: (bound.value, bound.is_strict), default=None)
    high = min(highs, key=lambda bound: (bound.value, not bound.is_strict), default=None)
    if low and high and (low.value > high.value or (low.value == high.value and low.is_strict | high.is_strict)):
        raise _error("the bounds exclude each other", where)
    if not is_integer:
        return Ref("number") if low is None and high is None else number_between(low, high)
    least = None if low is None else floor(low.value) + 1 if low.is_strict else ceil(low.value)
    most = None if high is None else ceil(high.value) - 1 if high.is_strict else floor(high.value)
    if least is not None and most is not None and least > most:
        raise _error("there is no integer between the bounds", where)
    return integer_between(least, most)


def _literal(value: Any) -> str:
    """一个固定的值写成 JSON；落单的代理项没有 UTF-8 的写法，整个改用转义。"""
    found = json.dumps(value, ensure_ascii=False)
    return found if found.isprintable() else json.dumps(value)


def _exact(value: float) -> Decimal:
    return Decimal(repr(value))


def _other_names(names: Sequence[str]) -> Expr:
    """不写转义、也不在 ``names`` 里的字符串。"""
    firsts = {name[0] for name in names if name}
    others = complement([*complement(_PLAIN), *((ord(char),) * 2 for char in firsts)])
    found: list[Expr | str] = [] if "" in names else [""]
    found.append(seq(Chars(others), repeat(Chars(_PLAIN))))
    found += [seq(char, _other_names([name[1:] for name in names if name[:1] == char])) for char in sorted(firsts)]
    return alt(found)


def _error(problem: str, where: str, fix: str = "correct the schema") -> UserError:
    return UserError(problem, where=f"JSON schema, at {where}", fix=fix)
