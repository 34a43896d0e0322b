"""运行环境：用哪个设备、怎样布种。读环境的事只在这里做。

流入：本机的硬件；流出：``torch.device``。下一站：``loop.py``。
"""

from __future__ import annotations

import torch


def pick_device(dtype: str) -> torch.device:
    """CUDA 优先，其次 Apple 的 MPS，再次 CPU。

    Args:
        dtype: ``"float32"`` 或 ``"float64"``；MPS 不支持 float64，那时退到 CPU。

    Returns:
        设备。
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available() and dtype != "float64":
        return torch.device("mps")
    return torch.device("cpu")
