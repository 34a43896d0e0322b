"""``torch.cuda.amp``：这里没有 GPU，两者都只警告并关闭，护着的代码照样能跑。"""

from __future__ import annotations

from tinygrad_llm import amp, dtypes


class autocast(amp.autocast):  # noqa: N801  与 torch 同名
    """``amp.autocast("cuda", …)``。"""

    def __init__(self, enabled: bool = True, dtype: dtypes.dtype = dtypes.float16, cache_enabled: bool = True) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """``amp.GradScaler("cuda", …)``。"""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
