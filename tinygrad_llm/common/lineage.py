"""从另一次运行的权重起步：``--from RUN``。

流入：一次运行（或它的某个检查点）的文件夹；流出：权重、分词器与模型配置，以及补全了的设置。
优化器与学习率都从头开始；出处与权重的摘要记进新运行的 ``state.json``。下一个文件：``session.py``。
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.config import PRESETS, GPTConfig
from tinygrad_llm.common.errors import CheckpointError, DataError, UserError
from tinygrad_llm.common.quantization import STATE_KEY, dequantized, join
from tinygrad_llm.common.run_names import run_folder
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.train_config import MODEL_FIELDS, TrainConfig

__all__ = ["Ancestor", "load_ancestor", "text_stages", "weights_digest"]

Weights = Mapping[str, NDArray[Any]]
_FREE = ("dropout",)
"""与权重无关、可以另定的模型设置。"""
_DEPTH = 8
"""往前至多追几次运行。"""


@dataclass(frozen=True)
class Ancestor:
    """出发点。

    Attributes:
        folder: 它的文件夹。
        step: 取自第几步的检查点。
        model: 模型配置。
        tokenizer: 分词器。
        weights: 权重。
        settings: 那次运行的设置；不是由训练得来的（例如换格式得来的）可以为空。
    """

    folder: Path
    step: int
    model: GPTConfig
    tokenizer: Tokenizer
    weights: Weights
    settings: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """记进 ``state.json`` 的出处。"""
        return {
            "run": str(self.folder),
            "step": self.step,
            "weights_sha256": weights_digest(self.weights),
            "settings": dict(self.settings),
        }

    def initial(self, dtype: str) -> dict[str, NDArray[Any]]:
        """新运行的初始权重。"""
        return {name: array.astype(dtype) for name, array in self.weights.items()}

    def inherited(self, settings: TrainConfig) -> TrainConfig:
        """核对设置，并把由出发点决定的几项补上。

        Args:
            settings: 用户给出的设置。

        Returns:
            模型与词表写明了的设置。

        Raises:
            UserError: 用户给出的模型设置与出发点不符。
        """
        mine = {**asdict(self.model), "n_kv_head": self.model.kv_heads, "vocab_size": self.tokenizer.vocab_size}
        given = {name: getattr(settings, name) for name in MODEL_FIELDS if name not in _FREE}
        if settings.vocab_size != TrainConfig.vocab_size:
            given["vocab_size"] = settings.vocab_size
        named = str(self.settings.get("preset", settings.preset))
        if settings.preset not in (TrainConfig.preset, named):
            given["preset"], mine["preset"] = settings.preset, named
        wrong = [name for name, value in given.items() if value is not None and value != mine[name]]
        if wrong:
            flags = ", ".join(f"--{name.replace('_', '-')} {given[name]} (it has {mine[name]})" for name in wrong)
            raise UserError(
                f"these flags contradict the model to start from: {flags}",
                where=str(self.folder),
                fix="drop them: model and tokenizer come from that run",
            )
        found = {name: mine[name] for name in MODEL_FIELDS if name not in _FREE}
        preset = named if named in PRESETS else settings.preset
        return replace(settings, preset=preset, vocab_size=self.tokenizer.vocab_size, **found)

    def check_tokenizer(self, tokenizer: Tokenizer, where: str) -> None:
        """分片须是用同一个分词器做的。

        Raises:
            UserError: 不是。
        """
        if tokenizer.digest != self.tokenizer.digest:
            raise UserError(
                "the shards were made with another tokenizer than the model to start from",
                where=where,
                fix=f"shard the text again with --tokenizer {self.folder / 'tokenizer.json'}",
            )


def load_ancestor(settings: TrainConfig) -> Ancestor:
    """按 ``--from`` 找到并载入出发点。

    Args:
        settings: 训练设置；``from_run`` 是运行名，或运行文件夹、检查点文件夹的路径。

    Returns:
        出发点。

    Raises:
        CheckpointError: 没有这次运行，或它坏了。
        UserError: 它就是新运行自己。
    """
    from tinygrad_llm.common.session import load_trained  # 两个文件互相用到

    folder = run_folder(settings.runs_dir, settings.from_run)
    if folder.resolve() == settings.folder.resolve():
        raise UserError("a run cannot start from itself", where=str(folder), fix="give the new run another --run NAME")
    model, tokenizer, checkpoint = load_trained(folder)
    known = {field.name for field in fields(TrainConfig)}
    saved = checkpoint.state.get("settings")
    before = {name: value for name, value in saved.items() if name in known} if isinstance(saved, dict) else {}
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    weights = checkpoint.model
    if STATE_KEY in checkpoint.state:
        weights = dequantized(join(model, weights, checkpoint.state[STATE_KEY], where=str(folder)))
    return Ancestor(run, checkpoint.step, model, tokenizer, weights, before)


def text_stages(source: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """一次运行的来历里，由文本学语言模型的各次运行；学指令、偏好与奖励的不算。

    Args:
        source: 检查点里的出处，即 ``state["source"]``。

    Returns:
        名字（``pretraining``、``midtraining``、``midtraining_2``……）与设置，由近到远；最早的是预训练。
    """
    from tinygrad_llm.common.checkpoint import read_state  # 两个文件互相用到

    stages: list[Mapping[str, Any]] = []
    while source and len(stages) < _DEPTH:
        kept = Path(str(source.get("run", ""))) / "checkpoints" / f"step_{int(source.get('step', 0)):06d}"
        try:
            state = read_state(kept)
        except (CheckpointError, DataError):
            state = {}
        before = source.get("settings") or {}
        if not state.get("method") and (before.get("data") or before.get("corpus")):
            stages.append(before)
        further = state.get("source")
        source = further if isinstance(further, dict) else {}
    names = ["midtraining", *(f"midtraining_{i}" for i in range(2, len(stages)))]
    return [*zip(names[: len(stages) - 1], stages[:-1], strict=True), ("pretraining", stages[-1])] if stages else []


def weights_digest(weights: Weights) -> str:
    """权重的 SHA-256：名字、类型、形状与每一个比特，与存成什么文件无关。

    Args:
        weights: 参数名到数组。

    Returns:
        十六进制的摘要。
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()
