"""``torch.backends.cuda``：矩阵乘法与注意力在 GPU 上的开关，可读可写，对 CPU 没有影响。"""

from __future__ import annotations

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn.attention_backends import ENABLED, SDPBackend, switch
from tinygrad_llm.settings import get_float32_matmul_precision, set_float32_matmul_precision


class _MatMul:
    """矩阵乘法的开关；缺省值与 torch 相同。"""

    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True

    @property
    def allow_tf32(self) -> bool:
        """与 ``set_float32_matmul_precision`` 是同一个设定的两种说法。"""
        return get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        set_float32_matmul_precision("high" if allowed else "highest")


matmul = _MatMul()
"""``torch.backends.cuda.matmul``。"""


def is_built() -> bool:
    """没有编译 CUDA。"""
    return False


def is_flash_attention_available() -> bool:
    """没有 CUDA 上的 FlashAttention。"""
    return False


def flash_sdp_enabled() -> bool:
    """FlashAttention 的开关。"""
    return SDPBackend.FLASH_ATTENTION in ENABLED


def enable_flash_sdp(enabled: bool) -> None:
    """设定 FlashAttention 的开关。"""
    switch(SDPBackend.FLASH_ATTENTION, enabled)


def mem_efficient_sdp_enabled() -> bool:
    """省内存的实现的开关。"""
    return SDPBackend.EFFICIENT_ATTENTION in ENABLED


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """设定省内存的实现的开关。"""
    switch(SDPBackend.EFFICIENT_ATTENTION, enabled)


def math_sdp_enabled() -> bool:
    """照公式计算的开关。"""
    return SDPBackend.MATH in ENABLED


def enable_math_sdp(enabled: bool) -> None:
    """设定照公式计算的开关。"""
    switch(SDPBackend.MATH, enabled)


def cudnn_sdp_enabled() -> bool:
    """cuDNN 的实现的开关。"""
    return SDPBackend.CUDNN_ATTENTION in ENABLED


def enable_cudnn_sdp(enabled: bool) -> None:
    """设定 cuDNN 的实现的开关。"""
    switch(SDPBackend.CUDNN_ATTENTION, enabled)


__getattr__ = attributes(__name__)
