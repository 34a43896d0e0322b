"""JSON schema：任何 logits 写出的都是合这份 schema 的 JSON；不认识的关键字一律报错。"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.decoding.words import END, JSON_TOKENIZER
from tinygrad_llm.common.decoding.generation import Generation
from tinygrad_llm.common.decoding.grammar.constraint import schema_constraint
from tinygrad_llm.common.decoding.grammar.validate import first_problem
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.errors import UserError

NAMES = st.sampled_from(["a", "ab", "b", 'q"', "中", "", "\n"])
VALUES = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=3) | st.floats(-9, 9)
CLOSING = [i for i, word in enumerate(JSON_TOKENIZER.words) if word[:1] in b'"}]' or word == b"null"]


def bounded(draw: st.DrawFn, strategy: st.SearchStrategy[Any], low: str, high: str) -> dict[str, Any]:
    """至多两个界，不矛盾。"""
    a, b = sorted([draw(strategy), draw(strategy)])
    return {name: value for name, value in ((low, a), (high, b)) if draw(st.booleans())}


@st.composite
def leaves(draw: st.DrawFn) -> Any:
    """没有内层的 schema。"""
    kind = draw(st.sampled_from(["string", "pattern", "integer", "number", "simple", "enum", "any"]))
    if kind == "string":
        return {"type": "string", **bounded(draw, st.integers(0, 4), "minLength", "maxLength")}
    if kind == "pattern":
        return {
            "type": "string",
            "pattern": draw(st.sampled_from(["^[a-c]{2}$", "^a|b$", r"\d", '^["\\\\\n]x?$', "中"])),
        }
    if kind == "integer":
        return {"type": "integer", **bounded(draw, st.integers(-120, 1200), "minimum", "maximum")}
    if kind == "number":
        strict = draw(st.booleans())
        names = ("exclusiveMinimum", "exclusiveMaximum") if strict else ("minimum", "maximum")
        grid = st.integers(-300, 300).map(lambda n: n / 8)
        found = bounded(draw, grid, *names)
        is_empty = strict and len(found) == 2 and len(set(found.values())) == 1
        return {"type": "number", **({} if is_empty else found)}
    if kind == "enum":
        return {"enum": draw(st.lists(VALUES, min_size=1, max_size=3))}
    return {} if kind == "any" else {"type": draw(st.sampled_from(["boolean", "null", ["null", "boolean"]]))}


def schemas() -> st.SearchStrategy[Any]:
    """随机的 schema。"""

    def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        properties = st.dictionaries(NAMES, inner, max_size=3)
        objects = st.tuples(properties, st.sampled_from([False, True, {"type": "null"}, None]), st.data()).map(
            lambda parts: _object(*parts)
        )
        arrays = st.tuples(inner, st.integers(0, 2), st.integers(0, 2), st.lists(inner, max_size=2)).map(
            lambda p: {"type": "array", "items": p[0], "minItems": p[1], "maxItems": p[1] + p[2], "prefixItems": p[3]}
        )
        return objects | arrays | st.lists(inner, min_size=1, max_size=3).map(lambda found: {"anyOf": found})

    return st.recursive(leaves(), grown, max_leaves=5)


def _object(properties: dict[str, Any], extra: Any, data: Any) -> dict[str, Any]:
    required = data.draw(st.sets(st.sampled_from(sorted(properties)))) if properties else set()
    found = {"type": "object", "properties": properties, "required": sorted(required)}
    return found if extra is None else {**found, "additionalProperties": extra}


def written(schema: Any, seed: int, *, patience: int = 40, limit: int = 3000) -> str:
    """照随机的 logits 写；过了 ``patience`` 步，收尾的字符与 ``pattern`` 里的字符受偏爱，免得字符串没完没了。"""
    constraint, rng = schema_constraint(schema, JSON_TOKENIZER), np.random.default_rng(seed)
    end = JSON_TOKENIZER.special(END)
    sampling = Sampling(1.0, seed=seed)
    generation = Generation(
        Request((65,), limit, sampling, stop_ids=frozenset({end}), constraint=constraint), JSON_TOKENIZER
    )
    patterns = [text.replace(r"\\d", "7").encode() for text in re.findall(r"'pattern': '([^']*)'", str(schema))]
    needed = [i for i, word in enumerate(JSON_TOKENIZER.words) if any(word in pattern for pattern in patterns)]
    urged = [*CLOSING, end, *needed]
    while not generation.finish:
        logits = rng.normal(size=JSON_TOKENIZER.vocab_size) * 3
        if len(generation.tokens) > patience:
            logits[urged] += 12
        generation.advance(logits)
    assert generation.finish == "stop"
    return generation.text


@given(schema=schemas(), seed=st.integers(0, 2**32 - 1))
def test_something_else_than_the_schema_is_written(schema: Any, seed: int) -> None:
    """随机的 schema、随机的 logits：写出的不是 JSON，或不合 schema。"""
    text = written(schema, seed)
    assert not first_problem(json.loads(text), schema), text
    jsonschema = _jsonschema()
    if jsonschema is not None:
        jsonschema.validate(json.loads(text), schema)


def _jsonschema() -> Any:
    try:
        import jsonschema  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return None
    return jsonschema


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "v": {"type": "integer"},
                "left": {"$ref": "#/$defs/leaf"},
                "right": {"$ref": "#/$defs/leaf"},
            },
            "required": ["v", "left", "right"],
            "additionalProperties": False,
        },
        "leaf": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize("seed", range(8))
def test_a_recursive_schema_is_broken(seed: int) -> None:
    """互相引用的 schema 写出的树不合 schema。"""
    text = written(TREE, seed, patience=10)
    assert not first_problem(json.loads(text), TREE), text


VALID = [
    (TREE, '{"v": 1, "left": {"v":2,"left":null,"right":null}, "right": null}', True),
    (TREE, '{"v": 1, "left": null}', False),
    ({"type": "integer", "minimum": -3, "maximum": 12}, "-3", True),
    ({"type": "integer", "minimum": -3, "maximum": 12}, "-4", False),
    ({"type": "integer", "minimum": -3, "maximum": 12}, "12", True),
    ({"type": "integer", "minimum": -3, "maximum": 12}, "13", False),
    ({"type": "integer", "minimum": -3, "maximum": 12}, "05", False),
    ({"type": "number", "exclusiveMinimum": 0.5, "maximum": 2}, "0.5", False),
    ({"type": "number", "exclusiveMinimum": 0.5, "maximum": 2}, "0.51", True),
    ({"type": "number", "exclusiveMinimum": 0.5, "maximum": 2}, "2.00", True),
    ({"type": "number", "exclusiveMinimum": 0.5, "maximum": 2}, "2.01", False),
    ({"type": "string", "maxLength": 2}, r'"é\u00e9"', True),
    ({"type": "string", "maxLength": 2}, '"abc"', False),
    ({"type": "string", "minLength": 1}, '""', False),
    ({"properties": {"a": {}, "b": {}}, "required": ["b"]}, '{"b": [1, {"x": "y"}]}', True),
    ({"properties": {"a": {}, "b": {}}, "required": ["b"]}, '{"a": 1}', False),
    ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}}, '{"ab": null}', True),
    ({"properties": {"a": {"const": 1}}, "additionalProperties": {"type": "null"}}, '{"a": null}', False),
    ({"const": {"x": [1, "é"]}}, '{"x": [1, "é"]}', True),
    ({"type": "string", "enum": ["a", 1]}, "1", False),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 1}, "[null, null]", False),
]


@pytest.mark.parametrize(("schema", "text", "fits"), VALID)
def test_an_example_is_judged_wrongly(schema: Any, text: str, fits: bool) -> None:
    """手写的例子：语法、独立的检查与标注三者不一致。"""
    assert schema_constraint(schema, JSON_TOKENIZER).matches(text) is fits
    try:
        assert (not first_problem(json.loads(text), schema)) is fits
    except ValueError:
        assert not fits


WRONG = [
    (False, "nothing can satisfy false"),
    ({"type": "string", "format": "date"}, "'format' is not supported"),
    ({"oneOf": [{}]}, "use anyOf"),
    ({"allOf": [{}, {}]}, "allOf of several"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"properties": {"a": {"not": {}}}}, "#/properties/a"),
    ({"type": "text"}, "unknown type"),
    ({"type": "string", "minLength": 3, "maxLength": 1}, "exceeds"),
    ({"type": "string", "pattern": "a", "maxLength": 1}, "beside minLength"),
    ({"type": "integer", "minimum": 2, "exclusiveMaximum": 2}, "exclude each other"),
    ({"type": "integer", "minimum": 0.2, "maximum": 0.8}, "no integer"),
    ({"type": "string", "enum": [1, 2]}, "no value of the enumeration"),
    ({"$ref": "#/nowhere"}, "points to nothing"),
    ({"$ref": "http://example.com/a"}, "does not point into this schema"),
    ({"$ref": "#"}, "left recursion"),
    ({"required": ["a"], "additionalProperties": False}, "required but not among"),
    ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "nothing can satisfy"),
    ({"items": False, "minItems": 1}, "exceeds"),
    ({"minimum": "3"}, "not a number"),
    (["a"], "a schema is an object"),
    (json.loads('{"items":' * 60 + "{}" + "}" * 60), "nests deeper"),
]


@pytest.mark.parametrize(("schema", "said"), WRONG)
def test_a_keyword_is_ignored(schema: Any, said: str) -> None:
    """不认识的关键字、矛盾的界、没有尽头的递归被悄悄收下了。"""
    with pytest.raises(UserError) as caught:
        schema_constraint(schema, JSON_TOKENIZER)
    assert said in str(caught.value)
