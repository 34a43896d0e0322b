"""附录 A 的动画与梯度流的图：重画一遍与仓库里的逐字节相同，画的数与独立算出的相符。

流入：``examples/appendix_a_autograd/experiments`` 的程序与记录；流出：过时的图、与手算或真正的训练不符的数。
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from parity_tests.tolerances import assert_close
from tinygrad_llm.common.schedule import learning_rate

CHAPTER = Path(__file__).resolve().parents[2] / "examples" / "appendix_a_autograd"
EXPERIMENTS = CHAPTER / "experiments"
FIGURES = {
    "07_descent": "descent.svg",
    "08_adamw": "adamw.svg",
    "09_schedule": "schedules.svg",
    "10_attention": "attention.svg",
    "11_gradient_flow": "gradient_flow.svg",
}
_ANIMATED = [name for name in FIGURES.values() if name != "gradient_flow.svg"]


@pytest.fixture(autouse=True)
def _paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """程序照读者的用法找到旁边的 ``film.py``。"""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """按名字载入一个程序；测试之后它的邻居也从 ``sys.modules`` 里拿走。"""
    before = set(sys.modules)

    def load_program(name: str, *argv: str) -> ModuleType:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *argv])
        spec = importlib.util.spec_from_file_location(f"appendix_{name}", EXPERIMENTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    yield load_program
    for name in set(sys.modules) - before:
        if name.startswith("appendix_") or name in ("film", "contours"):
            del sys.modules[name]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_those_the_programs_draw(name: str, load: Any, tmp_path: Path) -> None:
    """仓库里的图过时了：改了程序、记录或引擎，却没有重画。重画：不带参数运行那个程序。"""
    load(name, "--figures", str(tmp_path)).main()
    drawn, kept = tmp_path / FIGURES[name], CHAPTER / "figures" / FIGURES[name]
    assert drawn.read_bytes() == kept.read_bytes(), f"{kept.name} is stale: run {name}.py"
    assert kept.stat().st_size < 300_000


@pytest.mark.parametrize("name", FIGURES.values())
def test_figures_are_self_contained(name: str) -> None:
    """图不是合法的 XML，用了脚本或外部的东西，或引用了没有定义的动画与裁剪。"""
    text = (CHAPTER / "figures" / name).read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)  # noqa: S314  自己画的
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"<script|href=|@import|url\((?!#)", text)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(re.findall(r'\bid="([^"]+)"', text))
    named, defined = set(re.findall(r"animation:(k\d+)", text)), set(re.findall(r"@keyframes (k\d+)", text))
    assert named == defined
    assert bool(defined) == (name in _ANIMATED)
    assert "prefers-reduced-motion" in text
    assert "prefers-color-scheme:dark" in text


@pytest.mark.parametrize("name", _ANIMATED)
def test_every_animation_ends_on_the_still_picture(name: str) -> None:
    """不放动画时看到的不是最后一帧：关键帧的末尾还移动着、藏着元素，或没有画完。"""
    text = (CHAPTER / "figures" / name).read_text(encoding="utf-8")
    for body in re.findall(r"@keyframes k\d+\{(.*)\}$", text, re.MULTILINE):
        last = re.findall(r"100(?:\.00)?%\{([^}]*)\}", body)[-1]
        assert last in ("transform:translate(0px,0px)", "stroke-dashoffset:0.0000", "opacity:1", "opacity:0")
        times = [float(time) for time in re.findall(r"([\d.]+)%\{", body)]
        assert times == sorted(times)
    for element in re.findall(r"<[^>]*animation:(k\d+) [^>]*>", text):
        hides = re.search(rf"@keyframes {element}\{{.*100%\{{opacity:0\}}\}}$", text, re.MULTILINE)
        if hides:
            tags = re.findall(rf"<[^>]*animation:{element} [^>]*>", text)
            assert all('opacity="0"' in tag for tag in tags)


def test_descent_follows_the_gradient_written_by_hand(load: Any) -> None:
    """SGD 的路线与手写的梯度走出的不同，或地形不是那个损失。"""
    module = load("07_descent")
    x = np.linspace(-2.0, 2.0, 16)
    target = 1.5 * np.tanh(1.2 * x)
    places, losses = module.walk(module.OPTIMIZERS["SGD"])
    w1, w2 = module.START
    for place, loss in zip(places, losses, strict=True):
        h = np.tanh(w1 * x)
        error = w2 * h - target
        assert place == pytest.approx((w1, w2), rel=1e-12)
        assert loss == pytest.approx((error**2).mean(), rel=1e-12)
        w1, w2 = w1 - 0.1 * (2 * error * w2 * (1 - h**2) * x).mean(), w2 - 0.1 * (2 * error * h).mean()
    assert len(places) == module.STEPS + 1
    grid = module.landscape()
    assert grid[0, 0] == pytest.approx(((-3 * np.tanh(-3 * x) - target) ** 2).mean(), rel=1e-12)
    np.testing.assert_allclose(grid, grid[::-1, ::-1], rtol=1e-12)  # 两个权重同时变号，损失不变


def test_contours_enclose_the_right_area(load: Any) -> None:
    """等高线没有闭合，围出的面积不对，或鞍点处连错了。"""
    load("07_descent")
    shores = sys.modules["contours"].shores
    i, j = np.mgrid[0:41, 0:41]
    bowl = ((i - 20.0) ** 2 + (j - 20.0) ** 2) ** 0.5
    (circle,) = shores(bowl, 12.3)
    assert abs(_area(circle)) == pytest.approx(math.pi * 12.3**2, rel=3e-3)
    two = np.minimum(((i - 14.0) ** 2 + (j - 20.0) ** 2) ** 0.5, ((i - 26.0) ** 2 + (j - 20.0) ** 2) ** 0.5)
    assert [len(shores(two, level)) for level in (5.0, 8.0)] == [2, 1]
    saddle = np.full((4, 4), 9.0)
    saddle[1, 1] = saddle[2, 2] = 0.0
    assert [len(shores(saddle, level)) for level in (1.0, 5.0)] == [2, 1]
    ring = np.abs(bowl - 10)
    areas = sorted(abs(_area(loop)) for loop in shores(ring, 2.0))
    assert areas == pytest.approx([math.pi * 64, math.pi * 144], rel=1e-2)


def _area(loop: list[tuple[float, float]]) -> float:
    """多边形的面积（鞋带公式）。"""
    x, y = np.array(loop).T
    return float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_adamw_moments_follow_the_formulas(load: Any) -> None:
    """画出的矩与步子，与由同样的梯度照公式算出的不同。"""
    module = load("08_adamw")
    for moments in module.descend():
        m = v = 0.0
        for t, one in enumerate(moments, 1):
            m, v = 0.9 * m + 0.1 * one.g, 0.95 * v + 0.05 * one.g**2
            step = -0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.95**t)) + 1e-8)
            assert (one.m, one.v, one.step) == pytest.approx((m, math.sqrt(v), step), rel=1e-9, abs=1e-12)
        corrected = module.corrected([moments[0].m], 0.9, 1.0)
        assert corrected == pytest.approx([moments[0].g])
    first, second = module.descend()
    ratio = abs(first[0].g / second[0].g)
    assert ratio > 100
    assert first[0].step == pytest.approx(second[0].step, rel=1e-6)


def test_schedules_are_those_of_the_package_and_of_torch(load: Any) -> None:
    """曲线不是训练命令用的那条，或四种调度器与 torch 的不同。"""
    import torch

    module = load("09_schedule")
    rates = [module.rate(module.SETTINGS, step) for step in range(module.SETTINGS.steps)]
    settings = module.SETTINGS
    expected = [
        learning_rate(step, peak=settings.lr, minimum=0.1 * settings.lr, warmup_steps=20, total_steps=300)
        for step in range(300)
    ]
    assert rates == pytest.approx(expected)
    schedulers = torch.optim.lr_scheduler
    theirs: dict[str, Any] = {
        "StepLR": lambda o: schedulers.StepLR(o, step_size=75, gamma=0.5),
        "ExponentialLR": lambda o: schedulers.ExponentialLR(o, gamma=0.99),
        "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, T_0=100),
        "OneCycleLR": lambda o: schedulers.OneCycleLR(o, settings.lr, total_steps=300),
    }
    for name, make in module.OTHERS.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=settings.lr)
        scheduler = theirs[name.partition("(")[0]](optimizer)
        found = []
        for _ in range(300):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step() if len(found) < 300 else None
        assert_close(np.array(module.scheduled(make)), np.array(found), "optimizer float64", name)


def test_attention_record_holds_weights() -> None:
    """存下的不是因果注意力的权重：某一行的和不是 1，或看见了未来。"""
    record = json.loads((EXPERIMENTS / "attention.json").read_text(encoding="utf-8"))
    weights = np.array(record["weights"])
    assert weights.shape == (4, 4, len(record["tokens"]), len(record["tokens"]))
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-3)
    assert not np.triu(weights, 1).any()
    assert weights.min() >= 0
    assert record["steps"] == 1500


def test_attention_can_be_measured_again(load: Any, tmp_path: Path) -> None:
    """``--run`` 不能用：读者画不了自己的模型。"""
    from tinygrad_llm.common.train_config import TrainConfig
    from tinygrad_llm.train import main as train

    text = tmp_path / "words.txt"
    text.write_text("the value of the object is the value of the type.\n" * 200, encoding="utf-8")
    train(TrainConfig(run="tiny", runs_dir=str(tmp_path), corpus=str(text), steps=1, workers=1, sample_tokens=1,
                      vocab_size=270, n_layer=2, n_head=2, n_embd=32, context=32, batch_size=2))  # fmt: skip
    record = load("10_attention").measure("tiny", str(tmp_path), "the value")
    weights = np.array(record["weights"])
    assert weights.shape[:2] == (2, 2)
    assert "".join(record["tokens"]) == "the·value"
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-3)


def test_gradient_flow_record_starts_as_training_starts(load: Any) -> None:
    """存下的头一步不是真的训练得出的：同样的语料上须相符；语料不同（Python 版本不同）时只比量级。"""
    module = load("11_gradient_flow")
    kept = json.loads(module.RECORD.read_text(encoding="utf-8"))
    rates = tuple(one["lr"] for one in kept["flows"])
    for place, residual in enumerate((True, False)):
        found = module.measure(1, (rates[place],))
        flow = module.flows_of(found)[place]
        saved = module.flows_of(kept)[place]
        same = found["text"] == kept["text"]
        assert flow.residual is residual is saved.residual
        np.testing.assert_allclose(flow.losses[0], saved.losses[0], rtol=1e-3 if same else 0.02)
        if same:
            np.testing.assert_allclose(flow.stream[0], saved.stream[0], rtol=2e-3)
            assert found["baseline"] == kept["baseline"]
        else:
            apart = np.log10(flow.stream[0]) - np.log10(saved.stream[0])
            assert np.abs(apart).max() < 0.5, "not even the same order of magnitude"


def test_gradient_flow_record_shows_what_the_text_says(load: Any) -> None:
    """正文说：有残差的各层相差不大，没有残差的缩小九个数量级以上，损失停在词频处；三个学习率都如此。"""
    module = load("11_gradient_flow")
    kept = json.loads(module.RECORD.read_text(encoding="utf-8"))
    with_residuals, without = module.flows_of(kept)
    assert with_residuals.steps == without.steps
    assert without.steps[-1] == module.STEPS - 1
    assert max(with_residuals.stream[-1]) < 100 * min(with_residuals.stream[-1])
    assert without.stream[-1][-1] > 1e9 * without.stream[-1][0]
    assert without.stream[0][0] > with_residuals.stream[0][0]
    last = kept["last_losses"]
    assert set(last["with"]) == set(last["without"]) == {f"{lr:g}" for lr in module.RATES}
    assert all(abs(loss - kept["baseline"]) < 0.02 for loss in last["without"].values())
    assert min(last["with"].values()) < kept["baseline"] - 0.7


@pytest.mark.full
def test_gradient_flow_can_be_measured_again(load: Any) -> None:
    """从头训练一遍（约两分钟），结论不同：存下的记录不可信。"""
    module = load("11_gradient_flow")
    found = module.measure(module.STEPS)
    with_residuals, without = module.flows_of(found)
    assert without.stream[-1][-1] > 1e6 * without.stream[-1][0]
    assert max(with_residuals.stream[-1]) < 1000 * min(with_residuals.stream[-1])
    last = found["last_losses"]
    assert min(last["without"].values()) > found["baseline"] - 0.1
    assert min(last["with"].values()) < found["baseline"] - 0.5
