"""前半程：从一堆文字到一个会答题的模型。

流入：故事世界的语料；流出：``base``（预训练）、``chat``（中段训练）、``sft`` 与 ``lora`` 几次运行。
下一个文件：``stages_choice.py``。
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from typing import Any

from tinygrad_llm.common.batches import open_store
from tinygrad_llm.common.journey.runner import Bars, Curve, Found, Stage, Trip, above, at_least, at_most, below
from tinygrad_llm.common.ngram import fit_byte_ngram
from tinygrad_llm.common.scoring import wilson_interval
from tinygrad_llm.common.tokenizers import Tokenizer, load_tokenizer

__all__ = ["MODEL_STAGES", "TASKS", "exact_match", "measured", "rate_bar", "rate_text", "schedule"]

PLANTED = 60
VOCABULARY, VAL_FRACTION, NGRAM = 2048, 0.02, 5
SHOWN = 160
"""给人看切法的文字有多长。"""
FORGETTING = 0.10
EXACT_MATCH = 0.60
TASKS = ("first", "last", "length", "plural", "digits", "antonym")
"""教哪几种题：几分钟、两百万参数学得会，而且考的是没见过的词。"""
LORA_SHARE = 0.05


def clean(trip: Trip) -> Found:
    """写出语料，埋进重复的故事与邮箱，清洗，看埋的东西还在不在。"""
    raw = trip.folder / "raw.jsonl"
    count = int(trip.scale.corpus_mb * 1e6 / 520)  # 一篇故事约 520 个字符
    trip.call("data", "storyworld", "stories", "--count", count, "--out", raw.name, package="torch_llm")
    lines = raw.read_text(encoding="utf-8").splitlines()
    stories = [json.loads(line)["text"] for line in lines[:: max(1, len(lines) // PLANTED)][:PLANTED]]
    addresses = [f"reader{i}@mail-{i}.example.org" for i in range(PLANTED)]
    planted = [*stories, *(f"{text}\nWrite to {to}." for text, to in zip(stories, addresses, strict=True))]
    raw.write_text("\n".join([*lines, *(json.dumps({"text": text}, ensure_ascii=False) for text in planted), ""]))
    if not (trip.folder / "clean" / "manifest.json").is_file():
        trip.call("data", "clean", raw.name, "--out", "clean", *trip.workers, package="torch_llm")
    kept = b"".join(gzip.decompress(path.read_bytes()) for path in sorted((trip.folder / "clean").glob("*.jsonl.gz")))
    documents = [json.loads(line)["text"] for line in kept.decode().splitlines()]
    leaked = sum(address in text for address in addresses for text in documents)
    doubled = len(documents) - len(set(documents))
    return Found(
        checks=(
            at_most("duplicates left", doubled, 0, f"埋了 {PLANTED} 篇"),
            at_most("e-mail addresses left", leaked, 0, f"埋了 {PLANTED} 个"),
        ),
        figures={"文档": f"{len(documents):,}", "字节": f"{len(kept):,}"},
        texts={"一篇干净的故事": documents[0]},
        links=("clean/report.html",),
    )


def tokenizer(trip: Trip) -> Found:
    """训练分词器；基线是一个字符一个 token。"""
    words = ["--vocab-size", VOCABULARY, "--specials", *_specials()]
    trip.call("tokenizer", "train", "clean", "--out", "tokenizer.json", *words, package="tinygrad_llm")
    flags = ["--tokenizer", "tokenizer.json", "--out", "shards", "--val-fraction", VAL_FRACTION]
    if not (trip.folder / "shards").exists():
        trip.call("data", "shard", "clean", *flags, package="torch_llm")
    text = open_store(trip.folder / "shards").raw_text("val").decode("utf-8", "replace")
    found = load_tokenizer(trip.folder / "tokenizer.json")
    count = len(found.encode(text))
    ratio = len(text) / count
    return Found(
        checks=(above("characters per token", ratio, 1.0, f"留出的 {len(text):,} 个字符"),),
        figures={"词表": f"{found.vocab_size:,}", "每 token 的字节": f"{len(text.encode()) / count:.2f}"},
        texts={"怎样切（竖线隔开的各是一个 token）": _pieces(found, text[:SHOWN])},
    )


def pretrain(trip: Trip) -> Found:
    """预训练；基线是同样文本上的 5-gram 模型。"""
    trip.train(trip.scale.pretrain, "base", "--data", "shards", *trip.scale.shape, *schedule(trip, "pretrain", 3))
    bits = measured(trip, "base", "val_bits_per_byte")[-1]
    store = open_store(trip.folder / "shards")
    baseline = fit_byte_ngram(store.raw_text("train"), NGRAM).bits_per_byte(store.raw_text("val"))
    return Found(
        checks=(below("bits per byte", bits, baseline, f"界限是 {NGRAM}-gram 模型的"),),
        curves=(Curve("base", ("loss",)), Curve("base", ("val_bits_per_byte",), baseline)),
        texts={"写一段": _last_sample(trip, "base")},
        links=("base/report.html",),
    )


def midtrain(trip: Trip) -> Found:
    """换成对话接着练；基线是换之前在对话上的压缩率，旧数据至多忘掉一成。"""
    count = trip.scale.items["dialogues"]
    trip.call("data", "storyworld", "dialogues", "--count", count, "--out", "dialogues.jsonl", package="torch_llm")
    flags = ["--tokenizer", "tokenizer.json", "--out", "dialogue-shards", "--val-fraction", 0.05, "--chat", "ours"]
    if not (trip.folder / "dialogue-shards").exists():
        trip.call("data", "shard", "dialogues.jsonl", *flags, package="torch_llm")
    words = ["--from", "base", "--data", "dialogue-shards", "--replay", 0.3]
    trip.train("midtrain", "chat", *words, *schedule(trip, "midtrain", 2))
    fresh, old = measured(trip, "chat", "val_bits_per_byte"), measured(trip, "chat", "val_bits_per_byte_old")
    forgotten = old[-1] / old[0] - 1
    return Found(
        checks=(
            below("bits per byte on dialogues", fresh[-1], fresh[0], "界限是练之前的"),
            at_most("old data forgotten", forgotten, FORGETTING, f"{old[0]:.3f} -> {old[-1]:.3f}"),
        ),
        curves=(Curve("chat", ("loss",)), Curve("chat", ("val_bits_per_byte", "val_bits_per_byte_old"))),
        links=("chat/report.html",),
    )


def sft(trip: Trip) -> Found:
    """指令微调；留出的题上至少答对六成，练之前的也写在一旁。"""
    trip.train("sft", "sft", *_lessons(trip), *schedule(trip, "sft"))
    before, after, n = exact_match(trip, "sft")
    said = f"{rate_text(after, n)}；练之前 {rate_text(before, n)}"
    rows = rate_bar("练之前", before, n), rate_bar("练之后", after, n)
    return Found(
        checks=(at_least("exact match", after, EXACT_MATCH, said),),
        curves=(Curve("sft", ("loss",)),),
        bars=(Bars("精确匹配", rows, EXACT_MATCH),),
        texts={"问与答": _last_sample(trip, "sft")},
        links=("sft/report.html",),
    )


def lora(trip: Trip) -> Found:
    """只学低秩的支路；学的参数不到二十分之一，答对的要比练之前多；与全参数的差写在一旁。"""
    trip.train("sft", "lora", *_lessons(trip), "--lora-rank", trip.scale.lora_rank, *schedule(trip, "lora"))
    _, full, _ = exact_match(trip, "sft")
    before, after, n = exact_match(trip, "lora")
    high = wilson_interval(round(before * n), n).high
    low = wilson_interval(round(after * n), n).low
    share, said = trained_share(trip, "lora"), f"{rate_text(after, n)}；全参数 {full:.1%}"
    rows = rate_bar("练之前", before, n), rate_bar("LoRA", after, n), rate_bar("全参数", full, n)
    return Found(
        checks=(
            above("exact match gained, lower end", low - high, 0.0, said),
            at_most("share of parameters trained", share, LORA_SHARE),
        ),
        curves=(Curve("lora", ("loss",)),),
        bars=(Bars("精确匹配", rows),),
        links=("lora/report.html",),
    )


MODEL_STAGES = (
    Stage("clean", "清洗", "去掉重复与个人信息；埋下的重复和邮箱一个也不该留下。", clean),
    Stage("tokenizer", "分词", "字节级 BPE；平均一个 token 要装下不止一个字符。", tokenizer),
    Stage("pretrain", "预训练", "预测下一个 token；每字节的比特要低于 5-gram 模型。", pretrain),
    Stage("midtrain", "中段训练", "换成对话接着练，掺三成旧数据；对话要学会，旧的不能忘掉一成。", midtrain),
    Stage("sft", "指令微调", "只学回答；没见过的题至少答对六成。", sft),
    Stage("lora", "LoRA", "冻结原来的权重，只学低秩支路（不到二十分之一的参数）；要比练之前答对得多。", lora),
)


# ---- 各站共用 ----


def rate_text(value: float, n: int) -> str:
    """一个比例与它的区间。"""
    found = wilson_interval(round(value * n), n)
    return f"{value:.1%} [{found.low:.1%}, {found.high:.1%}], n = {n}"


def rate_bar(label: str, value: float, n: int) -> tuple[str, float, float, float]:
    """区间图里的一行。"""
    found = wilson_interval(round(value * n), n)
    return label, value, found.low, found.high


def exact_match(trip: Trip, run: str) -> tuple[float, float, int]:
    """训练前后的精确匹配与题数。"""
    records = [record for record in trip.metrics(run) if "exact_match" in record]
    return float(records[0]["exact_match"]), float(records[-1]["exact_match"]), int(records[-1]["exact_match_n"])


def trained_share(trip: Trip, run: str) -> float:
    """学的参数占全部的几成；由检查点的自述算出。"""
    from tinygrad_llm.common.checkpoint import load_checkpoint
    from tinygrad_llm.common.config import GPTConfig, parameter_count

    state = load_checkpoint(trip.folder / run, weights_only=True).state
    trained = float(sum(math.prod(shape) for shape in state["method"]["trained"].values()))
    return trained / parameter_count(GPTConfig.from_dict(state["model"]))


def _lessons(trip: Trip) -> list[object]:
    files = []
    for split, count in (("train", trip.scale.items["instructions"]), ("val", 2 * trip.scale.quiz)):
        files.append(f"instructions-{split}.jsonl")
        words = ["--task", ",".join(TASKS), "--lang", "en", "--level", 1, "--split", split, "--count", count]
        if not (trip.folder / files[-1]).is_file():
            trip.call("data", "storyworld", "instructions", *words, "--out", files[-1], package="torch_llm")
    data = ["--data", files[0], "--val-data", files[1], "--answer-tokens", 24]
    return ["--from", "chat", *data, "--quiz", trip.scale.quiz]


def schedule(trip: Trip, stage: str, evaluations: int = 0) -> list[object]:
    """步数、批大小、更新公式与学习率；末尾才评估（另外可以有几次），样本也只写一次。"""
    scale = trip.scale
    steps, rule = scale.steps[stage], "muon" if stage in scale.muon else "adamw"
    looks = max(1, steps // evaluations) if evaluations else 0
    every = ["--eval-every", looks, "--sample-every", 0, "--save-every", max(50, steps // 4)]
    words = ["--batch-size", scale.batches[stage], "--optimizer", rule, "--lr", scale.rates[stage]]
    return [*words, "--steps", steps, "--warmup-steps", max(2, steps // 20), *every]


def measured(trip: Trip, run: str, name: str) -> Sequence[float]:
    """日志里一项数字的各次记录。"""
    return [float(record[name]) for record in trip.metrics(run) if name in record]


def _pieces(found: Tokenizer, text: str) -> str:
    """一段文字切成的各个 token；不成字的半个字符合到后面去。"""
    pieces, held = list[str](), list[int]()
    for id in found.encode(text):
        held.append(id)
        if "\ufffd" not in (piece := found.decode(held)):
            pieces.append(piece)
            held = []
    return "|".join(filter(None, pieces))


def _last_sample(trip: Trip, run: str) -> str:
    from tinygrad_llm.common.runlog import read_samples

    samples = read_samples(trip.folder / run)
    return samples[-1][1][:1500] if samples else ""


def _specials() -> list[Any]:
    from tinygrad_llm.common.chat import CHAT_SPECIALS
    from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT

    return [END_OF_TEXT, *CHAT_SPECIALS]
