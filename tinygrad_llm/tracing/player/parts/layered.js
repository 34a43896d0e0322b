// 分层布局：给节点与边，算出位置与折线。u 沿数据流的方向，c 与它垂直。
// 四步：定层，长边插虚点，逐层排序以减少交叉，再在「不重叠」的约束下把每层拉向邻居。

const SWEEPS = 10;
const SIDE = 0.08; // 旁枝对用它的那一步的拉力：让主干走直线，旁枝待在旁边
const LEAN = 0.25; // 对齐时，输入接口偏离中心的距离只算这么多：长链不会一步一步歪到一边去

/**
 * 一张图的分层布局；互不相连的几块各自布局，再一行行摆开。
 *
 * @param {Array} nodes [{u, c, pin}]：沿流向与垂直方向的尺寸；pin 为 -1 放在第一层，1 放在最后一层。
 * @param {Array} edges [{from, to, out, in}]：端点的下标，以及接在节点垂直方向的哪里（离中心多远）。
 * @param {object} gap {u, c}：层与层、卡片与卡片的间隔。
 * @returns {object} {at: [{u, c}] 各节点的中心, size: {u, c}, routes: 各边的折线}。
 */
function layered(nodes, edges, gap) {
  const pieces = componentsOf(nodes, edges);
  if (pieces.length <= 1) return layeredOne(nodes, edges, gap);
  const plans = pieces.map((members) => {
    const index = new Map(members.map((i, k) => [i, k]));
    const own = edges.map((_, i) => i).filter((i) => index.has(edges[i].from));
    const inner = own.map((i) => ({ ...edges[i], from: index.get(edges[i].from), to: index.get(edges[i].to) }));
    return {
      members,
      own,
      plan: layeredOne(
        members.map((i) => nodes[i]),
        inner,
        gap,
      ),
    };
  });
  return shelved(plans, nodes.length, edges.length, gap);
}

/** 相连的各块，按最早的节点排；有出入口的组不拆，出入口要待在边上。 */
function componentsOf(nodes, edges) {
  if (nodes.some((node) => node.pin !== undefined)) return [nodes];
  const root = nodes.map((_, i) => i);
  const find = (i) => (root[i] === i ? i : (root[i] = find(root[i])));
  for (const { from, to } of edges) root[find(from)] = find(to);
  const pieces = new Map();
  nodes.forEach((_, i) => pieces.set(find(i), [...(pieces.get(find(i)) ?? []), i]));
  return [...pieces.values()];
}

/** 一行行摆：一行摆到和最宽的一块差不多宽就换行。 */
function shelved(plans, nodeCount, edgeCount, gap) {
  const widest = Math.max(...plans.map(({ plan }) => plan.size.c), 720);
  const result = { at: new Array(nodeCount), routes: new Array(edgeCount), size: { u: 0, c: 0 } };
  let [u, c, thick] = [0, 0, 0];
  for (const { members, own, plan } of plans) {
    if (c > 0 && c + plan.size.c > widest) [u, c, thick] = [u + thick + gap.u, 0, 0];
    members.forEach((i, k) => (result.at[i] = { u: plan.at[k].u + u, c: plan.at[k].c + c }));
    own.forEach((i, k) => (result.routes[i] = plan.routes[k].map(([pu, pc]) => [pu + u, pc + c])));
    c += plan.size.c + 1.6 * gap.c;
    thick = Math.max(thick, plan.size.u);
    result.size = { u: u + thick, c: Math.max(result.size.c, c - 1.6 * gap.c) };
  }
  return result;
}

function layeredOne(nodes, edges, gap) {
  const { ranks, depths } = rankNodes(nodes, edges);
  const { cells, chains } = insertDummies(nodes, edges, ranks, depths);
  const layers = [];
  for (const cell of cells) (layers[cell.rank] ??= []).push(cell);
  for (let rank = 0; rank < layers.length; rank++) layers[rank] ??= [];
  orderLayers(layers);
  placeAcross(layers, gap);
  const bands = placeAlong(layers, gap);
  const low = Math.min(...cells.map((cell) => cell.at - cell.c / 2));
  for (const cell of cells) cell.at -= low;
  const at = nodes.map((_, i) => ({ u: bands[cells[i].rank].middle, c: cells[i].at }));
  const across = Math.max(0, ...cells.map((cell) => cell.at + cell.c / 2));
  const along = bands.length ? bands[bands.length - 1].end : 0;
  const routes = edges.map((edge, i) => routeOf(edge, chains[i], at, nodes, bands));
  return { at, size: { u: along, c: across }, routes };
}

