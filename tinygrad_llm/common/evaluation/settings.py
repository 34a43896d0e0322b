"""``evaluate`` 的 flag：量哪些运行、哪些文本、哪些题，怎样量。

流入：命令行与 TOML；流出：一次校验完毕的冻结 dataclass。下一个文件：``command.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tinygrad_llm.common.checkpoint import step_folder
from tinygrad_llm.common.config import GPTConfig, parameter_count
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import existing_run

__all__ = ["VALIDATION", "EvaluateConfig", "working_dtype"]

VALIDATION = "validation"
"""``--data`` 的一个名字：这个运行自己的验证文本。"""
EXACT_PARAMETERS = 30_000_000
"""``--dtype auto``：不大于这么多参数的模型以 float64 来算。"""
ANSWER_TOKENS = 64
"""一个回答缺省至多这么多个 token。"""
STORY_ITEMS = 200
"""故事世界的题没有尽头：不写 ``--limit`` 时取这么多题。"""


def working_dtype(dtype: str, config: GPTConfig, *, has_float64: bool = True) -> str:
    """评测以什么精度来算。

    小模型用 float64：成绩与批大小、打包、引擎、机器都无关，到 1e-9；大模型用 float32，省一半时间与内存。

    Args:
        dtype: 设置；``auto`` 按大小定。
        config: 模型配置。
        has_float64: 设备有没有 float64。
    """
    if dtype != "auto":
        return dtype
    return "float64" if has_float64 and parameter_count(config) <= EXACT_PARAMETERS else "float32"


@dataclass(frozen=True)
class EvaluateConfig:
    """评测的设置。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    runs: tuple[str, ...]
    """一个或几个运行：名字，或运行文件夹、检查点文件夹的路径；几个时逐题相比，由先到后。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    checkpoint: str = "latest"
    """用哪个检查点：``latest``、``best``（验证损失最低的），或步数。"""
    stages: bool = False
    """连同这个运行的来历一起评测：它由哪个运行训练而来，那个又由哪个而来，由早到晚。"""
    data: tuple[str, ...] = ()
    """在这些文本上量困惑度与每字节的比特：语料名、文件、文件夹、分片，或 ``validation``（运行自己的验证文本）。"""
    field: str = ""
    """记录里正文的字段；缺省是 ``text``。"""
    tasks: tuple[str, ...] = ()
    """考这些题：JSON lines 文件，或 ``storyworld-choices``（还有 topic、sentiment、spam、questions、instructions）。"""
    limit: int | None = None
    """每项任务至多几题，每份文本至多几份文档。"""
    shots: int = 0
    """题面之前放几个示例。"""
    shots_from: Path | None = None
    """示例取自这个文件；缺省取自题目的文件，不用正在考的那道。"""
    form: Literal["cloze", "letters"] = "cloze"
    """选择题：给选项本身打分，或列出选项、给字母打分。"""
    normalise: Literal["sum", "token", "byte"] = "sum"
    """选择题以哪种比法为准：对数似然之和、除以 token 数、除以字节数；三种都报。"""
    template: str = ""
    """装进对话模板来问：``ours``、``chatml`` 或 ``alpaca``；缺省直接接着写。"""
    bos: bool = False
    """题面之前先放一个文本起始符。"""
    samples: int = 1
    """自由作答每题写几个，报 pass@k。"""
    k: tuple[int, ...] = ()
    """另报哪几个 pass@k；1 与样本数总在其中。"""
    temperature: float | None = None
    """作答的温度；缺省写一个时为 0，写几个时为 0.8。"""
    max_tokens: int | None = None
    """一个回答至多几个 token；缺省是 64，至多半个上下文。"""
    stop: tuple[str, ...] = ()
    """停止串；缺省按题而定。"""
    seed: int = 0
    """抽示例与作答的种子。"""
    seeds: int = 1
    """有示例的选择题换几个种子各考一遍，报成绩随种子变多少。"""
    judge: str = ""
    """请这个运行当裁判，给自由作答的回答打分。"""
    method: Literal["verdict", "pairwise", "likelihood"] = "verdict"
    """裁判怎样问：对不对；两个里哪个好；它自己写出这个回答的概率。"""
    train_data: tuple[str, ...] = ()
    """查泄题：在这些训练文本里找考题；写 ``run`` 就是运行自己的训练文本。"""
    ngram: int = 13
    """查泄题时连续几个词一字不差就算。"""
    stride: int | None = None
    """文档比上下文长时，窗口每次往前滑几个 token；缺省是半个上下文。"""
    packed: bool = False
    """把短文档首尾相接装进一行来算；不影响结果。"""
    batch_size: int = 16
    """一次至多算几行；不影响结果。"""
    dtype: Literal["auto", "float32", "float64"] = "auto"
    """以什么精度来算；``auto``：小模型 float64，大模型 float32。"""
    json: Path | None = None
    """成绩另写一份到这个文件。"""
    out: Path | None = None
    """成绩单写到哪个文件夹；缺省是末一个运行的 ``evaluation/``。"""

    def __post_init__(self) -> None:
        least = {"shots": 0, "samples": 1, "batch_size": 1, "seeds": 1, "ngram": 2, "seed": 0}
        least |= {name: 1 for name in ("limit", "stride", "max_tokens") if getattr(self, name) is not None}
        problems = [
            f"--{name.replace('_', '-')} must be at least {low}, got {getattr(self, name)}"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        if not self.runs:
            problems.append("name at least one run")
        if any(not 1 <= k <= self.samples for k in self.k):
            problems.append(f"--k must be from 1 to --samples, got {self.k} of {self.samples}")
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            problems.append(f"--temperature must be a finite number, 0 or above, got {self.temperature}")
        if self.samples > 1 and self.temperature == 0:
            problems.append("--samples above 1 needs a --temperature above 0: greedy answers are all alike")
        if self.seeds > 1 and not self.shots:
            problems.append("--seeds needs --shots: without examples there is nothing to draw")
        if not all(self.stop):
            problems.append("--stop takes strings that are not empty")
        if self.checkpoint != "latest" and (len(self.runs) > 1 or self.stages):
            problems.append("--checkpoint goes with one run; name checkpoint folders to compare several")
        if problems:
            raise UserError("; ".join(problems), where="evaluation settings", fix="correct the flags named above")

    @property
    def sampling_temperature(self) -> float:
        """作答的温度。"""
        return (0.8 if self.samples > 1 else 0.0) if self.temperature is None else self.temperature

    def folder_of(self, run: str) -> Path:
        """一个运行的文件夹，或其中点名的检查点。

        Raises:
            UserError: 没有这个运行。
        """
        folder = existing_run(self.runs_dir, run)
        return folder if self.checkpoint == "latest" else step_folder(folder, self.checkpoint)
