"""判分：逐个检查练习，打印得分与提示。

流入：填好的练习文件（缺省为同目录的 ``exercise.py``）；流出：每题一行与总分。满分退出码为 0，否则为 1，文件读不了为 2。
用法：``python examples/ch06_pretraining/exercises/grade.py [FILE]``。
"""

from __future__ import annotations

import argparse
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from check_formulas import check_bits_per_byte, check_learning_rate, check_parameter_count
from check_updates import check_accumulate, check_clip, check_train_weights

from tinygrad_llm.common.errors import UserError

EXERCISES: tuple[tuple[str, int, Callable[..., str]], ...] = (
    ("nats_to_bits_per_byte", 10, check_bits_per_byte),
    ("warmup_cosine", 15, check_learning_rate),
    ("clip_by_global_norm", 15, check_clip),
    ("accumulate", 20, check_accumulate),
    ("gpt2_parameter_count", 20, check_parameter_count),
    ("train_weights", 20, check_train_weights),
)


def load_answers(path: Path) -> dict[str, Any]:
    """运行读者的文件，取出其中的名字。

    Raises:
        UserError: 文件不存在，或运行它时出错。
    """
    if not path.is_file():
        raise UserError("there is no such answer file", where=str(path), fix="pass the path of your exercise.py")
    try:
        return runpy.run_path(str(path))
    except Exception as error:  # 读者的文件里什么错都可能有，都应变成一句话
        raise UserError(f"the file does not load: {error}", where=_where(error, path), fix="fix that line") from error


def hint_for(answer: Any, check: Callable[..., str], path: Path) -> str:
    """检查一题。

    Returns:
        提示；通过为空串。
    """
    if answer is None:
        return "the function is missing"
    try:
        with np.errstate(all="ignore"):
            return check(answer)
    except NotImplementedError:
        return "not written yet"
    except Exception as error:  # 同上
        shapes = "; do the shapes ask for a transpose?" if "matmul" in str(error) else ""
        return f"raised {type(error).__name__} at {_where(error, path)}: {error}{shapes}"


def _where(error: BaseException, path: Path) -> str:
    """出错处在读者文件里的行号。"""
    if isinstance(error, SyntaxError):
        return f"{path.name}:{error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == path.name]
    return f"{path.name}:{lines[-1]}" if lines else path.name


def main() -> int:
    """打印成绩单；满分时返回 0。"""
    parser = argparse.ArgumentParser(prog="grade.py", description="grade the exercises of chapter 6")
    parser.add_argument("file", nargs="?", type=Path, default=Path(__file__).with_name("exercise.py"))
    path = parser.parse_args().file
    try:
        answers = load_answers(path)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    score = 0
    for number, (name, points, check) in enumerate(EXERCISES, 1):
        hint = hint_for(answers.get(name), check, path)
        earned = 0 if hint else points
        score += earned
        print(f"{number} {name:21} {earned:2}/{points}  {hint or 'ok'}")
    total = sum(points for _, points, _ in EXERCISES)
    print(f"score: {score}/{total}")
    return 0 if score == total else 1


if __name__ == "__main__":
    sys.exit(main())
