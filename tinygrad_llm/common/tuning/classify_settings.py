"""分类的另外两个动词的设置：消融与贴标签。

流入：命令行与 TOML；流出：冻结的 dataclass。下一个文件：``classify_grid.py`` 与 ``labelling.py``。
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinygrad_llm.common.checkpoint import step_folder
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import run_folder
from tinygrad_llm.common.train_config import choice_problems
from tinygrad_llm.common.tuning.config import ClassifyConfig, OnError, Overflow, TorchClassifyConfig
from tinygrad_llm.common.tuning.labelled_rows import Pool

__all__ = ["STDIN", "TRAINED", "ApplyConfig", "GridConfig", "TorchGridConfig"]

Answer = Literal["yes", "no"]
Format = Literal["text", "jsonl"]
STDIN = "-"
WORDS = ("right", "left", "fixed", "seen")
"""一种填充的写法由这几个词拼成。"""
TRAINED = re.compile(r"(head|full|last:[1-9]\d*|lora:[1-9]\d*)(?:@(\d*\.?\d+(?:e-?\d+)?))?")
"""学哪些参数的写法，与它自己的学习率。"""


@dataclass(frozen=True)
class GridConfig(ClassifyConfig):
    """分类的消融的设置；``classify`` 的各项定出缺省的那一格。"""

    run: str = "classify-grid"
    """研究的名字；结果写在 ``RUNS_DIR/RUN/``。"""
    from_run: str = ""
    """从这次运行出发；逗号隔开可以有几个大小不同的，头一个是缺省的。"""
    pools: tuple[Pool, ...] = ("last", "first", "mean")
    """特征取哪里，见 ``--pool``。"""
    trained: tuple[str, ...] = ("head", "last:1", "full", "lora:2", "lora:8", "lora:32")
    """学哪些参数：``head``（头与末尾的归一化）、``last:K``（末 K 层）、``full``（全部）、``lora:R``（秩 R）；之后可以
    写上各自的学习率，如 ``head@0.02``，缺省越少的参数学得越快，全部参数的是 ``--lr``。"""
    paddings: tuple[str, ...] = ("right", "right-seen", "left", "left-seen", "fixed", "fixed-seen")
    """怎样填充：``right``、``left`` 在哪边；``fixed`` 一律填充到同样长；``seen`` 不掩去；
    可以相连，如 ``left-fixed-seen``。"""
    fixed_tokens: int = 0
    """``fixed`` 填充到几个 token；0 表示最长的文字的两倍。"""
    causals: tuple[Answer, ...] = ("yes", "no")
    """因果的掩码：开，关。"""
    seeds: int = 3
    """每一格跑几个种子：``--seed`` 起，依次加一。"""
    full_grid: bool = False
    """跑全部的组合，而不是一次只变一样。"""
    keep_checkpoints: bool = False
    """各格的检查点也留着；缺省只留结果。"""

    def more_problems(self) -> list[str]:
        """不对的设置，各一句。"""
        problems = super().more_problems()
        if self.seeds < 1 or self.fixed_tokens < 0:
            problems.append("--seeds must be at least 1, --fixed-tokens at least 0")
        problems += [f"--trained cannot be {word!r}" for word in self.trained if not TRAINED.fullmatch(word)]
        for word in self.paddings:
            parts = word.split("-")
            if set(parts) - set(WORDS) or len(set(parts)) != len(parts) or {"left", "right"} <= set(parts):
                problems.append(f"--paddings cannot be {word!r}; write {', '.join(WORDS)}, joined by -")
        return problems


@dataclass(frozen=True)
class TorchGridConfig(GridConfig, TorchClassifyConfig):
    """torch 上分类的消融的设置。"""


@dataclass(frozen=True)
class ApplyConfig:
    """贴标签的设置。"""

    run: str = "classifier"
    """``classify`` 练成的运行：运行名，或运行文件夹、检查点文件夹的路径。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    checkpoint: str = "latest"
    """用哪个检查点：``latest``、``best``（验证损失最低的），或步数。"""
    text: tuple[str, ...] = ()
    """要贴标签的文字，可以有几段。"""
    data: str = ""
    """要贴标签的文件：JSONL（``text``；有 ``label`` 就顺便算正确率），或文本文件，一行一段；``-`` 是标准输入。
    ``--text`` 也不给，就读标准输入，一行一段，读一行答一行。"""
    format: Format = "text"
    """``text``：标签、概率、文字；``jsonl``：一行一个 JSON，有各类的概率。"""
    overflow: Overflow = "error"
    """超长的文字：报错，略过，或裁短。"""
    on_error: OnError = "stop"
    """坏的一行：遇到就停，或按原因计数后略过。"""

    def __post_init__(self) -> None:
        problems = choice_problems(self, format=Format, overflow=Overflow, on_error=OnError)
        if self.text and self.data:
            problems.append("--text and --data exclude each other")
        if problems:
            raise UserError("; ".join(problems), where="labelling settings", fix="correct the flags named above")

    @property
    def folder(self) -> Path:
        """运行名对应的文件夹，或其中点名的检查点。"""
        folder = run_folder(self.runs_dir, self.run)
        return folder if self.checkpoint == "latest" else step_folder(folder, self.checkpoint)
