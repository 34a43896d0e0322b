// 计算图：卡片、模块的框与边。结构变了（收放、换方向）才重画；走一步只改变了样子的那几个元素。

const graph = {
  svg: null,
  world: null,
  zoom: null, // 画上去的缩放
  cards: new Map(), // 值 → {look, parts, seen}
  folded: new Map(), // 收起的组 → {group, parts, seen}
  edges: [],
  drawn: [], // 画出的每样东西与它的框：{element, x, y, w, h, out}
  held: new Map(), // 还在路上的贡献：值 → 先照旧显示到第几份为止
};

/** 照 ``app.scene`` 从头画一遍。 */
function drawGraph() {
  const { scene } = app;
  graph.svg = byId("graph");
  graph.zoom = null;
  graph.cards.clear();
  graph.folded.clear();
  graph.edges = [];
  graph.drawn = [];
  graph.held.clear();
  const frames = draw("g", { class: "frames" });
  const wires = draw("g", { class: "wires" });
  const cards = draw("g", { class: "cards" });
  const packets = draw("g", { class: "packets", id: "packets" });
  const keep = (element, { x, y, w, h }) => graph.drawn.push({ element, x, y, w, h, out: false });
  for (const box of scene.groups) {
    const element = box.group.folded ? foldedCard(box) : groupFrame(box);
    (box.group.folded ? cards : frames).append(element);
    keep(element, box);
  }
  for (const edge of scene.edges) {
    const path = draw("path", { class: "edge", d: pathOf(edge.points, scene.direction), "data-value": edge.value });
    graph.edges.push({ ...edge, path, seen: "" });
    wires.append(path);
    keep(path, boundsOf(edge.points));
  }
  for (const look of scene.cards) {
    const element = valueCard(look);
    cards.append(element);
    keep(element, look);
  }
  graph.world = draw("g", { id: "world" }, frames, wires, cards, packets);
  graph.svg.replaceChildren(arrowHeads(), graph.world);
}

function boundsOf(points) {
  const [xs, ys] = [points.map((point) => point.x), points.map((point) => point.y)];
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, w: Math.max(...xs) - x, h: Math.max(...ys) - y };
}

function arrowHeads() {
  const head = (id, d, at) =>
    draw(
      "marker",
      {
        id,
        viewBox: "0 0 8 8",
        refX: at,
        refY: 4,
        markerWidth: 8,
        markerHeight: 8,
        markerUnits: "userSpaceOnUse",
        orient: "auto",
      },
      draw("path", { d, class: id }),
    );
  const ahead = "M0.5 0.8L7.5 4L0.5 7.2z";
  const astern = "M7.5 0.8L0.5 4L7.5 7.2z";
  return draw("defs", {}, head("tip", ahead, 7.5), head("tip-live", ahead, 7.5), head("tip-back", astern, 0.5));
}

function groupFrame({ group, x, y, w, h }) {
  const fold = () => setFolded(group, true);
  const button = draw(
    "g",
    {
      class: "fold-button",
      transform: `translate(${w - 26},9)`,
      role: "button",
      "aria-label": `${say("foldOne")} ${group.label}`,
      onclick: fold,
    },
    draw("rect", { width: 18, height: 18, rx: 5 }),
    draw("path", { d: "M5 9h8" }),
    draw("title", { text: `${say("foldOne")} ${group.label}` }),
  );
  return draw(
    "g",
    { class: "frame", transform: `translate(${x},${y})`, "data-module": group.path },
    draw("rect", { class: "panel", width: w, height: h, rx: 14, ondblclick: fold }),
    draw("text", { class: "module-name", x: 14, y: 22, text: group.label }),
    button,
  );
}

