"""被追踪的程序：找得到、两遍互不相干、torch 那一列不掺假、用户的错误说得清楚。"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.tolerances import TABLE
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.tracing import Trace
from tinygrad_llm.tracing.programs import copy_toy, find_program, run_program
from tinygrad_llm.tracing.toys import TOYS

Write = Callable[..., Path]
_RTOL, _ATOL = TABLE["float64"]

_SQUARE = """
import tinygrad_llm as tg

def square():
    x = tg.tensor(3.0, dtype=tg.float64, requires_grad=True)
    y = x * x
    y.backward()
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(内容, 文件名)`` 写一个文件，返回它的路径。"""

    def one(text: str, name: str = "program.py") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return one


def _torch(trace: Trace, label: str) -> Any:
    value = trace[label].torch_grad
    return None if value is None else np.asarray(value).tolist()


# ---- 找到程序


def test_a_file_with_one_function_needs_its_name(write: Write) -> None:
    """文件里只有一个能运行的函数，却还要用户写出它的名字。"""
    path = write(_SQUARE + "\ndef helper(a): return a\n\ndef _hidden(): pass\n")
    for target in (str(path), f"{path}:", f"{path}:square"):
        trace = run_program(target)
        assert (_torch(trace, "x"), trace.origin) == (6.0, (target, False))
    assert run_program(f"{path}:square").title == "square"


def test_a_file_with_several_functions_runs_one_of_them_by_chance(write: Write) -> None:
    """有几个函数时应当请用户说清楚；与文件同名的除外。"""
    with pytest.raises(UserError, match="2 functions to run: square, cube"):
        run_program(str(write(_SQUARE + "\ndef cube(): pass\n")))
    assert _torch(run_program(str(write(_SQUARE + "\ndef cube(): pass\n", "square.py"))), "x") == 6.0


_MISTAKES = {
    "newron": ("no toy model", "neuron"),
    "{missing}:f": ("there is no file", "program.py"),
    "{file}:squre": ("no function squre", "square"),
    "{file}:Model": ("no function Model", "square"),
    "{file}:needs": ("needs arguments: a, b", "line 26"),
    "{file}:breaks": ("cannot be multiplied", "line 11: y = x @ tg.zeros(3, 3)"),
    "{file}:absent": ("no_such_name", "line 14: tg.no_such_name"),
    "{file}:nothing": ("computed nothing", "nothing()"),
    "{file}:leaves": ("SystemExit", "line 20: raise SystemExit"),
    "{syntax}": ("SyntaxError", "line 2: def f(:"),
    "{imports}:f": ("No module named 'no_such_module'", "install no_such_module"),
    "{deep}:f": ("ZeroDivisionError", "helper_module.py, line 2: return 1 / 0"),
}

_FILE = """import tinygrad_llm as tg

def square():
    x = tg.tensor(3.0, requires_grad=True)
    (x * x).backward()

class Model: pass

def breaks():
    x = tg.zeros(2)
    y = x @ tg.zeros(3, 3)

def absent():
    tg.no_such_name

def nothing():
    return 1 + 1

def leaves():
    raise SystemExit(3)

def two(): pass



