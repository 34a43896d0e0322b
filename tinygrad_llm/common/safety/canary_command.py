"""``canary`` 的各动词：埋下，量出；两个引擎共用。

流入：设置与打开模型的办法；流出：埋好的文档与记录，或终端上的表、JSON 与网页。
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from tinygrad_llm.common.errors import OutOfDiskError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.report import write_page
from tinygrad_llm.common.safety.canaries import load_canaries, make_canaries, planted, save_canaries
from tinygrad_llm.common.safety.command import save_json
from tinygrad_llm.common.safety.memorisation import memorised
from tinygrad_llm.common.safety.report import canary_page
from tinygrad_llm.common.safety.settings import MeasureConfig, PlantConfig
from tinygrad_llm.common.safety.subject import OpenSubject

__all__ = ["measure_canaries", "plant", "record_path"]


def record_path(out: Path) -> Path:
    """记着埋了什么的文件，在埋好的文档旁边。"""
    return out.with_name(out.name.split(".")[0] + ".canaries.json")


def plant(config: PlantConfig) -> None:
    """读文档，埋下金丝雀，写成 JSON lines。"""
    from tinygrad_llm.common.corpora import documents

    canaries = make_canaries(config.repetitions, config.each, config.digits, config.seed)
    texts = [one.text for one in islice(documents(config.corpus), config.documents or None)]
    mixed = planted(texts, canaries, config.seed)
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in mixed]
    try:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(config.out, "".join(lines).encode())
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write: {error.strerror}", where=str(config.out), fix="check the folder"
        ) from error
    save_canaries(record_path(config.out), canaries)
    print(
        f"{config.out}: {len(texts):,} documents and {len(mixed) - len(texts):,} copies of {len(canaries)} canaries; "
        f"what was planted: {record_path(config.out)}"
    )


def measure_canaries(config: MeasureConfig, open_subject: OpenSubject) -> None:
    """量出暴露度，印成表，写下报告。"""
    folder = config.folder(config.run)
    canaries = load_canaries(config.canaries)
    subject = open_subject(folder)
    found = memorised(subject.slots(config.slots), subject.tokenizer, canaries, config.samples, config.seed)
    print(f"{'repetitions':>11}{'canaries':>10}{'exposure (bits)':>17}{'extracted':>11}")
    for times, (mean, share, n) in found.by_repetitions().items():
        print(f"{times:>11}{n:>10}{mean:>17.2f}{share:>11.0%}")
    low, high = found.interval_of_means()
    over_means = f"{found.rho_of_means:.3f} [{low:.3f}, {high:.3f}] over means"
    print(f"rank correlation with the repetitions: {found.rho:.3f} over canaries, {over_means}")
    out = config.out or folder
    save_json(out / "canaries.json", {"run": subject.name, **found.to_json()})
    write_page(out / "canaries.html", canary_page(subject.name, found))
    print(f"report: {out / 'canaries.html'}")
