"""约束：``response_format`` 与工具都变成语法；同样的只编译一次，留下的掩码有上限。

流入：请求里的 schema 与工具；流出：``TokenConstraint``。下一个文件：``wanted.py``。

工具的调用写成一个 JSON 对象 ``{"name": …, "arguments": {…}}``，``arguments`` 合那个工具的 schema。模型可以自己选时，
回答或者是一次调用，或者是不以 ``{`` 开头的文字：看第一个字就知道是哪一种。
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

from tinygrad_llm.common.decoding.grammar.constraint import TokenConstraint
from tinygrad_llm.common.decoding.grammar.expressions import Chars, Expr, Ref, alt, complement, repeat, seq
from tinygrad_llm.common.decoding.grammar.machine import compile_rules
from tinygrad_llm.common.decoding.grammar.schema import schema_rules
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.errors import ApiError, as_api_error
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["Choice", "Grammars", "call_schema", "called"]

Choice = Literal["none", "auto", "required"]
MAX_SCHEMA_BYTES = 16_384
"""一份 schema（工具则是全部工具的合起来）至多写这么长。"""
_KEPT = 16
"""至多留着几份编译好的。"""
_KEPT_MASKS = 8192
"""它们的掩码合起来至多这么多个，超过了就从最久没用的丢起；一个掩码是词表大小 ÷ 8 个字节。"""
_ANY_OBJECT = {"type": "object"}


class Grammars:
    """一个模型的约束。

    Args:
        tokenizer: 分词器。
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer, self._lock = tokenizer, threading.Lock()
        self._held: OrderedDict[str, TokenConstraint] = OrderedDict()

    def for_format(self, wanted: dict[str, Any]) -> TokenConstraint | None:
        """``response_format`` 的约束；``text`` 没有。

        Raises:
            ApiError: schema 写法不对，或没有值合它。
        """
        kind = wanted["type"]
        if kind == "text":
            return None
        if kind == "json_schema" and "json_schema" not in wanted:
            raise ApiError(400, "response_format: lacks 'json_schema'", param="response_format", code="invalid_value")
        schema = _ANY_OBJECT if kind == "json_object" else wanted["json_schema"]["schema"]
        return self._compiled(schema, "response_format", may_be_text=False)

    def for_tools(self, tools: Sequence[dict[str, Any]], *, may_be_text: bool) -> TokenConstraint:
        """一次调用；``may_be_text`` 时也可以是文字。

        Raises:
            ApiError: 参数的 schema 写法不对。
        """
        return self._compiled(call_schema(tools), "tools", may_be_text=may_be_text)

    def _compiled(self, schema: Any, param: str, *, may_be_text: bool) -> TokenConstraint:
        written = json.dumps(schema)
        if len(written) > MAX_SCHEMA_BYTES:
            raise ApiError(
                400, f"{param}: the schema has {len(written)} bytes, the limit is {MAX_SCHEMA_BYTES}", param=param,
                code="schema_too_large",
            )  # fmt: skip
        key = f"{may_be_text} {written}"
        with self._lock:
            found = self._held.get(key)
        if found is None:  # 编译时不拿着锁：一份大的也许要几秒，别人不等它
            found = self._made(schema, param, may_be_text=may_be_text)
        with self._lock:
            self._held[key] = found
            self._held.move_to_end(key)
            while len(self._held) > 1 and self._are_too_many():
                self._held.popitem(last=False)
        return found

    def _are_too_many(self) -> bool:
        return len(self._held) > _KEPT or sum(one.masks for one in self._held.values()) > _KEPT_MASKS

    def _made(self, schema: Any, param: str, *, may_be_text: bool) -> TokenConstraint:
        try:
            rules: dict[str, Expr] = dict(schema_rules(schema))
            if may_be_text:
                rules["one call"] = rules["root"]
                no_brace = Chars(complement([(ord("{"), ord("{"))]))
                rules["root"] = alt([Ref("one call"), "", seq(no_brace, repeat(Chars(complement([]))))])
            return TokenConstraint(compile_rules(rules), self._tokenizer)
        except UserError as error:
            raise as_api_error(error, param, "invalid_schema") from error
        except (RecursionError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise ApiError(400, f"{param}: malformed schema", param=param, code="invalid_schema") from error


def call_schema(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """恰是其中一个工具的一次调用；参数里的 ``$ref`` 改成从这份合起来的 schema 查起。"""
    branches = []
    for i, tool in enumerate(tools):
        function = tool["function"]
        place = f"#/anyOf/{i}/properties/arguments"
        branches.append(
            {
                "type": "object",
                "properties": {
                    "name": {"const": function["name"]},
                    "arguments": _moved(function.get("parameters") or _ANY_OBJECT, place),
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": branches}


def called(text: str) -> tuple[str, str] | None:
    """写完了的一次调用的名字与参数（JSON）；不是调用则为 ``None``。"""
    try:
        found = json.loads(text)
        return str(found["name"]), json.dumps(found["arguments"], ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        return None


def _moved(schema: Any, place: str) -> Any:
    if isinstance(schema, list):
        return [_moved(one, place) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: place + one[1:] if name == "$ref" and isinstance(one, str) and one.startswith("#") else _moved(one, place)
        for name, one in schema.items()
    }