/** 收起的模块：名字、运算数，一条前向与反向走到哪里的进度。 */
function foldedCard({ group, x, y, w, h }) {
  const ids = everyCard(group).filter((id) => app.links.maker.has(id));
  const bar = (name, top) => draw("rect", { class: `bar ${name}`, x: 12, y: top, width: 0, height: 4, rx: 2 });
  const parts = { forward: bar("forward", h - 16), backward: bar("backward", h - 9) };
  const track = (top) => draw("rect", { class: "track", x: 12, y: top, width: w - 24, height: 4, rx: 2 });
  parts.g = draw(
    "g",
    {
      class: "card module",
      transform: `translate(${x},${y})`,
      role: "button",
      tabindex: -1,
      "data-module": group.path,
      onclick: () => chooseCard(group),
      ondblclick: () => setFolded(group, false),
      "aria-label": say("cardModule", { label: group.label, n: ids.length }),
    },
    draw("rect", { class: "back2", x: 6, y: -5, width: w - 12, height: 20, rx: 10 }),
    draw("rect", { class: "body", width: w, height: h, rx: 10 }),
    draw("path", { class: "plus", d: `M${w - 22} 19h10M${w - 17} 14v10` }),
    draw("text", { class: "name", x: 12, y: 23, text: shorten(group.label, w - 48, NAME_FONT) }),
    draw("text", { class: "shape", x: 12, y: 39, text: say("ops", { n: ids.length }) }),
    track(h - 16),
    track(h - 9),
    Object.values(parts),
    draw("title", { text: group.path }),
  );
  graph.folded.set(group, { group, ids, parts, seen: "", w });
  return parts.g;
}

function shorten(text, width, font) {
  if (textWidth(text, font) <= width) return text;
  let kept = text;
  while (kept.length > 1 && textWidth(`${kept}…`, font) > width) kept = kept.slice(0, -1);
  return `${kept}…`;
}

/** 一个值的卡片；数与小图由 ``updateCard`` 填。 */
function valueCard(look) {
  const { id, value, node, w, h, badge, badgeWidth, name, shape, single, shared } = look;
  const left = badge ? badgeWidth + 18 : 14;
  const room = w - left - 12 - (shape ? textWidth(shape, SMALL_FONT) + 8 : 0);
  const parts = {};
  const kind = node ? "result" : value.kind === "leaf" ? "leaf" : value.kind;
  const flows = app.right.ledgers.has(id);
  parts.numbers = single ? scalarSlots(parts, w, flows) : tensorSlots(parts, w, flows);
  if (shared)
    parts.strip = draw(
      "g",
      { class: "strip", transform: `translate(0,${h - 22})` },
      draw("path", { d: `M10 0H${w - 10}` }),
    );
  parts.g = draw(
    "g",
    {
      class: `card ${kind}${shared ? " shared" : ""}${value.name ? "" : " unnamed"}`,
      transform: `translate(${look.x},${look.y})`,
      role: "button",
      tabindex: -1,
      "data-value": id,
      onclick: () => chooseCard(id),
    },
    draw("rect", { class: "body", width: w, height: h, rx: 10 }),
    node ? null : draw("rect", { class: "accent", x: 0.75, y: 8, width: 4, height: h - 16, rx: 2 }),
    badge ? draw("rect", { class: "badge", x: 8, y: 7, width: badgeWidth, height: 22, rx: 7 }) : null,
    badge ? draw("text", { class: "symbol", x: 8 + badgeWidth / 2, y: 22, text: badge }) : null,
    draw("text", { class: "name", x: left, y: 23, text: shorten(name, room, NAME_FONT) }),
    shape ? draw("text", { class: "shape", x: w - 10, y: 22, text: shape }) : null,
    parts.numbers,
    parts.strip,
    (parts.verdict = draw("text", { class: "verdict", x: w / 2, y: h + 14 })),
    draw("title", { text: value.label === name ? name : `${name} (${value.label})` }),
  );
  graph.cards.set(id, { look, parts, seen: "" });
  return parts.g;
}

function scalarSlots(parts, w, flows) {
  parts.value = draw("text", { class: "val", x: 12, y: 46 });
  parts.grad = draw("text", { class: "grad", x: w - 12, y: 46 });
  parts.hole = flows ? draw("rect", { class: "hole", x: w - 52, y: 36, width: 40, height: 12, rx: 4 }) : null;
  return [parts.value, parts.hole, parts.grad];
}

function tensorSlots(parts, w, flows) {
  const half = (w - 30) / 2;
  parts.boxes = { value: { x: 10, y: 34, w: half, h: 40 }, grad: { x: 20 + half, y: 34, w: half, h: 40 } };
  const picture = (kind) => draw("image", { class: `thumb ${kind}`, preserveAspectRatio: "none" });
  const outline = (kind) => draw("rect", { class: `outline ${kind}`, rx: 2, fill: "none" });
  parts.value = picture("val");
  parts.valueLine = outline("val");
  parts.grad = picture("grad");
  parts.gradLine = outline("grad");
  const { x, y } = parts.boxes.grad;
  parts.hole = flows ? draw("rect", { class: "hole", x, y: y + 6, width: half, height: 28, rx: 4 }) : null;
  return [parts.hole, parts.value, parts.valueLine, parts.grad, parts.gradLine];
}

