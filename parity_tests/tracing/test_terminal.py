"""终端：印出来的每个数都对，行不超过 100 列，读得出反传的次序。"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close
from tinygrad_llm import nn
from tinygrad_llm.__main__ import VERBS
from tinygrad_llm.common.cli import main
from tinygrad_llm.ops.op import REGISTRY
from tinygrad_llm.tracing import terminal
from tinygrad_llm.tracing.exports import columns
from tinygrad_llm.tracing.formulas import JOINT
from tinygrad_llm.tracing.programs import run_program
from tinygrad_llm.tracing.sources import vjp_sources
from tinygrad_llm.tracing.substitution import Substitution, number, shown
from tinygrad_llm.tracing.toys import TOYS
from tinygrad_llm.tracing.worksheet.expression import read_answer

F = nn.functional


def _run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main("python -m tinygrad_llm", "", VERBS, ["trace", *argv])
    written = capsys.readouterr()
    return code, written.out, written.err


# ---- 一行行的样子


NEURON = """\
neuron: 4 ops, 4 backward steps, float64

leaves     w = 2.2, b = 0
constants  x = 1.1, y = 1
"""


def test_the_textbook_neuron_reads_like_the_textbook(capsys: pytest.CaptureFixture[str]) -> None:
    """教科书上的例子：损失 0.0852，梯度 −0.0898 与 −0.0817，torch 的在旁边，差为零。"""
    code, out, _ = _run(capsys, "neuron")
    assert code == 0
    assert out.startswith(NEURON)
    for line in (
        r"    0  mul_1  y = a ⊙ b +2\.42 = 2\.2 × 1\.1",
        r"    2  a      y = 1/\(1 \+ e⁻ˣ\) +0\.9183 = σ\(2\.42\)",
        r"       z  g × y × \(1 - y\) = -1\.089 × 0\.9183 × \(1 - 0\.9183\) = -0\.08166 +grad of z: -0\.08166",
        r"       w  g × b = -0\.08166 × 1\.1 = -0\.08983 +grad of w: -0\.08983",
        r"  w     2\.2    -0\.08983  -0\.08983  0",
        r"  b     0      -0\.08166  -0\.08166  0",
    ):
        assert re.search(f"^{line}$", out, re.MULTILINE), line


def test_running_sums_are_shown_where_gradients_meet(capsys: pytest.CaptureFixture[str]) -> None:
    """共用的值：第二份梯度到达时，看得到原来的、这一份与和。"""
    _, out, _ = _run(capsys, "diamond", "--no-torch")
    assert "grad of s: 3.25 + 2.25 = 5.5" in out
    assert "grad of x: 8.25 + 8.25 = 16.5" in out
    assert "torch" not in out


@pytest.mark.parametrize("name", TOYS)
def test_lines_fit_in_100_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """有一行太长，终端折行之后就对不齐了。"""
    code, out, _ = _run(capsys, name, "--arrays")
    assert code == 0
    assert [line for line in out.splitlines() if columns(line) > terminal.WIDTH] == []
    assert "compared with torch, largest difference" in out


def test_matrices_can_be_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    """``--arrays`` 写出的矩阵不是那个矩阵。"""
    _, out, _ = _run(capsys, "mlp", "--arrays", "--no-torch")
    final = out.partition("GRADIENTS")[2]
    rows = re.search(r"W1 .*\n +(\S+) +(\S+)\n +(\S+) +(\S+)\n", final)
    assert rows is not None
    w1 = np.array([float(x) for x in rows.groups()]).reshape(2, 2)
    assert np.allclose(w1, np.asarray(run_program("mlp", with_torch=False)["W1"].grad), rtol=1e-3)


def test_printing_a_trace_prints_its_steps() -> None:
    """``print(t)`` 与命令行同样的内容；记录还没结束时也能看。"""
    x = tg.tensor(2.0, requires_grad=True)
    with tg.trace(title="inside") as t:
        y = x * x
        assert "y = a ⊙ b  4 = 2 × 2" in str(t)
        y.backward()
    assert "BACKWARD from y (seed 1)" in str(t)
    assert "\x1b" not in str(t)
    assert "\x1b[1mBACKWARD\x1b[0m" in terminal.text(t, color=True)


def test_several_passes_and_interleaved_steps_are_in_order() -> None:
    """反传之后又有前向：各段按发生的先后。"""
    x = tg.tensor(2.0, requires_grad=True)
    with tg.trace() as t:
        (x * 2).backward()
        (x * 3).backward()
    heads = re.findall(r"^(FORWARD|BACKWARD \d of \d|GRADIENTS)", str(t), re.MULTILINE)
    assert heads == ["FORWARD", "BACKWARD 1 of 2", "FORWARD", "BACKWARD 2 of 2", "GRADIENTS"]


# ---- 命令


def test_step_waits_for_enter_before_each_step() -> None:
    """``--step`` 没有等，等错了地方，或管道读完之后卡住。"""
    run = [sys.executable, "-m", "tinygrad_llm", "trace", "diamond", "--step", "--no-torch"]
    whole = subprocess.run(run[:-2] + run[-1:], capture_output=True, text=True, check=True).stdout
    stepped = subprocess.run(run, input="\n\n", capture_output=True, text=True, check=True).stdout
    prompt = "[Enter: next step, a: all the rest, q: quit] "
    assert stepped.count(prompt) == 3
    assert stepped.replace(prompt, "").replace("\n", "") == whole.replace("\n", "")
    stopped = subprocess.run(run, input="\nq\n", capture_output=True, text=True, check=True).stdout
    assert "BACKWARD" not in stopped
    assert "y = a ⊙ b" in stopped


def test_files_are_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """各种输出：写了没有，内容对不对，屏幕上说了没有。"""
    names = {"--json": "t.json", "--svg": "t.svg", "--dot": "t.dot", "--mermaid": "t.mmd", "--html": "t.html"}
    flags = [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]
    code, out, _ = _run(capsys, "diamond", "--no-torch", *flags)
    assert code == 0
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["title"] == "diamond"
    for name in names.values():
        assert re.search(rf"wrote .*{re.escape(name)} \([\d,]+ KB\)", out)
    assert "x     1.5    16.5" in out
    assert "FORWARD" not in out


def test_own_functions_are_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``FILE.py:FUNCTION`` 与 ``--explain``。"""
    file = tmp_path / "mine.py"
    file.write_text(
        "import tinygrad_llm as tg\n\ndef f():\n    w = tg.tensor(3.0, requires_grad=True)\n    (w * w).backward()\n",
        encoding="utf-8",
    )
    code, out, _ = _run(capsys, f"{file}:f")
    assert code == 0
    assert "mine.py:5  (w * w).backward()" in out
    assert re.search(r"^  w     3      6         6      0$", out, re.MULTILINE)
    code, out, _ = _run(capsys, f"{file}:f", "--explain", "w", "--no-torch")
    assert (code, out.splitlines()[-1]) == (0, "gradient found by backward  6")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "error: no program given"),
        (["nueron"], 'did you mean "neuron"?'),
        (["neuron", "--explain", "v", "--no-torch"], 'error: there is no value named "v"'),
        (["neuron", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["--exercise", "1"], "--exercise needs --worksheet FILE.md"),
        (["neuron", "--no-torch", "--svg", "/dev/null/at/all.svg"], "error: cannot write /dev/null/at/all.svg"),
    ],
)
def test_mistakes_are_answered_in_three_lines(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """用户的错误要说清楚怎么办，至多三行。"""
    code, out, err = _run(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) <= 3


def test_toys_can_be_listed_and_taken_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--list`` 与 ``--save-as``。"""
    assert [line.split()[0] for line in _run(capsys, "--list")[1].splitlines()] == list(TOYS)
    code, out, _ = _run(capsys, "diamond", "--save-as", str(tmp_path / "own.py"))
    assert code == 0
    assert (tmp_path / "own.py").is_file()
    assert "own.py" in out


# ---- 代入


def test_numbers_are_put_into_the_rule() -> None:
    """代入写错了：负数没有括号，乘方的括号，常数没有折叠。"""
    tensors = {"g": np.array(-2.0), "x": np.array(3.0), "y": np.array(-0.5), "b": np.array([[1.0, 2.0]])}
    put = Substitution(tensors, {"exponent": 3, "shapes": [(4, 5)], "dim": (1,), "keepdim": False}).text
    for source, expected in {
        "g * y": "-2 × (-0.5)",
        "g / (y * 2)": "-2 / (-0.5 × 2)",
        "-g * (x / y / y)": "-(-2) × 3 / (-0.5) / (-0.5)",
        "g * (1 - y * y)": "-2 × (1 - (-0.5 × (-0.5)))",
        "g - (x - y)": "-2 - (3 - (-0.5))",
        "g * (exponent * pow_scalar(x, exponent=exponent - 1)) if exponent else g * 0.0": "-2 × 3 × 3^2",
        "_spread(g, shapes, dim, keepdim) * (1 / max(count(shapes[0], dim), 1))": "spread(-2) × 0.2",
        "_dot(g, b.T) if type(g) is _ndarray else g @ b.T": "-2 @ [1×2]ᵀ",
        "g * cos(x)": "-2 × cos(3)",
        "where(x > 0, g, g * y)": "(3 > 0) ? -2 : (-2 × (-0.5))",
        "_passed(g, y)": "-2 × [-0.5 > 0]",
    }.items():
        assert put(source) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.1, "0.1"), (-0.0, "0"), (1e-8, "1e-8"), (123456.0, "1.235e5"), (2.5e10, "2.5e10"), (3, "3"), (True, "True"),
     (float("nan"), "nan"), (1 - 2j, "(1-2i)")],
)  # fmt: skip
def test_numbers_are_short(value: Any, expected: str) -> None:
    """数写得太长，或 -0。"""
    assert number(value) == expected
    if not isinstance(value, bool):
        assert shown(np.array(value)) == expected


def test_every_op_shows_its_own_source() -> None:
    """显示的求导表不是执行的那一行；改了格式、换了写法也要找得到。"""
    for op in REGISTRY.values():
        needs = [name in op.vjps for name in op.inputs]
        found = vjp_sources(op, needs)
        assert all(found.values()), op.name
        names = {"*"} if op.joint is not None else {*op.vjps}
        assert set(found) == (names if op.vjps else set())
    assert vjp_sources(REGISTRY["mul"], [True, True]) == {"a": "g * b", "b": "g * a"}
    assert vjp_sources(REGISTRY["sub"], [False, True]) == {"b": "-g"}
    source = vjp_sources(REGISTRY["layer_norm"], [True, True, True])["*"].splitlines()
    assert source[0] == "_layer_norm_vjp(g, weight, xhat, rstd, needs)"
    assert source[1].strip() == "width = xhat.shape[-1]"


def _softmax(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


_MATH: dict[str, Callable[[dict[str, Any]], Any]] = {
    "g @ weight": lambda v: v["g"] @ v["weight"],
    "g.T @ x": lambda v: v["g"].T @ v["x"],
    "sum(g)": lambda v: v["g"].sum(0),
    "sum(g * xhat)": lambda v: (v["g"] * v["xhat"]).sum(0),
    "g * slope": lambda v: v["g"] * v["slope"],
    "(g * weight - mean(g * weight) - xhat * mean(g * weight * xhat)) * rstd": lambda v: (
        (
            v["g"] * v["weight"]
            - (v["g"] * v["weight"]).mean(-1, keepdims=True)
            - v["xhat"] * (v["g"] * v["weight"] * v["xhat"]).mean(-1, keepdims=True)
        )
        * v["rstd"]
    ),
    "(g * weight - xhat * mean(g * weight * xhat)) * rrms": lambda v: (
        (v["g"] * v["weight"] - v["xhat"] * (v["g"] * v["weight"] * v["xhat"]).mean(-1, keepdims=True)) * v["rrms"]
    ),
    "g * (softmax(logits) - onehot(target)) / n": lambda v: (
        v["g"] * (_softmax(v["logits"]) - np.eye(v["logits"].shape[-1])[v["target"]]) / len(v["target"])
    ),
}
"""写成一行的公式 → 照它算。"""


def test_one_line_formulas_of_fused_ops_are_true() -> None:
    """融合算子的 VJP 另写成一行给人看：那一行算出来要与引擎相同。"""
    rng = np.random.default_rng(0)

    def leaf(*shape: int) -> Any:
        return tg.tensor(rng.standard_normal(shape), dtype=tg.float64, requires_grad=True)

    x, w, b, s = leaf(3, 4), leaf(5, 4), leaf(5), leaf(4)
    target = tg.tensor([0, 2, 3])
    with tg.trace() as t:
        F.linear(x, w, b).sum().backward()
        (F.layer_norm(x, (4,), s, leaf(4)) ** 2).sum().backward()
        (F.rms_norm(x, (4,), s) ** 2).sum().backward()
        for one in (F.gelu(x), F.gelu(x, approximate="tanh"), F.silu(x)):
            (one**2).sum().backward()
        F.cross_entropy(x, target).backward()
    checked = set()
    for step in (step for one in t.backwards for step in one.steps):
        node = step.record
        if node.op not in JOINT:
            continue
        for edge in step.edges:
            names: dict[str, Any] = {"g": np.asarray(step.incoming)}
            for name, i in zip(node.input_names, node.inputs, strict=True):
                names[name] = None if i is None else np.asarray(t.values[i].data)
            names |= dict(zip(node.graph_node.plan.sources, node.saved, strict=False))
            written = JOINT[node.op][node.input_names[edge.input]]
            names |= {name: names[name].reshape(3, -1) for name in ("xhat", "rstd", "rrms", "slope") if name in names}
            assert_close(_MATH[written](names), np.asarray(edge.raw), "float64")
            checked.add((node.op, node.input_names[edge.input]))
    assert checked == {(op, name) for op, rows in JOINT.items() for name in rows}


_SCALAR_OPS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: -a,
    lambda a, b: a**2,
    lambda a, b: a**3,
    lambda a, b: a.exp(),
    lambda a, b: (a * a).log(),
    lambda a, b: (a * a).log1p(),
    lambda a, b: (a * a).sqrt(),
    lambda a, b: a.sin(),
    lambda a, b: a.cos(),
    lambda a, b: a.tanh(),
    lambda a, b: a.sigmoid(),
    lambda a, b: a.atan(),
    lambda a, b: tg.hypot(a, b),
    lambda a, b: F.binary_cross_entropy(a.sigmoid(), b.sigmoid(), reduction="none"),
]


@pytest.mark.parametrize("op", range(len(_SCALAR_OPS)))
@pytest.mark.parametrize("start", [(0.7, -1.3), (-0.4, 2.1), (-1.9, -0.6)])
def test_what_is_written_is_what_was_computed(op: int, start: tuple[float, float]) -> None:
    """标量的每一行 ``算式 = 数``：把印出来的算式再算一遍，要得到印出来的数（四位有效数字之内）。"""
    a, b = (tg.tensor(x, dtype=tg.float64, requires_grad=True) for x in start)
    with tg.trace() as t:
        (_SCALAR_OPS[op](a, b) * 1.5).backward()
    checked = 0
    for text in (edge.text for step in t.backwards[0].steps for edge in step.edges):
        left, equals, right = text.rpartition(" = ")
        if not equals:
            continue
        written = read_answer(re.sub(r"√\(", "sqrt(", left))
        assert math.isclose(float(written.values), float(right), rel_tol=4e-3, abs_tol=1e-4), text
        checked += 1
    assert checked > 0
