// 一趟播放：把录制的事件排成一帧一帧，并记下每个值在哪一帧收到哪一份梯度。

/**
 * 排出一趟。
 *
 * 一帧是 {kind, node, step, backward, index, total}：kind 是 start、forward、seed、backward 或 end。
 * 一个值的账本是它收到的各份梯度，按次序：{frame, contribution, before, after, step, edge}；before 为 null 时从头记起。
 *
 * @param {object} doc 录制。
 * @param {object|null} fault 弄坏的一种；给出时，反向的各步换成它的。
 */
function makeRun(doc, fault = null) {
  const frames = [{ kind: "start" }];
  const ledgers = new Map();
  const enter = (value, entry) => {
    if (!ledgers.has(value)) ledgers.set(value, []);
    ledgers.get(value).push({ frame: frames.length, step: null, edge: null, ...entry });
  };
  const seed = (backward) => {
    for (const { value, seed: contribution } of rootsOf(backward)) {
      enter(value, { contribution, before: null, after: contribution, origin: "seed" });
    }
    frames.push({ kind: "seed", backward, value: backward.root });
  };
  const fire = (backward, step, index, total) => {
    for (const edge of step.edges) {
      enter(edge.value, {
        contribution: edge.contribution,
        before: edge.before,
        after: edge.after,
        step,
        edge,
        origin: "edge",
      });
    }
    if (index === total && !fault) keepEarlier(backward, enter, ledgers);
    frames.push({ kind: "backward", backward, step, node: step.node, index, total });
  };
  const last = doc.backwards[doc.backwards.length - 1];
  for (const event of doc.events) {
    if (event.kind === "forward") {
      frames.push({ kind: "forward", node: event.node, index: event.node + 1, total: doc.nodes.length });
    } else if (fault) {
      if (event.kind !== "seed" || event.backward !== last.id) continue;
      const at = frames.length;
      seed(last);
      fault.steps.forEach((step, i) => fire(last, step, i + 1, fault.steps.length));
      enterLeftOvers(ledgers, at);
    } else if (event.kind === "seed") {
      seed(doc.backwards[event.backward]);
    } else if (event.kind === "backward") {
      const backward = doc.backwards[event.backward];
      fire(backward, backward.steps[event.step], event.step + 1, backward.steps.length);
    }
  }
  frames.push({ kind: "end" });
  return {
    doc,
    fault,
    frames,
    ledgers,
    phases: phasesOf(frames),
    born: birthsOf(doc, frames),
    fired: firingsOf(frames),
  };
}

const outputsOf = (node) => node.outputs ?? [node.output]; // 自定义算子可以有几个输出
const rootsOf = (backward) => backward.roots ?? [{ value: backward.root, seed: backward.seed }];

/** 走完一趟，叶子的 .grad 里先前留着的也加进来。 */
function keepEarlier(backward, enter, ledgers) {
  for (const { value, before, after } of backward.accumulated ?? []) {
    if (before === null || after === null || after === before) continue;
    const ledger = ledgers.get(value) ?? [];
    enter(value, { contribution: before, before: ledger[ledger.length - 1]?.after ?? null, after, origin: "earlier" });
  }
}

/** 弄坏的一趟开始时叶子上已有的梯度（忘了清零）：从第一份的 before 看出来，记在起点那一帧。 */
function enterLeftOvers(ledgers, frame) {
  for (const ledger of ledgers.values()) {
    const { before } = ledger[0];
    if (before !== null)
      ledger.unshift({
        frame,
        contribution: before,
        before: null,
        after: before,
        step: null,
        edge: null,
        origin: "earlier",
      });
  }
}

/** 各段相连的同类帧：[{kind, from, to}]，画在进度条上。 */
function phasesOf(frames) {
  const phases = [];
  frames.forEach(({ kind }, i) => {
    const named = kind === "seed" ? "backward" : kind;
    const latest = phases[phases.length - 1];
    if (latest && latest.kind === named && kind !== "seed") latest.to = i;
    else phases.push({ kind: named, from: i, to: i });
  });
  return phases;
}

/** 各值在哪一帧算出来；不是算出来的（叶子、常量）从一开始就有。 */
function birthsOf(doc, frames) {
  const born = new Array(doc.values.length).fill(0);
  frames.forEach((frame, i) => {
    if (frame.kind === "forward") for (const id of outputsOf(doc.nodes[frame.node])) born[id] = i;
  });
  return born;
}

/** 一条边（几个「节点、第几个输入」）在哪些帧经过：前向用到的，反向有贡献的。 */
function passagesOf(run, users) {
  const forward = users.map(({ node }) => run.born[run.doc.nodes[node].output]).filter((at) => at > 0);
  const backward = users.flatMap(({ node, position }) =>
    (run.fired.get(node) ?? []).filter((at) => run.frames[at].step.edges.some((edge) => edge.input === position)),
  );
  return { forward, backward, first: Math.min(...forward), back: Math.min(...backward) };
}

/** 各节点反传的帧号：节点 → [帧号]。弄坏的一趟里，一个节点可能反传几次。 */
function firingsOf(frames) {
  const fired = new Map();
  frames.forEach((frame, i) => {
    if (frame.kind === "backward") fired.set(frame.node, [...(fired.get(frame.node) ?? []), i]);
  });
  return fired;
}

/** 一个值到某一帧为止收到了几份（二分查找）。 */
function arrivalCount(run, value, frame) {
  const entries = run.ledgers.get(value);
  if (!entries) return 0;
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entries[middle].frame <= frame) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** 一个值到某一帧为止收到的各份，从最近一次重新记起的地方算。 */
function arrivals(run, value, frame) {
  const entries = (run.ledgers.get(value) ?? []).slice(0, arrivalCount(run, value, frame));
  const start = entries.map((entry) => entry.before === null).lastIndexOf(true);
  return start > 0 ? entries.slice(start) : entries;
}

/** 一个值到某一帧为止的梯度；还没有则为 null。 */
function gradientAt(run, value, frame) {
  const count = arrivalCount(run, value, frame);
  return count ? run.ledgers.get(value)[count - 1].after : null;
}

/** 播放器自己把各份加起来：应当等于 ``gradientAt``。有一份只有摘要时为 null。 */
function summedAt(run, value, frame) {
  let total = null;
  for (const entry of arrivals(run, value, frame)) {
    const before = total ?? entry.before;
    total = before === null ? entry.contribution : addArrays(before, entry.contribution, run.doc.values[value].dtype);
    if (total === null) return null;
  }
  return total;
}

/** 这一帧点亮的值：正在算出的、正在反传的，或收到起点梯度的。 */
function activeValue(run, frame) {
  const { kind, node, value } = run.frames[frame];
  if (kind === "seed") return value;
  return node === undefined ? null : run.doc.nodes[node].output;
}

/** 一趟结束时的梯度。弄坏的一趟以它自己的 grads 为准，那里没有的值就没有梯度。 */
function finalGradient(run, value) {
  if (run.fault) return run.fault.grads[value] ?? null;
  return run.doc.values[value].grad ?? gradientAt(run, value, run.frames.length - 1);
}

/** 各值由哪个节点算出、被哪些节点用到。 */
function linksOf(doc) {
  const maker = new Map();
  const users = new Map();
  for (const node of doc.nodes) {
    for (const id of outputsOf(node)) maker.set(id, node);
    node.inputs.forEach((value, position) => {
      if (value === null) return;
      if (!users.has(value)) users.set(value, []);
      users.get(value).push({ node, position });
    });
  }
  return { maker, users };
}
