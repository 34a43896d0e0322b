"""只有 torch 才有的训练设置：设备、精度、编译、显存。

流入：命令行与 TOML；流出：冻结的 dataclass，比 ``TrainConfig`` 多几个字段。下一站：``torch_llm/runtime.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.quantization.scheme import GROUPS, Scheme, qat_scheme
from tinygrad_llm.common.train_config import TrainConfig, choice_problems

TierName = Literal["auto", "cpu", "laptop", "gpu", "8xh100"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Parallel = Literal["auto", "ddp", "fsdp", "tp", "fsdp+tp"]
Awareness = Literal["off", "int8", "int4"]


@dataclass(frozen=True)
class TorchConfig(TrainConfig):
    """torch 上一次训练的全部设置。"""

    ignored_keys: ClassVar[tuple[str, ...]] = ()

    tier: TierName | None = None
    """照机器的档位定出深度、微批、精度、编译等；``auto`` 看这台机器有什么。别的 flag 仍然算数。"""
    device: Device = "auto"
    """在哪里算；``auto`` 依次看 CUDA、MPS、CPU。"""
    precision: Precision = "auto"
    """矩阵乘法的精度；参数与优化器总是 ``--dtype``。``auto``：CUDA 8.0 起用 bfloat16，别处不降精度。"""
    tf32: bool = True
    """CUDA 上的 float32 矩阵乘法可以用 TF32。"""
    compile: bool = False
    """用 torch.compile 编译模型；编译不了就照常运行，并说明原因。"""
    recompute: bool = False
    """不留各层的激活，反传时重算：省内存，多花三成时间。"""
    auto_batch: bool = False
    """内存不够时自动把微批切小（``--accumulate`` 加大），直到放得下；结果不变。"""
    parallel: Parallel = "auto"
    """几个进程怎样合训：``ddp`` 各有整个模型，``fsdp`` 切开存放，``tp`` 切开矩阵，或兼用；``auto`` 即 ``ddp``。"""
    tp: int | None = None
    """``fsdp+tp`` 里每几个相邻的进程切开矩阵；须整除头数。"""
    sharded_checkpoints: bool = False
    """合训时每个进程只存自己的块，不必有谁装下整个模型；``consolidate`` 把它拼成普通的检查点，续训时自动拼。"""
    qat: Awareness = "off"
    """量化感知训练：前向用舍入成 int8 或 int4 的权重，梯度原样通过；之后 ``quantize`` 成同样的格式。"""
    qat_group: int = 32
    """``--qat int4`` 几列一组：32、64 或 128。"""

    @staticmethod
    def of(settings: TrainConfig, device: Device = "auto", precision: Precision = "float32") -> TorchConfig:
        """给两边共用的设置补上 torch 的几项。

        Args:
            settings: 共用的设置。
            device: 在哪里算。
            precision: 矩阵乘法的精度。

        Returns:
            其余字段与 ``settings`` 相同的 ``TorchConfig``。
        """
        shared = {field.name: getattr(settings, field.name) for field in fields(TrainConfig)}
        return TorchConfig(**shared, device=device, precision=precision)

    @staticmethod
    def dialled(given: Mapping[str, Any]) -> dict[str, Any]:
        """``--tier`` 与 ``--depth`` 定出的设置；用户点名的不在其中。

        Args:
            given: 用户点名的设置。
        """
        if given.get("tier") is None:
            return TrainConfig.dialled(given)
        from tinygrad_llm.common.tiers import settings_for_tier

        return settings_for_tier(given["tier"], given)

    @property
    def dials(self) -> list[str]:
        """``--tier`` 与 ``--depth`` 定出了什么，印给人看；没有用它们则为空。"""
        from tinygrad_llm.common.tiers import tier_lines

        return [*([] if self.tier is None else tier_lines(self.tier, asdict(self))), *super().dials]

    def lasting(self) -> TorchConfig:
        """几个进程、怎样切，也只管这一回：检查点与它们无关。"""
        return replace(super().lasting(), parallel="auto", tp=None, sharded_checkpoints=False)  # type: ignore[call-arg,return-value]

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = choice_problems(self, device=Device, precision=Precision, parallel=Parallel, qat=Awareness)
        if self.tier is not None:
            problems += choice_problems(self, tier=TierName)
        if self.tp is not None and self.tp < 1:
            problems.append(f"--tp must be at least 1, got {self.tp}")
        if self.qat_group not in GROUPS:
            problems.append(f"--qat-group must be one of {', '.join(map(str, GROUPS))}, got {self.qat_group}")
        if self.qat != "off" and self.parallel not in ("auto", "ddp"):
            problems.append(f"--qat needs whole matrices, and --parallel {self.parallel} cuts them")
        if self.dtype == "float64" and self.precision in ("bfloat16", "float16"):
            problems.append(f"--precision {self.precision} contradicts --dtype float64")
        if problems:
            raise UserError("; ".join(problems), where="training settings", fix="correct the flags named above")

    @property
    def qat_scheme(self) -> Scheme | None:
        """前向时各线性层的存法；不做量化感知训练时为 ``None``。"""
        return None if self.qat == "off" else qat_scheme(self.qat, self.qat_group)
