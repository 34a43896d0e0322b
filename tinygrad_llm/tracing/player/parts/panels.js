// 附加的图（录制里的 panels）：每张一个标签页，打开时才画。

const panels = { current: "graph" };

/** 只留下画图的东西：脚本、事件与外部地址都去掉。 */
function cleanSvg(text) {
  const parsed = new DOMParser().parseFromString(text, "image/svg+xml");
  const root = parsed.documentElement;
  if (root.nodeName !== "svg") return null;
  for (const element of [...root.querySelectorAll("script, foreignObject, iframe")]) element.remove();
  for (const element of [root, ...root.querySelectorAll("*")]) {
    for (const { name, value } of [...element.attributes]) {
      const isAddress = name === "href" || name === "xlink:href";
      if (name.startsWith("on") || (isAddress && !/^(#|data:image\/)/.test(value.trim())))
        element.removeAttribute(name);
    }
  }
  return document.importNode(root, true);
}

/** 主视图换成计算图或一张附加的图。 */
function showStage(id) {
  panels.current = id;
  const isGraph = id === "graph";
  byId("stage-graph").hidden = !isGraph;
  byId("stage-panel").hidden = isGraph;
  document.querySelector(".side").hidden = !isGraph; // 附加的图要地方，讲解栏讲的又不是它
  for (const tab of byId("stage-tabs").children) markTab(tab, tab.dataset.tab === id);
  byId("stage-panel").setAttribute("aria-labelledby", `stage-tab-${id}`);
  if (isGraph) {
    measureCamera();
    applyCamera();
    return;
  }
  const panel = app.doc.panels.find((one) => one.id === id);
  // 各张图里的 id 可能相同：各放进自己的影子里，互不相干
  const host = make("div", { class: "paper" });
  const picture = cleanSvg(panel.svg);
  const style = document.createElement("style");
  style.textContent = "svg{display:block;max-width:100%;height:auto;margin:auto}";
  host.attachShadow({ mode: "open" }).append(style, picture ?? "");
  byId("stage-panel").replaceChildren(make("h2", { text: either(panel, "title") }), host);
}

function markTab(tab, on) {
  tab.setAttribute("aria-selected", String(on));
  tab.tabIndex = on ? 0 : -1;
}

function tabButton(strip, id, text, onclick) {
  const controls = strip === "stage" ? (id === "graph" ? "stage-graph" : "stage-panel") : `side-${id}`;
  return make("button", {
    type: "button",
    role: "tab",
    id: `${strip}-tab-${id}`,
    "data-tab": id,
    "aria-controls": controls,
    text,
    onclick,
    onkeydown: (event) => moveInTabs(event),
  });
}

/** 标签条里左右键换标签。 */
function moveInTabs(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  const all = [...event.currentTarget.parentElement.children];
  const next = all[(all.indexOf(event.currentTarget) + by + all.length) % all.length];
  next.click();
  next.focus();
}

function buildTabs() {
  const list = app.doc.panels ?? [];
  const stage = [["graph", say("tabGraph")], ...list.map((panel) => [panel.id, either(panel, "title")])];
  byId("stage-tabs").replaceChildren(...stage.map(([id, text]) => tabButton("stage", id, text, () => showStage(id))));
  byId("stage-tabs").hidden = list.length === 0;
  const side = [
    ["step", say("tabStep")],
    ["table", say("tabTable")],
    ["faults", say("tabFaults")],
  ];
  byId("side-tabs").replaceChildren(...side.map(([id, text]) => tabButton("side", id, text, () => showSide(id))));
  showSide(app.side ?? "step");
}

/** 讲解栏换一页；梯度表与「弄坏它」打开时才建。 */
function showSide(id) {
  app.side = id;
  if (panels.current !== "graph") showStage("graph");
  for (const tab of byId("side-tabs").children) {
    markTab(tab, tab.dataset.tab === id);
    byId(`side-${tab.dataset.tab}`).hidden = tab.dataset.tab !== id;
    byId(`side-${tab.dataset.tab}`).setAttribute("aria-labelledby", tab.id);
  }
  if (id === "table") buildTable();
  else if (id === "faults") buildFaults();
  else showStep();
}

/** 换了一帧：只重写看得见的一页。 */
function refreshSide() {
  if (app.side === "step") showStep();
  else if (app.side === "table") updateTable();
}
