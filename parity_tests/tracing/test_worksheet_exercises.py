"""随机的题：难度与种子定下同一道题，数字好算，torch 也能算，答案填满得 100 分。"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity_tests.tolerances import assert_close
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.tracing.programs import run_program
from tinygrad_llm.tracing.worksheet import check_worksheet, fill_worksheet, make_exercise
from tinygrad_llm.tracing.worksheet.exercises import LARGEST, program
from tinygrad_llm.tracing.worksheet.levels import LEVELS

SEEDS = range(6)


@pytest.mark.parametrize("level", LEVELS)
def test_an_exercise_is_a_program_that_torch_agrees_with(level: int, tmp_path: Path) -> None:
    """题是一个普通的小程序：torch 的梯度相同，数不大，填满答案得 100 分。"""
    for seed in SEEDS:
        path = make_exercise(level, seed, tmp_path / f"{level}_{seed}.md")
        trace = run_program(f"{path.with_suffix('.py')}:exercise")
        leaves = [value for value in trace.values if value.kind == "leaf" and value.grad is not None]
        assert leaves
        for leaf in leaves:
            assert leaf.torch_grad is not None, trace.extensions
            assert_close(leaf.grad, leaf.torch_grad, "float64", f"{path.name}: {leaf.label}")
            assert np.abs(np.asarray(leaf.data)).max() <= LARGEST
        assert check_worksheet(fill_worksheet(path)).score == 100.0


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_seed_is_the_same_exercise_and_others_differ(level: int) -> None:
    """同样的种子同一道题；不同的种子各不相同；一百个种子个个出得了题。"""
    assert program(level, 3) == program(level, 3)
    assert len({program(level, seed) for seed in range(100)}) > 95


def test_the_levels_ask_what_they_promise() -> None:
    """二级必有用了几次的值，三级必有广播的求和，四级必有矩阵乘，五级必有 softmax。"""
    for seed in SEEDS:
        sources = {level: program(level, seed) for level in LEVELS}
        assert "@" in sources[4]
        assert "softmax" in sources[5]


def test_levels_two_and_three_exercise_sums(tmp_path: Path) -> None:
    """二级的练习有「到此为止的和」，三级的贡献要对广播的轴求和。"""
    for seed in SEEDS:
        assert "| S1 |" in make_exercise(2, seed, tmp_path / f"two_{seed}.md").read_text()
        assert "轴求和" in make_exercise(3, seed, tmp_path / f"three_{seed}.md").read_text()


def test_a_lost_program_is_written_again(tmp_path: Path) -> None:
    """程序文件丢了：难度与种子写在练习里，重新写出来，判分照旧。"""
    path = make_exercise(2, 5, tmp_path / "lost.md")
    fill_worksheet(path, path)
    text = path.with_suffix(".py").read_text()
    path.with_suffix(".py").unlink()
    assert check_worksheet(path).ok
    assert path.with_suffix(".py").read_text() == text


def test_a_wrong_level_or_name_is_refused(tmp_path: Path) -> None:
    """没有的难度，或不是 Markdown 的名字。"""
    with pytest.raises(UserError, match="no exercise level 6"):
        make_exercise(6, 0, tmp_path / "x.md")
    with pytest.raises(UserError, match="not the name of a Markdown file"):
        make_exercise(1, 0, tmp_path / "x.py")
    with pytest.raises(UserError, match="cannot write"):
        make_exercise(1, 0, Path("/dev/null/x.md"))
