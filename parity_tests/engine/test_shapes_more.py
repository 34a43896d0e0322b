"""换形状、换轴、切分与搬运：各种写法、各种内存布局，逐项与 torch 相同；torch 拒绝的也拒绝。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parity_tests.engine.case_inputs import described, inputs
from parity_tests.engine.twins import same, same_error, same_gradient, table, values

Case = Callable[[Any, Any], Any]

CASES: dict[str, Case] = {
    "transposes": lambda m, o: (o.z.mT, o.z.H, o.z.adjoint(), o.z.T, o.x[0].T, o.y.T, o.y.permute(dims=(0, 1, 2)),
        m.permute(o.y, (2, 1, 0)), o.y.permute([2, 1, 0]), o.y.permute(-1, 0, 1), o.x.t().expand(2, 3, 2),
        o.x.t().unsqueeze(1), o.x.t().unsqueeze(-1), o.y.transpose(0, 2).unfold(0, 2, 2), o.x[0].t(), o.z.t(),
        o.x.t(), o.y.swapaxes(0, 1), o.y.swapdims(0, -1), o.z.transpose(0, -1), o.y.transpose(0, 2).dim_order(),
        o.q.permute(0, 3, 1, 2).is_contiguous(memory_format=m.channels_last), o.y.permute(2, 0, 1).clone(),
        o.y.permute(2, 0, 1).clone(memory_format=m.contiguous_format), o.y.permute(2, 0, 1)[:2].clone(),
        o.y[:, 1].t().clone(), o.x.t().half(), o.x.t().double(), o.x.t().ravel(),
        o.y.permute(0, 2, 1).view(2, 2, 2, 3), o.y.permute(0, 2, 1).reshape(8, 3)),
    "flatten and ravel": lambda m, o: (o.y.flatten(1, 1) is o.y, o.y.unflatten(1, (3,)), o.y.unflatten(2, (2, -1)),
        o.y.unflatten(-1, (4, 1)), o.y.ravel(), o.z.flatten(), o.x[0].flatten(0, 0), o.y.flatten(-2),
        o.y.flatten(0, -2), o.z.ravel()),
    "view and reshape": lambda m, o: (o.y.view(m.int32), o.y.view(m.float64), o.y.view(m.int8), o.y.view(m.float32),
        o.y.view(dtype=m.int32), o.y.view(size=(24,)), o.y.reshape(shape=(24,)), o.y.reshape([24]),
        o.y.view_as(o.y.view(24)), o.x.view(-1, 1), o.y[:, :, :2].view(6, 2), o.y[:, :2].view(2, 8),
        o.y[:0].view(0, 5), o.y[:0].view(-1), m.zeros(0).reshape(2, -1), o.z.reshape(1, 1), o.z.view(())),
    "broadcasting": lambda m, o: (o.y.expand(size=(2, 3, 4)), o.y.expand(2, -1, 3, 4), o.y.expand(1, 2, 3, 4),
        o.z.expand(2, 3), o.z.expand(()), o.x[:, :1].expand(-1, 4), o.x[:, :1].expand(2, -1), o.x[:1].expand(0, 3),
        o.y.broadcast_to((2, 2, 3, 4)), m.broadcast_to(o.y, size=(2, 3, 4)), m.broadcast_tensors(o.y, o.z),
        m.broadcast_tensors(), o.x.sum_to_size(1, 3), o.x.sum_to_size(3), o.x.sum_to_size(()),
        o.x[:1].expand(3, 3).clone(), o.x[:, :1].expand(2, 3).clone(), o.x[:1].expand(3, 3).half(),
        o.x[:, :1].expand(2, 3).double().view(6)),
    "squeeze and unsqueeze": lambda m, o: (o.y.squeeze((0, 1)), o.y.squeeze([0]), o.y[:1].squeeze(),
        o.y[:1, :, :1].squeeze((0, 2)), o.y[:1].squeeze(-3), o.z.squeeze(), o.z.squeeze(0), o.y.unsqueeze(-1),
        o.z.unsqueeze(0), o.z.unsqueeze(-1)),
    "movedim": lambda m, o: (o.y.movedim(0, -1), o.y.movedim((0, 1), (2, 0)), o.z.movedim(0, 0),
        m.moveaxis(o.y, (0, 1), (1, 0))),
    "select and narrow": lambda m, o: (o.y.select(-1, -1), o.y.select(dim=0, index=1), o.y.narrow(0, m.tensor(1), 1),
        o.y.narrow(0, 2, 0), o.y.narrow(0, -1, 1), o.y.narrow(dim=1, start=0, length=2)),
    "split": lambda m, o: (o.y.split((1, 1)), o.y.split(2, -1), o.y.split(split_size=2, dim=2), o.y[:0].split(0),
        o.y[:0].split(2), o.y[:, :0].chunk(3, 1), o.y.chunk(3, 2), o.y.chunk(9, 1), o.y.unbind(-1),
        o.y.unsafe_chunk(2), o.y.unsafe_split(1), o.y.split_with_sizes([1, 1]), o.y.unsafe_split_with_sizes([1, 1])),
    "tensor_split": lambda m, o: (o.y.tensor_split([1, 5, -1], 2), o.y.tensor_split(m.tensor([1])),
        o.y.tensor_split(m.tensor(2)), o.y.tensor_split(3, 2), o.y.tensor_split((1,), dim=1),
        m.tensor_split(o.y, 4, 2), o.y.hsplit(3), o.x[0].hsplit(3), o.y.hsplit([1, 2]), o.y.vsplit(2), o.y.dsplit(2),
        o.y.dsplit([1, 3])),
    "repeat and tile": lambda m, o: (o.y.tile(2), o.y.tile((2,)), o.y.tile(dims=(2, 2, 2, 2)), o.z.tile(()),
        o.z.tile(3), o.y.tile(1, 0, 1), o.y.repeat((1, 1, 1)), o.y.repeat(repeats=(1, 1, 1)), o.y.repeat(0, 1, 1),
        o.x.repeat(2, 1, 2), o.z.repeat(2)),
    "flips": lambda m, o: (o.y.flip(()), o.y.flip([0]), m.flip(o.y, dims=[0]), o.y.flip(-1, 0), o.z.flip(0),
        o.y.fliplr(), o.x.flipud()),
    "roll and rot90": lambda m, o: (o.y.roll(1), o.z.roll(1), o.y.roll(shifts=1, dims=0), o.y.roll((1, -2), (0, 2)),
        o.y.roll(-100, 1), o.y[:0].roll(1, 0), o.y[:0].roll(1), o.y.rot90(), o.y.rot90(5, [1, 2]), o.y.rot90(-1),
        o.y.rot90(2, (0, 2)), o.y.rot90(0), o.y.rot90(1, (0, -1))),
    "diagonals": lambda m, o: (o.y.diagonal(5, 0, 2), o.y.diagonal(offset=1, dim1=1, dim2=2), o.y.diagonal(-1, 2, 0),
        o.y.diagonal(0, -1, -2), m.diag(o.v, 1), m.diag(o.x, -1), m.diag(o.x), m.diag(o.v), m.diagflat(o.y, 1),
        m.diagflat(o.z), m.diag_embed(o.v, 1, 0, 1), m.diag_embed(o.x, offset=1, dim1=0, dim2=2),
        m.diag_embed(o.x, -2)),
    "scatters into a region": lambda m, o: (m.diagonal_scatter(o.x, m.ones(2)),
        m.diagonal_scatter(o.x, m.ones(2, dtype=m.float64)), m.diagonal_scatter(o.y, m.ones(2, 3), 1, 1, 2),
        m.select_scatter(o.y, m.ones(3, 4), 0, 1), m.slice_scatter(o.y, m.ones(1, 3, 4), 0, 1),
        m.slice_scatter(o.y, m.ones(1, 3, 4), start=1, end=5),
        m.slice_scatter(o.y, m.ones(2, 2, 4), dim=1, start=0, end=3, step=2),
        o.y.as_strided_scatter(m.ones(2, 2), (2, 2), (1, 2))),
    "unfold": lambda m, o: (o.y.unfold(2, 2, 2), o.y.unfold(2, 2, 1), o.z.unfold(0, 1, 1), o.z.unfold(0, 0, 1),
        o.v.unfold(0, 0, 1), o.y.unfold(dimension=1, size=1, step=2)),
    "as_strided": lambda m, o: (o.y.as_strided((2, 2), (1, 2)), o.y[1].as_strided((3,), (1,), 0),
        o.y[1].as_strided((3,), (1,)), m.as_strided(o.y, size=(3,), stride=(2,), storage_offset=1),
        o.y.as_strided((), ()), o.y.as_strided((3,), (0,))),
    "triangles": lambda m, o: (o.y.tril(1), o.y.tril(diagonal=-1), (o.y > 3).tril(), o.y.triu(-1), o.y.long().triu()),
    "others": lambda m, o: (tuple(m.broadcast_shapes()), tuple(m.broadcast_shapes(2, (3, 2))),
        type(o.y.shape + o.x.shape).__name__, type(o.y.shape[:2]).__name__,
        type(2 * o.y.shape).__name__, str(o.y.layout)),
    "at least": lambda m, o: (m.atleast_1d(o.z, o.y), m.atleast_1d((o.z, o.y)), m.atleast_2d(o.z), m.atleast_2d(o.v),
        m.atleast_3d(o.v), m.atleast_3d(o.x), m.atleast_3d(o.z), m.atleast_1d(), m.atleast_2d([o.z, o.v]),
        m.atleast_1d(o.y) is o.y),
    "repeat_interleave": lambda m, o: (o.y.repeat_interleave(2), o.y.repeat_interleave(m.tensor([1, 2]), dim=0),
        o.y.repeat_interleave(m.tensor([2]), dim=0), o.y.repeat_interleave(m.tensor(2), dim=0),
        m.repeat_interleave(m.tensor([1, 2, 0])), m.repeat_interleave(m.tensor([1, 2]), output_size=3),
        o.y.repeat_interleave(m.tensor([1, 2], dtype=m.int32), dim=0), o.z.repeat_interleave(2),
        o.y.repeat_interleave(2, -1), o.y.repeat_interleave(0, 1),
        o.y.repeat_interleave(repeats=m.tensor([0, 1]), dim=0)),
    "strides": lambda m, o: (o.y.stride(), o.y.stride(0), o.y.stride(-1), o.y[1].storage_offset(),
        o.y[:, 1:].storage_offset(), o.y.is_set_to(o.y), o.y.is_set_to(o.y.view(24)), o.y.is_same_size(o.y),
        o.y.shape.numel(), o.y.nbytes, o.y.element_size(), o.y.dim_order(), o.x.data_ptr() == o.x.view(6).data_ptr(),
        o.y.numel(), o.y.dim()),
    "memory format": lambda m, o: (o.q.contiguous(memory_format=m.channels_last),
        o.q.clone(memory_format=m.channels_last), o.q.to(memory_format=m.channels_last),
        o.q.is_contiguous(memory_format=m.channels_last),
        o.q.contiguous(memory_format=m.channels_last).is_contiguous(memory_format=m.channels_last),
        o.y.contiguous(memory_format=m.preserve_format), o.y[:, :, ::2].clone(), m.zeros_like(o.y.permute(2, 0, 1)),
        m.zeros_like(o.x[:1].expand(3, 3)), m.ones_like(o.x.t(), memory_format=m.contiguous_format),
        o.x.is_contiguous(memory_format=m.preserve_format)),
    "copies of views": lambda m, o: (m.unsqueeze_copy(o.x, 0), m.permute_copy(o.x, (1, 0)), m.split_copy(o.x, 1),
        m.t_copy(o.x), m.slice_copy(o.x, 1, 0, 2), m.narrow_copy(o.x, 0, 0, 1), m.view_copy(o.x, (6,)),
        m.expand_copy(o.x, (2, 2, 3)), m.alias_copy(o.x), m.unbind_copy(o.x), m.squeeze_copy(o.x),
        m.diagonal_copy(o.x), m.transpose_copy(o.x, 0, 1), m.select_copy(o.x, 0, 1), m.unfold_copy(o.x, 0, 1, 1),
        m.as_strided_copy(o.x, (2,), (1,)), m.detach_copy(o.x), m.split_with_sizes_copy(o.x, [1, 1])),
}  # fmt: skip

MISTAKES: dict[str, list[Case]] = {
    "transposes": [lambda m, o: o.x[0].mT, lambda m, o: o.x[0].H, lambda m, o: o.y.H, lambda m, o: o.x[0].adjoint(),
        lambda m, o: o.y.permute(0, 1), lambda m, o: o.y.permute(0, 0, 1), lambda m, o: o.y.permute(0, 1, 5),
        lambda m, o: o.y.t(), lambda m, o: o.y.transpose(0, 5), lambda m, o: o.x.t().view(6)],
    "flatten and ravel": [lambda m, o: o.y.flatten(2, 1), lambda m, o: o.y.unflatten(1, (-1, 2)),
        lambda m, o: o.y.unflatten(1, ()), lambda m, o: o.y.unflatten(1, 3)],
    "view and reshape": [lambda m, o: o.y.view(2.0, 12), lambda m, o: o.y.reshape((2,), (12,)),
        lambda m, o: o.y.reshape_as(o.x), lambda m, o: o.y[:, :2].view(4, 4), lambda m, o: o.y[:0].reshape(-1, 0),
        lambda m, o: m.zeros(0).reshape(0, -1), lambda m, o: o.x.reshape(-2, 3), lambda m, o: o.x.reshape(-2, -3),
        lambda m, o: o.x.reshape(-1, -2), lambda m, o: o.x.reshape(7), lambda m, o: o.x.reshape(-1, -1),
        lambda m, o: o.x.reshape(())],
    "broadcasting": [lambda m, o: o.y.expand(-1, -1, -1, 4), lambda m, o: o.y.expand(3, 3, 4),
        lambda m, o: o.y.expand(3, 4), lambda m, o: m.broadcast_tensors(o.y, m.ones(5)),
        lambda m, o: m.broadcast_shapes((2, 1), (3,), 5), lambda m, o: m.broadcast_shapes((2,), (3,)),
        lambda m, o: m.broadcast_shapes((2,), (1,), (-1,)), lambda m, o: o.x.sum_to_size(2, 2)],
    "squeeze and unsqueeze": [lambda m, o: o.y.squeeze((0, 0)), lambda m, o: o.y.squeeze(5),
        lambda m, o: o.z.squeeze(1), lambda m, o: o.y.unsqueeze(5), lambda m, o: o.z.unsqueeze(1)],
    "movedim": [lambda m, o: o.y.movedim(0, 5), lambda m, o: o.y.movedim((0, 1), (0,)),
        lambda m, o: o.y.movedim((0, 0), (1, 2))],
    "select and narrow": [lambda m, o: o.y.select(0, 5), lambda m, o: o.y.select(5, 0),
        lambda m, o: o.z.select(0, 0), lambda m, o: o.y.narrow(0, m.tensor(1.0), 1),
        lambda m, o: o.y.narrow(0, 3, 0), lambda m, o: o.y.narrow(0, 0, 3), lambda m, o: o.y.narrow(0, 0, -1),
        lambda m, o: o.z.narrow(0, 0, 1)],
    "split": [lambda m, o: o.y.split(0), lambda m, o: o.y.split(-1), lambda m, o: o.y.split([1, 2]),
        lambda m, o: o.y.split(2.5), lambda m, o: o.y.split([]), lambda m, o: o.z.split(1),
        lambda m, o: o.y.chunk(0), lambda m, o: o.y.unbind(5), lambda m, o: o.z.unbind()],
    "tensor_split": [lambda m, o: o.y.tensor_split(0), lambda m, o: o.y.tensor_split(-1),
        lambda m, o: o.z.tensor_split(2), lambda m, o: o.z.hsplit(1), lambda m, o: o.y.hsplit(2),
        lambda m, o: o.x.dsplit(1), lambda m, o: o.x[0].vsplit(1)],
    "repeat and tile": [lambda m, o: o.y.repeat(2), lambda m, o: o.y.repeat(1, 1, -1)],
    "flips": [lambda m, o: o.y.flip(), lambda m, o: o.y.flip(0, 0), lambda m, o: o.x[0].fliplr(),
        lambda m, o: o.z.flipud()],
    "roll and rot90": [lambda m, o: o.y.roll((1, 2)), lambda m, o: o.y.roll((1, 2), 0),
        lambda m, o: o.y.roll(1, (0, 1)), lambda m, o: o.y.roll(1, 5), lambda m, o: o.z.roll(1, 0),
        lambda m, o: o.y.rot90(1, (0, 0)), lambda m, o: o.x[0].rot90(), lambda m, o: o.y.rot90(1, [0])],
    "diagonals": [lambda m, o: o.y.diagonal(0, 0, 0), lambda m, o: o.x[0].diagonal(), lambda m, o: m.diag(o.y),
        lambda m, o: m.diag(o.z), lambda m, o: m.diag_embed(o.z), lambda m, o: m.diag_embed(o.x, 0, -2, -2)],
    "scatters into a region": [lambda m, o: m.diagonal_scatter(o.x, o.z),
        lambda m, o: m.select_scatter(o.y, m.ones(4), 0, 1), lambda m, o: m.select_scatter(o.y, m.ones(3, 4), 0, 5),
        lambda m, o: m.slice_scatter(o.y, m.ones(3, 4), start=1)],
    "unfold": [lambda m, o: o.y.unfold(0, 3, 1), lambda m, o: o.y.unfold(0, 2, 0), lambda m, o: o.y.unfold(0, -1, 1),
        lambda m, o: o.z.unfold(0, 2, 1)],
    "as_strided": [lambda m, o: o.y.as_strided((2, 2), (1, 2), 30), lambda m, o: o.y.as_strided((2, 2), (1, -2)),
        lambda m, o: o.y.as_strided((2, 2), (1,))],
    "triangles": [lambda m, o: o.x[0].tril()],
    "repeat_interleave": [lambda m, o: m.repeat_interleave(m.tensor([1, 2]), output_size=4),
        lambda m, o: o.y.repeat_interleave(m.tensor([1, 2, 3]), dim=0), lambda m, o: o.y.repeat_interleave(-1, 0),
        lambda m, o: o.y.repeat_interleave(m.tensor([1.0, 2]), dim=0),
        lambda m, o: o.y.repeat_interleave([1, 2], dim=0),
        lambda m, o: o.y.repeat_interleave(m.tensor([1, 2], dtype=m.int8), dim=0),
        lambda m, o: o.z.repeat_interleave(2, 0)],
    "strides": [lambda m, o: o.y.stride(5), lambda m, o: o.y.size(5)],
    "memory format": [lambda m, o: o.y.contiguous(memory_format=m.channels_last)],
}  # fmt: skip


@pytest.mark.parametrize("case", table(CASES))
def test_shapes_equal_torch(case: Case) -> None:
    """值、形状、dtype、内存布局或 requires_grad 与 torch 不同。"""
    same(lambda m: described(case(m, inputs(m))), "exact")


@pytest.mark.parametrize("cases", table(MISTAKES))
def test_shapes_refuse_what_torch_refuses(cases: list[Case]) -> None:
    """torch 报错的写法这里放过了，或报的是另一类错。"""
    for i, case in enumerate(cases):
        same_error(lambda m, case=case: case(m, inputs(m)), what=str(i))  # type: ignore[misc]


def _strided_written(m: Any, x: Any) -> Any:
    y = x * 2
    v = y.as_strided((3,), (5,))
    v.mul_(x[0, :3])
    return (y * y, v)


def _transposed_then_written(m: Any, x: Any) -> Any:
    y = x * 2
    y.t_()
    y[1].mul_(3)
    y[0] = x[:, 0]
    return y * y


def _a_transposed_view_written(m: Any, x: Any) -> Any:
    y = x * 2
    v = y[:2]
    v.t_()
    v.mul_(2)
    v[0].zero_()
    return (y * y, v * v)


def _squeezed_and_a_row_written(m: Any, x: Any) -> Any:
    y = (x * 2).unsqueeze(1)
    y.squeeze_(1)
    z = y[1]
    z.mul_(x[0])
    return (y * y, z)


def _selections_written(m: Any, x: Any) -> Any:
    y = x * 2
    y.select(1, 2).mul_(3)
    y.narrow(0, 1, 2).add_(x[:2])
    y.movedim(0, 1)[1] = x[:, 3]
    y.unflatten(1, (2, 2))[:, 1].zero_()
    return y * y


def _diagonals_written(m: Any, x: Any) -> Any:
    y = x * 2
    y.diagonal().mul_(x[0, :3])
    y.diagonal(1).copy_(x[1, :3])
    return y * y


GRADIENTS: dict[str, Case] = {
    "unfold": lambda m, x: (x.unfold(0, 2, 1), x.unfold(1, 2, 2), x.t().unfold(1, 3, 1)),
    "as_strided": lambda m, x: (
        (x * 1).as_strided((2, 2), (1, 2)),
        (x * 1).as_strided((4, 2), (2, 1), 1),
        (x[1:] * 1).as_strided((2, 2), (4, 1)),
    ),
    "as_strided of expanded memory": lambda m, x: (x[:1] * 1).expand(3, 4).as_strided((2, 3), (0, 1)),
    "a write to a strided view": _strided_written,
    "roll and rot90": lambda m, x: (x.roll(1, 0), x.roll((1, 2), (0, 1)), x.roll(3), x.rot90(), x.rot90(3), x.rot90(2)),
    "diag": lambda m, x: (
        x.diag(),
        x[0].diag(1),
        x.diag_embed(),
        x.diagflat(-1),
        x.diagonal_scatter(x[:, 0].sin()),
        x.select_scatter(x[1], 0, 2),
        x.slice_scatter(x[:2] * 2, 0, 1),
        m.diag_embed(x, 1, 0, 2),
    ),
    "repeat": lambda m, x: (
        x.repeat_interleave(2),
        x.repeat_interleave(m.tensor([1, 0, 2]), 0),
        x.tile(2),
        x.repeat(2, 1),
    ),
    "splits": lambda m, x: (*x.tensor_split(3, 1), *x.hsplit(2), *x.vsplit(3), *x.split([1, 3], 1), *x.unbind(1)),
    "sum_to_size": lambda m, x: (x.sum_to_size(1, 4), x.sum_to_size(4), x.sum_to_size(())),
    "movedim": lambda m, x: (
        x.movedim(0, 1),
        x.unflatten(1, (2, 2)),
        x.squeeze(),
        x.ravel(),
        m.permute_copy(x, (1, 0)),
        x.fliplr(),
        x.narrow(1, 1, 2),
    ),
    "to": lambda m, x: (
        x.to(m.float32).to(m.float64),
        x.half(),
        x.clone(memory_format=m.contiguous_format),
        x.t().contiguous(),
        x.t().clone(),
    ),
    "t_": lambda m, x: (x * 2).t_(),
    "transpose_": lambda m, x: (x * 2).transpose_(0, 1).sin(),
    "unsqueeze_ squeeze_": lambda m, x: (x * 2).unsqueeze_(1).squeeze_(1),
    "t_ then a write": _transposed_then_written,
    "a write through a transposed view": _a_transposed_view_written,
    "squeeze_ then a write to a row": _squeezed_and_a_row_written,
    "writes to selections": _selections_written,
    "writes to diagonals": _diagonals_written,
}


@pytest.mark.parametrize("case", table(GRADIENTS))
def test_values_and_gradients_equal_torch(case: Case) -> None:
    """值或梯度与 torch 不同，连同就地改写之后的。"""
    same_gradient(case, values(3, 3, 4))
