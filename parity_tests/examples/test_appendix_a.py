"""附录 A：程序相符、正文的数字出自程序、判分器认得出错误。

流入：``examples/appendix_a_autograd`` 的程序与正文；流出：与程序输出不符的行、没有得到应有提示的错误。
程序在子进程里跑，与读者的用法相同；图写进临时目录，不动仓库里的文件。
"""

from __future__ import annotations

import functools
import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from parity_tests.house.repo import ROOT

_CHAPTER = ROOT / "examples" / "appendix_a_autograd"
_README = (_CHAPTER / "README.md").read_text(encoding="utf-8")
_SOLUTION = (_CHAPTER / "exercises" / "solution.py").read_text(encoding="utf-8")
_MAIN = sorted(path.name for path in (_CHAPTER / "main").glob("0*.py"))
_EXPERIMENTS = sorted(path.name for path in (_CHAPTER / "experiments").glob("[01][0-9]_*.py"))
_DRAWS_NOTHING = {"04_formulas.py", "05_engine.py"}


def _python(path: Path, *args: str, search_path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": search_path, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(path), *args]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=120)


@functools.cache
def _main(name: str) -> subprocess.CompletedProcess[str]:
    return _python(_CHAPTER / "main" / name)


@functools.cache
def _experiment(name: str) -> tuple[subprocess.CompletedProcess[str], frozenset[str]]:
    """实验的结果，与它写出的图的名字。"""
    if name in _DRAWS_NOTHING:
        return _python(_CHAPTER / "experiments" / name), frozenset()
    with tempfile.TemporaryDirectory() as folder:
        done = _python(_CHAPTER / "experiments" / name, "--figures", folder)
        return done, frozenset(path.name for path in Path(folder).iterdir())


def _grade(*args: str) -> subprocess.CompletedProcess[str]:
    return _python(_CHAPTER / "exercises" / "grade.py", *args)


@functools.cache
def _grader() -> dict[str, Any]:
    """判分器的名字；几十种错误都在本进程里判，省去反复启动。"""
    folder = str(_CHAPTER / "exercises")
    sys.path.insert(0, folder)
    try:
        return runpy.run_path(f"{folder}/grade.py")
    finally:
        sys.path.remove(folder)


def _hints_when_changed(tmp_path: Path, old: str, new: str) -> list[str]:
    """把参考答案改错一处，返回没有得分的各题的提示。"""
    assert old in _SOLUTION, f"the reference solution no longer contains {old!r}"
    path = tmp_path / "answers.py"
    path.write_text(_SOLUTION.replace(old, new), encoding="utf-8")
    answers = _grader()["load_answers"](path)
    hints = [_grader()["hint_for"](answers[name], check, path) for name, _, check in _grader()["EXERCISES"]]
    return [hint for hint in hints if hint]


@functools.cache
def _printed() -> tuple[str, ...]:
    """全部程序的输出。"""
    done = [_main(name) for name in _MAIN] + [_experiment(name)[0] for name in _EXPERIMENTS]
    return tuple(one.stdout for one in done)


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _README, re.MULTILINE | re.DOTALL)


_HINT_BLOCK = _blocks("text")[-1]


