"""优化器与学习率调度：名字与 ``torch.optim`` 相同。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.optim import lr_scheduler
from tinygrad_llm.optim.adamw import Adam, AdamW
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.optim.sgd import SGD

__getattr__ = attributes(__name__)

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
