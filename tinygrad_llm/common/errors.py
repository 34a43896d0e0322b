"""用户错误：三句话说清「哪里错、在哪、怎么办」，并带着退出码。

流入：各处发现的、由用户输入引起的问题；流出：命令行上至多三行的英文消息（见 ``cli.py``）。
程序自身的缺陷不走这里，照常抛出并留下完整的 traceback。
"""

from __future__ import annotations


class UserError(Exception):
    """用户能自己改正的错误。

    Attributes:
        problem: 哪里错了（一句英文，不含换行）。
        where: 出错的位置：文件、参数或张量名；可以为空。
        fix: 怎么办：一条用户照做即可的指令；可以为空。
        exit_code: 进程退出码；2 表示用法或配置错误。
        everywhere: 几个进程合训时，是不是个个都会遇到它：是，就只由头一个进程说出来。
    """

    exit_code = 2
    everywhere = True

    def __init__(self, problem: str, *, where: str = "", fix: str = "") -> None:
        self.problem, self.where, self.fix = problem, where, fix
        super().__init__(problem)

    def __str__(self) -> str:
        lines = [f"error: {self.problem}"]
        if self.where:
            lines.append(f"   at: {self.where}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class DataError(UserError):
    """数据文件缺失、为空或内容不合法（退出码 4）。"""

    exit_code = 4


class CheckpointError(DataError):
    """检查点缺失、损坏、被改动，或与模型不符（退出码 4）。"""


class DivergedError(UserError):
    """训练发散：连续出现非有限的损失或梯度（退出码 3）。"""

    exit_code = 3


class OutOfDiskError(DataError):
    """磁盘写满或不可写，检查点没有落盘（退出码 4）。"""


class WorkerError(UserError):
    """工作进程中途死了或出了错，训练走不下去（退出码 1）。"""

    exit_code = 1
    everywhere = False


class InterruptedRunError(UserError):
    """收到信号后已在步边界存好检查点（退出码 130 或 143）。"""

    def __init__(self, problem: str, *, where: str = "", fix: str = "", exit_code: int = 130) -> None:
        super().__init__(problem, where=where, fix=fix)
        self.exit_code = exit_code
