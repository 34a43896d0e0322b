"""注意力一行一行地填满：每来一个 token，它向自己与过去各取多少。

流入：``attention.json``，训练了 1500 步的 GPT 读一句话时各个头的权重；流出：几行数与动画 ``figures/attention.svg``。
重新量：``python -m tinygrad_llm train --run book --lr 0.003 --steps 1500``（几分钟），再给本程序加上 ``--run book``。
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from film import Film, arguments

import tinygrad_llm as tg
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tracing.real.attention import attention_maps
from tinygrad_llm.tracing.real.run import load_run, token_text
from tinygrad_llm.tracing.real.svg import MONO, Box, number, series, shaded_cells, tag, text

RECORD = Path(__file__).with_name("attention.json")
PROMPT = "The value of the expression. The value of the object"
HEADS = ((1, 0), (2, 1))  # 画哪两个头：（层，头）
LEFT, WIDTH, MIDDLE = 14.0, 580.0, 245.0  # 那一排 token 的左端、宽与中线
FAINT = 0.03
"""弱于这个权重的弧线不画。"""


def measure(name: str, runs_dir: str, prompt: str) -> dict[str, Any]:
    """用一个训练好的运行重新量。"""
    run = load_run(name, runs_dir)
    ids = np.array(run.tokenizer.encode(prompt), dtype=np.int64)
    run.model.eval()
    with tg.trace(limit=10**9) as t, tg.no_grad():
        run.model(tg.from_numpy(ids[None]))
    maps = attention_maps(t, t.nodes)
    weights = [[np.round(head, 4).tolist() for head in one.weights] for one in maps]
    return {"steps": run.step, "tokens": [token_text(run.tokenizer, int(i)) for i in ids], "weights": weights}


def token_spans(tokens: list[str]) -> list[tuple[float, float]]:
    """一排 token 各占的左右两端，长的占得宽。"""
    letters = [max(len(token), 2) + 1.4 for token in tokens]
    edges = [LEFT + WIDTH * sum(letters[:i]) / sum(letters) for i in range(len(tokens) + 1)]
    return list(pairwise(edges))


def draw_arcs(film: Film, weights: Array, spans: list[tuple[float, float]], side: int, colour: str) -> None:
    """一个头的弧线：``side`` 为 -1 画在上方，1 画在下方；每一行只在轮到它时出现。"""
    count, start = len(spans), MIDDLE + side * 18
    centres = [(left + right) / 2 for left, right in spans]
    for i, row in enumerate(weights):
        arcs = []
        for j in np.flatnonzero(row[: i + 1] >= FAINT).tolist():
            x0, x1 = centres[i], centres[j]
            bend = start + side * (28 if i == j else 30 + 200 * (x0 - x1) / WIDTH)
            bulge = 14.0 if i == j else 0.0
            at = [number(one) for one in (x0, start, x0 + bulge, bend, x1 - bulge, bend, x1, start)]
            curve = f"M{at[0]} {at[1]}C{' '.join(at[2:])}"
            arcs.append(tag("path", d=curve, stroke_width=1 + 7 * float(row[j]), opacity=f"{0.25 + 0.75 * row[j]:.2f}"))
        shown = turn(film, i, count)
        film.add(tag("g", *arcs, fill="none", stroke=colour, stroke_linecap="round", **shown))


def turn(film: Film, i: int, count: int) -> dict[str, object]:
    """只在轮到第 ``i`` 个时出现；最后一个留到末尾。"""
    is_last = i == count - 1
    return {"style": film.shown(i / count, None if is_last else (i + 1) / count), "opacity": None if is_last else "0"}


def draw_tokens(film: Film, tokens: list[str], spans: list[tuple[float, float]]) -> None:
    """一排 token；正在看的那个有框。"""
    for i, (token, (left, right)) in enumerate(zip(tokens, spans, strict=True)):
        frame = {"x": left + 1, "y": MIDDLE - 14, "width": right - left - 2, "height": 28.0, "rx": "5"}
        film.add(tag("rect", **frame, fill=series(4), fill_opacity="0.35", **turn(film, i, len(tokens))))
        film.add(text((left + right) / 2, MIDDLE + 4, token, size=11.5, anchor="middle", font_family=MONO))


def draw_matrix(film: Film, weights: Array, box: Box, colour: str, name: str) -> None:
    """一个头的权重矩阵，一行一行地出现。"""
    count = len(weights)
    cell = box.width / count
    film.add(text(box.x, box.y - 8, name, size=13, font_weight="600", fill=colour))
    frame = {"x": float(box.x), "y": float(box.y), "width": float(box.width), "height": float(box.height)}
    film.add(tag("rect", **frame, fill="none", stroke="currentColor", stroke_opacity="0.3"))
    for i, row in enumerate(weights):
        cells = [(Box(box.x + cell * j, box.y + cell * i, cell, cell), float(row[j])) for j in range(i + 1)]
        film.add(tag("g", shaded_cells(cells, colour), style=film.shown(i / count, fade=0.02)))


def main() -> None:
    """打印两个头各在看哪里，画出动画；给了 ``--run`` 就先重新量。"""
    parser = arguments("attention, one row at a time")
    parser.add_argument("--run", help="measure this trained run and rewrite attention.json")
    parser.add_argument("--runs-dir", default="runs", help="where the runs are")
    parser.add_argument("--prompt", default=PROMPT, help="the text to read")
    options = parser.parse_args()
    if options.run is not None:
        measured = measure(options.run, options.runs_dir, options.prompt)
        RECORD.write_text(json.dumps(measured, ensure_ascii=False) + "\n", encoding="utf-8")
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    tokens: list[str] = record["tokens"]
    film = Film(860, 470, 14, "the attention of two heads, filled in row by row")
    spans = token_spans(tokens)
    for place, (layer, head) in enumerate(HEADS):
        weights = np.array(record["weights"][layer][head])
        colour, name = series(place), f"layer {layer}, head {head}"
        draw_arcs(film, weights, spans, (-1, 1)[place], colour)
        draw_matrix(film, weights, Box(630, 36 + 225 * place, 196, 196), colour, name)
        film.add(text(LEFT, (30, 458)[place], name, size=13, font_weight="600", fill=colour))
        i = len(tokens) - 1
        order = np.argsort(-weights[i], kind="stable")[:3]
        seen = ", ".join(f"{tokens[j]!r} {weights[i, j]:.2f}" for j in order)
        print(f"{name}: the last token {tokens[i]!r} reads {seen}")
    draw_tokens(film, tokens, spans)
    film.save(options.figures / "attention.svg")


if __name__ == "__main__":
    main()
