// 开场：读录制，排版，接上控件；换帧、换语言、换明暗都从这里走。

/** 换到一帧；``animate`` 时演一遍这一步。 */
function goTo(frame, animate = false) {
  const to = clamp(Math.round(frame), 0, lastFrame());
  if (panels.current !== "graph") showStage("graph"); // 走步要看着计算图
  if (to === app.frame && app.ready) return;
  app.frame = to;
  app.chosen = null;
  refresh(animate);
}

/** 照 ``app`` 的状态更新整页。 */
function refresh(animate) {
  graph.held.clear();
  motion.ticket++;
  byId("packets")?.replaceChildren();
  updateGraph();
  const frame = app.run.frames[app.frame];
  if (animate) animateFrame();
  else if (frame.kind === "backward") restPackets(frame);
  followActive(animate);
  markOverview();
  showWhere();
  refreshSide();
  announce(whereText());
}

/** 点开一个值或一个收起的模块；``null`` 放开。 */
function chooseCard(key) {
  app.chosen = key;
  if (key !== null && app.side !== "step") showSide("step");
  updateGraph();
  refreshSide();
  if (key !== null) followActive(true);
  markOverview();
  const chosen = graph.cards.get(key) ?? graph.folded.get(key);
  if (chosen) announce(chosen.parts.g.getAttribute("aria-label"));
}

function buildScene() {
  measureCamera();
  const arranged = (direction) => makeScene(app.doc, app.links, app.root, app.right, direction);
  app.scene = arranged(app.direction ?? "down");
  if (!app.direction && fitted().k < 1) app.scene = better(app.scene, arranged("right"));
  drawGraph();
  drawOverview();
  byId("fold").hidden = app.scene.groups.length === 0;
}

/** 两个方向里字更大的一个；都看不全时向下，一屏里看得见的步数多。 */
function better(down, right) {
  const scale = (scene) => fitted(scene).k;
  return Math.max(scale(down), scale(right)) >= ZOOM.readable && scale(right) > scale(down) * 1.02 ? right : down;
}

function rebuild() {
  buildScene();
  settleCamera();
  refresh(false);
}

function setFolded(group, folded) {
  group.folded = folded;
  app.chosen = null;
  rebuild();
}

/** 有收着的就全部展开，否则全部收起。 */
function foldAll() {
  const groups = [...everyGroup(app.root)];
  const open = groups.some((group) => group.folded);
  for (const group of groups) group.folded = !open;
  app.chosen = null;
  rebuild();
}

function turnGraph() {
  app.direction = app.scene.direction === "down" ? "right" : "down";
  rebuild();
}

function setFollowing(on) {
  app.following = on;
  byId("follow").setAttribute("aria-pressed", String(on));
  if (on) followActive(true);
}

function setLanguage(lang) {
  app.lang = lang;
  remember("lang", lang);
  translatePage();
  showFacts();
  buildLegend();
  const stage = panels.current;
  buildTabs();
  buildSpeeds();
  buildMarks();
  showPlaying();
  showStage(stage);
  drawGraph();
  applyCamera();
  refresh(false);
}

function setTheme(theme) {
  app.theme = theme;
  remember("theme", theme);
  document.documentElement.dataset.theme = theme;
  if (!app.ready) return;
  showSide(app.side);
  buildLegend();
  refresh(false);
}

function remember(key, value) {
  try {
    localStorage.setItem(`backprop-player-${key}`, value);
  } catch {
    // 有的笔记本不许网页存东西：下次打开照旧从默认开始
  }
}

function recall(key) {
  try {
    return localStorage.getItem(`backprop-player-${key}`);
  } catch {
    return null;
  }
}

function showFacts() {
  const { nodes, values, backwards, dtype, title } = app.doc;
  byId("title").textContent = title || "trace";
  byId("facts").textContent = say("facts", {
    nodes: nodes.length,
    values: values.length,
    backwards: backwards.length,
    dtype,
  });
}