function rankNodes(nodes, edges) {
  const incoming = nodes.map(() => []);
  const outgoing = nodes.map(() => []);
  for (const { from, to } of edges) {
    incoming[to].push(from);
    outgoing[from].push(to);
  }
  const floor = nodes.some((node) => node.pin === -1) ? 1 : 0;
  const ranks = nodes.map((node) => (node.pin === -1 ? 0 : floor));
  const left = incoming.map((list) => list.length);
  const ready = nodes.map((_, i) => i).filter((i) => left[i] === 0);
  const order = [];
  while (ready.length) {
    const i = ready.shift();
    order.push(i);
    for (const j of outgoing[i]) {
      ranks[j] = Math.max(ranks[j], ranks[i] + 1);
      if (--left[j] === 0) ready.push(j);
    }
  }
  const depths = [...ranks];
  // 往用它的那一步跟前挪：叶子，以及只为后面某一步准备的一小串，边才短
  for (const i of order.reverse()) {
    if (nodes[i].pin === -1 || outgoing[i].length === 0) continue;
    const anchored = new Set(incoming[i].filter((j) => outgoing[j].some((k) => k !== i)));
    const latest = Math.min(...outgoing[i].map((j) => ranks[j])) - 1;
    if (latest > ranks[i] && new Set(outgoing[i]).size >= anchored.size) ranks[i] = latest;
  }
  const lowest = Math.min(...ranks.filter((_, i) => nodes[i].pin === undefined), Infinity);
  if (floor === 0 && Number.isFinite(lowest)) for (let i = 0; i < ranks.length; i++) ranks[i] -= lowest;
  const last = Math.max(0, ...ranks.filter((_, i) => nodes[i].pin !== 1));
  return { ranks: ranks.map((rank, i) => (nodes[i].pin === 1 ? Math.max(rank, last + 1) : rank)), depths };
}

/** 跨几层的边，每层放一个不占地方的虚点。一段是 {a, b, out, in, weight}。 */
function insertDummies(nodes, edges, ranks, depths) {
  const cells = nodes.map((node, i) => ({ rank: ranks[i], c: node.c, u: node.u, dummy: false, at: 0, place: 0 }));
  const links = [];
  const deepest = new Map(); // 节点 → 它的输入里离开头最远的：主干从那里来
  for (const { from, to } of edges) deepest.set(to, Math.max(deepest.get(to) ?? -1, depths[from]));
  const chains = edges.map(({ from, to, out, in: into }) => {
    const chain = [];
    let previous = cells[from];
    let offset = out;
    for (let rank = ranks[from] + 1; rank < ranks[to]; rank++) {
      const dummy = { rank, c: 2, u: 0, dummy: true, at: 0, place: 0 };
      cells.push(dummy);
      chain.push(dummy);
      links.push({ a: previous, b: dummy, out: offset, in: 0, weight: previous.dummy ? 8 : 2 });
      previous = dummy;
      offset = 0;
    }
    const weight = depths[from] < deepest.get(to) ? SIDE : previous.dummy ? 2 : 1;
    links.push({ a: previous, b: cells[to], out: offset, in: into, weight });
    return chain;
  });
  for (const cell of cells) Object.assign(cell, { before: [], after: [] });
  for (const link of links) {
    link.a.after.push(link);
    link.b.before.push(link);
  }
  return { cells, chains };
}

/** 来回扫几遍，每层按邻居位置的平均排序；留下交叉最少的一次。 */
function orderLayers(layers) {
  const number = (layer) => layer.forEach((cell, i) => (cell.place = i));
  const spot = (cell, offset) => cell.place + clamp(offset / Math.max(cell.c, 1), -0.45, 0.45);
  layers.forEach(number);
  let best = null;
  const keep = () => {
    const crossings = countCrossings(layers, spot);
    if (best === null || crossings < best.crossings) best = { crossings, order: layers.map((layer) => [...layer]) };
  };
  for (let sweep = 0; sweep < SWEEPS && (best === null || best.crossings > 0); sweep++) {
    const down = sweep % 2 === 1;
    const turn = down ? layers : [...layers].reverse();
    for (const layer of turn) {
      for (const cell of layer) {
        const near = down
          ? cell.before.map((link) => spot(link.a, link.out) - link.in * 1e-3)
          : cell.after.map((link) => spot(link.b, link.in) - link.out * 1e-3);
        cell.wish = near.length ? near.reduce((a, b) => a + b, 0) / near.length : cell.place;
      }
      layer.sort((p, q) => p.wish - q.wish || p.place - q.place);
      number(layer);
    }
    keep();
  }
  keep();
  best.order.forEach((layer, rank) => {
    layers[rank] = layer;
    number(layer);
  });
}

