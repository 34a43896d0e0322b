"""峰值：照定义换算，存得住、认得出是不是同一个引擎；坏文件不碍事。"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygrad_llm.common import peak
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.metering import Meter
from tinygrad_llm.common.peak import PEAK, measure_peak, peak_of
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.work import row_flops
from tinygrad_llm.train import NumpyEngine
from torch_llm.loop import TorchEngine

SPEED = 1e9


class Machine:
    """每秒恰好 ``speed`` 次浮点运算，每次另有启动的开销。"""

    def __init__(self, speed: float = SPEED, overhead_s: float = 1e-4) -> None:
        self.now, self.sizes = 0.0, list[int]()
        self.speed, self.overhead_s = speed, overhead_s

    def product(self, size: int) -> Callable[[], object]:
        """拨快钟。"""
        self.sizes.append(size)

        def multiply() -> None:
            self.now += self.overhead_s + 2 * size**3 / self.speed

        return multiply


def test_peak_differs_from_the_definition() -> None:
    """2n³ 除以最短的秒数；一次乘法够久、再大一号也不更快，就不再加大。"""
    machine = Machine()
    assert measure_peak(machine.product, lambda: machine.now) == pytest.approx(SPEED, rel=0.01)
    assert machine.sizes == [256, 512]


def test_a_slow_start_is_taken_for_the_peak() -> None:
    """工作进程正在启动，每次乘法多等 28 毫秒：最小的乘法慢了上百倍，量出的峰值仍差不到两成。"""
    machine = Machine(2e11, 28e-3)
    assert measure_peak(machine.product, lambda: machine.now) == pytest.approx(2e11, rel=0.2)


def test_peak_is_measured_again_or_of_another_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """同一个引擎沿用文件里的；换了设备另量，两个都留着；坏文件当作没有。"""
    found = iter([5.0, 7.0, 9.0])
    monkeypatch.setattr(peak, "measure_peak", lambda product: next(found))
    monkeypatch.setattr(peak, "_measured", {})
    assert [peak_of(tmp_path, where, Machine()) for where in ("a", "b", "a", "b")] == [5.0, 7.0, 5.0, 7.0]
    monkeypatch.setattr(peak, "_measured", {})
    assert peak_of(tmp_path, "a", Machine()) == 5.0
    assert json.loads((tmp_path / PEAK).read_text(encoding="utf-8")) == {"a": 5.0, "b": 7.0}
    (tmp_path / PEAK).write_text('{"a": 0, "b": "fast"', encoding="utf-8")
    assert peak_of(tmp_path, "a", Machine()) == 9.0


def test_mfu_differs_from_the_definition() -> None:
    """每行 8 个 token 的 4 行用了 2 秒：只算这么长的行里的乘法，不管上下文有多长；前向一份，反向两份。"""
    model = GPTConfig(vocab_size=5, context=1024, n_layer=1, n_head=1, n_embd=3)
    hidden = model.hidden_size
    dense = 3 * 2 * 4 * 8 * (3 * 9 + 3 * 3 + 3 * hidden + hidden * 3 + 3 * 5)
    attention = 6 * 2 * 4 * 8 * 8 * 3
    found = Meter(model, 1000.0).figures(2.0, 4, 8)
    assert found == {"tokens_per_s": 16.0, "mfu": pytest.approx((dense + attention) / 2 / 1000)}


MODEL = GPTConfig(vocab_size=5, context=8, n_layer=3, n_head=1, n_embd=4, tie_head=False)
_LAYER, _HEAD, _ATTENTION = 4 * 12 + 4 * 4 + 2 * 4 * MODEL.hidden_size, 4 * 5, 2 * 8 * 4
"""一个 token 在一层里、在输出层里的乘加，与 8 个 token 的一行里注意力的一次前向。"""


@pytest.mark.parametrize(
    ("trained", "by_hand"),
    [
        (parameter_shapes(MODEL), 3 * (3 * (_LAYER + _ATTENTION) + _HEAD)),
        # 末一层：前向全走，dX 与注意力的反向只在这一层，dW 只有这一层的
        ({k: v for k, v in parameter_shapes(MODEL).items() if k.startswith("h.2.")},
         3 * (_LAYER + _ATTENTION) + _HEAD + _HEAD + _LAYER + 2 * _ATTENTION + _LAYER),
        # LoRA 从第二层起：前向与 dX，没有 dW；另有两个小矩阵的三份
        ({"h.1.attn.c_attn.lora_A": (2, 4), "h.1.attn.c_attn.lora_B": (12, 2)},
         3 * (_LAYER + _ATTENTION) + _HEAD + _HEAD + 2 * (_LAYER + 2 * _ATTENTION) + 3 * (2 * 4 + 12 * 2)),
    ],
    ids=["all", "last layer", "lora"],
)  # fmt: skip
def test_frozen_weights_count_as_if_they_were_trained(trained: dict[str, tuple[int, ...]], by_hand: int) -> None:
    """冻住的权重也算了梯度，或反向算到了没有东西要学的层：MFU 偏高。"""
    assert row_flops(MODEL, 8, trained) == 2 * 8 * by_hand
    if trained.keys() == parameter_shapes(MODEL).keys():
        assert row_flops(MODEL, 8) == row_flops(MODEL, 8, trained)


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_engine_multiplies_nothing(name: str) -> None:
    """引擎真的在乘：一倍的边长，时间翻几番；每秒至少一千万次，至多一千万亿次。"""
    model = GPTConfig(vocab_size=40, context=12, n_layer=1, n_head=2, n_embd=16)
    engine = (
        NumpyEngine(model, TrainConfig(workers=1)) if name == "numpy" else TorchEngine(model, TorchConfig(device="cpu"))
    )
    assert 1e7 < measure_peak(engine.product) < 1e15
    assert engine.memory_bytes() > 1 << 20