/** 小图在格子里的位置：保持像素的方形，太扁的拉到看得见。 */
function thumbBox(array, box) {
  const { width, height } = tiledSize(cellsOf(array));
  const side = Math.min(box.w / width, box.h / height);
  const w = Math.max(width * side, Math.min(box.w, 8));
  const h = Math.max(height * side, Math.min(box.h, 10));
  return { x: box.x + (box.w - w) / 2, y: box.y + (box.h - h) / 2, width: w, height: h };
}

function placeThumb(image, line, array, box) {
  const shown = array !== null && array.size > 0;
  for (const element of [image, line]) element.toggleAttribute("hidden", !shown);
  if (!shown) return;
  const place = thumbBox(array, box);
  for (const element of [image, line]) for (const [key, at] of Object.entries(place)) element.setAttribute(key, at);
  image.setAttribute("href", heatPicture(array));
}

/** 换到 ``app.frame``：只动与上一帧不同的卡片与边。 */
function updateGraph() {
  const active = activeValue(app.run, app.frame);
  for (const card of graph.cards.values()) updateCard(card, active);
  for (const card of graph.folded.values()) updateFolded(card, active);
  for (const edge of graph.edges) updateEdge(edge);
}

/** 一张卡片此刻收到的各份与梯度；还在路上的不算。 */
function shownArrivals(id) {
  const got = arrivals(app.run, id, app.frame);
  const held = graph.held.get(id);
  if (held === undefined) return { got, gradient: got.length ? got[got.length - 1].after : null };
  return { got: got.slice(0, held), gradient: held > 0 ? got[held - 1].after : (got[0]?.before ?? null) };
}

/** 这个值的梯度是不是不会再变了：各份都到齐，或这一趟已经结束。 */
function isSettled(run, id, frame) {
  const total = run.ledgers.get(id)?.length ?? 0;
  return frame === run.frames.length - 1 || (total > 0 && arrivalCount(run, id, frame) === total);
}

/** 一张卡片；与上次相同就不动它。 */
function updateCard(card, active) {
  const { look, parts } = card;
  const { run, frame } = app;
  const { id, node } = look;
  const born = frame >= run.born[id];
  const isActive = id === active;
  const verdict = run.fault !== null && run.fault.differs.includes(id) && isSettled(run, id, frame);
  const fired = node !== null && run.fired.has(node.id) && run.fired.get(node.id)[0] <= frame;
  const isBack = isActive && run.frames[frame].kind !== "forward";
  const seen = `${born} ${arrivalCount(run, id, frame)} ${graph.held.get(id)} ${isActive} ${isBack} ${app.chosen === id} ${fired} ${verdict} ${app.theme} ${app.lang} ${run.fault?.name}`;
  if (seen === card.seen) return;
  card.seen = seen;
  const states = {
    pending: !born,
    active: isActive,
    backward: isBack,
    chosen: app.chosen === id,
    fired,
    wrong: verdict,
  };
  for (const [name, on] of Object.entries(states)) parts.g.classList.toggle(name, on);
  const value = born ? look.value.data : null;
  const { got, gradient } = shownArrivals(id);
  parts.g.setAttribute(
    "aria-label",
    say("card", {
      label: nameOf(id),
      kind: say(look.value.kind),
      value: value ? arrayText(value) : "?",
      grad: arrayText(gradient),
    }),
  );
  parts.hole?.toggleAttribute("hidden", gradient !== null);
  if (look.single) {
    parts.value.textContent = value ? numberText(value.flat[0]) : "?";
    parts.grad.textContent =
      gradient === null ? "" : isSingle(gradient) ? numberText(gradient.flat[0]) : shapeText(gradient.shape);
  } else {
    placeThumb(parts.value, parts.valueLine, value, parts.boxes.value);
    placeThumb(parts.grad, parts.gradLine, gradient, parts.boxes.grad);
  }
  if (parts.strip) fillStrip(parts.strip, look, got);
  parts.verdict.textContent = verdict ? verdictText(id) : "";
}

