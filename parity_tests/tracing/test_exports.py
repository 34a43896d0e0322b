"""导出的图：SVG、DOT、Mermaid 都画全了，排得不重叠，没有环。"""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.gpt import GPT
from tinygrad_llm.tracing.layout import arrange
from tinygrad_llm.tracing.picture import MANY, Arrow, Box, Picture, picture

SVG = "{http://www.w3.org/2000/svg}"


def _neuron() -> Any:
    with tg.trace(title='a "neuron" & <co>') as t:
        w = tg.tensor(2.2, dtype=tg.float64, requires_grad=True)
        x = tg.tensor(1.1, dtype=tg.float64)
        z = w * x + 0.5
        loss = z.sigmoid()
        loss.backward()
    return t


def _gpt(layers: int) -> Any:
    config = GPTConfig(vocab_size=16, context=8, n_layer=layers, n_head=2, n_embd=8)
    model, ids = GPT(config), tg.randint(0, 16, (1, 8))
    with tg.trace(title="gpt") as t:
        model(ids).sum().backward()
    return t


def _texts(svg: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314  自己刚写的


def test_svg_shows_every_value_with_its_gradient() -> None:
    """图里少了值或梯度，或名字里的尖括号把 XML 弄坏了。"""
    t = _neuron()
    words = _texts(t.to_svg())
    assert words[0] == 'a "neuron" & <co>'
    for expected in ("w", "2.2", "x", "1.1", "mul", "z = add", "loss = sigmoid", "∇ 1"):
        assert expected in words
    assert f"∇ {t['w'].grad:.4g}" in words
    root = ET.fromstring(t.to_svg())  # noqa: S314
    assert len(list(root.iter(f"{SVG}rect"))) == len(picture(t).boxes) == 6
    assert "http" not in t.to_svg().replace("http://www.w3.org/2000/svg", "")


def test_svg_explains_on_hover() -> None:
    """停在方框上应当看到公式、代入的数与用户自己的那一行。"""
    root = ET.fromstring(_neuron().to_svg())  # noqa: S314
    tips = [one.text or "" for one in root.iter(f"{SVG}title")]
    assert any("y = a ⊙ b\n2.42 = 2.2 × 1.1\ntest_exports.py:" in tip for tip in tips)
    assert any("z = w * x + 0.5" in tip for tip in tips)


@pytest.mark.parametrize("fold", [None, 0, 1, 2, 9])
def test_boxes_do_not_overlap(fold: int | None) -> None:
    """方框互相盖住，或伸出了画布。"""
    svg = _gpt(2).to_svg(fold=fold)
    root = ET.fromstring(svg)  # noqa: S314
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    boxes = []
    for group in root.iter(f"{SVG}g"):
        rect, place = group.find(f"{SVG}rect"), re.findall(r"[-\d.]+", group.attrib["transform"])
        if rect is not None:
            x, y, w, h = (float(v) for v in (*place, rect.attrib["width"], rect.attrib["height"]))
            boxes.append((x, y, x + w, y + h))
    assert boxes
    for i, a in enumerate(boxes):
        assert a[0] >= 0 and a[1] >= 0 and a[2] <= width and a[3] <= height  # noqa: PT018
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_modules_fold_when_there_are_too_many_boxes() -> None:
    """大模型的图折不起来，或折的时候把连着的算子拆散了。"""
    t = _gpt(12)
    assert len(picture(t).boxes) <= MANY < len(picture(t, fold=9).boxes)
    boxes = {box.title: box for box in picture(t, fold=1).boxes if box.kind == "module"}
    assert {f"h.{i}" for i in range(12)} <= set(boxes)
    ops = [node for node in t.nodes if node.module.startswith("h.3")]
    used = {i for node in ops for i in node.inputs if i is not None and t.values[i].kind == "leaf"}
    parameters = sum(int(np.prod(t.values[i].shape)) for i in used)
    assert boxes["h.3"].data == f"{len(ops)} ops, {parameters:,} parameters → [1×8×8]"


def test_a_module_called_twice_makes_no_cycle() -> None:
    """同一个模块调用两次，折成一个方框就成了环。"""
    layer, x = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), tg.ones(1, 2)
    with tg.trace() as t:
        y = layer(layer(x) * 2)
        y.sum().backward()
    drawn = picture(t, fold=0)
    layers = arrange(drawn, [1.0] * len(drawn.boxes), 1.0).layers
    assert all(layers[arrow.source] < layers[arrow.target] for arrow in drawn.arrows)


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30), st.floats(1, 50))
def test_any_graph_is_laid_out_in_layers(pairs: list[tuple[int, int]], breadth: float) -> None:
    """随机的图：箭头往回走，或同一层里重叠。"""
    boxes = [Box("op" if i % 3 else "leaf", str(i), "", "", "", "") for i in range(12)]
    arrows = [Arrow(a, b) for a, b in dict.fromkeys((min(p), max(p)) for p in pairs) if a != b]
    found = arrange(Picture(boxes, arrows), [breadth] * 12, 4.0)
    assert all(found.layers[a.source] < found.layers[a.target] for a in arrows)
    assert len(found.bends) == len(arrows)
    for arrow, bends in zip(arrows, found.bends, strict=True):
        assert [n for n, _ in bends] == list(range(found.layers[arrow.source] + 1, found.layers[arrow.target]))
    for layer in range(found.depth):
        across = sorted(found.across[i] for i in range(12) if found.layers[i] == layer)
        assert all(b - a >= breadth + 4 - 1e-6 for a, b in itertools.pairwise(across))