@pytest.mark.parametrize("name", _MAIN)
def test_hand_engine_and_torch_agree(name: str) -> None:
    """手算、引擎与 torch 三列不符，或程序以非零码退出。"""
    done = _main(name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all columns agree\n")
    assert len((_CHAPTER / "main" / name).read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("name", _MAIN)
def test_programs_run_without_torch(name: str, tmp_path: Path) -> None:
    """没有装 torch 的读者跑不了正文的程序，或那一列没有写明缺失。"""
    (tmp_path / "torch.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    done = _python(_CHAPTER / "main" / name, search_path=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "missing" in done.stdout


@pytest.mark.parametrize("wrong", [1.0 + 1e-9, float("nan"), float("inf")])
def test_a_wrong_column_is_not_called_agreement(
    wrong: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """对照表对错误的数（包括 NaN）视而不见，仍报告相符。"""
    table = runpy.run_path(str(_CHAPTER / "main" / "three_columns.py"))
    hand = {"first": wrong, "second": 2.0}
    assert table["print_comparison"](hand, lambda _: {"first": 1.0, "second": 2.0}) == 1
    assert "DIFFER" in capsys.readouterr().out


@pytest.mark.parametrize("name", _EXPERIMENTS)
def test_experiments_run(name: str) -> None:
    """实验跑不通。"""
    done, _ = _experiment(name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_every_figure_is_drawn_by_an_experiment() -> None:
    """正文的图不是由本章的实验画出来的，或画了没有放进仓库。"""
    drawn = {figure for name in _EXPERIMENTS for figure in _experiment(name)[1]}
    assert drawn == {path.name for path in (_CHAPTER / "figures").glob("*.svg")}


def test_output_blocks_are_what_the_programs_print() -> None:
    """正文里的输出块与程序实际印出来的不同。"""
    blocks = [block for block in _blocks("text") if block != _HINT_BLOCK]
    assert len(blocks) >= 15
    missing = [block for block in blocks if not any(block.strip("\n") in output for output in _printed())]
    assert not missing, "\n---\n".join(missing)


def test_numbers_in_the_prose_come_from_the_programs() -> None:
    """正文里写着的小数（三位以上）没有一个程序印出来过；计时的表格除外。"""
    prose = re.sub(r"(?s:```.*?```)|^\|.*$", "", _README.partition("## 13 ")[0], flags=re.MULTILINE)
    told = set(re.findall(r"\d+\.\d{3,}", prose)) | {"9.89", "9.90", "26.25"}
    assert len(told) > 8
    printed = {abs(float(one)) for output in _printed() for one in re.findall(r"-?\d+\.\d+", output)}
    unknown = [
        text
        for text in sorted(told)
        if not any(f"{value:.{len(text.partition('.')[2])}f}" == text for value in printed)
    ]
    assert not unknown


def test_code_blocks_are_quoted_verbatim() -> None:
    """正文引用的代码与源文件不再一致。"""
    folders = (_CHAPTER, ROOT / "tinygrad_llm")
    source = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    quoted = [line.strip() for block in _blocks("python") for line in block.splitlines() if line.strip()]
    assert len(quoted) > 5
    assert [line for line in quoted if line not in source] == []


def test_commands_in_the_text_name_existing_programs() -> None:
    """正文里的命令指向不存在的文件。"""
    named = re.findall(r"python (examples/\S+\.py)", _README)
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_reference_solution_scores_full_marks() -> None:
    """参考答案得不到满分。"""
    done = _grade(str(_CHAPTER / "exercises" / "solution.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("score: 100/100\n")


def test_empty_sheet_scores_zero_without_a_traceback() -> None:
    """空白的练习文件得了分，或判分器抛出 traceback。"""
    done = _grade()
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("not written yet") == 6
    assert done.stdout.endswith("score: 0/100\n")


def test_sheet_and_solution_ask_the_same_questions() -> None:
    """练习文件与参考答案的函数签名不同。"""
    sheet = (_CHAPTER / "exercises" / "exercise.py").read_text(encoding="utf-8")
    signature = re.compile(r"^def [a-z]\w*\(.*?\) -> .*?:$", re.MULTILINE | re.DOTALL)
    assert signature.findall(sheet) == signature.findall(_SOLUTION)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "no such answer file"), ("def broken(:\n", "answers.py:1"), ("import nowhere_at_all\n", "answers.py:1")],
)
def test_unreadable_sheets_are_reported_in_three_lines(content: str | None, expected: str, tmp_path: Path) -> None:
    """文件不存在或有语法错误时，判分器抛出 traceback，或不说错在第几行。"""
    answers = tmp_path / "answers.py"
    if content is not None:
        answers.write_text(content, encoding="utf-8")
    done = _grade(str(answers))
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) <= 3


_MISTAKES: list[Any] = [
    ("dx: Array = y * (g", "dx: Array = -y * (g", "wrong sign"),
    ("(g * y).sum(axis=-1, keepdims=True)", "(g * y)", "missing sum over the last axis"),
    ("(g * y).sum(axis=-1, keepdims=True)", "(g * y).sum(axis=0, keepdims=True)", "wrong axis"),
    ("(g * y).sum(axis=-1, keepdims=True)", "(g * y).mean(axis=-1, keepdims=True)", "mean where a sum belongs"),
    ("return p / len(target)", "return p", "divide by N"),
    ("return p / len(target)", "return -p / len(target)", "wrong sign"),
    ("p[np.arange(len(target)), target] -= 1", "pass", "subtract 1 at the target"),
    (" - logits.max(axis=-1, keepdims=True)", "", "exp overflows"),
    ("_sum_to(db, b.shape)", "db", "missing sum over a broadcast axis"),
    ("_sum_to(da, a.shape), _sum", "da, _sum", "missing sum over a broadcast axis"),
    ("da = g @ b.swapaxes(-1, -2)", "da = g @ b", "transpose b"),
    ("db = a.swapaxes(-1, -2) @ g", "db = a @ g", "transpose a"),
    ("_sum_to(da, a.shape), _sum_to(db, b.shape)", "_sum_to(db, b.shape), _sum_to(da, a.shape)", "swapped"),
    ("g.sum(axis=tuple(range", "g.mean(axis=tuple(range", "mean over a broadcast axis"),
    ("u - u.mean(axis=-1, keepdims=True) - xhat", "u - xhat", "path through the mean is missing"),
    (" - xhat * (u * xhat).mean(axis=-1, keepdims=True)", "", "path through the variance is missing"),
    ("u = g * weight", "u = g", "forgot the weight"),
    ("keepdims=True) + eps)", "keepdims=True))", "forgot eps"),
    ("(g * xhat).sum(axis=0), g.sum(axis=0)", "(g * xhat).sum(axis=0), g", "missing sum over a broadcast axis"),
    ("(g * xhat).sum(axis=0)", "(g * x).sum(axis=0)", "not by x"),
    ("grads.get(name, 0.0) + grads[node]", "grads[node]", "forgot to accumulate"),
    ("if waiting_for[name] == 0:", "if True:", "topological order"),
    ("    mhat = m / (1 - beta1**t)\n    vhat = v / (1 - beta2**t)", "    mhat, vhat = m, v", "no bias correction"),
    ("vhat = v / (1 - beta2**t)", "vhat = v", "only m is bias-corrected"),
    ("(np.sqrt(vhat) + eps)", "np.sqrt(vhat + eps)", "outside the square root"),
    ("lr * weight_decay * theta", "weight_decay * theta", "scaled by lr"),
    ("theta = theta - lr * weight_decay * theta", "g = g + weight_decay * theta", "Adam with L2"),
    ("theta - lr * mhat", "theta + lr * mhat", "wrong sign"),
    ("(1 - beta2) * g**2", "(1 - beta2) * g", "square of the gradient"),
    ("beta1, beta2 = betas", "beta2, beta1 = betas", "swapped"),
]


@pytest.mark.parametrize(("old", "new", "hint"), _MISTAKES)
def test_each_mistake_gets_the_hint_that_names_it(old: str, new: str, hint: str, tmp_path: Path) -> None:
    """常见的错误得了分，或提示说的是另一种错。"""
    hints = _hints_when_changed(tmp_path, old, new)
    assert len(hints) == 1
    assert hint in hints[0]


_WALKS = {
    "recursion runs out of stack": """
    order = []
    def visit(name):
        if name not in seen:
            seen.add(name)
            for source, _ in inputs[name]:
                visit(source)
            order.append(name)
    seen = set()
    visit(output)
    grads = {output: 1.0}
    for node in reversed(order):
        for name, local in inputs[node]:
            grads[name] = grads.get(name, 0.0) + grads[node] * local
    return grads
""",
    "every path separately": """
    grads, stack = {output: 1.0}, [(output, 1.0)]
    while stack:
        node, g = stack.pop()
        for name, local in inputs[node]:
            grads[name] = grads.get(name, 0.0) + g * local
            stack.append((name, g * local))
    return grads
""",
    "with respect to itself is 1": "\n    return {}\n",
}


@pytest.mark.parametrize("hint", _WALKS)
def test_walks_that_only_work_on_small_graphs_are_recognised(hint: str, tmp_path: Path) -> None:
    """递归的、逐条路径的反向传播得了分：它们在大图上会栈溢出或算不完。"""
    start = _SOLUTION.index("    # 先数清每个有关节点")
    body = _SOLUTION[start : _SOLUTION.index("def adamw_step")]
    (found,) = _hints_when_changed(tmp_path, body, _WALKS[hint] + "\n\n")
    assert hint in found


def test_an_exception_in_an_answer_is_reported_with_its_line(tmp_path: Path) -> None:
    """读者的函数抛错时，判分器跟着崩溃，或不说是哪一行。"""
    (hint,) = _hints_when_changed(tmp_path, "    u = g * weight", "    u = g @ weight.undefined")
    assert re.match(r"raised AttributeError at answers\.py:\d+", hint)


def test_the_hint_shown_in_the_text_is_the_real_one(tmp_path: Path) -> None:
    """正文引用的提示与判分器实际给出的不同。"""
    answers = tmp_path / "answers.py"
    answers.write_text(_SOLUTION.replace("da = g @ b.swapaxes(-1, -2)", "da = g @ b"), encoding="utf-8")
    done = _grade(str(answers))
    assert (done.returncode, done.stderr) == (1, "")
    assert [line for line in done.stdout.splitlines() if " 0/" in line] == [_HINT_BLOCK.strip()]
    assert done.stdout.endswith("score: 80/100\n")
