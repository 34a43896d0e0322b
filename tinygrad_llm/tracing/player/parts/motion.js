// 动画：一步反向里，各份贡献沿着边走到输入那里，到了才加上去；前向时值流进运算。

const motion = { ticket: 0, packets: [] };

/** 立刻结束动画：该到的都到。 */
function finishMotion() {
  motion.ticket++;
  byId("packets")?.replaceChildren();
  motion.packets = [];
  if (graph.held.size) {
    graph.held.clear();
    updateGraph();
  }
}

/** 演一遍当前的帧；画面此刻已经换到这一帧。 */
function animateFrame() {
  finishMotion();
  const frame = app.run.frames[app.frame];
  if (reducedMotion.matches || app.speed > 8 || (frame.kind !== "backward" && frame.kind !== "forward")) {
    if (frame.kind === "backward") restPackets(frame);
    return;
  }
  const length = clamp(620 / Math.sqrt(Math.max(app.speed, 0.5)), 160, 900);
  const packets = frame.kind === "backward" ? backwardPackets(frame) : forwardPackets(frame);
  if (packets.length === 0) return;
  byId("packets").replaceChildren(...packets.map((one) => one.g));
  if (frame.kind === "backward") holdArrivals(packets);
  const ticket = motion.ticket;
  const started = performance.now();
  const tick = (now) => {
    if (ticket !== motion.ticket) return;
    const t = (now - started) / length;
    for (const one of packets) movePacket(one, t, frame.kind === "backward");
    if (t < 1) requestAnimationFrame(tick);
    else endOfMotion(frame, packets);
  };
  for (const one of packets) movePacket(one, 0, frame.kind === "backward");
  requestAnimationFrame(tick);
}

function endOfMotion(frame, packets) {
  if (frame.kind === "forward") byId("packets").replaceChildren();
  graph.held.clear();
  updateGraph();
  for (const one of packets) {
    const card = graph.cards.get(one.value);
    if (frame.kind === "backward" && card) pop(card.parts.g);
  }
}

/** 加上去的一刻，卡片闪一下。 */
function pop(g) {
  g.classList.remove("pop");
  g.getBBox(); // 让浏览器先看到去掉了，同一个动画才会再放一遍
  g.classList.add("pop");
}

function holdArrivals(packets) {
  for (const { value } of packets) {
    const got = arrivals(app.run, value, app.frame).length;
    graph.held.set(value, (graph.held.get(value) ?? got) - 1);
  }
  updateGraph();
}

const wireOf = (node, position) =>
  graph.edges.find((edge) => edge.users.some((user) => user.node === node && user.position === position));

function backwardPackets(frame) {
  const packets = frame.step.edges.flatMap((edge) => {
    const wire = wireOf(frame.node, edge.input);
    return wire ? [{ value: edge.value, wire, g: packetOf(edge.contribution, "grad"), shift: 0 }] : [];
  });
  spreadOut(packets);
  return packets;
}

/** 到达同一个值的几份并排停下，不叠在一起。 */
function spreadOut(packets) {
  for (const one of packets) {
    const same = packets.filter((other) => other.value === one.value);
    const widths = same.map((other) => Number(other.g.dataset.width) + 6);
    const total = widths.reduce((a, b) => a + b, 0);
    const i = same.indexOf(one);
    one.shift = widths.slice(0, i).reduce((a, b) => a + b, 0) + widths[i] / 2 - total / 2;
  }
}

function forwardPackets(frame) {
  const node = app.doc.nodes[frame.node];
  return node.inputs.flatMap((value, position) => {
    const wire = value === null ? null : wireOf(node.id, position);
    return wire ? [{ value, wire, g: packetOf(app.doc.values[value].data, "val"), shift: 0 }] : [];
  });
}

/** 一个包裹：数写成小牌，张量是小热图。 */
function packetOf(array, kind) {
  if (isSingle(array)) {
    const text = numberText(array.flat[0]);
    const w = textWidth(text, "600 12px ui-monospace, monospace") + 14;
    return draw(
      "g",
      { class: `packet ${kind}`, "data-width": w },
      draw("rect", { x: -w / 2, y: -10, width: w, height: 20, rx: 10 }),
      draw("text", { y: 4, text }),
    );
  }
  const box = thumbBox(array, { x: -22, y: -13, w: 44, h: 26 });
  return draw(
    "g",
    { class: `packet ${kind}`, "data-width": 52 },
    draw("rect", { x: box.x - 3, y: box.y - 3, width: box.width + 6, height: box.height + 6, rx: 4 }),
    draw("image", { class: "thumb", preserveAspectRatio: "none", href: heatPicture(array), ...box }),
  );
}

/** 反向从运算走到值，停在值的跟前；前向相反，走到头就不见。 */
function movePacket({ g, wire, shift }, t, isBackward) {
  const eased = t >= 1 ? 1 : 1 - (1 - clamp(t, 0, 1)) ** 2;
  const { direction } = app.scene;
  const at = pointAlong(wire.points, isBackward ? 1 - eased : eased, direction);
  const near = isBackward ? eased ** 3 : 0;
  const away = 15 * near;
  const [dx, dy] = direction === "down" ? [shift * near, away] : [away * 2.2, (shift / 2.6) * near];
  g.setAttribute("transform", `translate(${(at.x + dx).toFixed(1)},${(at.y + dy).toFixed(1)})`);
}

/** 不演动画时，各份贡献直接停在终点。 */
function restPackets(frame) {
  const packets = backwardPackets(frame);
  byId("packets").replaceChildren(...packets.map((one) => one.g));
  for (const one of packets) movePacket(one, 1, true);
}
