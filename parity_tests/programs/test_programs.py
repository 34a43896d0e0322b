"""普通的 PyTorch 程序换成 ``import tinygrad_llm as torch`` 之后，损失、梯度、权重、生成的词元与印出的字都不变。

流入：本目录的程序；流出：第一处不同。加一个程序：在本目录放一个文件，写一个返回字典的 ``program()``。
"""

from __future__ import annotations

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.programs.engines import FOLDER, first_difference, run

PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if "\ndef program(" in path.read_text(encoding="utf-8"))
# 相对于最大的元素。损失是几十个数的平均；梯度多经过一遍反向。K 的偏置等少数梯度在数学上恒为 0，float32 里只剩舍入误差，
# Adam 却把它放大成整整一步，所以 float32 的权重只能粗看；float64 的舍入误差小九个数量级，不受此累。
BOUNDS = {"float32": {"loss": 1e-5, "weig": 1e-1, "": 1e-4}, "float64": {"": 1e-9}}


def _bound(dtype: str, key: str) -> float:
    return BOUNDS[dtype].get(key[:4], BOUNDS[dtype][""])


@pytest.mark.parametrize("dtype", sorted(BOUNDS))
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_gives_what_torch_gives(name: str, dtype: str) -> None:
    """同一个程序在两个引擎上的某个结果不同，或换了引擎就跑不起来。"""
    (ours, text), (theirs, expected) = run(name, tg, dtype), run(name, torch, dtype)
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        difference = first_difference(ours[key], value, _bound(dtype, key), key)
        assert difference is None, difference
    assert text == expected
