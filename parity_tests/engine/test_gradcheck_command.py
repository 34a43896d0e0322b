"""``python -m tinygrad_llm gradcheck`` 与 pytest 的 fixture：找得到函数，选得出输入，错了说得清。

流入：``tmp_path`` 里的几个小文件；流出：终端上的字与退出码。
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from tinygrad_llm.__main__ import VERBS
from tinygrad_llm.common.cli import main
from tinygrad_llm.gradchecker.plugin import checked
from tinygrad_llm.ops.op import REGISTRY

OURS = """
from functools import partial
from typing import Annotated

import numpy as np
import tinygrad_llm as tg
from tinygrad_llm import Tensor, nn
from tinygrad_llm.nn import functional as F

def softplus(x):
    return x.exp().log1p()

def wrong_twin(x):
    return softplus(x) + 1e-6

def half(x: Annotated[Tensor, (3, 4)], eps=1e-5):
    return x * x.detach() + eps

def bilinear(a: Annotated[Tensor, (2, 3)], b: Annotated[Tensor, (3, 5)] = None):
    return a @ b

def with_default(x=tg.ones(7), scale: float = 2.0):
    return x * scale

def loss(logits, ids):
    return F.cross_entropy(logits, ids)

def loss_inputs():
    return tg.randn(4, 5), np.array([0, 3, 1, 4])

def log(x):
    return x.log()

def noisy(x):
    return x * tg.rand(2, 3)

def number(x, n: int):
    return x * n

def once(x):
    return Once.apply(x)

