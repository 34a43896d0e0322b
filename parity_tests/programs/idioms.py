"""随手写的小句子：打印、格式化、下标、形状的拆包、Python 与 NumPy 的往来、类型注解里的名字。"""
# mypy: ignore-errors
# ruff: noqa: C416, RUF005, RUF009, RUF013, UP006, UP007, UP031, UP032, UP035, UP045

import math
import random
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch import FloatTensor, LongTensor, Tensor, device, dtype
from torch import nn as networks
from torch.nn import Module, Parameter
from torch.nn import functional as G
from torch.nn.init import xavier_uniform_
from torch.nn.modules.module import Module as SameModule
from torch.nn.parameter import Parameter as SameParameter
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split


@dataclass
class Config:
    """带着 torch 类型的配置。"""

    dtype: torch.dtype = torch.float32
    device: Union[str, torch.device] = torch.device("cpu")
    mask: Optional[torch.Tensor] = None
    shape: torch.Size = torch.Size([2, 3])
    layers: List[nn.Module] = field(default_factory=list)


def annotated(
    x: torch.Tensor,
    model: Optional[torch.nn.Module] = None,
    where: Optional[torch.device] = None,
    kind: dtype = torch.float32,
    ids: Optional[torch.LongTensor] = None,
    optimizer: Optional[torch.optim.Optimizer] = None,
    scheduler: Optional[LRScheduler] = None,
    generator: Optional[torch.Generator] = None,
    activation: Callable[[Tensor], Tensor] = F.relu,
    extra: Dict[str, Any] = None,
) -> Tuple[torch.FloatTensor, List[nn.Parameter]]:
    """签名里写满了类型。"""
    return activation(x), []


def printed():
    """打印与格式化。"""
    torch.manual_seed(0)
    x = torch.arange(12).reshape(3, 4)
    print(x, x.shape, x.dtype, x.device, len(x), x.size(), x.size(-1), x.ndim, x.dim(), x.numel(), sep=" | ")
    print(f"{x.sum()} {x.float().mean():.3f} {x[0, 1]} {x.shape} {tuple(x.shape)} {x[0].tolist()} {x.T.shape}")
    loss = torch.tensor(2.34567)
    print(f"loss {loss:.4f} {loss.item():>10.3f} {loss}", "%.3f" % loss, "{:.2e}".format(loss), str(loss), repr(loss))
    print(
        f"{torch.tensor(3):d} {torch.tensor(3):>5} {torch.tensor(0.123):.1%} {torch.tensor(True)} {torch.tensor([1.5])}"
    )
    print(torch.tensor([1e-8, 1.0]), torch.tensor([1e10, 1.0]), torch.tensor([float("nan"), float("inf"), 1.0]))
    print(
        torch.tensor(-float("inf")), torch.tensor([0.1, 100000.0]), torch.zeros(0), torch.zeros(0, 3), torch.tensor([])
    )
    print(torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.int32), torch.tensor([True, False]))
    print(torch.arange(2000), torch.arange(4000.0).view(40, 100))
    print(torch.max(torch.tensor([[1.0, 5.0], [7.0, 2.0]]), dim=1))
    print(torch.topk(torch.tensor([1.0, 3.0, 2.0]), 2), torch.sort(torch.tensor([3, 1, 2])))
    print(torch.Size([1, 2]), torch.float32, torch.long, torch.device("cpu"), torch.finfo(torch.float32).min)
    print(
        nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Dropout(0.1), nn.LayerNorm(3), nn.Embedding(4, 3, padding_idx=0))
    )
    torch.set_printoptions(precision=2, sci_mode=False)
    print(torch.tensor([1234.5678, 0.001]))
    torch.set_printoptions(precision=4, sci_mode=None)
    try:
        torch.ones(2, 3).view(5)
    except RuntimeError as error:
        print(type(error).__name__, "invalid for input of size 6" in str(error))


