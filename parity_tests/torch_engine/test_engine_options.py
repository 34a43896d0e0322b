"""torch 引擎的选项：重算、编译、低精度、自动切小微批；每一项都只改变快慢与内存，不改变训练的是什么。"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.torch_config import TorchConfig
from torch_llm import loop, runtime
from torch_llm.loop import TorchEngine

MODEL = GPTConfig(vocab_size=40, context=12, n_layer=2, n_head=2, n_embd=16, dropout=0.1)
SETTINGS = TorchConfig(batch_size=6, dtype="float64", lr=1e-2, device="cpu")


def _batch(step: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(step)
    x, y = rng.integers(MODEL.vocab_size, size=(2, SETTINGS.batch_size, MODEL.context))
    y[rng.random(y.shape) < 0.2] = -100
    return x, y


def _losses(engine: TorchEngine, steps: int = 4) -> list[float]:
    return [engine.train_step(step, _batch(step), 1e-2).loss for step in range(steps)]


def test_recomputing_changes_the_training() -> None:
    """反传时重算与不重算走出不同的路：掩码没有重现，或有一层没有包住。"""
    plain, lean = (TorchEngine(MODEL, replace(SETTINGS, recompute=flag)) for flag in (False, True))
    assert _losses(lean) == _losses(plain)
    assert list(lean.model.state_dict()) == list(plain.model.state_dict())


def test_recomputing_keeps_the_activations() -> None:
    """重算时各层的激活还是留下了：内存没有省。"""
    kept = {}
    for flag in (False, True):
        engine, total = TorchEngine(MODEL, replace(SETTINGS, recompute=flag)), 0

        def pack(t: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += t.numel()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            engine.model.loss(*(engine.tensor(a) for a in _batch(0)))
        kept[flag] = total
    assert kept[True] < kept[False] / 2


def test_failed_compilation_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """编译不了就停下了，或没有说明，或每一步都再试一次。"""

    class BackendError(RuntimeError):
        pass

    BackendError.__module__ = "torch._dynamo.exc"
    tried = []

    def refuse(*args: Any) -> Any:
        tried.append(args)
        raise BackendError("no C++ compiler\ndetails")

    monkeypatch.setattr(torch, "compile", lambda function: refuse)
    notes: list[str] = []
    engine = TorchEngine(MODEL, replace(SETTINGS, compile=True), notes.append)
    assert _losses(engine) == _losses(TorchEngine(MODEL, SETTINGS))
    assert len(tried) == 1
    assert notes == ["torch.compile failed, going on without it: no C++ compiler"]


def test_own_errors_are_mistaken_for_the_compiler_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """模型自己的错被当成了编译的失败，掩盖过去。"""

    def broken(*args: Any) -> Any:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(torch, "compile", lambda function: broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        _losses(TorchEngine(MODEL, replace(SETTINGS, compile=True)))


def _crowded(engine: TorchEngine, most: int) -> TorchEngine:
    """一个放不下 ``most`` 行以上的设备。"""
    plain = engine.model.loss

    def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(ids) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(ids, targets)

    engine.model.loss = loss  # type: ignore[assignment,method-assign]
    return engine


def test_auto_batch_changes_the_result_or_gives_up() -> None:
    """内存不够时没有把微批切小，切小之后结果变了，或以后每一步都从头试起。"""
    model, notes = replace(MODEL, dropout=0.0), list[str]()
    engine = _crowded(TorchEngine(model, replace(SETTINGS, auto_batch=True), notes.append), 2)
    np.testing.assert_allclose(_losses(engine), _losses(TorchEngine(model, SETTINGS)), rtol=1e-12)
    assert engine.accumulate == 3
    assert notes == [
        "out of memory: micro-batches of 3 sequences from here on (--accumulate 2)",
        "out of memory: micro-batches of 2 sequences from here on (--accumulate 3)",
    ]


def test_out_of_memory_ends_in_a_traceback() -> None:
    """内存不够时没有告诉用户把微批切到多小。"""
    with pytest.raises(UserError) as caught:
        _losses(_crowded(TorchEngine(MODEL, SETTINGS), 2))
    assert "--accumulate 2" in caught.value.fix
    with pytest.raises(UserError, match="sequences") as caught:
        _losses(_crowded(TorchEngine(MODEL, replace(SETTINGS, auto_batch=True), lambda _: None), 0))
    assert "--context" in caught.value.fix


def test_bfloat16_trains_something_else() -> None:
    """autocast 之下参数不再是 float32，损失偏得太远，或验证时没有用同样的精度。"""
    model = replace(MODEL, dropout=0.0)
    full = TorchEngine(model, replace(SETTINGS, dtype="float32"))
    low = TorchEngine(model, replace(SETTINGS, dtype="float32", precision="bfloat16"))
    a, b = _losses(full), _losses(low)
    assert a != b
    np.testing.assert_allclose(b, a, rtol=5e-3)
    assert {p.dtype for p in low.model.parameters()} == {torch.float32}
    assert low.evaluate(*_batch(9)) != full.evaluate(*_batch(9))


def test_float16_loses_small_gradients_or_its_scale() -> None:
    """float16 没有放大损失，裁剪时忘了缩回来，或放大的倍数不能接着用。"""
    model, settings = replace(MODEL, dropout=0.0), replace(SETTINGS, dtype="float32", precision="float16")
    full, low = TorchEngine(model, replace(settings, precision="float32")), TorchEngine(model, settings)
    assert low.runtime.scales_loss
    results = [[e.train_step(s, _batch(s), 1e-2) for s in range(4)] for e in (full, low)]
    np.testing.assert_allclose([r.grad_norm for r in results[1]], [r.grad_norm for r in results[0]], rtol=2e-2)
    again = TorchEngine(model, settings)
    kept = {**low.loss_scale, "scale": 1024.0}
    again.loss_scale = kept
    assert again.loss_scale == kept
    assert full.loss_scale == {}


@pytest.mark.parametrize(
    ("wanted", "has", "expected"),
    [
        ({"device": "auto"}, {"cuda"}, ("cuda", torch.bfloat16)),
        ({"device": "auto", "precision": "float32"}, {"cuda"}, ("cuda", None)),
        ({"device": "auto", "dtype": "float64"}, {"mps"}, ("cpu", None)),
        ({"device": "auto"}, {"mps"}, ("mps", None)),
        ({"device": "mps", "precision": "bfloat16"}, {"mps"}, ("mps", torch.bfloat16)),
        ({"device": "cpu"}, {"cuda"}, ("cpu", None)),
    ],
)
def test_another_device_or_precision_is_picked(
    wanted: dict[str, Any], has: set[str], expected: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """有什么硬件、要什么精度，选出来的不是该选的那个，或没有说明为什么。"""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in has)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "fake")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in has)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: True)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda name: None)
    found = runtime.pick_runtime(TorchConfig(**wanted))
    assert (found.device.type, found.low) == expected
    assert all(found.reasons)


@pytest.mark.parametrize(
    "wanted", [{"device": "cuda"}, {"device": "mps"}, {"dtype": "float64", "precision": "bfloat16"}, {"device": "tpu"}]
)
def test_what_is_not_there_is_used_silently(wanted: dict[str, Any]) -> None:
    """点名要了这里没有的设备，或要了自相矛盾的精度，却没有报错。"""
    if wanted.get("device") in ("cuda", "mps") and getattr(torch, wanted["device"]).is_available():
        pytest.skip("this machine has it")
    with pytest.raises(UserError):
        runtime.pick_runtime(TorchConfig(**wanted))


def test_torch_only_settings_differ_from_the_list() -> None:
    """``TORCH_ONLY`` 与 ``TorchConfig`` 多出来的字段对不上：NumPy 会认不出 torch 写下的配置。"""
    from dataclasses import fields

    from tinygrad_llm.common.train_config import TORCH_ONLY, TrainConfig

    extra = {f.name for f in fields(TorchConfig)} - {f.name for f in fields(TrainConfig)}
    assert set(TORCH_ONLY) == extra
    assert loop.TorchEngine.name == "torch"
