"""练习的四个动作：写题、判分、写答案、出新题。

流入：记录，或练习的路径；流出：文件与 ``Report``。练习的注释里写着程序、出题的种子与指纹，判分时照此把程序再运行一遍；
指纹对不上，就是程序改过了。
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.tracing.programs import find_program, run_program
from tinygrad_llm.tracing.trace import Trace
from tinygrad_llm.tracing.worksheet import exercises
from tinygrad_llm.tracing.worksheet.cells import Sheet
from tinygrad_llm.tracing.worksheet.grading import Grader
from tinygrad_llm.tracing.worksheet.reading import filled, read_about, read_cells, read_text
from tinygrad_llm.tracing.worksheet.report import Report
from tinygrad_llm.tracing.worksheet.sheet import numbers, render

VERSION = 1


def write_worksheet(trace: Trace, path: str | Path) -> Path:
    """把一份记录写成练习：前向的值、局部导数、贡献、到此为止的和与最终梯度，都留空。

    由 ``run_program`` 得到的记录（命令行也是）可以只凭文件判分；自己用 ``with trace()`` 记的，判分时要把记录再给一次。

    Args:
        trace: 记录。
        path: 写到哪里；已有的文件会被换掉。

    Returns:
        写好的文件。

    Raises:
        UserError: 记录里没有可以填的数，或者写不进去。
    """
    target, about, source = Path(path), {}, ""
    if trace.origin is not None:
        program, composed = trace.origin
        found = find_program(program)
        source = _code(found.source.path.read_text(encoding="utf-8"))
        about = {"program": _portable(program, target), "composed": composed}
    return _write(trace, target, about, source)


def check_worksheet(path: str | Path, trace: Trace | None = None) -> Report:
    """判一张填过的练习。

    Args:
        path: 练习。
        trace: 产生它的记录；不给就照练习里写的程序再运行一遍。

    Returns:
        每格的对错、错误的名字与总分；``print`` 出来可读，``exit_code`` 全对是 0。

    Raises:
        DataError: 文件不是练习、被改坏了，或程序在那以后改过。
        UserError: 找不到程序。
    """
    text, sheet = _open(Path(path), trace)
    return Grader(sheet, read_cells(text, sheet.cells, str(path))).report()


def fill_worksheet(path: str | Path, target: str | Path | None = None, trace: Trace | None = None) -> Path:
    """把一张练习的各格填上正确的数：答案。

    Args:
        path: 练习。
        target: 答案写到哪里；不给就写在旁边的 ``NAME.answers.md``，填过的练习不动。
        trace: 同 ``check_worksheet``。

    Returns:
        写好的文件。

    Raises:
        DataError: 同 ``check_worksheet``。
        UserError: 写不进去。
    """
    text, sheet = _open(Path(path), trace)
    read_cells(text, sheet.cells, str(path))
    answers = {cell.id: numbers(cell.asked, cell.noise) for cell in sheet.cells.values()}
    return _save(Path(target or Path(path).with_suffix(".answers.md")), filled(text, answers))


def make_exercise(level: int, seed: int, path: str | Path) -> Path:
    """出一道新题：一个小程序（与练习同名的 ``.py``）和它的练习。

    Args:
        level: 难度，1 到 5：标量的链、用了几次的值、广播、矩阵乘、softmax 与注意力。
        seed: 种子；同样的难度与种子总是同一道题。
        path: 练习写到哪里，以 ``.md`` 结尾。

    Returns:
        写好的练习。

    Raises:
        UserError: 没有这个难度、名字不合，或者写不进去。
    """
    target = Path(path)
    if target.suffix != ".md":
        raise UserError(f'"{path}" is not the name of a Markdown file', fix="give one, such as exercise.md")
    source = exercises.program(level, seed)
    program = _save(target.with_suffix(".py"), source)
    trace = run_program(f"{program}:exercise", with_torch=False)
    trace.title = f"第 {level} 级第 {seed} 题"
    about = {"program": f"{program.name}:exercise", "composed": False, "level": level, "seed": seed}
    return _write(trace, target, about, source)


def _code(source: str) -> str:
    """去掉模块文档的程序：玩具的文档里写着该得到的数，抄进练习就成了答案。"""
    body = ast.parse(source).body
    is_documented = body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    lines = source.splitlines()
    return "\n".join(lines[body[0].end_lineno :] if is_documented else lines).strip() + "\n"


def _write(trace: Trace, target: Path, about: dict[str, Any], source: str) -> Path:
    sheet = Sheet(trace)
    if not sheet.cells:
        raise UserError("nothing in this trace can be asked", fix="compute with small float tensors inside trace()")
    about = {"version": VERSION, "title": trace.title, **about, "fingerprint": sheet.fingerprint()}
    how = "python -m tinygrad_llm trace --check 这个文件" if "program" in about else "check_worksheet(文件, 记录)"
    return _save(target, render(sheet, about, how, source))


def _open(path: Path, trace: Trace | None) -> tuple[str, Sheet]:
    """一张练习的全文，与照它的程序重新得到的各格。"""
    text = read_text(path)
    about = read_about(text, str(path))
    trace = trace or _again(about, path)
    trace.title = str(about.get("title", trace.title))
    sheet = Sheet(trace)
    if sheet.fingerprint() != about["fingerprint"]:
        program = about.get("program", "the given trace")
        raise DataError(
            f"{program} is not what this worksheet was made from: it was changed since",
            where=str(path),
            fix="restore the program, or write a new worksheet with --worksheet",
        )
    return text, sheet


def _again(about: dict[str, Any], path: Path) -> Trace:
    """照注释里写的，把程序再运行一遍；随机出的题，程序文件没了就重新写出来。"""
    program = about.get("program")
    if not isinstance(program, str):
        raise DataError(
            "this worksheet does not say which program it came from",
            where=str(path),
            fix="pass the trace again: check_worksheet(path, trace)",
        )
    file, _, function = program.rpartition(":")
    if file.endswith(".py"):
        place = path.parent / file
        if not place.exists() and isinstance(about.get("level"), int) and isinstance(about.get("seed"), int):
            _save(place, exercises.program(about["level"], about["seed"]))
        program = f"{place}:{function}"
    return run_program(program, composed=about.get("composed") is True, with_torch=False)


def _portable(program: str, target: Path) -> str:
    """程序的写法：文件用相对于练习的路径，两个文件一起搬走也找得到。"""
    found = find_program(program)
    if not program.partition(":")[0].endswith(".py"):
        return program
    relative = os.path.relpath(found.source.path, target.resolve().parent)
    return f"{Path(relative).as_posix()}:{found.function}"


def _save(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", fix="give another place") from error
    return path