def needs(a, b, c=1, *d, **e): pass
"""


@pytest.mark.parametrize("target", _MISTAKES)
def test_a_users_mistake_takes_more_than_three_lines_or_hides_the_place(write: Write, target: str) -> None:
    """用户的错误超过三行，或没有说出是哪一行、怎么办。"""
    write("def one():\n    return 1 / 0\n", "helper_module.py")
    places = {
        "file": write(_FILE),
        "missing": write("").with_name("progam.py"),
        "syntax": write("\ndef f(:\n", "syntax.py"),
        "imports": write("import no_such_module\ndef f(): pass\n", "imports.py"),
        "deep": write("import helper_module\ndef f(): helper_module.one()\n", "deep.py"),
    }
    places["file"] = write(_FILE)
    with pytest.raises(UserError) as caught:
        run_program(target.format(**places))
    text = str(caught.value)
    assert len(text.splitlines()) <= 3
    assert "fix: " in text
    assert "Traceback" not in text
    for fragment in _MISTAKES[target]:
        assert fragment in text, text


def test_finding_a_program_runs_it(write: Write) -> None:
    """只是找到程序时，文件就已经被运行了。"""
    assert find_program(f"{write('raise RuntimeError')}:f").function == "f"


# ---- 存一份来改


@pytest.mark.parametrize("toy", TOYS)
def test_a_saved_toy_runs_otherwise_than_the_shipped_one(tmp_path: Path, toy: str) -> None:
    """存出来的一份跑不起来，或者结果不同。"""
    path = copy_toy(toy, tmp_path / f"my_{toy}.py")
    ours, theirs = run_program(toy, with_torch=False), run_program(str(path), with_torch=False)
    assert [(v.label, v.shape) for v in ours.values] == [(v.label, v.shape) for v in theirs.values]
    for a, b in zip(ours.values, theirs.values, strict=True):
        if a.grad is not None:
            assert b.grad is not None
            np.testing.assert_array_equal(a.grad, b.grad)


def test_saving_a_toy_destroys_a_file(tmp_path: Path) -> None:
    """存玩具时盖掉了已有的文件，或写到了不是 Python 文件的地方。"""
    mine = tmp_path / "mine.py"
    mine.write_text("mine", encoding="utf-8")
    places = (mine, tmp_path / "x.txt", tmp_path / "no" / "x.py", tmp_path / "new.py")
    for name, path in zip(("neuron", "neuron", "neuron", "no_such_toy"), places, strict=True):
        with pytest.raises(UserError) as caught:
            copy_toy(name, path)
        assert len(str(caught.value).splitlines()) <= 3
    assert mine.read_text(encoding="utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


# ---- torch 那一列

_IMPORTS = (
    "import tinygrad_llm as tg\nF, lib = tg.nn.functional, tg",
    "import tinygrad_llm\nF, lib = tinygrad_llm.nn.functional, tinygrad_llm",
    "import tinygrad_llm.nn.functional\nF, lib = tinygrad_llm.nn.functional, tinygrad_llm",
    "import tinygrad_llm.nn.functional as F\nimport tinygrad_llm as lib",
    "from tinygrad_llm.nn import functional as F\nimport tinygrad_llm as lib, sys",
    "from tinygrad_llm.nn.functional import softplus\nimport tinygrad_llm as lib\nclass F: softplus = softplus",
)


@pytest.mark.parametrize("imports", _IMPORTS)
def test_a_way_to_import_is_not_swapped_for_torch(write: Write, imports: str) -> None:
    """某种写法的导入没有换成 torch：两遍用的就都是自己。"""
    seen = "\nprint(lib.__name__, F.softplus.__module__)\n"
    body = "def f():\n    x = lib.tensor(0.0, dtype=lib.float64, requires_grad=True)\n    F.softplus(x).backward()\n"
    trace = run_program(f"{write(imports + seen + body)}:f")
    assert "torch_note" not in trace.extensions
    assert (np.asarray(trace["x"].grad).tolist(), _torch(trace, "x")) == (0.5, 0.5)


def test_the_column_repeats_our_numbers_instead_of_asking_torch(write: Write) -> None:
    """torch 那一列其实是抄自己的：换了库就换了系数，两列却还相同。"""
    text = """
import tinygrad_llm as tg

def f():
    x = tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True)
    y = x * (5.0 if tg.__name__ == "torch" else 3.0)
    loss = y.sum()
    loss.backward()
"""
    trace = run_program(f"{write(text)}:f")
    assert np.asarray(trace["x"].grad).tolist() == [3.0, 3.0]
    assert _torch(trace, "x") == [5.0, 5.0]
    assert _torch(trace, "y") is None  # 前向的数已经不同，不是同一个张量


_BESIDE = """
import tinygrad_llm as tg

def double(x):
    return x * tg.tensor(2.0, dtype=tg.float64)
"""
_USES_BESIDE = """
import tinygrad_llm as tg
from beside_it import double

def f():
    x = tg.ones(2, dtype=tg.float64, requires_grad=True)
    double(x).sum().backward()
"""


def test_a_module_beside_the_program_stays_on_our_engine(write: Write) -> None:
    """程序旁边的模块没有一同换成 torch，或者用完还留在进程里。"""
    write(_BESIDE, "beside_it.py")
    before, path, finders = set(sys.modules), list(sys.path), list(sys.meta_path)
    trace = run_program(f"{write(_USES_BESIDE)}:f")
    assert _torch(trace, "x") == [2.0, 2.0]
    assert "beside_it" not in sys.modules
    assert not [name for name in set(sys.modules) - before if name.startswith("traced_")]
    assert (sys.path, sys.meta_path) == (path, finders)


def test_the_twin_of_gpt_is_not_used(write: Write) -> None:
    """导入 ``tinygrad_llm.gpt`` 的程序，torch 那一遍应当用 ``torch_llm.gpt``。"""
    text = """
import tinygrad_llm as tg
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm import gpt

assert gpt.__name__ == ("torch_llm.gpt" if tg.__name__ == "torch" else "tinygrad_llm.gpt")
from tinygrad_llm.gpt import GPT

assert GPT is gpt.GPT

def f():
    x = tg.ones(2, dtype=tg.float64, requires_grad=True)
    (x * x).sum().backward()
"""
    trace = run_program(f"{write(text)}:f")
    assert "torch_note" not in trace.extensions
    assert _torch(trace, "x") == [2.0, 2.0]


def test_equal_tensors_are_mixed_up(write: Write) -> None:
    """几个叶子的数一模一样，梯度却张冠李戴。"""
    text = """
import tinygrad_llm as tg

def f():
    unused, late, early = (tg.ones(2, dtype=tg.float64, requires_grad=True) for _ in range(3))
    y = early * 2.0
    z = late * 3.0
    w = tg.relu(tg.relu(y * z))
    (w * tg.tensor([1.0, 4.0], dtype=tg.float64)).sum().backward()
