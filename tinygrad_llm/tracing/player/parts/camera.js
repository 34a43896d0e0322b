// 视野：平移、缩放、看全图、跟随当前节点；右下角的小地图。

const camera = { x: 0, y: 0, k: 1, width: 1, height: 1, glide: 0 };
const ZOOM = { least: 0.03, most: 2.5, readable: 0.78, comfortable: 0.9 };

/**
 * 平移只挪整张 SVG，缩放才动里面的坐标：后者会让浏览器把每一段文字重新排一遍。
 */
function applyCamera() {
  if (!graph.svg) return;
  const { x, y, k } = camera;
  graph.svg.style.transform = `translate(${x.toFixed(1)}px,${y.toFixed(1)}px)`;
  if (graph.zoom !== k) {
    graph.zoom = k;
    graph.svg.setAttribute("width", app.scene.width * k);
    graph.svg.setAttribute("height", app.scene.height * k);
    graph.world.setAttribute("transform", `scale(${k.toFixed(4)})`);
    graph.svg.classList.toggle("far", k < 0.42);
  }
  cull();
  drawWindow();
}

/** 视野之外的不画：几百张卡片的大图，走一步才不会把整张图重画一遍。 */
function cull() {
  const margin = 60 / camera.k;
  const left = -camera.x / camera.k - margin;
  const top = -camera.y / camera.k - margin;
  const right = left + camera.width / camera.k + 2 * margin;
  const bottom = top + camera.height / camera.k + 2 * margin;
  for (const one of graph.drawn) {
    const out = one.x > right || one.y > bottom || one.x + one.w < left || one.y + one.h < top;
    if (out === one.out) continue;
    one.out = out;
    one.element.toggleAttribute("hidden", out);
  }
}

function measureCamera() {
  const box = byId("view").getBoundingClientRect();
  camera.width = Math.max(box.width, 50);
  camera.height = Math.max(box.height, 50);
}

/** 看全图时的视野；宽屏上右边让出工具条。 */
function fitted(scene = app.scene) {
  const { width, height } = scene;
  const wide = camera.width > 500;
  const [left, right, top] = [wide ? 28 : 16, wide ? 62 : 16, camera.height > 420 ? 34 : 20];
  const room = camera.width - left - right;
  const k = clamp(Math.min(room / width, (camera.height - 2 * top) / height), ZOOM.least, 1.25);
  return { k, x: left + (room - width * k) / 2, y: (camera.height - height * k) / 2 };
}

/** 视野该对着哪个值：读者点开的，当前一步的；弄坏的一趟走完时，错了的。 */
function watchedValue() {
  if (typeof app.chosen === "number") return app.chosen;
  const { fault } = app.run;
  if (fault && app.frame === lastFrame())
    return fault.differs.find((id) => !app.links.maker.has(id)) ?? fault.differs[0] ?? null;
  return activeValue(app.run, app.frame);
}

/** 那个值（或收着它的模块）在图上的框；没有则为 null。 */
function activeBox() {
  const id = watchedValue();
  if (id === null) return null;
  const card = graph.cards.get(id);
  if (card) return { x: card.look.x, y: card.look.y, w: card.look.w, h: card.look.h };
  return app.scene.groups.find(({ group }) => group.folded && everyCard(group).includes(id)) ?? null;
}

/** 全图够清楚就看全图；否则凑近，停在当前节点上。 */
function settleCamera() {
  const all = fitted();
  if (all.k >= ZOOM.readable) return moveCamera(all, false);
  const k = ZOOM.comfortable;
  camera.k = k;
  return moveCamera(centred(stageBox() ?? startBox(), k), false);
}

function startBox() {
  const first = app.doc.nodes[0] ? graph.cards.get(app.doc.nodes[0].output) : null;
  const look = first?.look ?? app.scene.cards[0] ?? app.scene.groups[0];
  return look ? { x: look.x, y: look.y, w: look.w, h: look.h } : { x: 0, y: 0, w: 1, h: 1 };
}

function centred(box, k) {
  const x = camera.width / 2 - (box.x + box.w / 2) * k;
  const y = camera.height / 2 - (box.y + box.h / 2) * k;
  return kept({ x, y, k });
}

/** 不让图跑出视野：比视野小的居中，比视野大的边缘对齐。 */
function kept({ x, y, k }) {
  const margin = 36;
  const one = (at, size, room) =>
    size + 2 * margin <= room ? (room - size) / 2 : clamp(at, room - size - margin, margin);
  return { x: one(x, app.scene.width * k, camera.width), y: one(y, app.scene.height * k, camera.height), k };
}

/** 这一步牵涉到的各张卡片合起来的框；一屏放不下时只取当前的一张。 */
function stageBox() {
  const box = activeBox();
  const frame = app.run.frames[app.frame];
  if (!box || app.chosen !== null || frame.node === undefined) return box;
  const ids = frame.kind === "backward" ? frame.step.edges.map((edge) => edge.value) : app.doc.nodes[frame.node].inputs;
  const boxes = [box, ...ids.map((id) => graph.cards.get(id)?.look).filter(Boolean)];
  const x = Math.min(...boxes.map((one) => one.x));
  const y = Math.min(...boxes.map((one) => one.y));
  const all = {
    x,
    y,
    w: Math.max(...boxes.map((one) => one.x + one.w)) - x,
    h: Math.max(...boxes.map((one) => one.y + one.h)) - y,
  };
  return all.w * camera.k > camera.width - 40 || all.h * camera.k > camera.height - 40 ? box : all;
}

