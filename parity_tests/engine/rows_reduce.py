"""归约与扫描算子的对照，格式同 ``op_table.py``。"""

from __future__ import annotations

from parity_tests.engine.op_cases import Row

ROWS: dict[str, Row] = {}