class Once(tg.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        return g * (3 * ctx.saved_tensors[0] ** 2).detach()

class Layer(nn.Module):
    def __init__(self, n, bias=True):
        super().__init__()
        self.fc = nn.Linear(n, 2, bias=bias)

    def forward(self, x):
        return self.fc(x).tanh()

layer = Layer(3)
bound = partial(half, eps=0.0)
constant = 3

def single(x):
    return x.float()

def step(x):
    return (x > 0) * 1.0 + 0 * x
"""

OP = """
from tinygrad_llm.ops import op

@op("y = x³", x=lambda g, x: g * 3 * x)
def a_cube_to_check(x, *, scale=1.0):
    return x**3 * scale
"""

THEIRS = """
import torch

def softplus(x):
    return torch.nn.functional.softplus(x)

def loss(logits, ids):
    return torch.nn.functional.cross_entropy(logits, ids)

def cube(x):
    return x**3 + torch.zeros(2, 3, dtype=torch.float64)

class Layer(torch.nn.Module):
    def __init__(self, n, bias=True):
        super().__init__()
        self.fc = torch.nn.Linear(n, 2, bias=bias)

    def forward(self, x):
        return self.fc(x).tanh()

class Sign(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, g):
        return -g * ctx.saved_tensors[0]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """放着两个文件的当前目录。"""
    (tmp_path / "ours_to_check.py").write_text(OURS)
    (tmp_path / "theirs_to_check.py").write_text(THEIRS)
    (tmp_path / "helper_to_check.py").write_text(
        "import theirs_to_check\n\ndef f(x):\n    return theirs_to_check.Sign.apply(x)\n"
    )
    (tmp_path / "op_to_check.py").write_text(OP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def _run(*words: str) -> int:
    """命令行走一遍，返回退出码。"""
    try:
        return main("tinygrad_llm", "", VERBS, ["gradcheck", *words])
    except SystemExit as request:
        return int(request.code or 0)


PASSES = {
    "function": ("ours_to_check.py:softplus", "x (2, 3): normal numbers, seed 0"),
    "dotted name": ("ours_to_check:softplus", "x (2, 3)"),
    "shapes": ("ours_to_check.py:softplus --shapes=4,1", "x (4, 1)"),
    "scalar": ("ours_to_check.py:softplus --shapes=()", "x ()"),
    "two shapes": ("ours_to_check.py:bilinear --shapes 2,3/3,4", "a (2, 3), b (3, 4)"),
    "default tensor": ("ours_to_check.py:with_default", "x (7,): from the parameters' defaults"),
    "inputs beside it": ("ours_to_check.py:loss", "logits (4, 5): from loss_inputs()"),
    "range": ("ours_to_check.py:log --range 0.5,2", "numbers from 0.5 to 2"),
    "seed": ("ours_to_check.py:softplus --seed 3", "seed 3"),
    "module": ("ours_to_check.py:Layer --init 3,bias=False", "fc.weight (2, 3)"),
    "instance": ("ours_to_check.py:layer", "fc.weight (2, 3), fc.bias (2,)"),
    "twice": ("ours_to_check.py:softplus --second", "PASS the gradient of softplus"),
    "once": ("ours_to_check.py:Once", "PASS Once: 36 derivatives"),
    "torch": ("theirs_to_check.py:cube --second", "PASS the gradient of cube"),
    "torch module": ("theirs_to_check.py:Layer --init 3", "fc.bias (2,)"),
    "twin": ("ours_to_check.py:softplus --torch theirs_to_check.py:softplus", "values and gradients within"),
    "library twin": ("ours_to_check.py:softplus --torch torch.nn.functional:softplus", "softplus in torch"),
    "twin of a module": ("ours_to_check.py:Layer --init 3 --torch theirs_to_check.py:Layer", "Layer in torch"),
    "twin with indices": ("ours_to_check.py:loss --torch theirs_to_check.py:loss", "loss in torch"),
    "op": ("tinygrad_llm.ops.elementwise:mul --shapes 2,3/3 --second", "PASS the gradient of mul"),
    "no influence": ("ours_to_check.py:step", "no output depends on x here"),
    "ours as twin": ("theirs_to_check.py:softplus --torch ours_to_check.py:softplus", "softplus in tinygrad_llm"),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("line", "says"), [pytest.param(*v, id=k) for k, v in PASSES.items()])
def test_right_derivatives_are_refused(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """对的导数没有通过，或没有说清用的是哪些输入。"""
    assert _run(*(word.replace("/", " ") for word in line.split(" "))) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert printed.startswith("PASS")
    assert says in printed


FAILURES = {
    "half": ("ours_to_check.py:half", ("wrong", "ratio      0.5", "a factor 2 is missing", "by x[")),
    "partial": ("ours_to_check.py:bound --shapes=3", ("a factor 2 is missing",)),
    "sign in torch": ("theirs_to_check.py:Sign", ("sign: every entry", "output 0[", "expected", "got")),
    "through another file": ("helper_to_check.py:f", ("sign: every entry",)),
    "second": ("ours_to_check.py:once --second", ("FAIL the gradient of once", "zero gradient")),
    "twin": (
        "ours_to_check.py:wrong_twin --torch theirs_to_check.py:softplus",
        ("6 of 6 numbers of output 0", "torch"),
    ),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("line", "says"), [pytest.param(*v, id=k) for k, v in FAILURES.items()])
def test_wrong_derivatives_pass(line: str, says: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """错的导数通过了，退出码不是 1，或报告没有说清。"""
    assert _run(*line.split(" ")) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("FAIL")
    assert printed.count("\n") <= 12
    for text in says:
        assert text in printed


@pytest.mark.usefixtures("folder")
def test_a_wrong_table_of_derivatives_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """用户自己用 ``@op`` 声明的算子，求导表写错了却通过。"""
    try:
        assert _run("op_to_check.py:a_cube_to_check") == 1
    finally:
        REGISTRY.pop("a_cube_to_check", None)
    assert "a factor x is missing (chain rule)" in capsys.readouterr().out


MISUSES = {
    "nothing": ("", "name one thing to check"),
    "two": ("a.py:f b.py:g", "name one thing to check"),
    "no colon": ("ours_to_check.py", "cannot read"),
    "no file": ("absent.py:f", "no such file"),
    "no module": ("absent_module:f", "no module absent_module"),
    "no name": ("ours_to_check.py:absent", "it has softplus"),
    "no function": ("ours_to_check.py:constant", "is not callable"),
    "bad shapes": ("ours_to_check.py:softplus --shapes 3x4", "cannot read the shapes"),
    "too many shapes": ("ours_to_check.py:softplus --shapes 3/4", "--shapes gives 2"),
    "shapes that do not fit": ("ours_to_check.py:bilinear --shapes 2,3/2,3", "raised RuntimeError"),
    "bad range": ("ours_to_check.py:log --range 2,1", "cannot read the range"),
    "nan": ("ours_to_check.py:log", "gives inf or nan"),
    "random": ("ours_to_check.py:noisy", "different outputs for the same inputs"),
    "single precision": ("ours_to_check.py:single", "central differences need float64"),
    "a number": ("ours_to_check.py:number", "parameter n of number"),
    "no arguments": ("ours_to_check.py:Layer", "cannot construct Layer()"),
    "bad arguments": ("ours_to_check.py:Layer --init 3,)", "cannot construct"),
    "too large": ("ours_to_check.py:softplus --shapes 300,300", "give smaller --shapes"),
    "builtin": ("torch.nn.functional:softplus", "has no signature"),
    "twin of another kind": ("ours_to_check.py:Layer --init 3 --torch theirs_to_check.py:cube", "is a module"),
    "twin with other inputs": ("ours_to_check.py:bilinear --shapes 2,3/3,2 --torch theirs_to_check.py:cube", "twin"),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("line", "says"), [pytest.param(*v, id=k) for k, v in MISUSES.items()])
def test_an_error_of_use_is_a_traceback(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """用错了却抛出 traceback，或超过三行，或没有说怎么办。"""
    assert _run(*(word.replace("/", " ") for word in line.split(" ") if word)) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") <= 3
    assert printed.startswith("error: ")
    assert says in printed


def _softplus(m: Any) -> Any:
    return lambda x: x.exp().log1p() + m.zeros(1, dtype=m.float64)


def test_the_fixture_lets_a_mistake_through() -> None:
    """fixture 用的函数放行了错的，或拒绝了对的。"""
    checked(_softplus(tg), shapes="3,4", second=True)
    checked(_softplus(torch), torch.randn(3, 4), twin=_softplus(tg))
    checked(_softplus(tg), np.ones((2, 2)), twin=torch.nn.functional.softplus)
    checked(tg.nn.Linear(3, 2), tg.randn(4, 3))
    with pytest.raises(AssertionError, match="a factor 2 is missing"):
        checked(lambda x: x * x.detach() + tg.zeros(1), low=1.0, high=2.0)
    with pytest.raises(AssertionError, match="are not those of"):
        checked(_softplus(tg), shapes="2", twin=lambda x: _softplus(torch)(x) * 1.0001)


def test_a_checked_constant_counts_as_wrong() -> None:
    """写明只检查一个输入，另一个（不求导的）也被检查。"""
    x, mask = tg.randn(3, dtype=tg.float64, requires_grad=True), tg.ones(3, dtype=tg.float64)
    checked(lambda a, b: a * b.detach(), x, mask)
    with pytest.raises(AssertionError, match="by b are wrong"):
        checked(lambda a, b: a * b.detach(), x.detach(), mask)


def test_pytest_does_not_find_the_fixture(tmp_path: Path) -> None:
    """照文档写的 ``pytest_plugins`` 启用不了 fixture，或失败的消息不是那份报告。"""
    (tmp_path / "test_own.py").write_text(
        'pytest_plugins = ["tinygrad_llm.gradchecker.plugin"]\n\n'
        "def test_right(gradcheck):\n    gradcheck(lambda x: x.exp(), shapes='2,2')\n\n"
        "def test_wrong(gradcheck):\n    gradcheck(lambda x: x * x.detach(), shapes='2,2')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "a factor 2 is missing" in done.stdout
