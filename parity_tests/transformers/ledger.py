"""账本：三家各若干个随机配置、两个方向的权重，与 ``transformers`` 差多少。

流入：``python -m parity_tests.transformers.ledger --count 200 --write``；流出：终端上的表，与旁边的 ``ledger.md``。
"""

from __future__ import annotations

import argparse
import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.tolerances import as_array
from parity_tests.transformers.families import FAMILIES, configs, from_theirs, state_of, their_model, to_theirs
from parity_tests.transformers.sides import pairs
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.weights.names import Family

PAGE = Path(__file__).with_name("ledger.md")
_QUIET = {"database": None, "deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
_COLUMNS = ("logits", "loss", "gradient")


def largest(family: Family, is_theirs: bool, count: int) -> dict[tuple[str, str], float]:
    """``count`` 个随机配置里，（引擎，量）到最大的差，除以 ``max(1, 那边最大的数)``。"""
    found: dict[tuple[str, str], float] = {}

    @settings(max_examples=count, **_QUIET)  # type: ignore[arg-type]
    @given(config=configs(family), seed=st.integers(0, 1000))
    def run(config: GPTConfig, seed: int) -> None:
        theirs = their_model(config, family)
        weights = from_theirs(state_of(theirs), config, family)
        if not is_theirs:
            weights = {k: 5 * v for k, v in initial_weights(config, seed, "float64").items()}
            theirs.load_state_dict({k: torch.tensor(v) for k, v in to_theirs(weights, config, family).items()})
        for what, m, ours, expected in pairs(config, family, theirs, weights, seed):
            a, b = as_array(ours), as_array(expected)
            key = (m.__name__, what.partition(" ")[0])
            apart = float(np.abs(a - b).max(initial=0.0)) / max(1.0, float(np.abs(b).max(initial=0.0)))
            found[key] = max(found.get(key, 0.0), apart)

    run()
    return found


def page(count: int) -> str:
    """整页 Markdown。"""
    rows = []
    for family in FAMILIES:
        for is_theirs in (True, False):
            worst = largest(family, is_theirs, count)
            for m in (tg, torch):
                engine = "NumPy" if m is tg else "torch"
                cells = " | ".join(f"{worst[m.__name__, column]:.1e}" for column in _COLUMNS)
                way = "theirs in ours" if is_theirs else "ours in theirs"
                rows.append(f"| {family} | {way} | {engine} | {cells} |")
    return "\n".join([
        "# 我们的 GPT 与 transformers",
        "",
        f"每行 {count} 个随机的小配置，float64；格里是最大的差，除以 `max(1, 那边那个数组里最大的数)`。",
        f"transformers {version('transformers')}，torch {version('torch')}，NumPy {np.__version__}。",
        "由 `python -m parity_tests.transformers.ledger --write` 写成。",
        "",
        "| 家 | 权重 | 我们的引擎 | logits | 损失 | 各参数的梯度 |",
        "| :--- | :--- | :--- | ---: | ---: | ---: |",
        *rows,
        "",
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """算出账本；``--write`` 则写在旁边。"""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.transformers.ledger")
    parser.add_argument("--count", type=int, default=200, help="random configurations per row (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args(argv)
    logging: Any = importlib.import_module("transformers").logging
    logging.set_verbosity_error()
    text = page(options.count)
    print(text)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