function buildLegend() {
  byId("legend").replaceChildren(...legendOf().children);
  const hasTensors = app.doc.values.some((value) => !isSingle(value.data));
  byId("legend").lastElementChild.hidden = !hasTensors;
  byId("legend").children[2].hidden = ![...graph.cards.values()].some(({ look }) => look.shared);
}

/** 地址里的 ``#frame=5&lang=zh&theme=dark&fault=...&tab=table``：书里的链接可以直接指到某一帧。 */
function wishes() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return {
    lang: given.lang ?? recall("lang") ?? (navigator.language.startsWith("zh") ? "zh" : "en"),
    theme: given.theme ?? recall("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"),
    direction: given.direction,
    fault: given.fault,
    tab: given.tab,
    frame: given.frame,
  };
}

function open() {
  const doc = JSON.parse(byId("recording").textContent);
  hydrate(doc, doc.arrays.map(openArray));
  app.doc = doc;
  app.links = linksOf(doc);
  app.lines = programLines(doc);
  app.right = app.run = makeRun(doc);
  app.root = groupTree(doc, app.links);
  foldToFit(app.root);
  const wish = wishes();
  app.lang = wish.lang === "zh" ? "zh" : "en";
  app.direction = ["down", "right"].includes(wish.direction) ? wish.direction : null;
  setTheme(wish.theme === "dark" ? "dark" : "light");
  for (const element of document.querySelectorAll("[data-icon]")) element.prepend(icon(element.dataset.icon));
  listenToControls();
  listenToPointers();
  buildScene();
  app.side = "step";
  setLanguage(app.lang);
  settleCamera();
  if (wish.fault && (doc.faults ?? []).some((fault) => fault.name === wish.fault)) setFault(wish.fault);
  if (wish.frame !== undefined) goTo(wish.frame === "end" ? lastFrame() : Number(wish.frame) || 0, false);
  if (["table", "faults"].includes(wish.tab)) showSide(wish.tab);
  app.ready = true;
  new ResizeObserver(onResize).observe(byId("stage-graph"));
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      document.body.dataset.openMs = Math.round(performance.now());
      document.body.dataset.ready = "true";
    }),
  );
}

function onResize() {
  const { width, height } = camera;
  measureCamera();
  if (camera.width < 60 || (Math.abs(width - camera.width) < 2 && Math.abs(height - camera.height) < 2)) return;
  if (!app.direction && width > height !== camera.width > camera.height) rebuild();
  else settleCamera();
}

const plain = (array) =>
  array === null
    ? null
    : { shape: array.shape, flat: hasNumbers(array) ? [...array.flat] : null, summary: array.summary };

/** 测试与别的程序用的接口：读得到的状态与页面上看见的一致。 */
window.player = {
  get frame() {
    return app.frame;
  },
  get frames() {
    return app.run.frames.length;
  },
  get speed() {
    return app.speed;
  },
  get playing() {
    return app.playing;
  },
  get scene() {
    return {
      direction: app.scene.direction,
      cards: graph.cards.size,
      folded: graph.folded.size,
      edges: graph.edges.length,
    };
  },
  go: (frame, animate = false) => goTo(frame, animate),
  step,
  back,
  play,
  pause,
  setSpeed,
  setFault,
  setLanguage,
  setTheme,
  chooseCard,
  foldAll,
  turnGraph,
  fit: () => moveCamera(fitted(), false),
  frameSvg,
  framePng,
  /** 当前一帧：阶段、节点，以及各值至今的梯度与播放器自己加出来的和。 */
  state() {
    const frame = app.run.frames[app.frame];
    const values = {};
    for (const id of app.run.ledgers.keys()) {
      values[id] = {
        gradient: plain(gradientAt(app.run, id, app.frame)),
        sum: plain(summedAt(app.run, id, app.frame)),
        contributions: arrivals(app.run, id, app.frame).map((entry) => plain(entry.contribution)),
        final: plain(finalGradient(app.run, id)),
      };
    }
    return {
      frame: app.frame,
      phase: frame.kind,
      node: frame.node ?? null,
      fault: app.run.fault?.name ?? null,
      values,
    };
  },
};

open();