"""
    trace = run_program(f"{write(text)}:f")
    for value in trace.values:
        if value.grad is not None:
            np.testing.assert_array_equal(value.grad, value.torch_grad, err_msg=value.label)
    assert _torch(trace, "early") == [6.0, 24.0]


def test_gradients_are_looked_at_after_they_were_cleared(write: Write) -> None:
    """反传之后又清了零，torch 那一列就空了。"""
    text = _SQUARE + "    x.grad = None\n"
    trace = run_program(f"{write(text)}:square")
    assert (np.asarray(trace["x"].grad).tolist(), _torch(trace, "x")) == (6.0, 6.0)


_WRITES = """
import tinygrad_llm as tg

def in_place():
    w = tg.tensor([1.0, 2.0, 3.0], dtype=tg.float64, requires_grad=True)
    y = w * 2.0
    y.add_(1.0)
    y[0] = 5.0
    (y * y).sum().backward()

def training():
    w = tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        loss = (w * w * w).sum()
        loss.backward()
        optimizer.step()

def accumulated():
    w = tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True)
    for scale in (2.0, 5.0):
        (w * scale).sum().backward()

def asked():
    w = tg.tensor(2.0, dtype=tg.float64, requires_grad=True)
    y = w**3
    (first,) = tg.autograd.grad(y, w, create_graph=True)
    first.backward()
"""


@pytest.mark.parametrize("function", ["in_place", "training", "accumulated", "asked"])
def test_a_tensor_written_in_place_is_compared_with_its_later_self(write: Write, function: str) -> None:
    """就地改写、优化器的几步、累加的几趟、二阶导：比的不是同一时刻的张量，或者没有比。"""
    trace = run_program(f"{write(_WRITES)}:{function}")
    assert "torch_note" not in trace.extensions
    compared = [value for value in trace.values if value.torch_grad is not None]
    assert len(compared) >= 3
    assert all(value in compared for value in trace.values if value.grad is not None and value.name)
    for value in compared:
        np.testing.assert_allclose(
            np.asarray(value.grad), np.asarray(value.torch_grad), _RTOL, _ATOL, err_msg=value.label
        )


_LEFT_OUT = """
def other():
    if tg.__name__ == "torch":
        tg.only_here
    square()

def dice():
    import os
    x = tg.tensor(os.urandom(4)[0] + os.urandom(1)[0] / 256, requires_grad=True)
    (x * x).backward()
"""


def test_the_column_is_empty_without_a_reason(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 那一列空着，却没有一行原因。"""
    path = write(_SQUARE + _LEFT_OUT)
    note = run_program(f"{path}:other").extensions["torch_note"]
    assert "AttributeError" in note
    assert "program.py, line" in note
    assert "\n" not in note
    assert "randomness" in run_program(f"{path}:dice").extensions["torch_note"]
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run_program(f"{path}:square").extensions["torch_note"] == "torch is not installed"
    assert "torch_note" not in run_program(f"{path}:square", with_torch=False).extensions


def test_random_numbers_differ_between_the_two_runs(write: Write) -> None:
    """两遍的随机数不同，或者运行一个程序改动了别人的随机数。"""
    text = """
import random
import numpy as np
import tinygrad_llm as tg

def f():
    x = tg.rand(3, dtype=tg.float64, requires_grad=True)
    c = tg.tensor([random.random(), np.random.rand(), 1.0], dtype=tg.float64)
    (x * x * c).sum().backward()
"""
    tg.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    expected = tg.rand(1).item(), random.random(), np.random.rand()
    tg.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    trace = run_program(f"{write(text)}:f")
    assert (tg.rand(1).item(), random.random(), np.random.rand()) == expected
    assert trace["x"].torch_grad is not None
    np.testing.assert_allclose(np.asarray(trace["x"].grad), np.asarray(trace["x"].torch_grad), rtol=1e-15)


def test_a_program_prints_twice_or_leaves_files(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """两遍都打印了，或者在用户的目录里留下了文件。"""
    path = write(_SQUARE + "    print('once')\n")
    run_program(f"{path}:square")
    assert capsys.readouterr().out == "once\n"
    assert [one.name for one in path.parent.iterdir()] == ["program.py"]


def test_unfolding_fused_ops_loses_torchs_column() -> None:
    """拆开融合算子之后，叶子的 torch 梯度空了或不同。"""
    trace = run_program("gpt", composed=True)
    assert len(trace.nodes) > len(run_program("gpt", with_torch=False).nodes)
    assert "torch_note" not in trace.extensions
    leaves = [value for value in trace.values if value.kind == "leaf" and value.grad is not None]
    assert len(leaves) >= 15
    for value in leaves:
        assert value.torch_grad is not None, value.label
        ours, theirs = np.asarray(value.grad), np.asarray(value.torch_grad)
        np.testing.assert_allclose(ours, theirs, rtol=_RTOL, atol=_ATOL, err_msg=value.label)
