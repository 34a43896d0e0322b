"""上下文无关语法：递归认得，左递归拒绝，写法错误指明行列。"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.decoding.words import END, JSON_TOKENIZER
from tinygrad_llm.common.decoding.generation import Generation
from tinygrad_llm.common.decoding.grammar.constraint import TokenConstraint, grammar_constraint
from tinygrad_llm.common.decoding.grammar.utf8 import utf8_ranges
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.errors import UserError

ARITHMETIC = """
# 四则运算
root   ::= term (("+" | "-") term)*
term   ::= factor (("*" | "/") factor)*
factor ::= number | "(" root ")"   # 括号里又是一个式子
number ::= /[1-9][0-9]{0,2}/
"""
BRACKETS = 'root ::= "" | "(" root ")" root | "[" root "]" root'


@given(st.text(alphabet="()[]", max_size=10))
def test_brackets_are_matched_wrongly(text: str) -> None:
    """随机的括号串：认不认得与用一个栈数出来的不同。"""
    stack: list[str] = []
    is_balanced = True
    for char in text:
        if char in "([":
            stack.append(")" if char == "(" else "]")
        else:
            is_balanced &= bool(stack) and stack.pop() == char
    assert grammar_constraint(BRACKETS, JSON_TOKENIZER).matches(text) is (is_balanced and not stack)


@given(seed=st.integers(0, 2**32 - 1))
def test_an_expression_cannot_be_evaluated(seed: int) -> None:
    """照语法写出的算式，拿语法之外的办法（Python 的编译器）来看并不合法。"""
    constraint, rng = grammar_constraint(ARITHMETIC, JSON_TOKENIZER), np.random.default_rng(seed)
    end = JSON_TOKENIZER.special(END)
    request = Request((65,), 500, Sampling(1.0, seed=seed), stop_ids=frozenset({end}), constraint=constraint)
    generation = Generation(request, JSON_TOKENIZER)
    while not generation.finish:
        logits = rng.normal(size=JSON_TOKENIZER.vocab_size)
        logits[[end, ord(")"), *range(48, 58)]] += len(generation.tokens) / 10
        generation.advance(logits)
    assert generation.finish == "stop"
    compile(generation.text, "expression", "eval")


def test_the_stack_grows_along_a_list() -> None:
    """右递归的列表很长时，每一项都成了新的状态：掩码的缓存永远用不上。"""
    constraint = grammar_constraint('root ::= "a" rest\nrest ::= "" | "," "a" rest', JSON_TOKENIZER)
    state, seen = constraint.start(), set()
    for _ in range(30):
        for char in "a,":
            state = constraint.advance(state, ord(char))
            seen.add(state)
    assert len(seen) <= 4


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('root ::= root "a" | "b"', "left recursion"),
        ('root ::= a "x"\na ::= b* root\nb ::= "b"', "left recursion"),
        ('root ::= "a" other', "no rule 'other'"),
        ('start ::= "a"', "no rule named root"),
        ('root ::= "a"\nroot ::= "b"', "defined twice"),
        ('root ::= ("a"', "expected ')'"),
        ('root ::= "a")', "without its"),
        ('root ::= "a\n"', "past the end of its line"),
        ('root = "a"', "expected '::='"),
        ("root ::= /a(/", "regular expression"),
        ('root ::= "a" root', "nothing can satisfy"),
        ("root ::= [^\\x00-", "grammar"),
    ],
)
def test_a_wrong_grammar_is_accepted(source: str, said: str) -> None:
    """写法不对、左递归或没有尽头的语法被收下了。"""
    with pytest.raises(UserError) as caught:
        grammar_constraint(source, JSON_TOKENIZER)
    assert said in str(caught.value)


def test_an_error_points_to_another_place() -> None:
    """第三行第 9 列的错误报在别处。"""
    with pytest.raises(UserError) as caught:
        grammar_constraint('root ::= a\n\na   ::= !"x"', JSON_TOKENIZER)
    assert caught.value.where.startswith("line 3, column 9")


def test_a_token_outside_the_mask_is_accepted() -> None:
    """掩码不允许的 token 也能往前走。"""
    constraint: TokenConstraint = grammar_constraint('root ::= "a"', JSON_TOKENIZER)
    with pytest.raises(UserError, match="does not fit"):
        constraint.advance(constraint.start(), ord("b"))


@given(st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 0x10FFFF)).map(sorted), st.integers(0, 0x10FFFF))
def test_a_range_is_spelt_with_other_bytes(bounds: list[int], code: int) -> None:
    """码位的区间写成的 UTF-8 字节串，漏了区间里的字，或多出区间外的。"""
    low, high = bounds
    for one in (low, high, code):
        if 0xD800 <= one <= 0xDFFF:
            continue
        data = chr(one).encode()
        spelt = sum(
            len(ranges) == len(data) and all(a <= byte <= b for (a, b), byte in zip(ranges, data, strict=True))
            for ranges in utf8_ranges(low, high)
        )
        assert spelt == (low <= one <= high)
