"""训练与生成的设置：两个引擎、同样的 flag。

流入：命令行与 TOML；流出：一次校验完毕的冻结 dataclass。下一站：``session.py``。
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from tinygrad_llm.common.config import GPTConfig, preset
from tinygrad_llm.common.decoding.request import MAX_SEED
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.schedule import Schedule
from tinygrad_llm.common.update_rules import Rule

DType = Literal["float32", "float64"]

MODEL_FIELDS = ("context", "n_layer", "n_head", "n_kv_head", "n_embd", "window", "dropout")
FIXED_ON_RESUME = (
    "from_run", "preset", "depth", *MODEL_FIELDS, "corpus", "packing", "document_mask", "vocab_size", "val_fraction",
    "batch_size", "dtype", "seed", "optimizer",
)  # fmt: skip
"""续训时不许改动的设置：改了就不再是同一次训练。``data`` 不在其中：分片可以搬家，内容另有摘要核对。"""
TORCH_ONLY = (
    "tier", "device", "precision", "tf32", "compile", "recompute", "auto_batch", "parallel", "tp",
    "sharded_checkpoints", "qat", "qat_group",
)  # fmt: skip
"""只有 torch 才有的设置，见 ``torch_config.py``；NumPy 接着训练时，运行文件夹的配置里有它们也不算错。"""


def choice_problems(settings: Any, **kinds: Any) -> list[str]:
    """取值不在 ``Literal`` 之列的设置，各一句。

    Args:
        settings: 一份设置。
        **kinds: 字段名到它的 ``Literal`` 类型。
    """
    return [
        f"--{name} must be one of {', '.join(get_args(kind))}, got {getattr(settings, name)!r}"
        for name, kind in kinds.items()
        if getattr(settings, name) not in get_args(kind)
    ]


@dataclass(frozen=True)
class TrainConfig:
    """一次训练的全部设置。"""

    ignored_keys: ClassVar[tuple[str, ...]] = TORCH_ONLY
    fixed_on_resume: ClassVar[tuple[str, ...]] = FIXED_ON_RESUME
    cli_names: ClassVar[dict[str, str]] = {"from_run": "from"}
    """``from`` 是 Python 的关键字，不能作字段名。"""

    run: str = "toy"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    resume: bool = False
    """接着这个运行最近的检查点继续；未给出的设置沿用原来的。"""
    from_run: str = ""
    """从这次运行的权重起步（运行名，或运行、检查点文件夹的路径）；模型与分词器也由它而来，优化器与学习率从头开始。"""
    preset: str = "toy"
    """模型预设名；``dN`` 是深度为 N 的模型。"""
    depth: int | None = None
    """一个旋钮：由层数定出宽度、上下文、步数、批、学习率、衰减，印出算式；别的 flag 与 ``--config`` 里的仍然算数。"""
    context: int | None = None
    """覆盖预设：上下文长度（token）。"""
    n_layer: int | None = None
    """覆盖预设：层数。"""
    n_head: int | None = None
    """覆盖预设：查询头数。"""
    n_kv_head: int | None = None
    """覆盖预设：键值头数。"""
    n_embd: int | None = None
    """覆盖预设：宽度。"""
    window: int | None = None
    """覆盖预设：滑动窗口，每个位置只看最近几个位置（含自己）。"""
    dropout: float | None = None
    """覆盖预设：dropout 概率。"""
    corpus: str = "python-docs"
    """文本：``python-docs``、``python-source``、``storyworld-zh``、``storyworld-en``，别的语料名，或文件、文件夹的路径。"""
    data: str = ""
    """``data shard`` 写下的分片文件夹，代替 ``--corpus``；几个按权重混合，写作 ``A=0.7,B=0.3``。分词器随分片而来。"""
    document_mask: bool = False
    """注意力不越过文档的开头：一行里装几篇文档，与各占一行结果相同。"""
    packing: Literal["windows", "bos", "split"] = "windows"
    """分片怎样成行：首尾相接再切；整篇装行，每段从文档开头开始；或同样装行，而长文档切成几段。"""
    vocab_size: int = 1024
    """训练分词器的词表大小。"""
    val_fraction: float = 0.1
    """末尾留作验证的比例。"""
    steps: int = 300
    """总步数。"""
    stop_at: int | None = None
    """做完这一步就存档退出；学习率仍按总步数安排。"""
    batch_size: int = 16
    """每步的序列数（整个全局批次）。"""
    workers: int | None = None
    """用几个 CPU 核：NumPy 引擎开这么多个工作进程，torch 引擎开这么多个线程；缺省为可用的核数。"""
    accumulate: int = 1
    """每步分成几个微批依次反传；结果与不分相同，内存更小。"""
    lr: float = 1e-3
    """峰值学习率。"""
    schedule: Schedule = "cosine"
    """预热之后的学习率：``cosine``、``linear``，或先平后降的 ``wsd``。"""
    decay_fraction: float = 0.2
    """``wsd`` 末尾下降的一段占总步数的比例；0 表示一直不降。"""
    min_lr_ratio: float = 0.1
    """末尾学习率与峰值之比。"""
    warmup_steps: int = 20
    """线性预热的步数。"""
    optimizer: Rule = "adamw"
    """更新公式：``adamw``；``muon``（各层的矩阵用 Muon，其余用 AdamW，学习率共用）；``sgd``（Nesterov 动量）。"""
    weight_decay: float = 0.1
    """矩阵参数的权重衰减。"""
    momentum: float = 0.95
    """Muon 与 SGD 的动量系数。"""
    beta1: float = 0.9
    """AdamW 一阶矩的衰减率。"""
    beta2: float = 0.95
    """AdamW 二阶矩的衰减率。"""
    eps: float = 1e-8
    """AdamW 分母里的小数。"""
    grad_clip: float = 1.0
    """梯度全局范数的上限。"""
    dtype: DType = "float32"
    """参数与运算的浮点类型。"""
    seed: int = 0
    """初始权重、数据次序、dropout 与样本的种子。"""
    eval_every: int = 100
    """每隔几步在验证集上评估；0 表示只在末尾评估。"""
    patience: int = 0
    """连续这么多次评估都没有更低的验证损失，就存好提前停下；0 表示不提前停。"""
    skip_spikes: bool = True
    """损失忽然跳高（高出近 200 步均值 6 个标准差，梯度范数也是中位数的 5 倍）时不更新，接连如此就退回上一个检查点。"""
    sample_every: int = 100
    """每隔几步生成一段样本；0 表示只在末尾生成。"""
    sample_tokens: int = 100
    """每段样本的 token 数。"""
    sample_prompts: tuple[str, ...] = ()
    """样本的开头，可以有几个；不给就从文本起始符开始。"""
    save_every: int = 100
    """每隔几步存一个检查点；0 表示只在末尾存。"""
    stop_within: float = 0.0
    """收到信号后至多用这么多秒走完一步、存好；到时还没好就退出，先前的检查点完好。0 表示不限；按调度器给的宽限来填。"""
    keep: int = 2
    """保留最近的几个检查点。"""
    tensorboard: bool = False
    """同样的数字再写成 TensorBoard 的事件文件，在运行文件夹的 ``tensorboard/`` 里。"""
    profile: Path | None = None
    """剖析预热之后的一步：Chrome trace 写到这个文件，最费时的算子印成表。"""
    dry_run: bool = False
    """不训练，只估计：参数、浮点运算、内存、磁盘，以及由三步实测推出的时间；磁盘上什么也不留。"""
    json: Path | None = None
    """把 ``--dry-run`` 的估计也写成这个 JSON 文件。"""

    def __post_init__(self) -> None:
        problems = [*self._count_problems(), *self._rate_problems()]
        if not self.run or Path(self.run).name != self.run or self.run in (".", ".."):
            problems.append(f"--run must be a plain folder name, got {self.run!r}")
        if self.seed > MAX_SEED:
            problems.append(f"--seed must be at most {MAX_SEED}, got {self.seed}")
        problems += choice_problems(self, dtype=DType, optimizer=Rule, schedule=Schedule)
        if self.document_mask and not self.data:
            problems.append("--document-mask needs --data: a corpus has no document boundaries")
        if self.packing != "windows" and not self.data:
            problems.append(f"--packing {self.packing} needs --data: a corpus has no document boundaries")
        if self.json is not None and not self.dry_run:
            problems.append("--json needs --dry-run: it is where the estimate goes")
        if not problems and self.batch_size % self.accumulate:
            problems.append(f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}")
        if problems:
            raise UserError("; ".join(problems), where="training settings", fix="correct the flags named above")

    @property
    def folder(self) -> Path:
        """运行文件夹。"""
        return Path(self.runs_dir) / self.run

    @property
    def resume_flags(self) -> str:
        """从同一个目录接着走时要给的 flag。"""
        return f"--resume --run {self.run}" + ("" if self.runs_dir == "runs" else f" --runs-dir {self.runs_dir}")

    @property
    def last_step(self) -> int:
        """这一回做到哪一步为止。"""
        return self.steps if self.stop_at is None else min(self.stop_at, self.steps)

    def lasting(self) -> TrainConfig:
        """写进运行文件夹、下次续训沿用的设置：只管这一回的几个回到缺省值。"""
        return replace(self, resume=False, stop_at=None, profile=None, dry_run=False, json=None)

    def model(self, vocab_size: int) -> GPTConfig:
        """预设加上覆盖，得到模型配置。"""
        return preset(self.preset, vocab_size=vocab_size, **{name: getattr(self, name) for name in MODEL_FIELDS})

    @staticmethod
    def dialled(given: Mapping[str, Any]) -> dict[str, Any]:
        """``--depth`` 定出的设置；用户点名的不在其中。

        Args:
            given: 用户点名的设置。
        """
        from tinygrad_llm.common.depth import settings_for_depth

        if given.get("depth") is None or given["depth"] < 1:  # 不到 1 的由校验来说
            return {}
        names = {field.name for field in fields(TrainConfig)}
        made = settings_for_depth(given["depth"], given)
        return {one.name: one.value for one in made if one.name in names and not one.is_given}

    @property
    def dials(self) -> list[str]:
        """``--depth`` 定出了什么，印给人看；没有用它则为空。"""
        from tinygrad_llm.common.depth import depth_lines

        return [] if self.depth is None else depth_lines(self.depth, asdict(self))

    @staticmethod
    def implied_config(argv: Sequence[str]) -> Path | None:
        """``--resume`` 意味着以那次运行自己的 ``config.toml`` 作各设置的缺省值。

        Args:
            argv: 动词之后的参数。

        Returns:
            配置文件的路径；没有 ``--resume`` 或那里还没有配置时为 ``None``。
        """
        if "--resume" not in argv:
            return None
        given = {f.name: str(f.default) for f in fields(TrainConfig) if f.name in ("run", "runs_dir")}
        words = list(argv)
        for i, word in enumerate(words):
            flag, equals, value = word.partition("=")
            name = flag.removeprefix("--").replace("-", "_")
            if name in given and (equals or i + 1 < len(words)):
                given[name] = value if equals else words[i + 1]
        path = Path(given["runs_dir"]) / given["run"] / "config.toml"
        return path if path.is_file() else None

    def _count_problems(self) -> list[str]:
        least = {
            "vocab_size": 257, "depth": 1, "steps": 1, "stop_at": 1, "batch_size": 1, "workers": 1, "accumulate": 1,
            "warmup_steps": 0, "seed": 0, "eval_every": 0, "patience": 0, "sample_every": 0, "sample_tokens": 0,
            "save_every": 0, "keep": 1,
        }  # fmt: skip
        return [
            f"--{name.replace('_', '-')} must be at least {low}, got {getattr(self, name)}"
            for name, low in least.items()
            if getattr(self, name) is not None and getattr(self, name) < low
        ]

    def _rate_problems(self) -> list[str]:
        above_0, below_1 = math.nextafter(0, 1), math.nextafter(1, 0)
        ranges = {
            "lr": (above_0, math.inf, "above 0"),
            "eps": (above_0, math.inf, "above 0"),
            "grad_clip": (above_0, math.inf, "above 0"),
            "weight_decay": (0, math.inf, "at least 0"),
            "min_lr_ratio": (0, 1, "from 0 to 1"),
            "decay_fraction": (0, 1, "from 0 to 1"),
            "beta1": (0, below_1, "at least 0 and below 1"),
            "beta2": (0, below_1, "at least 0 and below 1"),
            "stop_within": (0, math.inf, "at least 0"),
            "momentum": (0, below_1, "at least 0 and below 1"),
            "val_fraction": (1e-6, 0.9, "from 0.000001 to 0.9"),
        }
        return [
            f"--{name.replace('_', '-')} must be a finite number {wanted}, got {getattr(self, name)}"
            for name, (low, high, wanted) in ranges.items()
            if not (math.isfinite(getattr(self, name)) and low <= getattr(self, name) <= high)
        ]
