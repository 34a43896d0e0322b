"""函数的变换，名字与 ``torch.func`` 相同。阅读次序：``level`` → ``derivatives`` → ``jacobians`` → ``batching``。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.func.batching import vmap
from tinygrad_llm.func.derivatives import grad, grad_and_value, jvp, linearize, vjp
from tinygrad_llm.func.jacobians import hessian, jacfwd, jacrev
from tinygrad_llm.func.modules import stack_module_state
from tinygrad_llm.nn.utils.stateless import functional_call

__getattr__ = attributes(__name__)

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "stack_module_state", "vjp", "vmap",
]  # fmt: skip
