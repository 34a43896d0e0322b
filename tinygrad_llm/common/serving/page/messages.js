// 对话的一条条消息：画出正看着的那条路，每条带着它的按钮；回答正在长时，一帧至多画一次。
import { announce, byId, copyText, el, icon, iconButton } from "./dom.js";
import { running } from "./generation.js";
import { StreamView } from "./streamview.js";
import { hideCard, tokenView } from "./tokens.js";
import { path, versions } from "./tree.js";
import { number, say } from "./words.js";

const shown = new Map(); // 节点的 id → { node, element, body, view }
let talk = null;
let actions = null;

export function setActions(given) {
  actions = given;
}

export const nodeOfBody = (body) => shown.get(body.closest(".message").dataset.id)?.node;

const isChinese = (text) => /[\u3400-\u9fff]/.test(text.slice(0, 400));

// 画出 given 的这条路；与屏幕上相同的开头留着不动
export function showTalk(given) {
  const log = byId("log");
  const nodes = path(given);
  if (talk !== given) clear(log);
  talk = given;
  const old = [...log.children].map((element) => element.dataset.id);
  let same = 0;
  while (same < nodes.length && old[same] === nodes[same].id) same += 1;
  for (const id of old.slice(same)) forget(id);
  for (const node of nodes.slice(same)) log.append(make(node));
  for (const node of nodes) refresh(node);
  byId("welcome").hidden = nodes.length > 0;
}

function clear(log) {
  hideCard();
  shown.clear();
  log.replaceChildren();
}

function forget(id) {
  shown.get(id)?.element.remove();
  shown.delete(id);
}

function make(node) {
  const body = el("div", { className: "body" });
  const element = el("article", { className: `message ${node.role}`, label: node.role === "user" ? "you" : "answer", data: { id: node.id }, tabindex: "-1" }, body, el("footer"));
  const entry = { node, element, body, view: null };
  shown.set(node.id, entry);
  if (node.role === "user") body.textContent = node.content;
  else paint(entry, running.node !== node);
  return element;
}

function paint(entry, isOver) {
  entry.view ??= new StreamView(entry.body);
  return entry.view.update(entry.node.content, isOver);
}

// 重写一条消息的按钮与附注
export function refresh(node) {
  const entry = shown.get(node.id);
  if (!entry) return;
  entry.body.lang = isChinese(node.content) ? "zh-CN" : "en";
  const footer = entry.element.lastElementChild;
  const focused = footer.contains(document.activeElement) ? document.activeElement.dataset.sayLabel : "";
  const isRunning = running.node === node;
  entry.element.classList.toggle("running", isRunning);
  entry.element.classList.toggle("empty", !node.content);
  entry.element.setAttribute("aria-busy", String(isRunning));
  footer.replaceChildren(...notes(node, isRunning), el("div", { className: "actions" }, ...branches(node), ...(isRunning ? [] : buttons(node)), figures(node)));
  if (focused) footer.querySelector(`[data-say-label="${focused}"]`)?.focus();
}

function branches(node) {
  const { index, count } = versions(talk, node);
  if (count < 2) return [];
  const step = (by, name, word) => {
    const button = iconButton(name, word, () => actions.turn(node, by));
    button.disabled = index + by < 0 || index + by >= count;
    return button;
  };
  const where = el("span", { className: "where", "aria-label": say("branchOf", { index: index + 1, count }), role: "img", text: `${index + 1}/${count}` });
  return [el("span", { className: "branches" }, step(-1, "left", "previousBranch"), where, step(1, "right", "nextBranch"))];
}

function buttons(node) {
  const copy = iconButton("copy", "copy", () => copyText(node.content));
  if (node.role === "user") {
    const found = [copy, iconButton("edit", "edit", () => edit(node))];
    if (!node.children.length) found.push(iconButton("again", "regenerate", () => actions.answer(node)));
    return found;
  }
  const found = node.content ? [copy] : [];
  found.push(iconButton("again", "regenerate", () => actions.regenerate(node)));
  if (node.tokens?.length) {
    const toggle = iconButton("tokens", "tokens", () => toggleTokens(node));
    toggle.setAttribute("aria-pressed", String(shown.get(node.id).element.classList.contains("by-token")));
    found.push(toggle);
  }
  return found;
}

