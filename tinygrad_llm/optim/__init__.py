"""优化器与学习率调度：名字与 ``torch.optim`` 相同。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.optim import lr_scheduler, swa_utils
from tinygrad_llm.optim.adadelta import Adadelta
from tinygrad_llm.optim.adafactor import Adafactor
from tinygrad_llm.optim.adagrad import Adagrad
from tinygrad_llm.optim.adamax import Adamax
from tinygrad_llm.optim.adamw import Adam, AdamW
from tinygrad_llm.optim.asgd import ASGD
from tinygrad_llm.optim.lbfgs import LBFGS
from tinygrad_llm.optim.muon import Muon
from tinygrad_llm.optim.nadam import NAdam
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.optim.radam import RAdam
from tinygrad_llm.optim.rmsprop import RMSprop
from tinygrad_llm.optim.rprop import Rprop
from tinygrad_llm.optim.sgd import SGD

__getattr__ = attributes(__name__)

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "Optimizer",
    "RAdam", "RMSprop", "Rprop", "lr_scheduler", "swa_utils",
]  # fmt: skip
