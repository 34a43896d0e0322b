// 播放、进度条与键盘。所有按钮都有按键，所有按键都有按钮。

const SPEEDS = [0.5, 1, 2, 4, 8, 30, 60];
const player = { last: 0, owed: 0 };

const step = () => goTo(app.frame + 1, true);
const back = () => goTo(app.frame - 1, false);
const lastFrame = () => app.run.frames.length - 1;

/** 下一个或上一个阶段的开头。 */
function jumpPhase(by) {
  const starts = app.run.phases.map((phase) => phase.from);
  const next = by > 0 ? starts.find((at) => at > app.frame) : [...starts].reverse().find((at) => at < app.frame);
  goTo(next ?? (by > 0 ? lastFrame() : 0), false);
}

function play() {
  if (app.frame >= lastFrame()) goTo(0, false);
  Object.assign(player, { last: performance.now(), owed: 1 });
  app.playing = true;
  showPlaying();
  requestAnimationFrame(playOn);
}

function pause() {
  app.playing = false;
  showPlaying();
}

const togglePlay = () => (app.playing ? pause() : play());

function playOn(now) {
  if (!app.playing) return;
  player.owed += (Math.min(now - player.last, 400) / 1000) * app.speed;
  player.last = now;
  if (player.owed >= 1) {
    const steps = Math.floor(player.owed);
    player.owed -= steps;
    goTo(Math.min(app.frame + steps, lastFrame()), true);
  }
  if (app.frame >= lastFrame()) pause();
  else requestAnimationFrame(playOn);
}

function showPlaying() {
  const button = byId("play");
  button.dataset.sayTitle = app.playing ? "pause" : "play";
  button.title = say(button.dataset.sayTitle);
  button.setAttribute("aria-label", button.title);
  button.replaceChildren(icon(app.playing ? "pause" : "play"));
  document.body.dataset.playing = String(app.playing);
}

function setSpeed(speed) {
  app.speed = speed;
  byId("speed").value = String(speed);
}

function changeSpeed(by) {
  const at = SPEEDS.findIndex((one) => one >= app.speed);
  setSpeed(SPEEDS[clamp(at + by, 0, SPEEDS.length - 1)]);
}

function buildSpeeds() {
  byId("speed").replaceChildren(...SPEEDS.map((n) => make("option", { value: n, text: say("perSecond", { n }) })));
  byId("speed").value = String(app.speed);
}

/** 进度条上的各阶段：前向是蓝的，反向是橙的。 */
function buildMarks() {
  const last = Math.max(lastFrame(), 1);
  byId("scrub").max = lastFrame();
  byId("marks").replaceChildren(
    ...app.run.phases.map(({ kind, from, to }) => {
      const left = Math.max(0, (from - 0.5) / last);
      const right = Math.min(1, (to + 0.5) / last);
      const wide = right - left > 0.14 && (kind === "forward" || kind === "backward");
      return make("span", {
        class: `span ${kind}`,
        style: `left:${100 * left}%;width:${100 * (right - left)}%`,
        text: wide ? say(kind) : "",
      });
    }),
  );
}

function whereText() {
  const frame = app.run.frames[app.frame];
  if (frame.kind === "forward") return say("forwardOf", { i: frame.index, n: frame.total });
  if (frame.kind === "backward") {
    const many = app.doc.backwards.length > 1 && !app.run.fault;
    return say(many ? "backwardMany" : "backwardOf", { b: frame.backward.id + 1, i: frame.index, n: frame.total });
  }
  return say(frame.kind);
}

function showWhere() {
  const scrub = byId("scrub");
  scrub.value = app.frame;
  scrub.setAttribute("aria-valuetext", whereText());
  byId("where").textContent = `${app.frame} / ${lastFrame()}`;
  byId("back").disabled = byId("first").disabled = app.frame === 0;
  byId("step").disabled = byId("last").disabled = app.frame === lastFrame();
  Object.assign(document.body.dataset, { frame: app.frame, phase: app.run.frames[app.frame].kind });
}

/** 念给读屏软件的一句话；播放时不念，免得一句盖一句。 */
function announce(text) {
  if (!app.playing) byId("live").textContent = text;
}

/** 上一个、下一个看得见的卡片，按执行的次序。 */
function moveChoice(by) {
  const cards = [...graph.cards.values()].map(({ look }) => ({
    key: look.id,
    at: look.node ? look.node.output : look.id,
  }));
  const modules = [...graph.folded.keys()].map((group) => ({ key: group, at: Math.min(...everyCard(group)) }));
  const all = [...cards, ...modules].sort((a, b) => a.at - b.at).map((one) => one.key);
  const at = all.indexOf(app.chosen ?? activeValue(app.run, app.frame));
  chooseCard(all[(at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by + all.length) % all.length]);
}

function nextFault() {
  const names = [null, ...(app.doc.faults ?? []).map((fault) => fault.name)];
  if (names.length === 1) return;
  setFault(names[(names.indexOf(app.run.fault?.name ?? null) + 1) % names.length]);
  showSide("faults");
}

