// 逐个 token 看回答：每个 token 一格，按概率着色；指着或用方向键走到的那一格，卡片上列出它原本还可能是什么。
import { byId, el } from "./dom.js";
import { originOf } from "./inline.js";
import { percent, say } from "./words.js";

const DWELL_MS = 350;

const share = (logprob) => Math.exp(Math.min(0, logprob));

// 概率分五档，与样式表里的 p0–p4 对应
const level = (p) => (p >= 0.9 ? 4 : p >= 0.6 ? 3 : p >= 0.3 ? 2 : p >= 0.1 ? 1 : 0);

export function visible(text) {
  return text === "" ? say("partOfCharacter") : text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/ /g, "␣").replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, "�");
}

// ---- 卡片 ----

function row(text, p, isChosen) {
  const bar = el("span", { className: "bar" });
  bar.style.setProperty("--share", String(p));
  return el("tr", isChosen ? { className: "chosen" } : {}, el("th", { scope: "row", text: visible(text) }), el("td", {}, bar), el("td", { className: "share", text: percent(p) }));
}

function fill(card, token) {
  const [text, logprob, others] = token;
  const listed = others.some(([name, value]) => name === text && Math.abs(value - logprob) < 1e-9);
  const rows = (listed || !others.length ? [...others] : [...others, [text, logprob]]).sort((a, b) => b[1] - a[1]);
  if (!rows.length) rows.push([text, logprob]);
  const rest = 1 - rows.reduce((sum, [, value]) => sum + share(value), 0);
  const body = el("tbody", {}, ...rows.map(([name, value]) => row(name, share(value), name === text)));
  if (rest > 0.0005) body.append(el("tr", { className: "rest" }, el("th", { scope: "row", text: say("rest") }), el("td"), el("td", { className: "share", text: percent(rest) })));
  card.replaceChildren(el("table", {}, el("caption", { text: say("cardTitle") }), body));
}

export function showCard(token, box) {
  const card = byId("card");
  fill(card, token);
  card.hidden = false;
  const { width, height } = card.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, innerWidth - width - 8));
  const below = box.bottom + 8;
  card.style.left = `${left}px`;
  card.style.top = `${below + height < innerHeight - 8 ? below : Math.max(8, box.top - height - 8)}px`;
}

export function hideCard() {
  byId("card").hidden = true;
  globalThis.CSS?.highlights?.delete("token");
}

// ---- 一格一格的视图 ----

export function tokenView(node) {
  const chips = node.tokens.map((token, index) => {
    const p = share(token[1]);
    const text = token[0] === "" ? "·" : token[0].replace(/\n/g, "⏎\n");
    return el("span", {
      className: `token p${level(p)}`,
      role: "option",
      text,
      tabindex: index ? "-1" : "0",
      "aria-label": say("tokenLabel", { token: visible(token[0]), percent: percent(p) }),
      data: { index },
    });
  });
  const box = el("div", { className: "tokens", role: "listbox", "aria-orientation": "horizontal", label: "tokenView" }, ...chips);
  const about = (chip) => chip && showCard(node.tokens[Number(chip.dataset.index)], chip.getBoundingClientRect());
  box.addEventListener("pointerover", (event) => about(event.target.closest(".token")));
  box.addEventListener("pointerleave", hideCard);
  box.addEventListener("focusin", (event) => about(event.target.closest(".token")));
  box.addEventListener("focusout", hideCard);
  box.addEventListener("keydown", (event) => walk(event, chips));
  return el("div", { className: "token-pane" }, box, legend());
}

function legend() {
  const swatches = [4, 3, 2, 1, 0].map((p) => el("i", { className: `token p${p}` }));
  return el("p", { className: "legend" }, el("span", { say: "likely" }), ...swatches, el("span", { say: "unlikely" }), el("span", { className: "keys", say: "tokenKeys" }));
}

function walk(event, chips) {
  const now = chips.indexOf(event.target);
  const next = { ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1, Home: 0, End: chips.length - 1 }[event.key];
  if (now < 0 || next === undefined || event.altKey || !chips[next]) return;
  event.preventDefault();
  chips[now].tabIndex = -1;
  chips[next].tabIndex = 0;
  chips[next].focus();
}

// ---- 画好的回答上：指针停在一个字上，找出写它的 token ----

let dwell = 0;
let resting = null;

export function watchPointer(log, nodeOf) {
  log.addEventListener("pointermove", (event) => {
    clearTimeout(dwell);
    const body = event.pointerType === "mouse" ? event.target.closest(".message .body") : null;
    const node = body && nodeOf(body);
    if (!node?.tokens?.length) return leave();
    const found = tokenAt(node, event.clientX, event.clientY);
    if (!found) return leave();
    if (resting !== found.token) leave();
    dwell = setTimeout(() => {
      resting = found.token;
      highlight(found.range);
      showCard(found.token, found.range.getBoundingClientRect());
    }, resting ? 0 : DWELL_MS);
  });
  log.addEventListener("pointerleave", leave);
}

function leave() {
  clearTimeout(dwell);
  if (resting) hideCard();
  resting = null;
}

function highlight(range) {
  if (globalThis.Highlight) CSS.highlights.set("token", new Highlight(range));
}

const ends = new WeakMap(); // 回答 → 各 token 在全文里到第几个字为止；拼起来不是全文的，没有

function endsOf(node) {
  const known = ends.get(node);
  if (known?.length === node.tokens.length) return known;
  const found = [];
  let text = "";
  for (const token of node.tokens) {
    text += token[0];
    found.push(text.length);
  }
  const fits = text.startsWith(node.content) || node.content.startsWith(text);
  ends.set(node, fits ? found : []);
  return ends.get(node);
}

function caretAt(x, y) {
  const caret = document.caretPositionFromPoint?.(x, y);
  if (caret) return { node: caret.offsetNode, offset: caret.offset };
  const range = document.caretRangeFromPoint?.(x, y);
  return range ? { node: range.startContainer, offset: range.startOffset } : null;
}

function tokenAt(node, x, y) {
  const caret = caretAt(x, y);
  const origin = caret && originOf(caret.node);
  if (origin === undefined || origin === null) return null;
  // 光标落在两个字之间：看指针其实压在哪个字上
  const offset = [caret.offset, caret.offset - 1].find((i) => i >= 0 && i < caret.node.length && covers(caret.node, i, x, y));
  if (offset === undefined) return null;
  const all = endsOf(node);
  const index = all.findIndex((end) => end > origin + offset);
  if (index < 0) return null;
  const range = document.createRange();
  range.setStart(caret.node, Math.max(0, (all[index - 1] ?? 0) - origin));
  range.setEnd(caret.node, Math.min(caret.node.length, all[index] - origin));
  return { token: node.tokens[index], range };
}

function covers(text, i, x, y) {
  const range = document.createRange();
  range.setStart(text, i);
  range.setEnd(text, i + 1);
  return [...range.getClientRects()].some((box) => x >= box.left && x <= box.right && y >= box.top && y <= box.bottom);
}
