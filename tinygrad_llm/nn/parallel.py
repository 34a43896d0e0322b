"""``torch.nn.parallel``：一个进程、没有 GPU 时的样子。

``DataParallel`` 没有可分的设备，直接运行模型，与 torch 的 CPU 版相同；``DistributedDataParallel`` 要进程组，报错。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn.module import Module


class DataParallel(Module):
    """把一批数据分给几个 GPU；没有 GPU 时就是模型自己，``state_dict`` 的名字仍带 ``module.`` 前缀。

    Args:
        module: 模型。
        device_ids: GPU 的序号；没有 GPU，不起作用，与 torch 相同。
        output_device: 同上。
        dim: 沿哪一轴分；不分，不起作用。
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        self.module, self.dim = module, dim
        self.device_ids: list[int] = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """模型的前向。"""
        return self.module(*inputs, **kwargs)


class DistributedDataParallel(Module):
    """几个进程各算一份数据再平均梯度；这里只有一个进程，创建即报错。

    Raises:
        RuntimeError: 总是。
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            "DistributedDataParallel needs a process group, and tinygrad_llm runs in one process; "
            "wrap the model only if distributed.is_initialized(), or use torch_llm"
        )


__getattr__ = attributes(__name__)