/** 跟随：这一步离边缘太近时才动，免得画面一直晃。 */
function followActive(smooth) {
  if (!app.following) return;
  const box = stageBox();
  if (!box) return;
  const { x, y, k } = camera;
  const all = fitted();
  if (all.k >= ZOOM.readable && Math.abs(all.k - k) < 1e-3) return;
  const left = box.x * k + x;
  const top = box.y * k + y;
  const [edgeX, edgeY] = [14, 14];
  const inside =
    left > edgeX && left + box.w * k < camera.width - edgeX && top > edgeY && top + box.h * k < camera.height - edgeY;
  if (!inside) moveCamera(centred(box, k), smooth);
}

function moveCamera(to, smooth) {
  cancelAnimationFrame(camera.glide);
  if (!smooth || reducedMotion.matches) {
    Object.assign(camera, to);
    applyCamera();
    return;
  }
  const from = { x: camera.x, y: camera.y, k: camera.k };
  const started = performance.now();
  const glide = (now) => {
    const t = clamp((now - started) / 260, 0, 1);
    const eased = 1 - (1 - t) ** 3;
    for (const key of ["x", "y", "k"]) camera[key] = from[key] + (to[key] - from[key]) * eased;
    applyCamera();
    if (t < 1) camera.glide = requestAnimationFrame(glide);
  };
  camera.glide = requestAnimationFrame(glide);
}

/** 绕着视野里的一点缩放。 */
function zoomBy(factor, px = camera.width / 2, py = camera.height / 2) {
  const k = clamp(camera.k * factor, ZOOM.least, ZOOM.most);
  const ratio = k / camera.k;
  moveCamera({ k, x: px - (px - camera.x) * ratio, y: py - (py - camera.y) * ratio }, false);
}

const panBy = (dx, dy) => moveCamera({ k: camera.k, x: camera.x + dx, y: camera.y + dy }, false);

/** 小地图：整张图的缩影与此刻的视野；看得见全图时不画。 */
function drawOverview() {
  const { scene } = app;
  const map = byId("overview");
  map.setAttribute("viewBox", `-8 -8 ${scene.width + 16} ${scene.height + 16}`);
  const [w, h] = [scene.width + 16, scene.height + 16];
  const scale = Math.min(150 / w, 180 / h);
  map.style.width = `${Math.max(w * scale, 24)}px`;
  map.style.height = `${Math.max(h * scale, 24)}px`;
  const boxes = [...scene.groups.filter(({ group }) => group.folded), ...scene.cards];
  map.replaceChildren(
    ...scene.groups
      .filter(({ group }) => !group.folded)
      .map(({ x, y, w: bw, h: bh }) => draw("rect", { class: "mini-frame", x, y, width: bw, height: bh })),
    ...boxes.map(({ x, y, w: bw, h: bh }) => draw("rect", { class: "mini", x, y, width: bw, height: bh })),
    draw("rect", { class: "mini-active", id: "mini-active", width: 0, height: 0 }),
    draw("rect", { class: "mini-window", id: "mini-window" }),
  );
  drawWindow();
}

function drawWindow() {
  const frame = byId("mini-window");
  if (!frame) return;
  const { x, y, k, width, height } = camera;
  const { scene } = app;
  const whole = x >= -1 && y >= -1 && x + scene.width * k <= width + 1 && y + scene.height * k <= height + 1;
  byId("overview").toggleAttribute("hidden", whole || camera.height < 300);
  if (whole) return;
  const place = { x: -x / k, y: -y / k, width: width / k, height: height / k };
  for (const [key, at] of Object.entries(place)) frame.setAttribute(key, at);
}

function markOverview() {
  const mark = byId("mini-active");
  const box = activeBox();
  if (!mark) return;
  const place = box ? { x: box.x, y: box.y, width: box.w, height: box.h } : { width: 0, height: 0 };
  for (const [key, at] of Object.entries(place)) mark.setAttribute(key, at);
}

/** 鼠标与手指：拖动平移，滚轮与双指缩放。 */
function listenToPointers() {
  const view = byId("view");
  const touches = new Map();
  let moved = 0;
  view.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const box = view.getBoundingClientRect();
      if (event.ctrlKey || event.metaKey || !event.shiftKey)
        zoomBy(Math.exp(-event.deltaY * 0.0016), event.clientX - box.left, event.clientY - box.top);
      else panBy(-event.deltaX, -event.deltaY);
    },
    { passive: false },
  );
  view.addEventListener("pointerdown", (event) => {
    touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
    moved = 0;
  });
  view.addEventListener("pointermove", (event) => {
    const before = touches.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    moved += Math.abs(dx) + Math.abs(dy);
    if (moved < 4) return;
    if (!view.hasPointerCapture(event.pointerId)) view.setPointerCapture(event.pointerId);
    if (touches.size === 1) panBy(dx, dy);
    else pinch(touches, event, view);
    touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const name of ["pointerup", "pointercancel"])
    view.addEventListener(name, (event) => touches.delete(event.pointerId));
  view.addEventListener(
    "click",
    (event) => {
      if (moved >= 4)
        event.stopPropagation(); // 拖动之后的点击不算选中
      else if (!event.target.closest(".card, .fold-button")) chooseCard(null);
    },
    true,
  );
}

function pinch(touches, event, view) {
  const [other] = [...touches.entries()].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
  const before = touches.get(event.pointerId);
  const span = (p) => Math.max(Math.hypot(p.x - other.x, p.y - other.y), 1);
  const box = view.getBoundingClientRect();
  const at = { x: event.clientX, y: event.clientY };
  zoomBy(span(at) / span(before), (at.x + other.x) / 2 - box.left, (at.y + other.y) / 2 - box.top);
}
