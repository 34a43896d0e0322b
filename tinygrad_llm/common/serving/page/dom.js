// 造元素的几个小函数。页面里的一切文字都经 textContent 写入；没有一处把字符串当作 HTML。
import { say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// props：className、text、say 与 label（词条，换语言时会重写）、on（事件）、data（data-*），其余当作属性
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  const { className, text, say: word, label, on, data, ...attributes } = props;
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (word) setWord(node, word);
  if (label) setLabel(node, label);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  for (const [name, value] of Object.entries(data ?? {})) node.dataset[name] = value;
  for (const [name, handle] of Object.entries(on ?? {})) node.addEventListener(name, handle);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function setWord(node, word) {
  node.dataset.say = word;
  node.textContent = say(word);
}

export function setLabel(node, word) {
  node.dataset.sayLabel = word;
  node.setAttribute("aria-label", say(word));
  node.title = say(word);
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

export function iconButton(name, word, handle, className = "") {
  return el("button", { type: "button", className: `quiet ${className}`.trim(), label: word, on: { click: handle } }, icon(name));
}

export function announce(text) {
  const region = byId("announcer");
  region.append(el("p", { text }));
  while (region.childElementCount > 6) region.firstElementChild.remove();
}

let toastTimer = 0;

// 底部的一条短消息；可以带一个按钮，过几秒自己消失
export function toast(text, action = null) {
  const box = byId("toast");
  const button = action ? el("button", { type: "button", say: action.word, on: { click: () => { hideToast(); action.run(); } } }) : null;
  box.replaceChildren(el("span", { text }), ...(button ? [button] : []));
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hideToast, action ? 9000 : 4000);
}

function hideToast() {
  byId("toast").hidden = true;
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(say("copied"));
  } catch {
    // 不是 https 也不是本机时，浏览器不给剪贴板：退回老办法
    const area = el("textarea", { className: "unseen", text });
    document.body.append(area);
    area.select();
    toast(say(document.execCommand("copy") ? "copied" : "notCopied"));
    area.remove();
  }
}
