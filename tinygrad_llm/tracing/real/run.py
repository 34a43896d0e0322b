"""追踪一次真正的训练留下的模型：它接下来的一步训练，与读一段提示的一次前向，记进同一份记录。

流入：运行文件夹 ``runs/NAME``；流出：``Trace``，``panels`` 里是五张图。各张图的画法见 ``flow.py``、``attention.py``、
``lens.py`` 与 ``overlay.py``。
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.common.batches import IGNORE_INDEX, TokenDataset, encode_corpus
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.corpora import load_corpus, split_text
from tinygrad_llm.common.decoding.settings import GenerateConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.loop import step_seed
from tinygrad_llm.common.progress import Progress
from tinygrad_llm.common.session import load_trained
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.gpt import GPT
from tinygrad_llm.tracing import trace as record
from tinygrad_llm.tracing.arrays import Snapshot, Summary
from tinygrad_llm.tracing.real.attention import attention_maps, attention_svg
from tinygrad_llm.tracing.real.flow import flow_svg
from tinygrad_llm.tracing.real.lens import lens, lens_svg, residual_streams, stream_values
from tinygrad_llm.tracing.real.overlay import costs_svg, timeline_svg
from tinygrad_llm.tracing.real.residuals import Flow, measure_flow
from tinygrad_llm.tracing.real.timeline import timeline
from tinygrad_llm.tracing.trace import Trace
from tinygrad_llm.train import build_model

DEFAULT_TOKENS = 14
"""没有给提示时，取验证文本开头的几个 token。"""
FLOW_STEPS = 40
"""梯度流的两次训练各走几步。"""
_SENTENCE = 50
_SHOWN = 24
"""注意力图与 logit lens 至多画最后这么多个位置。"""


@dataclass(frozen=True)
class TrainedRun:
    """一次训练留下的东西。

    Attributes:
        settings: 训练设置。
        config: 模型配置。
        tokenizer: 分词器。
        model: 训练好的模型。
        step: 训练了几步。
        data: 训练批次。
        validation: 验证文本，训练时没有见过。
    """

    settings: TrainConfig
    config: GPTConfig
    tokenizer: Tokenizer
    model: GPT
    step: int
    data: TokenDataset
    validation: str


def load_run(name: str, runs_dir: str = "runs") -> TrainedRun:
    """载入一个训练好的运行，连同它的数据。

    Args:
        name: 运行名，或运行文件夹、检查点文件夹的路径。
        runs_dir: 放各次运行的文件夹。

    Returns:
        载入的运行。

    Raises:
        CheckpointError: 没有这个运行，或检查点损坏。
        DataError: 语料已经不在了。
    """
    folder = GenerateConfig(run=name, runs_dir=runs_dir).folder
    config, tokenizer, checkpoint = load_trained(folder)
    home = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    settings = load_toml(home / "config.toml", TrainConfig)
    train_text, validation = split_text(load_corpus(settings.corpus).text, settings.val_fraction)
    ids = encode_corpus(train_text, tokenizer)
    shape: dict[str, Any] = {"context": config.context, "batch_size": settings.batch_size, "seed": settings.seed}
    data = TokenDataset(ids, vocab_size=config.vocab_size, **shape)
    model = build_model(config, checkpoint.model)
    return TrainedRun(settings, config, tokenizer, model, checkpoint.step, data, validation)


def trace_run(
    name: str,
    prompt: str | None = None,
    *,
    runs_dir: str = "runs",
    flow_steps: int = FLOW_STEPS,
    composed: bool = False,
    limit: int = 4096,
) -> Trace:
    """追踪一个训练好的运行。

    先做它接下来的一步训练（前向、损失、反向；不更新参数），再用训练好的权重读一遍提示。两者都在记录里，另附五张图：
    梯度流、注意力、logit lens、各算子的花费、时间线。

    Args:
        name: 运行名，或运行文件夹、检查点文件夹的路径。
        prompt: 提示；``None`` 则取验证文本的开头。
        runs_dir: 放各次运行的文件夹。
        flow_steps: 梯度流：有残差、没有残差的模型各从头训练几步；0 表示不画这一张。
        composed: 融合算子拆成普通算子。
        limit: 训练那一步里，至多几个元素的数组留下拷贝；提示的前向一律留下。

    Returns:
        记录。

    Raises:
        CheckpointError: 没有这个运行，或检查点损坏。
        DataError: 语料已经不在了。
        UserError: 提示是空的，或比模型的上下文长。
    """
    run = load_run(name, runs_dir)
    ids = _prompt_ids(run, prompt)
    _training_step(run)  # 先走一遍：第一次申请内存、建立缓存的时间不该算在各个算子头上
    run.model.zero_grad()
    with record(title=f"{Path(name).name}, step {run.step}", composed=composed, limit=limit) as t:
        _training_step(run)
        turn, nodes = len(t.events), len(t.nodes)
        t.limit = max(limit, ids.size * max(run.config.vocab_size, 4 * run.config.n_embd, run.config.hidden_size))
        run.model.eval()
        with tg.no_grad():
            run.model(tg.from_numpy(ids[None]))
    t.limit = limit
    flows = _flows(run, flow_steps) if flow_steps else []
    t.extensions["panels"] = _panels(t, run, ids, flows, nodes, turn)
    return t


def _prompt_ids(run: TrainedRun, prompt: str | None) -> NDArray[np.int64]:
    """提示的 token。"""
    if prompt is None:
        ids = run.tokenizer.encode(_opening(run.validation))[: min(DEFAULT_TOKENS, run.config.context)]
    else:
        ids = run.tokenizer.encode(prompt)
    if not 1 <= len(ids) <= run.config.context:
        raise UserError(
            f"the prompt has {len(ids)} tokens, the model reads 1 to {run.config.context}",
            where="--prompt",
            fix="give a text of that length, or leave --prompt out",
        )
    return np.array(ids, dtype=np.int64)


def _opening(text: str) -> str:
    """验证文本里第一行像句子的话；没有就从头取。"""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if len(line) > _SENTENCE and line[0].isalpha()), text[:400])


def _training_step(run: TrainedRun) -> None:
    """一个批次的前向、损失与反向，与训练时的下一步相同；参数不更新。"""
    x, y = run.data.batch(run.step)
    tg.manual_seed(step_seed(run.settings.seed, run.step))
    run.model.train()
    loss = run.model.loss(tg.from_numpy(x), tg.from_numpy(y)) / max(int((y != IGNORE_INDEX).sum()), 1)
    loss.backward()


def _flows(run: TrainedRun, steps: int) -> list[Flow]:
    """有残差与没有残差，从同样的初始权重各训练几步。"""
    found = []
    for residual in (True, False):
        with Progress(steps, f"{'with' if residual else 'without'} residuals") as progress:

            def on_step(step: int, loss: float, shown: Progress = progress) -> None:
                shown.update(step + 1, loss=loss)

            found.append(
                measure_flow(run.config, run.settings, run.data, residual=residual, steps=steps, on_step=on_step)
            )
    return found


def _panels(
    t: Trace, run: TrainedRun, ids: NDArray[np.int64], flows: Sequence[Flow], nodes: int, turn: int
) -> list[dict[str, str]]:
    """五张图，见 ``SCHEMA.md``。"""
    step, forward = t.nodes[:nodes], t.nodes[nodes:]
    vocabulary = [token_text(run.tokenizer, i) for i in range(run.config.vocab_size)]
    tokens = [vocabulary[i] for i in ids[-_SHOWN:]]
    maps = [one._replace(weights=one.weights[:, -_SHOWN:, -_SHOWN:]) for one in attention_maps(t, forward)]
    shares = lens(run.model, residual_streams(t, forward, run.config.n_layer))[:, -_SHOWN:]
    spans = timeline(t, last=turn)
    found = []
    if flows:
        now = [_norm(t.values[i].grad) for i in stream_values(step, run.config.n_layer)]
        drawn = flow_svg(flows, unigram_loss(run.data.ids), (run.step, now))
        found.append(_panel("gradient-flow", "梯度流", "Gradient flow", drawn))
    found.append(_panel("attention", "注意力", "Attention", attention_svg(maps, tokens)))
    found.append(_panel("logit-lens", "逐层的猜测", "Logit lens", lens_svg(shares, tokens, vocabulary)))
    found.append(_panel("op-costs", "时间与内存", "Time and memory", costs_svg(spans)))
    found.append(_panel("timeline", "时间线", "Timeline", timeline_svg(spans)))
    return found


def _panel(name: str, zh: str, en: str, svg: str) -> dict[str, str]:
    return {"id": name, "title_zh": zh, "title_en": en, "svg": svg}


def _norm(grad: Snapshot | None) -> float:
    if grad is None:
        return 0.0
    return grad.norm if isinstance(grad, Summary) else float(np.linalg.norm(grad))


def unigram_loss(ids: NDArray[np.integer]) -> float:
    """只按各 token 的频率来猜的损失（纳特）：训练文本的一元熵。"""
    counts = np.unique(ids, return_counts=True)[1].astype(np.float64)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """一个 token 写在图上的样子：空格写成 ``·``（很多个写成 ``·×9``），换行写成 ``↵``，不成字的字节写成十六进制。"""
    if token >= 256 + len(tokenizer.merges):
        return tokenizer.decode([token])
    raw = tokenizer.token_bytes(token)
    try:
        said = raw.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in raw)
    said = re.sub(" {4,}", lambda found: f"·×{len(found[0])}", said)
    shown = said.replace(" ", "·").replace("\n", "↵").replace("\t", "→")
    return shown if shown.isprintable() else "".join(f"\\x{byte:02x}" for byte in raw)