/** 相邻两层之间的交叉数：按上端排好，下端的逆序数（树状数组）。 */
function countCrossings(layers, spot) {
  let crossings = 0;
  for (const layer of layers) {
    const ends = layer.flatMap((cell) => cell.after.map((link) => [spot(cell, link.out), spot(link.b, link.in)]));
    ends.sort((p, q) => p[0] - q[0] || p[1] - q[1]);
    const sorted = [...new Set(ends.map((end) => end[1]))].sort((p, q) => p - q);
    const index = new Map(sorted.map((x, i) => [x, i + 1]));
    const tree = new Array(sorted.length + 1).fill(0);
    let seen = 0;
    for (const [, low] of ends) {
      let smaller = 0;
      for (let i = index.get(low); i > 0; i -= i & -i) smaller += tree[i];
      crossings += seen - smaller;
      seen++;
      for (let i = index.get(low); i < tree.length; i += i & -i) tree[i]++;
    }
  }
  return crossings;
}

/** 垂直方向的位置：来回几遍，每层解一次「离想去的地方最近、又不重叠」的小问题。 */
function placeAcross(layers, gap) {
  const spaces = layers.map((layer) =>
    layer.slice(1).map((cell, i) => {
      const both = cell.dummy && layer[i].dummy;
      return (cell.c + layer[i].c) / 2 + (both ? gap.c * 0.6 : gap.c);
    }),
  );
  layers.forEach((layer, rank) => {
    let at = 0;
    layer.forEach((cell, i) => (cell.at = i === 0 ? 0 : (at += spaces[rank][i - 1])));
    const middle = at / 2;
    for (const cell of layer) cell.at -= middle;
  });
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const useBefore = sweep % 2 === 0 || sweep >= SWEEPS - 2;
    const useAfter = sweep % 2 === 1 || sweep >= SWEEPS - 2;
    const turn = sweep % 2 === 0 ? [...layers.keys()] : [...layers.keys()].reverse();
    for (const rank of turn) {
      const wishes = layers[rank].map((cell) => wishOf(cell, useBefore, useAfter));
      settle(layers[rank], wishes, spaces[rank]);
    }
  }
}

function wishOf(cell, useBefore, useAfter) {
  let [sum, weight] = [0, 0];
  if (useBefore) {
    for (const link of cell.before) {
      sum += link.weight * (link.a.at + link.out - LEAN * link.in);
      weight += link.weight;
    }
  }
  if (useAfter) {
    for (const link of cell.after) {
      sum += link.weight * (link.b.at + LEAN * link.in - link.out);
      weight += link.weight;
    }
  }
  return weight > 0 ? { at: sum / weight, weight } : { at: cell.at, weight: 0.05 };
}

/** 保序回归（相邻违例合并）：最小化加权平方距离，相邻两个至少隔开 ``spaces``。 */
function settle(layer, wishes, spaces) {
  const blocks = [];
  let shift = 0;
  layer.forEach((cell, i) => {
    if (i > 0) shift += spaces[i - 1];
    let block = { sum: wishes[i].weight * (wishes[i].at - shift), weight: wishes[i].weight, count: 1 };
    while (
      blocks.length &&
      blocks[blocks.length - 1].sum / blocks[blocks.length - 1].weight >= block.sum / block.weight
    ) {
      const other = blocks.pop();
      block = { sum: block.sum + other.sum, weight: block.weight + other.weight, count: block.count + other.count };
    }
    blocks.push(block);
  });
  let i = 0;
  shift = 0;
  for (const block of blocks) {
    for (let k = 0; k < block.count; k++, i++) {
      if (i > 0) shift += spaces[i - 1];
      layer[i].at = block.sum / block.weight + shift;
    }
  }
}

/** 沿流向的位置：一层的厚度是其中最厚的一张。 */
function placeAlong(layers, gap) {
  const thick = layers.map((layer) => Math.max(0, ...layer.map((cell) => cell.u)));
  const bands = [];
  let at = 0;
  thick.forEach((size, i) => {
    bands.push({ start: at, middle: at + size / 2, end: at + size });
    at += size;
    // 组的出入口不占地方，离第一层、最后一层也近些
    if (i + 1 < thick.length) at += size === 0 || thick[i + 1] === 0 ? gap.u * 0.4 : gap.u;
  });
  return bands;
}

/** 一条边的折线：穿过一层时走直线，不切到那一层里更厚的卡片。 */
function routeOf(edge, chain, at, nodes, bands) {
  const from = at[edge.from];
  const to = at[edge.to];
  const points = [[from.u + nodes[edge.from].u / 2, from.c + edge.out]];
  for (const dummy of chain) {
    const band = bands[dummy.rank];
    points.push([band.start, dummy.at]);
    if (band.end > band.start) points.push([band.end, dummy.at]);
  }
  points.push([to.u - nodes[edge.to].u / 2, to.c + edge.in]);
  return points;
}
