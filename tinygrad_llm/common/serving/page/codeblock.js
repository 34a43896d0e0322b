// 代码块：语言的名字、复制按钮与代码本身。生成到一半的代码块只往后添字，不重造。
import { copyText, el, icon, setWord } from "./dom.js";
import { textNode } from "./inline.js";

const shown = new WeakMap(); // 代码块的元素 → 它的文字

function bodyOf(block) {
  const lines = block.body;
  return !block.isClosed && lines.length && lines.at(-1).text === "" ? lines.slice(0, -1) : lines;
}

export function codeBlock(block) {
  const code = el("code", {}, ...textNodes(bodyOf(block)));
  const copy = el("button", { type: "button", className: "quiet small", on: { click: () => copyText(code.textContent) } }, icon("copy"), el("span", { say: "copy" }));
  const name = el("span", { className: "language" });
  if (block.name) name.textContent = block.name;
  else setWord(name, "code");
  const figure = el("figure", { className: "code" }, el("figcaption", {}, name, copy), el("pre", { tabindex: "0" }, code));
  shown.set(figure, code.textContent);
  return figure;
}

// 各行的原文首尾相接时并成一个文本节点
function textNodes(lines) {
  const found = [];
  for (let i = 0; i < lines.length; ) {
    let text = lines[i].text;
    let end = i + 1;
    while (end < lines.length && lines[end].at === lines[i].at + text.length + 1) {
      text += `\n${lines[end].text}`;
      end += 1;
    }
    found.push(textNode(end < lines.length ? `${text}\n` : text, lines[i].at));
    i = end;
  }
  return found;
}

// 同一个代码块又长了一截：添上；不是这样就返回 false
export function growCode(figure, block) {
  const before = shown.get(figure);
  const lines = bodyOf(block);
  const text = lines.map((line) => line.text).join("\n");
  const code = figure.querySelector?.("code");
  const isPlain = lines.length === 0 || lines.at(-1).at === lines[0].at + text.length - lines.at(-1).text.length;
  if (!before || !code || code.childNodes.length !== 1 || !isPlain || !text.startsWith(before)) return false;
  code.firstChild.appendData(text.slice(before.length));
  shown.set(figure, text);
  return true;
}
