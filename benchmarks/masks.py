"""语法约束的代价：每个 token 的掩码要算多久，头一回与以后各是多少。

流入：一个词表与几种约束；流出：编译、头一次走到一个状态、再走到它时各要几毫秒，以及编译出的状态有多少。
写法由随机的 logits 决定，种子固定；过了 40 个 token，收尾的字符受偏爱，所以每份都写得完。界限：掩码的中位数 2 毫秒。
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.options import Output, too_small
from tinygrad_llm.common.decoding.grammar.constraint import (
    TokenConstraint,
    grammar_constraint,
    regex_constraint,
    schema_constraint,
)
from tinygrad_llm.common.tokenizers import Tokenizer, load_tokenizer

BOUND_MS = 2.0
PATIENCE = 40
TEXTS = 5
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        "extra": {},
    },
    "required": ["name", "age", "tags", "extra"],
    "additionalProperties": False,
}
ARITHMETIC = r"""
root   ::= term (("+" | "-") term)*
term   ::= factor (("*" | "/") factor)*
factor ::= /[1-9][0-9]{0,5}/ | "(" root ")"
"""
KINDS: dict[str, Callable[[Tokenizer], TokenConstraint]] = {
    "regex: sentences": lambda tokenizer: regex_constraint(r"(?:[A-Z][a-z ,]{10,80}\. ?){1,5}", tokenizer),
    "schema: a person": lambda tokenizer: schema_constraint(PERSON, tokenizer),
    "schema: any JSON": lambda tokenizer: schema_constraint({}, tokenizer),
    "grammar: arithmetic": lambda tokenizer: grammar_constraint(ARITHMETIC, tokenizer),
}


@dataclass(frozen=True)
class MaskOptions(Output):
    """语法约束的代价。"""

    run: Path | None = None
    """用这个运行的词表；缺省造一个 49,152 个 token 的。"""
    texts: int = TEXTS
    """每种约束写几份；头一份之后，掩码多半已经算过。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        return [*super().problems(), *too_small(self, {"texts": 2})]


def invented(size: int = 49_152) -> Tokenizer:
    """造一个词表：随机地把已有的两个符号并成一个，长短与真的相仿。"""
    rng, letters = random.Random(0), [ord(char) for char in "etaoinshrdlucmfwypvbgk "]
    symbols, merges, lengths = set(letters), list[tuple[int, int]](), dict.fromkeys(range(256), 1)
    made: set[bytes] = set()
    spelt = {value: bytes([value]) for value in range(256)}
    pool = sorted(symbols)
    while 256 + len(merges) + 1 < size:
        left, right = rng.choice(pool), rng.choice(letters)
        word = spelt[left] + spelt[right]
        if word in made or lengths[left] > 10 or b" " in word[1:]:
            continue
        made.add(word)
        number = 256 + len(merges)
        merges.append((left, right))
        spelt[number], lengths[number] = word, lengths[left] + 1
        pool.append(number)
    return Tokenizer(merges)


def measure(options: MaskOptions) -> dict[str, Any]:
    """各种约束。"""
    tokenizer = load_tokenizer(options.run / "tokenizer.json") if options.run else invented()
    report.tell(f"a vocabulary of {tokenizer.vocab_size:,}")
    regex_constraint("a", tokenizer)  # 前缀树先建好：它与约束无关
    found = {}
    for name, compiled in KINDS.items():
        started_at = time.perf_counter()
        constraint = compiled(tokenizer)
        found[name] = {"compile_s": time.perf_counter() - started_at, **_written(constraint, tokenizer, options.texts)}
    return {"vocab_size": tokenizer.vocab_size, "bound_ms": BOUND_MS, "kinds": found}


def _written(constraint: TokenConstraint, tokenizer: Tokenizer, texts: int) -> dict[str, Any]:
    """照随机的 logits 写几份，量每一步的掩码。"""
    rng, seen = np.random.default_rng(0), set[Any]()
    times: dict[str, list[float]] = {"new": [], "known": []}
    closing = np.zeros(tokenizer.vocab_size)
    for char in '"}]).0123456789':
        closing[tokenizer.encode(char)[0]] = 12
    for _ in range(texts):
        state, tokens = constraint.start(), 0
        while tokens < 4 * PATIENCE:
            started_at = time.perf_counter()
            mask = constraint.mask(state)
            elapsed_s = time.perf_counter() - started_at
            times["known" if state in seen else "new"].append(elapsed_s)
            seen.add(state)
            if not mask.any() or (tokens > PATIENCE and constraint.is_final(state)):
                break
            scores = rng.normal(size=len(mask)) * 3 + closing * (tokens > PATIENCE)
            state, tokens = constraint.advance(state, int(np.where(mask, scores, -np.inf).argmax())), tokens + 1
    every = times["new"] + times["known"]
    return {
        "new_ms": 1e3 * statistics.median(times["new"]),
        "known_ms": 1e3 * statistics.median(times["known"]) if times["known"] else None,
        "median_ms": 1e3 * statistics.median(every),
        "p99_ms": 1e3 * sorted(every)[int(0.99 * (len(every) - 1))],
        "masks": len(every),
        "states": len(seen),
    }


def text(result: dict[str, Any]) -> str:
    """一张表。"""
    rows = [
        [
            name,
            f"{1e3 * one['compile_s']:.1f}",
            f"{one['new_ms']:.2f}",
            "-" if one["known_ms"] is None else f"{one['known_ms']:.3f}",
            f"{one['median_ms']:.3f}",
            f"{one['p99_ms']:.2f}",
            f"{one['states']} / {one['masks']}",
        ]
        for name, one in result["kinds"].items()
    ]
    head = ["ms", "compile", "new state", "known state", "median", "p99", "states / masks"]
    note = f"vocabulary {result['vocab_size']:,}; bound for the median: {result['bound_ms']:.0f} ms a token"
    return report.table(head, rows) + "\n" + note


def main(options: MaskOptions) -> None:
    """``python -m benchmarks masks``。"""
    result = measure(options)
    print(text(result))
    report.publish(report.document("masks", options, result), options)
