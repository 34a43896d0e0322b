"""代码生成的设置：写得进、读得出；没有编译器，也就没有人看。"""

from __future__ import annotations

from types import SimpleNamespace

coordinate_descent_tuning = False
fx_graph_cache = True
triton = SimpleNamespace(unique_kernel_names=False)
