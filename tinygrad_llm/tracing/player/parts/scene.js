// 把卡片、模块与边摆到平面上：每个展开的模块先在自己里面布局，再作为一个大节点参加上一层的布局。

const GAP = { down: { u: 46, c: 26 }, right: { u: 78, c: 26 } };
const PADDING = { head: 34, foot: 16, side: 18 };
const FOLDED = { w: 158, h: 62 };

const SYMBOLS = {
  add: "+",
  sub: "−",
  mul: "×",
  div: "÷",
  neg: "−x",
  abs: "|x|",
  reciprocal: "1/x",
  pow: "aᵇ",
  pow_scalar: "xⁿ",
  square: "x²",
  sqrt: "√x",
  rsqrt: "1/√x",
  log: "ln",
  sum: "Σ",
  sum_all: "Σ",
  prod: "Π",
  mm: "@",
  matmul: "@",
  bmm: "@",
  permute: "⇄",
  reshape: "▭",
  expand: "⇉",
  index: "[ ]",
  sigmoid: "σ",
  binary_cross_entropy: "BCE",
  cross_entropy: "CE",
  layer_norm: "LN",
};

const symbolOf = (op) => SYMBOLS[op] ?? op;

let ruler = null;

/** 一段文字的宽，像素；字体与 graph.css 的一致。 */
function textWidth(text, font) {
  ruler ??= document.createElement("canvas").getContext("2d");
  ruler.font = font;
  return ruler.measureText(text).width;
}

const NAME_FONT = '600 13px system-ui, "Noto Sans CJK SC", sans-serif';
const BADGE_FONT = "600 12px system-ui, sans-serif";
const SMALL_FONT = "11px ui-monospace, monospace";

/** 一张卡片的样子与尺寸，只看录制，不看当前是哪一帧。 */
function cardLook(doc, links, run, id) {
  const value = doc.values[id];
  const node = links.maker.get(id) ?? null;
  const single = isSingle(value.data);
  const ledger = run.ledgers.get(id) ?? [];
  const shared =
    new Set(ledger.filter((entry) => entry.edge).map((entry) => `${entry.step.node}:${entry.edge.input}`)).size > 1;
  const badge = node ? symbolOf(node.op) : null;
  const badgeWidth = badge ? Math.max(24, textWidth(badge, BADGE_FONT) + 14) : 0;
  // 运算名已经写在标记里，自动起的标签（softmax_1）就不必再写一遍
  const name = value.name ?? (badge === node?.op && value.label.startsWith(node.op) ? "" : value.label);
  const shape = single ? "" : shapeText(value.shape);
  const head = badgeWidth + textWidth(name, NAME_FONT) + (shape ? textWidth(shape, SMALL_FONT) + 14 : 0) + 30;
  const w = clamp(Math.ceil(head), single ? 140 : 158, 210);
  const h = (single ? 56 : 82) + (shared ? 22 : 0);
  return { id, value, node, single, shared, badge, badgeWidth, name, shape, w, h };
}

/**
 * 摆好的图。
 *
 * @returns {object} {cards: [{...样子, x, y}], groups: [{group, x, y, w, h}], edges: [{value, users, points}], width, height}；
 *   x、y 是左上角。
 */
function makeScene(doc, links, root, run, direction) {
  const scene = { direction, cards: [], groups: [], edges: [], looks: new Map(), relations: [] };
  const homes = new Map();
  const spread = (group) => {
    group.pieces = new Map();
    group.ports = { in: new Map(), out: new Map() };
    for (const card of group.cards) homes.set(card, group);
    group.groups.forEach(spread);
  };
  spread(root);
  for (const id of homes.keys()) scene.looks.set(id, cardLook(doc, links, run, id));
  for (const [value, users] of links.users) {
    for (const { node, position } of users) relate(scene, homes, value, node, position);
  }
  arrange(scene, doc, root);
  const { start } = paddings(scene, root);
  settleGroup(scene, root, 0, 0, start);
  scene.edges = joinRelations(scene.relations);
  const size = toXY(direction, root.box.u, root.box.c);
  return Object.assign(scene, { width: size.x, height: size.y });
}

const toXY = (direction, u, c) => (direction === "down" ? { x: c, y: u } : { x: u, y: c });

