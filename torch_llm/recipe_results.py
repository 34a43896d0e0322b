"""配方的结果：写一篇样本，把用时、数字、曲线与样本排成 Markdown，也印到终端。

流入：``recipe.json`` 的内容；流出：``recipe.md`` 与 ``recipe.svg``。README 里的那一块由同一个函数写成，见 ``block``。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinygrad_llm.common.decoding.request import Sampling
    from tinygrad_llm.common.decoding.single import Decoder
    from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["block", "curve", "show", "story"]

MAX_TOKENS = 400
MODEL = "model"
_WORDS = {
    "en": (
        "{minutes:.1f} minutes in all, {training:.1f} of them training: {parameters:,} parameters, {tokens:,} tokens "
        "({precision}), **{bits:.3f} bits per byte** on stories it has not seen; a 5-gram model of the same text "
        "needs {baseline:.3f}."
    ),
    "zh": (
        "共 {minutes:.1f} 分钟，其中训练 {training:.1f} 分钟：{parameters:,} 个参数，{tokens:,} 个 token"
        "（{precision}），没见过的故事上 **{bits:.3f} bits per byte**；同样的文本上，5-gram 模型要 {baseline:.3f}。"
    ),
}


def story(decoder: Decoder, tokenizer: Tokenizer, prompt: str, sampling: Sampling) -> str:
    """从开头写到文档的结尾，至多 ``MAX_TOKENS`` 个 token。"""
    from tinygrad_llm.common.decoding.single import decode

    ids = [tokenizer.eot, *tokenizer.encode(prompt)]
    for token in decode(decoder, ids, MAX_TOKENS, sampling, tokenizer.vocab_size):
        if token == tokenizer.eot:
            break
        ids.append(token)
    return tokenizer.decode(ids[1:])


def block(steps: Mapping[str, Mapping[str, Any]], language: str) -> str:
    """数字一句、样本几段，Markdown。

    Args:
        steps: ``recipe.json`` 里各步的结果。
        language: ``"en"`` 或 ``"zh"``。

    Returns:
        以换行结尾的文字。
    """
    model = steps[MODEL]
    said = _WORDS[language].format(
        minutes=sum(step["elapsed_s"] for step in steps.values()) / 60,
        training=model["elapsed_s"] / 60,
        parameters=model["parameters"],
        tokens=model["tokens"],
        precision=model["precision"],
        bits=model["bits_per_byte"],
        baseline=steps["baseline"]["bits_per_byte"],
    )
    texts = "\n\n---\n\n".join(text.strip() for text in steps["samples"]["texts"])
    return f"{said}\n\n```text\n{texts}\n```\n"


def curve(run: Path, stem: Path) -> list[Path]:
    """训练与验证的曲线，存成 PNG 与 SVG。

    Args:
        run: 运行文件夹。
        stem: 文件名，不带后缀。

    Returns:
        写好的文件。
    """
    from tinygrad_llm.common.runlog import read_metrics
    from tinygrad_llm.common.study.figures import COLOURS, save_figure

    metrics = read_metrics(run)
    losses = [(record["step"] + 1, record["loss"]) for record in metrics if "loss" in record]
    measured = [(record["step"] + 1, record["val_loss"]) for record in metrics if "val_loss" in record]

    def panel(axes: Axes) -> None:
        axes.plot(*zip(*losses, strict=True), color=COLOURS[0], linewidth=0.8, alpha=0.6, label="training")
        axes.plot(*zip(*measured, strict=True), "o-", color=COLOURS[1], markersize=4, label="validation")
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats per token)")
        axes.legend(frameon=False)

    return save_figure(stem, [panel])


def show(folder: Path, record: Mapping[str, Any], prompts: Sequence[str]) -> None:
    """写下 ``recipe.md`` 与曲线，印出各步的用时、数字与样本。

    Args:
        folder: 放结果的文件夹。
        record: ``recipe.json`` 的内容。
        prompts: 各个样本的开头。
    """
    from tinygrad_llm.common.study.tables import write_markdown

    steps = record["steps"]
    curve(folder / MODEL, folder / "recipe")
    text = block(steps, "en")
    write_markdown(folder / "recipe.md", folder.name, ["![loss curve](recipe.svg)", text.rstrip()])
    for name, step in steps.items():
        print(f"{name:<10}{step['elapsed_s']:8.1f} s")
    model = steps[MODEL]
    print(
        f"{model['parameters']:,} parameters, {model['tokens']:,} tokens: {model['bits_per_byte']:.4f} bits/byte; "
        f"a 5-gram model needs {steps['baseline']['bits_per_byte']:.4f}"
    )
    for prompt, sample in zip(prompts, steps["samples"]["texts"], strict=True):
        print(f"\n--- {prompt or 'from the start'}\n{sample.strip()}")
    print(f"\nwrote {folder / 'recipe.md'}")