function notes(node, isRunning) {
  if (isRunning && node.waits) return [el("p", { className: "note", text: say("busy", { seconds: node.waits }) })];
  if (isRunning) return node.content ? [] : [el("p", { className: "waiting" }, el("span", { className: "dots", "aria-hidden": "true" }), el("span", { className: "unseen", say: "thinking" }))];
  if (node.error) {
    const words = { cut: "lostAnswer", network: "noServer", reply: "badReply" };
    const text = words[node.error] ? say(words[node.error]) : node.error;
    const retry = el("button", { type: "button", className: "plain", say: "retry", on: { click: () => actions.regenerate(node) } });
    return [el("p", { className: "note wrong", role: "alert" }, icon("warning"), el("span", { text }), retry)];
  }
  const word = { stopped: "stopped", length: "cutLength", content_filter: "filtered" }[node.finish];
  return word ? [el("p", { className: "note", say: word })] : [];
}

function figures(node) {
  if (node.role === "user" || running.node === node || !node.count) return null;
  const rate = node.seconds > 0.05 && node.count > 1 ? (node.count - 1) / node.seconds : 0;
  const text = rate ? say("figures", { count: number(node.count), rate: number(Number(rate.toPrecision(3))) }) : say("counterOpen", { used: number(node.count) });
  const title = [node.model, node.seed === undefined ? "" : say("seedUsed", { seed: node.seed })].filter(Boolean).join(" · ");
  return el("span", { className: "figures", text, title });
}

// ---- 长着的回答 ----

let frame = 0;

// 又到了几个字：下一帧再画
export function grow(node) {
  if (frame || !shown.has(node.id)) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    const entry = shown.get(node.id);
    if (entry) flush(entry, false);
  });
}

function flush(entry, isOver) {
  const scroller = byId("scroller");
  const isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
  if (entry.element.classList.contains("empty") && entry.node.content) refresh(entry.node);
  for (const block of paint(entry, isOver)) announce(block.textContent);
  if (isAtEnd) toEnd();
}

export function finish(node) {
  const entry = shown.get(node.id);
  if (!entry) return;
  cancelAnimationFrame(frame);
  frame = 0;
  flush(entry, true);
  const scroller = byId("scroller");
  const isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
  refresh(node);
  if (isAtEnd) toEnd();
}

export function toEnd() {
  const scroller = byId("scroller");
  scroller.scrollTop = scroller.scrollHeight;
}

// ---- 逐个 token 看 ----

export function toggleTokens(node) {
  const entry = shown.get(node.id);
  if (!entry || !node.tokens?.length) return;
  hideCard();
  const isOn = entry.element.classList.toggle("by-token");
  entry.element.querySelector(".token-pane")?.remove();
  if (isOn) entry.body.after(tokenView(node));
  refresh(node);
}

// ---- 改一问 ----

export function edit(node) {
  const entry = shown.get(node.id);
  if (!entry || entry.element.querySelector("form")) return;
  const area = el("textarea", { label: "editLabel", rows: "3" });
  area.value = node.content;
  const close = () => {
    form.remove();
    entry.element.classList.remove("editing");
    byId("message").focus();
  };
  const send = () => {
    const text = area.value.trim();
    if (!text || running.node) return;
    close();
    actions.edit(node, area.value);
  };
  const form = el("form", { className: "edit", on: { submit: (event) => { event.preventDefault(); send(); } } }, area,
    el("div", { className: "buttons" }, el("button", { type: "button", className: "plain", say: "cancel", on: { click: close } }), el("button", { className: "strong", say: "sendAgain" })));
  area.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  });
  entry.element.classList.add("editing");
  entry.body.after(form);
  area.focus();
  area.setSelectionRange(area.value.length, area.value.length);
}
