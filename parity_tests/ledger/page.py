"""总账的网页：一个文件，能排序、能筛选，每一格点开是最坏的输入与五行脚本。

流入：``Ledger``；流出：HTML 文本。版式、样式与脚本在 ``page.html``，这里只把数据填进去。
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parity_tests.ledger import report
from parity_tests.ledger.measure import tolerance
from parity_tests.ledger.survey import SHAPES
from tinygrad_llm.ops import REGISTRY

TEMPLATE = Path(__file__).with_name("page.html")

LONGEST = 4000
"""页面上一个输入至多这么多字；全文在 ``--json`` 里。"""


def html(ledger: report.Ledger) -> str:
    """整个网页。"""
    whole = report.as_json(ledger)
    data = {
        **whole,
        "ops": [{"name": op, "formula": REGISTRY[op].formula} for op in ledger.ops],
        "shapes": SHAPES,
        "bounds": {f"{dtype} {check}": tolerance(check, dtype)._asdict() for dtype, check in report.COLUMNS},
        "cells": [_flat(cell) for cell in whole["cells"]],
    }
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text.replace("<", "\\u003c"))


def _flat(cell: dict[str, Any]) -> dict[str, Any]:
    """页面要用的字段。"""
    kept = {key: cell[key] for key in ("op", "dtype", "shape", "check", "examples", "passed", "script")}
    inputs = cell["inputs"]
    kept["inputs"] = inputs if len(inputs) <= LONGEST else inputs[:LONGEST] + " …"
    kept["replayed"] = cell["replayed"]["relative"]
    return {**kept, **{key: cell["worst"][key] for key in ("relative", "ulps", "where", "ours", "theirs")}}
