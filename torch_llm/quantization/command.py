"""``python -m torch_llm quantize``：量化一个运行，写成另一个；以及报告与逐层的误差。

流入：``CalibratedConfig``；流出：新的运行文件夹。就近舍入与 NumPy 引擎的 ``quantize`` 写出同样的字节。
"""

from __future__ import annotations

from tinygrad_llm.common.cli import Verb
from tinygrad_llm.common.quantization.settings import CalibratedConfig

__all__ = ["VERBS", "main"]

WINDOW = 512
"""校准的一窗至多几个 token。"""


def main(settings: CalibratedConfig) -> None:
    """量化；torch 在这里才导入，``--help`` 因此立即可答。"""
    from tinygrad_llm.common.quantization import command
    from tinygrad_llm.common.quantization.texts import token_windows

    if settings.method == "rtn":
        command.main(settings)
        return
    from torch_llm.quantization.calibrate import calibrated

    command.check_target(settings.target)
    config, tokenizer, checkpoint = command.load_floats(settings.source_folder)
    length = min(WINDOW, config.context)
    ids = token_windows(tokenizer, settings.calibration, settings.calibration_tokens, length, is_calibration=True)
    tensors = calibrated(config, checkpoint.model, ids, settings.scheme_of, settings.method, print)
    details = {
        "format": settings.format,
        "method": settings.method,
        "calibration": {"corpus": settings.calibration, "tokens": ids.size, "window": length},
    }
    command.write_quantized(settings, tokenizer, checkpoint, tensors, details)
    size = command.sizes(tensors, checkpoint.model)
    print(f"{settings.target}: {settings.format} {settings.method}, {size}")


VERBS = {
    "": Verb("torch_llm.quantization.command:main", "RUN: write a copy of it with int8 or int4 weights"),
    "report": Verb("torch_llm.quantization.report:main", "RUN...: perplexity, size and speed, in a table and a plot"),
    "layers": Verb("torch_llm.quantization.layers:main", "the error of every matrix, quantised alone"),
}