/** 一条「值 → 用它的节点」拆成各层模块里的小段；两头都收在同一组里的没有可画的。 */
function relate(scene, homes, value, node, position) {
  const ends = [homes.get(value), homes.get(node.output)].map((group, i) => {
    const hidden = visibleGroup(group);
    return hidden ? { group: hidden.parent, key: hidden } : { group, key: i === 0 ? value : node.output };
  });
  const [a, b] = ends;
  if (a.key === b.key) return;
  const meet = commonGroup(a.group, b.group);
  const ups = [];
  const downs = [];
  let from = a.key;
  for (let group = a.group; group !== meet; group = group.parent) {
    group.ports.out.set(value, null);
    ups.push(piece(group, from, { port: "out", value }, value, ""));
    from = group;
  }
  let to = b.key;
  for (let group = b.group; group !== meet; group = group.parent) {
    group.ports.in.set(value, null);
    downs.unshift(piece(group, { port: "in", value }, to, value, to === node.output ? position : ""));
    to = group;
  }
  const middle = piece(meet, from, to, value, to === node.output ? position : "");
  scene.relations.push({ value, node, position, pieces: [...ups, middle, ...downs] });
}

const endKey = (end) => (typeof end === "number" ? `v${end}` : end.port ? `${end.port}${end.value}` : end.id);

/** 组里的一小段；两头与值都相同的是同一段。 */
function piece(group, from, to, value, position) {
  const key = `${endKey(from)}>${endKey(to)}:${value}:${position}`;
  if (!group.pieces.has(key)) group.pieces.set(key, { group, from, to, value, position, key: `${group.id}/${key}` });
  return group.pieces.get(key);
}

function paddings(scene, group) {
  if (!group.parent) return { start: { u: 0, c: 0 }, more: { u: 0, c: 0 } };
  const { head, foot, side } = PADDING;
  return scene.direction === "down"
    ? { start: { u: head, c: side }, more: { u: head + foot, c: 2 * side } }
    : { start: { u: side, c: head }, more: { u: 2 * side, c: head + foot } };
}

/** 由里到外布局：算出 ``group.plan``（各节点在组里的位置）与 ``group.box``（组的尺寸）。 */
function arrange(scene, doc, group) {
  for (const child of group.groups) if (!child.folded) arrange(scene, doc, child);
  const ends = localNodes(scene, doc, group);
  const index = new Map(ends.map((end, i) => [endKey(end.key), i]));
  const pieces = [...group.pieces.values()];
  const edges = pieces.map((one) => ({
    from: index.get(endKey(one.from)),
    to: index.get(endKey(one.to)),
    out: exitOffset(one.from, one.value),
    in: entryOffset(scene, one),
  }));
  const nodes = ends.map(({ u, c, pin }) => (pin === undefined ? { u, c } : { u, c, pin }));
  const plan = layered(nodes, edges, GAP[scene.direction]);
  pieces.forEach((one, i) => (one.route = plan.routes[i]));
  const { more, start } = paddings(scene, group);
  const label = group.parent ? textWidth(group.label, NAME_FONT) + 70 : 0;
  const across = scene.direction === "down" ? Math.max(plan.size.c, label - more.c) : plan.size.c;
  const along = scene.direction === "down" ? plan.size.u : Math.max(plan.size.u, label - more.u);
  const shift = (across - plan.size.c) / 2;
  group.plan = { ends, at: plan.at.map(({ u, c }) => ({ u, c: c + shift })), shift };
  group.box = { u: along + more.u, c: across + more.c };
  ends.forEach((end, i) => {
    if (end.key.port) group.ports[end.key.port].set(end.key.value, group.plan.at[i].c + start.c - group.box.c / 2);
  });
}

/** 组里参加布局的节点：卡片、里面的组、出入口；按执行的次序。 */
function localNodes(scene, doc, group) {
  const flat = scene.direction === "down";
  const size = ({ w, h }) => (flat ? { u: h, c: w } : { u: w, c: h });
  const turn = (id) => {
    const { node } = scene.looks.get(id);
    return node
      ? node.id
      : Math.min(...scene.relations.filter((one) => one.value === id).map((one) => one.node.id)) - 0.5;
  };
  const cards = group.cards.map((id) => ({ key: id, turn: turn(id), ...size(scene.looks.get(id)) }));
  const groups = group.groups.map((child) => ({
    key: child,
    turn: Math.min(...everyCard(child).map((id) => scene.looks.get(id).node?.id ?? Infinity)),
    ...(child.folded ? size(FOLDED) : child.box),
  }));
  const ports = ["in", "out"].flatMap((port) =>
    [...group.ports[port].keys()].map((value) => ({
      key: { port, value },
      turn: value,
      u: 0,
      c: 2,
      pin: port === "in" ? -1 : 1,
    })),
  );
  return [...ports, ...[...cards, ...groups].sort((a, b) => a.turn - b.turn)];
}

