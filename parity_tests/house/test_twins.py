"""孪生文件是同一份文本：模型、损失、LoRA 只写了一遍，两个引擎各自运行它。

流入：两个包里同名而带标记行的文件；流出：标记行之下第一处不同的行。
"""

from __future__ import annotations

import ast

import pytest

from parity_tests.house.repo import PACKAGES, ROOT

_MARKER = "# ---- 以下两份文件逐字相同 ----"
TWINS = {
    "gpt.py": "class GPT",
    "losses.py": "def dpo_loss",
    "lora.py": "class LoRA",
    "scoped.py": "class Scoped",
    "attack.py": "class Attackable",
    "objectives_classification.py": "class Classification",
    "objectives_preferences.py": "class PreferenceMethod",
    "objectives_distillation.py": "class DistillationMethod",
    "objectives_policy.py": "class PolicyGradient",
}
"""文件名，与标记行以下必有的一行。"""


def _halves(package: str, name: str) -> tuple[str, str]:
    text = (ROOT / package / name).read_text(encoding="utf-8")
    assert text.count(f"\n{_MARKER}\n") == 1, f"{package}/{name} needs the marker line exactly once"
    header, body = text.split(f"\n{_MARKER}\n")
    return header, body


def test_every_twin_is_compared() -> None:
    """有一对带标记行的文件没有列在 ``TWINS`` 里，不会被比较。"""
    for package in PACKAGES:
        marked = {path.name for path in (ROOT / package).glob("*.py") if _MARKER in path.read_text(encoding="utf-8")}
        assert marked == set(TWINS), package


@pytest.mark.parametrize("name", TWINS)
def test_the_two_files_are_the_same_text(name: str) -> None:
    """标记行以下两份文件有一行不同。"""
    ours, theirs = (_halves(package, name)[1].splitlines() for package in PACKAGES)
    longest = max(len(ours), len(theirs))
    pairs = zip(ours + ["<end>"] * (longest - len(ours)), theirs + ["<end>"] * (longest - len(theirs)), strict=True)
    found = [f"line {number} after the marker: {a!r} != {b!r}" for number, (a, b) in enumerate(pairs, 1) if a != b]
    assert not found, "\n".join(found[:5])


@pytest.mark.parametrize("name", TWINS)
def test_nothing_but_imports_stands_above_the_marker(name: str) -> None:
    """标记行以上除了文档与导入还有别的代码：差异可能就藏在那里。"""
    for package in PACKAGES:
        header, body = _halves(package, name)
        statements = ast.parse(header).body[1:]
        assert all(isinstance(one, ast.Import | ast.ImportFrom) for one in statements), package
        assert TWINS[name] in body, package
