"""``python -m tinygrad_llm gradcheck``：检查你自己写的导数。

流入：命令行；流出：终端上的几行字，不符时退出码为 1。输入怎样来，见包的文档。
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.gradchecker.inputs import Draw, read_shapes
from tinygrad_llm.gradchecker.report import Verdict, check_derivatives, compare_twins
from tinygrad_llm.gradchecker.subject import opened, subject, twin


@dataclass(frozen=True)
class GradcheckConfig:
    """检查导数：函数、nn.Module 或 autograd.Function，用这里的引擎或 torch 写的，逐个元素与中心差分对照。

    输入由先到后取：``--shapes``；旁边的 NAME_inputs() 或 inputs()；参数的默认值；注解 Annotated[Tensor, (3, 4)]，
    没有写形状的取 (2, 3)。
    """

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    target: tuple[str, ...]
    """要检查的：FILE.py:NAME 或 pkg.mod:NAME。"""
    torch: str = ""
    """另一个引擎写的同一个函数，写法相同：值与梯度也要相同。"""
    shapes: str = ""
    """各个张量参数的形状，如 "3,4 4,5 ()"。"""
    init: str = ""
    """构造模块的参数，如 "8, 4, bias=False"。"""
    range: str = ""
    """取这个区间里的均匀数，如 0.5,2；缺省是标准正态数。"""
    seed: int = 0
    """取数的种子。"""
    second: bool = False
    """也检查二阶导。"""

    def __post_init__(self) -> None:
        """一次查完。"""
        if len(self.target) != 1:
            got = ", ".join(self.target) or "nothing"
            raise UserError(f"name one thing to check, got {got}", fix="write FILE.py:NAME or pkg.mod:NAME")
        if self.shapes:
            read_shapes(self.shapes)
        self.draw()

    def draw(self) -> Draw:
        """怎样取数。

        Raises:
            UserError: ``--range`` 不是两个递增的数。
        """
        if not self.range:
            return Draw(self.seed)
        try:
            low, high = (float(word) for word in self.range.split(","))
        except ValueError:
            low, high = 1.0, 0.0
        if not low < high:
            raise UserError(f'cannot read the range "{self.range}"', fix="write two numbers, like --range 0.5,2")
        return Draw(self.seed, low, high)


def verdicts(config: GradcheckConfig) -> list[Verdict]:
    """依次检查一阶导、孪生、二阶导；错了一样就不再往下。

    Raises:
        UserError: 找不到要检查的东西，或检查不了。
    """
    with ExitStack() as stack:
        target = stack.enter_context(opened(config.target[0]))
        ours = subject(target, shapes=config.shapes, draw=config.draw(), init=config.init)
        found = [check_derivatives(ours)]
        if config.torch and found[-1].is_right:
            theirs = twin(stack.enter_context(opened(config.torch)), ours, config.init)
            found.append(compare_twins(ours, theirs))
        if config.second and found[-1].is_right:
            found.append(check_derivatives(ours, twice=True))
        return found


def main(config: GradcheckConfig) -> None:
    """``python -m tinygrad_llm gradcheck``。"""
    found = verdicts(config)
    print("\n".join(str(one) for one in (found if found[-1].is_right else found[-1:])))
    if not found[-1].is_right:
        raise SystemExit(1)
