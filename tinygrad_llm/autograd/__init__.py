"""自动微分的门面：名字与 ``torch.autograd`` 相同。阅读次序：``mode`` → ``graph`` → ``engine`` → ``function``。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd.engine import backward, grad
from tinygrad_llm.autograd.function import Function
from tinygrad_llm.autograd.mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled

__getattr__ = attributes(__name__)

__all__ = [
    "Function", "backward", "enable_grad", "grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled",
]  # fmt: skip
