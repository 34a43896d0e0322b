"""两个 ``gpt.py`` 是同一份文本：模型只写了一遍，两个引擎各自运行它。

流入：``tinygrad_llm/gpt.py`` 与 ``torch_llm/gpt.py``；流出：标记行之下第一处不同的行。
"""

from __future__ import annotations

import ast

from parity_tests.house.repo import PACKAGES, ROOT

_MARKER = "# ---- 以下两份文件逐字相同 ----"


def _halves(package: str) -> tuple[str, str]:
    text = (ROOT / package / "gpt.py").read_text(encoding="utf-8")
    assert text.count(f"\n{_MARKER}\n") == 1, f"{package}/gpt.py needs the marker line exactly once"
    header, body = text.split(f"\n{_MARKER}\n")
    return header, body


def test_the_two_models_are_the_same_text() -> None:
    """标记行以下两份模型有一行不同。"""
    ours, theirs = (_halves(package)[1].splitlines() for package in PACKAGES)
    longest = max(len(ours), len(theirs))
    pairs = zip(ours + ["<end>"] * (longest - len(ours)), theirs + ["<end>"] * (longest - len(theirs)), strict=True)
    found = [f"line {number} after the marker: {a!r} != {b!r}" for number, (a, b) in enumerate(pairs, 1) if a != b]
    assert not found, "\n".join(found[:5])


def test_nothing_but_imports_stands_above_the_marker() -> None:
    """标记行以上除了文档与导入还有别的代码：差异可能就藏在那里。"""
    for package in PACKAGES:
        header, body = _halves(package)
        statements = ast.parse(header).body[1:]
        assert all(isinstance(one, ast.Import | ast.ImportFrom) for one in statements), package
        assert "class GPT" in body, package
