"""章节进度：十二章与附录的清单，以及由磁盘得出的状态表。

流入：``examples/*/`` 里实际有的文件；流出：两份 README 中 ``<!-- chapters -->`` 标记之间的表格。
用法：``python -m parity_tests.house.chapters --write`` 改写两份 README；不带参数时只打印中文表格。
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from parity_tests.house.repo import ROOT, files, write_block

EXAMPLES = ROOT / "examples"


class Chapter(NamedTuple):
    """书里的一章。

    Attributes:
        folder: ``examples/`` 下的目录名。
        label: 章号，如「第六章」「附录 A」；章 README 的一级标题以它开头。
        title: 拟定的中文标题；章 README 写好以后以其中的为准。
        topic: 英文的一句内容。
        original: 对应 Raschka 原书的章；原书没有时为「–」。
    """

    folder: str
    label: str
    title: str
    topic: str
    original: str


CHAPTERS = (
    Chapter("ch01_introduction", "第一章", "引言", "What a language model is; the map of the book", "1"),
    Chapter("ch02_environment", "第二章", "配置训练环境", "Set up a machine and check its arithmetic", "–"),
    Chapter("ch03_data", "第三章", "文本数据处理", "Collect, clean, deduplicate, pack into batches", "2"),
    Chapter("ch04_tokenizer", "第四章", "分词器", "Train a byte-level BPE", "2"),
    Chapter(
        "ch05_transformer", "第五章", "Transformer 架构", "Attention, position, normalisation; build the GPT", "3, 4"
    ),
    Chapter("ch06_pretraining", "第六章", "预训练", "Train the same GPT on both engines", "5"),
    Chapter("ch07_midtraining", "第七章", "中期训练", "Teach a trained model a new domain; measure forgetting", "–"),
    Chapter("ch08_finetuning", "第八章", "微调", "Classification, instructions, LoRA", "6, 7"),
    Chapter("ch09_reinforcement", "第九章", "强化学习与偏好对齐", "DPO, policy gradients, GRPO", "–"),
    Chapter("ch10_inference", "第十章", "推理、量化与部署", "KV cache, sampling, int8 and int4, a server", "–"),
    Chapter("ch11_evaluation", "第十一章", "评估", "Bits per byte, benchmarks, confidence intervals", "–"),
    Chapter("ch12_safety", "第十二章", "安全", "Refusal, red-teaming, memorisation", "–"),
    Chapter("appendix_a_autograd", "附录 A", "自动求导", "The chain rule by hand, beside PyTorch", "A"),
    Chapter("appendix_b_parallel", "附录 B", "并行与分布式训练", "Data and model parallelism on one laptop", "–"),
    Chapter("appendix_c_reading", "附录 C", "学习资源与论文导读", "Prerequisites and papers", "–"),
)

_PARTS = ("README.md", "main", "experiments", "exercises")
_STATUS = {"done": ("done", "完成"), "started": ("in progress", "进行中"), "planned": ("planned", "计划中")}
_HEADS = {
    "README.md": ("| Folder | Topic | Raschka's chapter | Status |", "| :--- | :--- | :---: | :--- |"),
    "README.zh-CN.md": ("| 章 | 对应原书 | 状态 |", "| :--- | :---: | :--- |"),
}


def status(folder: Path) -> str:
    """一章的状态：四个部分都有内容是 done，有一部分是 started，都没有是 planned。"""
    present = [_has_content(folder / part) for part in _PARTS]
    return "done" if all(present) else "started" if any(present) else "planned"


def _has_content(path: Path) -> bool:
    candidates = files(path) if path.is_dir() else [path] if path.is_file() else []
    return any(one.stat().st_size > 0 for one in candidates)


def heading(folder: Path) -> str | None:
    """章 README 的一级标题，不含井号；还没有 README 时为 None。"""
    readme = folder / "README.md"
    if not readme.is_file():
        return None
    first = readme.read_text(encoding="utf-8").lstrip().partition("\n")[0]
    return first.removeprefix("# ").strip()


def table(readme: str) -> str:
    """给出 ``readme``（两份 README 之一的文件名）中应有的进度表。"""
    rows = list(_HEADS[readme])
    for chapter in CHAPTERS:
        folder = EXAMPLES / chapter.folder
        title = heading(folder)
        english, chinese = _STATUS[status(folder)]
        name = chapter.folder if readme == "README.md" else title or f"{chapter.label} {chapter.title}"
        link = f"[{name}](examples/{chapter.folder}/README.md)" if title else name
        rest = [chapter.topic, chapter.original, english] if readme == "README.md" else [chapter.original, chinese]
        rows.append("| " + " | ".join([link, *rest]) + " |")
    return "\n".join(rows)


def main() -> None:
    """打印中文进度表，或用 ``--write`` 改写两份 README。"""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.house.chapters")
    parser.add_argument("--write", action="store_true", help="rewrite the tables in both READMEs")
    if not parser.parse_args().write:
        print(table("README.zh-CN.md"))
        return
    for name in _HEADS:
        path = ROOT / name
        path.write_text(write_block(path.read_text(encoding="utf-8"), "chapters", table(name)), encoding="utf-8")


if __name__ == "__main__":
    main()
