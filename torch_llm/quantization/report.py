"""``python -m torch_llm quantize report RUN...``：困惑度、大小、速度，一张表、几张图。

流入：几个运行，第一个是没有量化的基准；流出：``report.html``、
``quality.json``（同样的输入总写出同样的字节）与 ``speed.json``。
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_llm.common.quantization.settings import ReportConfig

__all__ = ["main"]

WINDOW = 256
"""评估的一窗至多几个 token。"""


@dataclass(frozen=True)
class Row:
    """表里的一行。

    Attributes:
        name: 运行名；激活也量化的，后面注明。
        kind: 格式与方法。
        n_bytes: 权重占几个字节。
        losses: 语料到每个 token 的平均损失（纳特）。
    """

    name: str
    kind: str
    n_bytes: int
    losses: dict[str, float]


def main(settings: ReportConfig) -> None:
    """量，写成三个文件，并印出表。"""
    from tinygrad_llm.common.files import write_atomically
    from torch_llm.gpt import GPT
    from torch_llm.loading import load_model
    from torch_llm.quantization.evaluate import decode_speeds

    rows: list[Row] = []
    models: dict[str, GPT] = {}
    windows: dict[str, Any] = {}
    for run in settings.runs:
        loaded = load_model(settings.folder(run), "cpu")
        described = loaded.state.get("quantization")
        label = Path(run).name
        windows = windows or _windows(settings, loaded)
        models[label] = loaded.model
        rows.append(_row(label, settings.folder(run), _kind(described, loaded.model), loaded.model, windows))
        if described is not None and described.get("format") == "int8":
            integers = load_model(settings.folder(run), "cpu", compute="w8a8").model
            models[f"{label} w8a8"] = integers
            rows.append(_row(f"{label} w8a8", settings.folder(run), "int8, int8 activations", integers, windows))
    speeds = decode_speeds(models, settings.decode_tokens, settings.rounds) if settings.decode_tokens else {}
    settings.out.mkdir(parents=True, exist_ok=True)
    tokens = {name: int(ids.size) for name, ids in windows.items()}
    quality = {"tokens": tokens, "rows": _quality(rows)}
    for name, found in (("quality.json", quality), ("speed.json", speeds)):
        write_atomically(settings.out / name, (json.dumps(found, indent=1) + "\n").encode())
    _write_html(settings.out / "report.html", rows, speeds, tokens)
    print(_text(rows, speeds))
    print(f"report: {settings.out / 'report.html'}")


def _windows(settings: ReportConfig, loaded: Any) -> dict[str, Any]:
    from tinygrad_llm.common.quantization.texts import token_windows

    length = min(WINDOW, loaded.model.config.context)
    return {
        corpus: token_windows(loaded.tokenizer, corpus, settings.tokens, length, is_calibration=False)
        for corpus in settings.corpora.split(",")
    }


def _kind(described: Any, model: Any) -> str:
    if described is None:
        return str(model.wte.weight.dtype).removeprefix("torch.")
    groups = sorted({one["group"] for one in described["tensors"].values()} - {0})
    return " ".join([described["format"], *(f"g{group}" for group in groups), described["method"]])


def _row(name: str, folder: Path, kind: str, model: Any, windows: dict[str, Any]) -> Row:
    from torch_llm.quantization.evaluate import mean_loss

    n_bytes = max(folder.rglob("model.safetensors")).stat().st_size  # 步数最大的检查点
    return Row(name, kind, n_bytes, {corpus: mean_loss(model, ids) for corpus, ids in windows.items()})


def _quality(rows: list[Row]) -> list[dict[str, Any]]:
    base = rows[0].losses
    return [
        {
            "name": row.name, "kind": row.kind, "bytes": row.n_bytes,
            "perplexity": {corpus: round(math.exp(loss), 5) for corpus, loss in row.losses.items()},
            "change": {corpus: round(math.expm1(loss - base[corpus]), 6) for corpus, loss in row.losses.items()},
        }
        for row in rows
    ]  # fmt: skip


def _cells(rows: list[Row], speeds: dict[str, float]) -> tuple[list[str], list[list[str]]]:
    base = rows[0]
    head = ["run", "format", "MiB", "of the first"]
    head += [f"{corpus} {what}" for corpus in base.losses for what in ("perplexity", "change")]
    head += ["tokens/s", "x the first"] if speeds else []
    body = []
    for row in rows:
        line = [row.name, row.kind, f"{row.n_bytes / 2**20:.1f}", f"{row.n_bytes / base.n_bytes:.1%}"]
        for corpus, loss in row.losses.items():
            line += [f"{math.exp(loss):.3f}", f"{math.expm1(loss - base.losses[corpus]):+.2%}"]
        if speeds:
            line += [f"{speeds[row.name]:.1f}", f"{speeds[row.name] / speeds[base.name]:.2f}"]
        body.append(line)
    return head, body


def _text(rows: list[Row], speeds: dict[str, float]) -> str:
    head, body = _cells(rows, speeds)
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
                     for line in [head, *body])  # fmt: skip


def _write_html(path: Path, rows: list[Row], speeds: dict[str, float], tokens: dict[str, int]) -> None:
    from tinygrad_llm.common.charts import bar_chart
    from tinygrad_llm.common.report import Section, page, side_by_side, table, write_page

    names = [row.name for row in rows]
    charts = [
        bar_chart(names, [math.exp(row.losses[corpus]) for row in rows], title=f"{corpus}：困惑度")
        for corpus in rows[0].losses
    ]
    charts.append(bar_chart(names, [row.n_bytes / 2**20 for row in rows], title="大小", x_label="MiB"))
    if speeds:
        charts.append(bar_chart(names, [speeds[name] for name in names], title="解码的速度", x_label="tokens/s"))
    note = "评估的 token：" + "，".join(f"{corpus} {count}" for corpus, count in tokens.items())
    sections = [Section("表", table(*_cells(rows, speeds)), note), Section("图", side_by_side(charts))]
    write_page(path, page("量化：困惑度、大小、速度", sections))