def protocol():
    """当作 Python 的数、列表、下标来用。"""
    x = torch.tensor([3, 1, 2])
    b, t = torch.zeros(2, 5).shape
    *batch, last = torch.zeros(2, 3, 4).shape
    found = {
        "shape": (b, t, batch, last, math.prod(torch.zeros(2, 3).shape), torch.Size([2]) + (3,), (*x.shape, -1)),
        "in": (3 in x, 7 in x, 2 in x.tolist(), bool((x > 2).any()), bool(x[0] == 3), not torch.tensor(0)),
        "loops": (
            [int(v) for v in x],
            [v.item() for v in x],
            list(enumerate(x.tolist())),
            sum(x).item(),
            max(x).item(),
        ),
        "numbers": (
            float(x[0]),
            int(x[1]),
            math.sqrt(torch.tensor(4.0)),
            round(torch.tensor(2.5).item()),
            abs(x[0]).item(),
        ),
        "as index": (["a", "b", "c"][torch.tensor(1)], list(range(torch.tensor(3))), "ab" * torch.tensor(2)),
        "arithmetic": (5 - x, 2 / x, 2**x, x % 2, x // 2, -x, ~(x > 1), (x > 1) & (x < 3), 1 + x * 2.0, x / 2),
        "compare": (torch.equal(x, x.clone()), torch.allclose(x * 1.0, x + 1e-9), (x == x).all().item(), x.eq(3)),
        "kinds": (
            isinstance(x, torch.Tensor),
            torch.is_tensor(x),
            torch.is_tensor([1]),
            isinstance(nn.ReLU(), torch.nn.Module),
            isinstance(Parameter(torch.ones(1)), Tensor),
            Module is SameModule,
            Parameter is SameParameter,
            F is G,
            nn is networks,
            x.is_floating_point(),
            torch.is_floating_point(x.float()),
            x.dtype == torch.int64,
            issubclass(DataLoader, object),
            callable(xavier_uniform_),
            optim is torch.optim,
        ),
    }
    x = torch.arange(24.0).view(2, 3, 4)
    found["subscripts"] = [
        x[0],
        x[-1, ..., 0],
        x[:, 1:, ::2],
        x[:, [0, 2]],
        x[:, -1, :],
        x[:, :, None].shape,
        x[x > 20],
        x[..., -1:],
        x[torch.tensor([1, 0])],
        x[[0, 1], [2, 0]],
        x[:, torch.arange(3) != 1],
        x[1][2][3],
        x[(0, 1)],
        x[:0].shape,
    ]
    y = torch.zeros(3, 4)
    y[0] = 1
    y[1:, 2] = torch.tensor([5.0, 6.0])
    y[y == 0] = -1.0
    y[:, 0] += 10
    y[[0, 2], [1, 3]] = 9
    y[-1, -1] *= 2
    found["assigned"] = y
    found["shapes"] = [
        x.view(2, -1),
        x.flatten(1),
        x.permute(2, 0, 1),
        x.transpose(-1, -2),
        x.unsqueeze(1).squeeze(1),
        x.mT.contiguous(),
        x.expand(2, 2, 3, 4).shape,
        x.repeat(1, 2, 1).shape,
        torch.cat((x, x), -1).shape,
        torch.stack([x, x], 1).shape,
        [part.shape for part in x.split([1, 3], dim=-1)],
        [part.shape for part in x.chunk(2, dim=0)],
        x.new_zeros(2, 2),
        x.new_full((2,), 7),
        x.new_tensor([1, 2]),
        torch.zeros_like(x[0]),
        torch.full((2, 2), -torch.inf).triu(1),
    ]
    return found


def exchanges():
    """与 NumPy、random、math 的往来。"""
    random.seed(1)
    np.random.seed(1)
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    shared = torch.from_numpy(array)
    shared[0, 0] = 42
    copied = torch.tensor(array)
    array[1, 1] = -1
    ids = torch.from_numpy(np.random.randint(0, 9, (4,)).astype(np.int64))
    picked = random.sample(range(10), 3)
    trained = torch.ones(2, requires_grad=True)
    trained.sum().backward()
    return {
        "shared": (shared, copied, array),
        "ids": ids,
        "picked": torch.tensor(picked),
        "back": (np.array(shared), shared.numpy(), np.asarray(ids), trained.detach().numpy(), trained.grad.numpy()),
        "functions": (np.sqrt(shared.abs().numpy()), float(np.mean(ids.numpy())), np.argmax(shared.numpy(), -1)),
        "made": [
            torch.tensor(np.float64(1.5)),
            torch.tensor([np.float32(1), 2]),
            torch.tensor(np.ones((2, 2))),
            torch.as_tensor([1, 2]),
            torch.tensor((True, False)),
            torch.tensor([[1, 2.5]]),
            torch.Tensor([1, 2]),
            torch.FloatTensor([1, 2]),
            torch.LongTensor([[3]]),
            torch.tensor(7, dtype=torch.float16),
            torch.arange(0, 1, 0.3),
            torch.linspace(0, 1, 5),
            torch.eye(2),
            torch.full((2,), 3),
            torch.tensor([torch.tensor(1), torch.tensor(2)]),
        ],
        "types": [
            x.dtype
            for x in (
                ids.float(),
                ids.double(),
                ids.half(),
                ids.bool(),
                ids.int(),
                ids.to(torch.uint8),
                ids / 2,
                ids * 1.0,
                ids + True,
                shared > 0,
                shared.type(torch.long),
                shared.to(ids.dtype),
                shared.argmax(),
            )
        ],
        "limits": (
            torch.finfo(torch.float32).eps,
            torch.finfo(torch.float16).max,
            torch.iinfo(torch.int64).max,
            torch.pi,
        ),
    }


class Stream(IterableDataset):
    """一个一个给出来的数据。"""

    def __iter__(self):
        yield from ({"x": torch.tensor([i, i + 1]), "y": i % 2, "name": f"row {i}"} for i in range(5))


class Squares(Dataset):
    """数与它的平方。"""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return torch.tensor(i), float(i**2)


def loaders():
    """几种装载数据的办法。"""
    torch.manual_seed(3)
    train, test = random_split(Squares(), [5, 2])
    full = TensorDataset(torch.arange(6), torch.arange(6) * 2)
    iterator = iter(DataLoader(full, batch_size=4, shuffle=True, drop_last=True))
    return {
        "stream": list(DataLoader(Stream(), batch_size=2)),
        "split": (train.indices, test.indices, [b for b in DataLoader(train, batch_size=2, shuffle=True)]),
        "next": (next(iterator), next(iterator, None)),
        "subset": [x for x, _ in Subset(full, [4, 1])],
        "collated": list(
            DataLoader([[1, 2], [3]], batch_size=2, collate_fn=lambda rows: [torch.tensor(r) for r in rows])
        ),
        "own generator": list(
            DataLoader(range(5), batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(0))
        ),
    }


def program():
    """全部小句子。"""
    printed()
    config = Config(dtype=torch.get_default_dtype())
    out, none = annotated(torch.randn(2), nn.ReLU(), config.device, extra={"k": LongTensor, "f": FloatTensor})
    print(config.device, config.shape, len(config.layers), device("cpu"), list(annotated.__annotations__)[:3], none)
    net = nn.Linear(3, 2, dtype=config.dtype, device=config.device)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    schedulers = [CosineAnnealingLR(optimizer, 3), LambdaLR(optimizer, lambda step: 0.5**step)]
    net(torch.ones(1, 3)).sum().backward()
    norm = clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    rates = []
    for scheduler in schedulers:
        scheduler.step()
        rates.append(scheduler.get_last_lr())
    return {
        "loss": net(torch.ones(1, 3)).sum(),
        "norm": norm,
        "rates": rates,
        "relu": out,
        **protocol(),
        **exchanges(),
        **loaders(),
        "device": str(next(net.parameters()).device),
        "grad": net.weight.grad,
        "grad mode": torch.is_grad_enabled(),
    }