def test_dot_names_every_box_and_arrow() -> None:
    """DOT 里少了方框、箭头，或引号没有转义。"""
    t, drawn = _neuron(), picture(_neuron())
    text = t.to_dot()
    assert text.startswith('digraph "a \\"neuron\\" & <co>" {')
    assert len(re.findall(r"^\s*v\d+ \[label=", text, re.MULTILINE)) == len(drawn.boxes)
    assert len(re.findall(r"v\d+ -> v\d+", text)) == len(drawn.arrows)
    assert 'label="z = add\\n2.92\\n' in text
    assert text.count("{") == text.count("}")


def test_modules_are_nested_in_dot_and_mermaid() -> None:
    """模块没有一层套一层，或括号不成对。"""
    t = _gpt(1)
    for text, opening, closing in ((t.to_dot(fold=9), "subgraph", "}"), (t.to_mermaid(fold=9), "subgraph", "end")):
        lines = [line.strip() for line in text.splitlines()]
        depth = deepest = 0
        for line in lines:
            depth += line.startswith(opening)
            depth -= line == closing and depth > 0
            deepest = max(deepest, depth)
        assert deepest == 4, "h > 0 > attn > c_attn"
        assert any('"h.0.attn.c_attn"' in line for line in lines)


def test_mermaid_escapes_what_it_would_read_as_syntax() -> None:
    """方括号、引号、尖括号在 Mermaid 里有特别的含义。"""
    with tg.trace() as t:
        table = {"w<1>": tg.ones(2, 2, requires_grad=True)}
        (table["w<1>"] * 2).sum().backward()
    text = t.to_mermaid()
    assert text.startswith("flowchart LR\n")
    label = next(line for line in text.splitlines() if "table" in line)
    assert "<1>" not in label
    assert "w#60;1#62;" in label
    assert re.search(r"v\d+ --> v\d+", text)


def test_files_are_written_when_asked(tmp_path: Any) -> None:
    """给了路径却没有写，或写的与返回的不同。"""
    t = _neuron()
    for method, name in ((t.to_svg, "a.svg"), (t.to_dot, "a.dot"), (t.to_mermaid, "a.mmd"), (t.to_json, "a.json")):
        returned = method(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == returned