/** 一段从节点的哪里出去：卡片从正中，展开的组从它的出口。 */
function exitOffset(from, value) {
  if (typeof from === "number" || from.port || from.folded) return 0;
  return from.ports.out.get(value);
}

/** 一段接到节点的哪里：卡片按第几个输入排开，展开的组接到它的入口。 */
function entryOffset(scene, { to, value, position }) {
  if (to.port) return 0;
  if (typeof to !== "number") return to.folded ? 0 : to.ports.in.get(value);
  const { node, w, h } = scene.looks.get(to);
  const count = node.inputs.filter((input) => input !== null).length;
  const place = node.inputs.slice(0, position).filter((input) => input !== null).length;
  const width = scene.direction === "down" ? w : h;
  const space = count > 1 ? Math.min(scene.direction === "down" ? 44 : 20, (width * 0.7) / (count - 1)) : 0;
  return (place - (count - 1) / 2) * space;
}

/** 由外到里定下绝对位置。 */
function settleGroup(scene, group, u, c, start) {
  const { ends, at, shift } = group.plan;
  const place = (point) => toXY(scene.direction, u + start.u + point.u, c + start.c + point.c);
  for (const one of group.pieces.values()) {
    one.points = one.route.map(([pu, pc]) => place({ u: pu, c: pc + shift }));
  }
  ends.forEach((end, i) => {
    const centre = place(at[i]);
    if (typeof end.key === "number") {
      const look = scene.looks.get(end.key);
      scene.cards.push({ ...look, x: centre.x - look.w / 2, y: centre.y - look.h / 2 });
      return;
    }
    if (end.key.port) return;
    const size = toXY(scene.direction, end.u, end.c);
    scene.groups.push({ group: end.key, x: centre.x - size.x / 2, y: centre.y - size.y / 2, w: size.x, h: size.y });
    if (!end.key.folded) {
      const inner = paddings(scene, end.key).start;
      settleGroup(scene, end.key, u + start.u + at[i].u - end.u / 2, c + start.c + at[i].c - end.c / 2, inner);
    }
  });
}

/** 各小段接成整条；走同一路的几条关系只画一条。 */
function joinRelations(relations) {
  const edges = new Map();
  for (const { value, node, position, pieces } of relations) {
    const key = pieces.map((one) => one.key).join(" ");
    if (!edges.has(key)) edges.set(key, { value, users: [], points: pieces.flatMap((one) => one.points) });
    edges.get(key).users.push({ node: node.id, position });
  }
  return [...edges.values()];
}

/** 折线 → 平滑的路径：相邻两点之间沿流向出发、沿流向到达。 */
function pathOf(points, direction) {
  const round = (x) => Math.round(x * 10) / 10;
  let text = `M${round(points[0].x)} ${round(points[0].y)}`;
  for (let i = 1; i < points.length; i++) {
    const [p, q] = [points[i - 1], points[i]];
    const [a, b] = controls(p, q, direction);
    const straight = direction === "down" ? Math.abs(p.x - q.x) < 0.5 : Math.abs(p.y - q.y) < 0.5;
    text += straight
      ? `L${round(q.x)} ${round(q.y)}`
      : `C${round(a.x)} ${round(a.y)} ${round(b.x)} ${round(b.y)} ${round(q.x)} ${round(q.y)}`;
  }
  return text;
}

function controls(p, q, direction) {
  if (direction === "down") {
    const middle = (p.y + q.y) / 2;
    return [
      { x: p.x, y: middle },
      { x: q.x, y: middle },
    ];
  }
  const middle = (p.x + q.x) / 2;
  return [
    { x: middle, y: p.y },
    { x: middle, y: q.y },
  ];
}

/** 路径上的一点；t 从 0（值）到 1（用它的节点），按折线各段的长度走。 */
function pointAlong(points, t, direction) {
  const lengths = points.slice(1).map((q, i) => Math.hypot(q.x - points[i].x, q.y - points[i].y));
  let left = t * lengths.reduce((a, b) => a + b, 0);
  let i = 0;
  while (i < lengths.length - 1 && left > lengths[i]) left -= lengths[i++];
  const s = lengths[i] ? clamp(left / lengths[i], 0, 1) : 0;
  const [p, q] = [points[i], points[i + 1]];
  const [a, b] = controls(p, q, direction);
  const mix = (k0, k1, k2, k3) =>
    (1 - s) ** 3 * k0 + 3 * (1 - s) ** 2 * s * k1 + 3 * (1 - s) * s * s * k2 + s ** 3 * k3;
  return { x: mix(p.x, a.x, b.x, q.x), y: mix(p.y, a.y, b.y, q.y) };
}
