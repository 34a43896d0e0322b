"""记录写成 JSON，见 ``SCHEMA.md``。

流入：``Trace``；流出：只含字典、列表、数与字符串的一份拷贝。下一站：``exports.py``。
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_llm.tracing.arrays import Snapshot, array_json

if TYPE_CHECKING:
    from tinygrad_llm.tracing.trace import Backward, EdgeRecord, Event, NodeRecord, Step, Trace, Value

FORMAT, VERSION = "tinygrad_llm.trace", 1

ToJson = Callable[["Snapshot | None"], "dict[str, Any] | None"]


def trace_dict(trace: Trace, limit: int | None = None) -> dict[str, Any]:
    """见 ``Trace.to_dict``。"""
    trace.settle()
    written: dict[int, tuple[Snapshot | None, dict[str, Any] | None]] = {}

    def array(value: Snapshot | None) -> dict[str, Any] | None:
        """同一份拷贝在记录里出现几次，只换算一次。"""
        if id(value) not in written:
            written[id(value)] = (value, array_json(value, limit))
        return written[id(value)][1]

    return {
        "format": FORMAT,
        "version": VERSION,
        "title": trace.title,
        "dtype": trace.dtype,
        "values": [_value(one, array) for one in trace.values],
        "nodes": [_node(one) for one in trace.nodes],
        "backwards": [_backward(one, array) for one in trace.backwards],
        "events": [_event(one) for one in trace.events],
        **trace.extensions,
    }


def trace_json(trace: Trace, limit: int | None = None) -> str:
    """见 ``Trace.to_json``。"""
    return json.dumps(trace_dict(trace, limit), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _value(one: Value, array: ToJson) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "label": one.label,
        "kind": one.kind,
        "shape": list(one.shape),
        "dtype": one.dtype,
        "requires_grad": one.requires_grad,
        "data": array(one.data),
        "grad": array(one.grad),
        "torch_grad": array(one.torch_grad),
        "module": one.module,
    }


def _node(one: NodeRecord) -> dict[str, Any]:
    several = {"outputs": one.outputs} if len(one.outputs) > 1 else {}
    return {
        "id": one.id,
        "op": one.op,
        "formula": one.formula,
        "inputs": one.inputs,
        "input_names": one.input_names,
        "output": one.output,
        **several,
        "attrs": one.attrs,
        "vjps": one.vjps,
        "text": one.text,
        "module": one.module,
        "source": one.source,
        "needs": one.needs,
        "time_ns": one.time_ns,
        "saved_bytes": one.saved_bytes,
        "flops": one.flops,
    }


def _backward(one: Backward, array: ToJson) -> dict[str, Any]:
    return {
        "id": one.id,
        "root": one.root,
        "seed": array(one.seed),
        "roots": [{"value": value, "seed": array(seed)} for value, seed in one.roots],
        "steps": [step_json(step, array) for step in one.steps],
        "accumulated": [
            {"value": a.value, "before": array(a.before), "added": array(a.added), "after": array(a.after)}
            for a in one.accumulated
        ],
    }


def step_json(one: Step, array: ToJson = array_json) -> dict[str, Any]:
    """反向的一步；``faults`` 里的各步也是这样写。"""
    more: dict[str, Any] = {}
    if one.arrived is not None:
        more["arrived"] = array(one.arrived)
    if one.incoming_all is not None:
        more["incoming_all"] = [array(g) for g in one.incoming_all]
    return {
        "index": one.index,
        "node": one.node,
        "incoming": array(one.incoming),
        **more,
        "time_ns": one.time_ns,
        "edges": [_edge(edge, array) for edge in one.edges],
    }


def _edge(one: EdgeRecord, array: ToJson) -> dict[str, Any]:
    return {
        "input": one.input,
        "value": one.value,
        "vjp": one.vjp,
        "text": one.text,
        "raw_shape": list(one.raw_shape),
        "summed_axes": list(one.summed_axes),
        "raw": array(one.raw),
        "contribution": array(one.contribution),
        "before": array(one.before),
        "after": array(one.after),
    }


def _event(one: Event) -> dict[str, Any]:
    found = {"kind": one.kind, "node": one.node, "backward": one.backward, "step": one.step}
    return {name: value for name, value in found.items() if value is not None}