function chooseTab(index) {
  const tabs = [...byId("side-tabs").children, ...(byId("stage-tabs").hidden ? [] : byId("stage-tabs").children)];
  tabs[index]?.click();
}

const KEYS = {
  ArrowRight: step,
  ArrowLeft: back,
  Home: () => goTo(0, false),
  End: () => goTo(lastFrame(), false),
  PageDown: () => jumpPhase(1),
  PageUp: () => jumpPhase(-1),
  " ": togglePlay,
  ArrowUp: () => changeSpeed(1),
  ArrowDown: () => changeSpeed(-1),
  "]": () => moveChoice(1),
  "[": () => moveChoice(-1),
  Enter: () => typeof app.chosen === "object" && app.chosen && setFolded(app.chosen, false),
  Escape: () => chooseCard(null),
  b: nextFault,
  "+": () => zoomBy(1.25),
  "=": () => zoomBy(1.25),
  "-": () => zoomBy(0.8),
  0: () => moveCamera(fitted(), true),
  f: () => setFollowing(!app.following),
  t: () => turnGraph(),
  m: () => foldAll(),
  l: () => setLanguage(app.lang === "zh" ? "en" : "zh"),
  d: () => setTheme(app.theme === "dark" ? "light" : "dark"),
  s: () => saveSvg(),
  p: () => savePng(),
  "?": () => openHelp(),
};
const PANS = { ArrowRight: [-80, 0], ArrowLeft: [80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };

/** 这个按键归焦点所在的控件自己管。 */
function isTaken(event) {
  const target = event.target;
  const { key } = event;
  if (byId("help").open) return true;
  if (target.matches("input[type=range]"))
    return key.startsWith("Arrow") || ["Home", "End", "PageUp", "PageDown"].includes(key);
  if (target.matches("select")) return key !== "Escape";
  if (target.matches("button, input, a, [role=button]") && (key === " " || key === "Enter")) return true;
  return target.matches(".pane") && ["ArrowUp", "ArrowDown"].includes(key);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isTaken(event)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const pan = event.shiftKey ? PANS[key] : null;
  if (pan) panBy(...pan);
  else if (/^[1-9]$/.test(key)) chooseTab(Number(key) - 1);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
}

function openHelp() {
  const rows = [
    ["→ ←", "keysStep"],
    ["Home End", "keysEnds"],
    ["PgDn PgUp", "keysPhase"],
    ["Space", "keysPlay"],
    ["↑ ↓", "keysSpeed"],
    ["[ ] Enter Esc", "keysSelect"],
    ["1 … 9", "keysTabs"],
    ["B", "keysBreak"],
    ["+ − 0", "keysZoom"],
    ["Shift + ← ↑ → ↓", "keysPan"],
    ["F T M", "keysView"],
    ["L D", "keysLook"],
    ["S P", "keysSave"],
    ["?", "keysHelp"],
  ];
  const keys = (text) =>
    text
      .split(" ")
      .map((key) => (/^[…+]$/.test(key) && text.length > 5 && key !== "+" ? ` ${key} ` : make("kbd", { text: key })));
  const list = rows.map(([key, word]) => [make("dt", {}, keys(key)), make("dd", { text: say(word) })]);
  const dialog = byId("help");
  const close = make("button", { type: "button", class: "soft", text: say("close"), onclick: () => dialog.close() });
  dialog.replaceChildren(
    make("h2", { id: "help-title", text: say("helpTitle") }),
    make("dl", {}, list),
    legendOf(),
    close,
  );
  dialog.showModal();
}

function legendOf() {
  const scale = make("span", { class: "ramp", "aria-hidden": "true" });
  const stops = [-1, -0.5, 0, 0.5, 1].map((t) => `rgb(${heatColour(t)})`);
  scale.style.background = `linear-gradient(90deg,${stops})`;
  return make(
    "ul",
    { class: "legend-list" },
    make("li", {}, make("span", { class: "swatch val" }), say("legendValue")),
    make("li", {}, make("span", { class: "swatch grad" }), say("legendGrad")),
    make("li", {}, make("span", { class: "swatch sum", text: "Σ" }), say("legendShared")),
    make("li", {}, scale, make("span", { class: "words", text: say("legendHeat") })),
  );
}

function listenToControls() {
  const clicks = {
    first: KEYS.Home,
    back,
    play: togglePlay,
    step,
    last: KEYS.End,
    language: KEYS.l,
    theme: KEYS.d,
    "save-svg": KEYS.s,
    "save-png": KEYS.p,
    "help-open": openHelp,
    "zoom-in": KEYS["+"],
    "zoom-out": KEYS["-"],
    "zoom-fit": KEYS[0],
    follow: KEYS.f,
    turn: KEYS.t,
    fold: KEYS.m,
  };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", () => act());
  byId("scrub").addEventListener("input", (event) => {
    pause();
    goTo(Number(event.target.value), false);
  });
  byId("speed").addEventListener("change", (event) => setSpeed(Number(event.target.value)));
  byId("side-step").addEventListener("scroll", (event) => (event.target.dataset.scrolled = "yes"));
  document.addEventListener("keydown", onKey);
}
