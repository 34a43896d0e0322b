"""``python -m torch_llm quantize layers``：哪些矩阵怕量化。

流入：没有量化的运行；流出：每个矩阵单独量化时输出的相对误差、整个模型损失的变化，一张表、两张图与 ``layers.json``。
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from tinygrad_llm.common.quantization.settings import LayersConfig

__all__ = ["LayerError", "layer_errors", "main"]

WINDOW = 256
"""评估的一窗至多几个 token。"""


@dataclass(frozen=True)
class LayerError:
    """一个矩阵单独量化的后果。

    Attributes:
        name: 参数名。
        bits: 平均每个权重几位，含比例尺。
        output: 这一层输出的相对误差 ``‖(W - Ŵ)X‖ / ‖WX‖``；词嵌入没有输入，是权重自己的相对误差。
        loss: 只量化它，每个 token 的损失变多少（纳特）。
    """

    name: str
    bits: float
    output: float
    loss: float


def layer_errors(
    model: Any, ids: Any, scheme: Any, note: Callable[[str], None] = lambda _: None
) -> tuple[float, list[LayerError]]:
    """逐个矩阵量化、评估、复原。

    Args:
        model: 浮点的模型；做完与原来相同。
        ids: ``(B, T)``。
        scheme: 存法。
        note: 每个矩阵做完说一声。

    Returns:
        原来的损失；各矩阵的误差。
    """
    import numpy as np
    import torch

    from tinygrad_llm.common.quantization import dequantize, matrices, quantize
    from tinygrad_llm.common.quantization.gptq import output_error
    from tinygrad_llm.common.quantization.rounding import choose_scheme
    from torch_llm.quantization.calibrate import gather_grams
    from torch_llm.quantization.evaluate import mean_loss

    before: list[float] = []
    grams = gather_grams(model, lambda: before.append(mean_loss(model, ids)))
    found = []
    for name in matrices(model.config):
        parameter = model.get_parameter(name)
        kept = parameter.detach().clone()
        w = kept.cpu().float().numpy()
        packed = quantize(w, choose_scheme(w, scheme))
        restored = dequantize(packed)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(restored))
            loss = mean_loss(model, ids) - before[0]
            parameter.copy_(kept)
        gram = grams.get(name.removesuffix(".weight"), np.eye(w.shape[1]))
        found.append(LayerError(name, 8 * packed.nbytes / w.size, output_error(w, restored, gram), loss))
        note(f"{name}: output error {found[-1].output:.4f}, loss {loss:+.5f}")
    return before[0], found


def main(settings: LayersConfig) -> None:
    """量，写成 ``layers.json`` 与 ``layers.html``。"""
    import numpy as np

    from tinygrad_llm.common.charts import Series, bar_chart, line_chart
    from tinygrad_llm.common.errors import UserError
    from tinygrad_llm.common.files import write_atomically
    from tinygrad_llm.common.quantization import STATE_KEY, Scheme
    from tinygrad_llm.common.quantization.texts import token_windows
    from tinygrad_llm.common.report import Section, page, side_by_side, table, write_page
    from torch_llm.loading import load_model

    loaded = load_model(settings.folder(settings.run), "cpu")
    if STATE_KEY in loaded.state:
        raise UserError("this run is already quantised", where=settings.run, fix="give the run it was made from")
    length = min(WINDOW, loaded.model.config.context)
    take = partial(token_windows, loaded.tokenizer, tokens=settings.tokens, length=length, is_calibration=False)
    ids = np.concatenate([take(corpus) for corpus in settings.corpora.split(",")])
    scheme = Scheme("int8") if settings.format == "int8" else Scheme("int4", settings.group)
    loss, found = layer_errors(loaded.model, ids, scheme, print)

    settings.out.mkdir(parents=True, exist_ok=True)
    described = {
        "tokens": int(ids.size),
        "scheme": scheme.to_dict(),
        "loss": loss,
        "layers": [asdict(e) for e in found],
    }
    write_atomically(settings.out / "layers.json", (json.dumps(described, indent=1) + "\n").encode())
    kinds = sorted({_kind(error.name) for error in found})
    lines = [[error for error in found if _kind(error.name) == kind] for kind in kinds]
    deep = [(kind, same) for kind, same in zip(kinds, lines, strict=True) if len(same) > 1]
    series = [Series(kind, list(range(len(same))), [error.output for error in same]) for kind, same in deep]
    worst = sorted(found, key=lambda error: -error.loss)[:20]
    charts = [line_chart(series, title="输出的相对误差", x_label="层", y_label="相对误差")] if series else []
    charts.append(
        bar_chart([e.name for e in worst], [e.loss for e in worst], title="损失变化最大的 20 个", x_label="nats/token")
    )
    rows = [[e.name, f"{e.bits:.2f}", f"{e.output:.5f}", f"{e.loss:+.6f}"] for e in found]
    head = ["matrix", "bits", "output error", "loss change"]
    note = f"{settings.format}，每次只量化一个矩阵；{ids.size} 个 token，原来的损失 {loss:.4f}"
    sections = [Section("图", side_by_side(charts), note), Section("表", table(head, rows))]
    write_page(settings.out / "layers.html", page("量化：逐层的误差", sections))
    print(f"report: {settings.out / 'layers.html'}")


def _kind(name: str) -> str:
    """参数名里去掉层号：同一种矩阵。"""
    return ".".join(part for part in name.removesuffix(".weight").split(".") if not part.isdigit() and part != "h")
