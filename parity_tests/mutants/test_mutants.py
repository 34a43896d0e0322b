"""变异测试自己的测试：十几个错误的导数都要被认出来，没有放错误的不许被认出来。"""

from __future__ import annotations

import ast
import os

import pytest

from parity_tests.mutants import checks, command, ledger, runner
from parity_tests.mutants.equivalent import EQUIVALENT
from parity_tests.mutants.mutations import Mutation, mutations
from parity_tests.mutants.runner import Mutant, run
from parity_tests.mutants.sampling import everything, sample
from tinygrad_llm.common.errors import UserError

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="mutants live in forked children")

QUICK = [
    "softmax.forward [constant] return narrowed(y, x) -> narrowed(y, x) * 2",
    "sub.b [sign] -g -> g",
    "mul.a [operator] g * b -> g / b",
    "matmul.a [transpose] b.mT -> b",
    "tanh.x [stale save] y -> x",
    "erf.x [constant] 1.1283791670955126 -> 1.692568750643269",
    "softmax.x [missing reduce] sum(g * y, dim=(dim,), keepdim=True) -> g * y",
    "softmax.x [axis] True -> False",
    "mean.x [off by one] 1 -> 2",
    "maximum.a [condition] a == b -> a != b",
    "log_softmax.x [dropped function] exp(y) -> y",
    "layer_norm.joint [dropped term] out -= t -> (nothing)",
    "rms_norm.composed [dropped factor] x * x -> x",
    "attention.joint [dropped term] s *= e -> (nothing)",
    "RMSprop.update [eps place] np.sqrt(square) + group['eps'] -> np.sqrt(square + group['eps'])",
    "sgd.sgd_update [sign] x -= g * lr -> x += g * lr",
    "traversal.unbroadcast [missing reduce] np.add.reduce(g, 0) -> g",
]
"""一类错误至少一个；改了引擎里的这几行，就在这里换成新的写法。"""


@pytest.fixture(scope="module")
def every_mutant() -> dict[str, Mutant]:
    """全部变异体，名字到它自己。"""
    found = everything()
    by_name = {m.name: m for m in found}
    assert len(by_name) == len(found)
    return by_name


@needs_fork
@pytest.mark.fused  # 关掉融合算子，写在它们反向里的错就没有人走到
def test_wrong_derivatives_are_noticed(every_mutant: dict[str, Mutant]) -> None:
    """一个写错的导数或更新公式没有被它自己的快测认出来。"""
    gone = [name for name in QUICK if name not in every_mutant]
    assert not gone, "these lines of the engine were rewritten: pick other mutants"
    outcomes = list(run([every_mutant[name] for name in QUICK], jobs=1))
    assert not ledger.survivors(outcomes)
    assert {o.verdict for o in outcomes} == {"killed"}


@needs_fork
def test_the_unchanged_engine_is_not_accused(every_mutant: dict[str, Mutant]) -> None:
    """没有改动的函数也被判成错的：那样「全部认出」就什么也没有说明。"""
    names = ["mul.a [operator] g * b -> g / b", QUICK[-2]]
    same = [m._replace(mutation=Mutation("none", "", "", m.target.node)) for m in map(every_mutant.__getitem__, names)]
    assert [o.verdict for o in run(same, jobs=1)] == ["survived", "survived"]


@needs_fork
def test_a_broken_check_is_refused(every_mutant: dict[str, Mutant], monkeypatch: pytest.MonkeyPatch) -> None:
    """总是失败的测试把每个变异体都「认了出来」。"""

    def fails() -> None:
        raise AssertionError("always")

    monkeypatch.setattr(runner, "warm_up", lambda: None)
    monkeypatch.setattr(checks, "of", lambda owner: [("always fails", fails)])
    with pytest.raises(UserError, match="a check of mul: always fails"):
        command.main(command.Config(ops=("mul.a",), count=1))


@needs_fork
def test_an_endless_mutant_is_stopped(every_mutant: dict[str, Mutant]) -> None:
    """死循环的变异体没有在时限内停下。"""
    mutant = every_mutant["mul.a [operator] g * b -> g / b"]
    endless = ast.parse("lambda g, b: [0 for _ in iter(int, 1)]", mode="eval").body
    assert isinstance(endless, ast.Lambda)
    found = list(run([mutant._replace(mutation=Mutation("loop", "", "", endless))], jobs=1, limit_s=0.2))
    assert [o.verdict for o in found] == ["timeout"]


def test_equivalent_mutants_still_exist(every_mutant: dict[str, Mutant]) -> None:
    """等价表里的一行说的是已经不存在的变异体。"""
    assert not set(EQUIVALENT) - set(every_mutant)
    assert all(len(reason) > 8 for reason in EQUIVALENT.values())


def test_the_ledger_shows_the_promised_rate() -> None:
    """账本不是现在的命令写的，变异体不够多，或认出的不到 98 %。"""
    caught, total = ledger.read()
    assert total >= 200
    assert caught >= 0.98 * total


def test_a_sample_covers_every_target_before_it_repeats(every_mutant: dict[str, Mutant]) -> None:
    """抽样漏掉了某个求导公式，或同一颗种子抽出了不同的变异体。"""
    targets = {m.target.name for m in every_mutant.values()}
    chosen = sample(every_mutant.values(), len(targets), seed=3)
    assert {m.target.name for m in chosen} == targets
    assert [m.name for m in chosen] == [m.name for m in sample(every_mutant.values(), len(targets), seed=3)]


@pytest.mark.parametrize(
    ("source", "kind", "after"),
    [
        ("lambda g, x: -g * x", "sign", "g"),
        ("lambda g, y: g * y", "stale save", "x"),
        ("lambda g, x: g @ x.mT", "transpose", "x"),
        ("lambda g, x: sum(g * x, dim=0)", "missing reduce", "g * x"),
        ("lambda g, x: g / (sqrt(x) + 0.5)", "eps place", "sqrt(x + 0.5)"),
        ("lambda g, x: g / sqrt(x + 0.5)", "eps place", "sqrt(x) + 0.5"),
        ("lambda g, x: where(x < 0, g, x)", "condition", "x <= 0"),
        ("lambda g, x: g[1:]", "off by one", "2"),
        ("lambda g, x: g + x", "dropped term", "x"),
    ],
)
def test_each_kind_of_mistake_is_made(source: str, kind: str, after: str) -> None:
    """某一类错误造不出来了。"""
    node = ast.parse(source, mode="eval").body
    assert isinstance(node, ast.Lambda)
    found = [(m.kind, m.after) for m in mutations(node, ("y", "x"))]
    assert (kind, after) in found


def test_a_mutant_differs_in_one_place_only() -> None:
    """变异体与原文相同，或改的时候把原来的语法树也改了。"""
    node = ast.parse("lambda g, x: g * (1 - x * x)", mode="eval").body
    assert isinstance(node, ast.Lambda)
    before = ast.unparse(node)
    texts = [ast.unparse(m.node) for m in mutations(node)]
    assert ast.unparse(node) == before
    assert before not in texts
    assert len(texts) == len(set(texts))