/** 弄坏之后，错的数与对的数。 */
function verdictText(id) {
  const [wrong, right] = [finalGradient(app.run, id), finalGradient(app.right, id)];
  if ((wrong === null || isSingle(wrong)) && isSingle(right)) {
    return `✗ ${wrong ? numberText(wrong.flat[0]) : "–"}   ✓ ${numberText(right.flat[0])}`;
  }
  if (wrong && right && String(wrong.shape) !== String(right.shape))
    return `✗ ${shapeText(wrong.shape)} ≠ ${shapeText(right.shape)}`;
  const gap = largestGap(wrong, right);
  return gap === null ? "✗" : `✗ Δ ${numberText(gap, 3)}`;
}

const TERMS = 3; // 卡片上至多写这么多份，更多的写「…」

/** 共用的值：到了的各份写成和式，没到的是空格。 */
function fillStrip(strip, look, got) {
  const expected = Math.max(arrivals(app.right, look.id, Infinity).length, got.length);
  const terms = got.slice(-TERMS).map((entry) => entry.contribution);
  const empty = Math.min(expected - got.length, TERMS - terms.length);
  const parts = [draw("text", { class: "sigma", x: 10, y: 15, text: got.length > TERMS ? "Σ…" : "Σ" })];
  const scalar = look.single;
  const slots = terms.length + Math.max(empty, 0);
  const room = (look.w - 32) / Math.max(slots, 1);
  for (let i = 0; i < slots; i++) {
    const x = 24 + i * room + room / 2;
    if (i > 0) parts.push(draw("text", { class: "sigma middle", x: 24 + i * room, y: 15, text: "+" }));
    if (i >= terms.length)
      parts.push(
        draw("rect", {
          class: "hole",
          x: x - Math.min(15, room / 2 - 6),
          y: 5,
          width: Math.min(30, room - 12),
          height: 12,
          rx: 4,
        }),
      );
    else if (scalar && isSingle(terms[i]))
      parts.push(
        draw("text", {
          class: "term",
          x,
          y: 15.5,
          text: numberText(terms[i].flat[0], room > 62 ? 4 : room > 48 ? 3 : 2),
        }),
      );
    else parts.push(stripThumb(terms[i], x, room));
  }
  strip.replaceChildren(strip.firstChild, ...parts);
}

function stripThumb(array, x, room) {
  const w = Math.min(34, room - 12);
  const place = thumbBox(array, { x: x - w / 2, y: 4, w, h: 14 });
  return draw("image", { class: "thumb", preserveAspectRatio: "none", href: heatPicture(array), ...place });
}

function updateFolded(card, active) {
  const { run, frame } = app;
  const forward = card.ids.filter((id) => frame >= run.born[id] && run.born[id] > 0).length;
  const nodes = card.ids.map((id) => app.links.maker.get(id).id).filter((node) => run.fired.has(node));
  const backward = nodes.filter((node) => run.fired.get(node)[0] <= frame).length;
  const inside = active !== null && card.ids.includes(active);
  const seen = [forward, backward, inside && run.frames[frame].kind, app.chosen === card.group].join();
  if (seen === card.seen) return;
  card.seen = seen;
  const { g, forward: first, backward: second } = card.parts;
  g.classList.toggle("active", inside);
  g.classList.toggle("backward", app.run.frames[frame].kind === "backward" || app.run.frames[frame].kind === "seed");
  g.classList.toggle("chosen", app.chosen === card.group);
  g.classList.toggle("pending", forward === 0);
  first.setAttribute("width", ((card.w - 24) * forward) / Math.max(card.ids.length, 1));
  second.setAttribute("width", ((card.w - 24) * backward) / Math.max(nodes.length, 1));
}

/** 边的样子：还没走到、走过前向、正在用、反向经过。 */
function updateEdge(edge) {
  const { run, frame } = app;
  if (edge.run !== run) Object.assign(edge, { run, ...passagesOf(run, edge.users) });
  const live = edge.forward.includes(frame);
  const now = edge.backward.includes(frame);
  const seen = `edge${frame >= edge.first ? " passed" : ""}${live ? " live" : ""}${frame >= edge.back ? " back" : ""}${now ? " now" : ""}`;
  if (seen === edge.seen) return;
  edge.seen = seen;
  edge.path.setAttribute("class", seen);
}
