// markdown 的一个安全子集，直接造成 DOM：标题、段落、强调、行内代码、代码块、列表、引用、表格、链接。
// 文字只经 createTextNode 写入；HTML 标签就是几个普通的字，图片只留下文字，链接只认 http 与 https。
//
// 一行记作 { text, at }：at 是它在原文里从第几个字起；每个文本节点都记得自己从原文的哪里来（originOf），
// 于是指着页面上的一个字，就找得到写出它的 token。
import { inline, wrap } from "./inline.js";
import { codeBlock } from "./codeblock.js";

const DEPTH = 8;
const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+|$)/;

const isBlank = (line) => line.text.trim() === "";
const cut = (line, count) => ({ text: line.text.slice(count), at: line.at + count });

export function linesOf(source, from = 0) {
  const found = [];
  let at = from;
  for (const text of source.slice(from).split("\n")) {
    found.push({ text: text.endsWith("\r") ? text.slice(0, -1) : text, at });
    at += text.length + 1;
  }
  return found;
}

// 顶层的各块：{ kind, lines, ... }；每块都从自己的第一行起
export function blocksOf(lines, depth = 0) {
  const found = [];
  for (let i = 0; i < lines.length; ) {
    if (isBlank(lines[i])) {
      i += 1;
      continue;
    }
    const block = blockAt(lines, i, depth);
    found.push(block);
    i += block.lines.length;
  }
  return found;
}

function blockAt(lines, i, depth) {
  const { text } = lines[i];
  const fence = FENCE.exec(text);
  if (fence) return fenced(lines, i, fence);
  const heading = HEADING.exec(text);
  if (heading) return { kind: "heading", lines: [lines[i]], level: heading[1].length, start: text.indexOf(heading[1]) + heading[1].length, title: heading[2] };
  if (RULE.test(text)) return { kind: "rule", lines: [lines[i]] };
  if (depth < DEPTH && QUOTE.test(text)) return { kind: "quote", lines: run(lines, i, (line) => QUOTE.test(line.text)) };
  if (depth < DEPTH && ITEM.test(text)) return list(lines, i);
  if (isTable(lines, i)) return { kind: "table", lines: [lines[i], ...run(lines, i + 1, (line) => line.text.includes("|"))] };
  return paragraph(lines, i, depth);
}

function run(lines, i, belongs) {
  let end = i + 1;
  while (end < lines.length && belongs(lines[end])) end += 1;
  return lines.slice(i, end);
}

function fenced(lines, i, [, indent, mark, info]) {
  const closes = (line) => {
    const bare = line.text.trim();
    return bare.length >= mark.length && bare === mark[0].repeat(bare.length);
  };
  let end = i + 1;
  while (end < lines.length && !closes(lines[end])) end += 1;
  const body = lines.slice(i + 1, end).map((line) => cut(line, Math.min(indent.length, /^ */.exec(line.text)[0].length)));
  const name = info.trim().split(/\s+/)[0].slice(0, 30);
  return { kind: "code", lines: lines.slice(i, end + 1), body, name, isClosed: end < lines.length };
}

function paragraph(lines, i, depth) {
  let end = i + 1;
  while (end < lines.length && !isBlank(lines[end]) && !interrupts(lines, end, depth)) end += 1;
  return { kind: "paragraph", lines: lines.slice(i, end) };
}

// 不空行也能打断一段的：有序列表须从 1 开始，免得把「1998. 那一年」一类的折行当成列表
function interrupts(lines, i, depth) {
  const { text } = lines[i];
  if (FENCE.test(text) || HEADING.test(text) || RULE.test(text) || isTable(lines, i)) return true;
  if (depth >= DEPTH) return false;
  const item = ITEM.exec(text);
  return QUOTE.test(text) || Boolean(item && item[3] && (!/\d/.test(item[2]) || item[2].length === 2));
}

function list(lines, i) {
  const first = ITEM.exec(lines[i].text);
  const isOrdered = /\d/.test(first[2]);
  const same = (found) => found && (isOrdered ? /\d/.test(found[2]) : found[2] === first[2]);
  const items = [];
  let end = i;
  while (end < lines.length) {
    const found = ITEM.exec(lines[end].text);
    if (!same(found) || RULE.test(lines[end].text)) break;
    const width = found[0].length > found[1].length + found[2].length ? Math.min(found[0].length, found[1].length + found[2].length + 4) : found[0].length + 1;
    const next = itemEnd(lines, end, width);
    const body = [cut(lines[end], Math.min(width, lines[end].text.length))];
    for (const line of lines.slice(end + 1, next)) body.push(cut(line, Math.min(width, /^ */.exec(line.text)[0].length)));
    items.push(body);
    end = next;
    const after = skipBlank(lines, end);
    if (after < lines.length && same(ITEM.exec(lines[after].text))) end = after;
  }
  const number = isOrdered ? Number.parseInt(first[2], 10) : 1;
  return { kind: "list", lines: lines.slice(i, end), items, isOrdered, number };
}

// 一项到哪里为止：缩进够的行，中间可以空行；紧接着的、没有缩进的普通一行也算
function itemEnd(lines, i, width) {
  let end = i + 1;
  while (end < lines.length) {
    const line = lines[end];
    if (isBlank(line)) {
      const after = skipBlank(lines, end);
      if (after >= lines.length || indentOf(lines[after]) < Math.min(width, 2)) return end;
      end = after;
    } else if (indentOf(line) < Math.min(width, 2) && interruptsItem(lines, end)) {
      return end;
    } else {
      end += 1;
    }
  }
  return end;
}

const interruptsItem = (lines, i) => ITEM.test(lines[i].text) || interrupts(lines, i, 0);
const indentOf = (line) => /^ */.exec(line.text)[0].length;

function skipBlank(lines, i) {
  let at = i;
  while (at < lines.length && isBlank(lines[at])) at += 1;
  return at;
}

const cellsOf = (text) => text.trim().replace(/^\|/, "").replace(/\|$/, "").split("|");

function isTable(lines, i) {
  if (!lines[i].text.includes("|") || i + 1 >= lines.length || !lines[i + 1].text.includes("-")) return false;
  const marks = cellsOf(lines[i + 1].text);
  return marks.length === cellsOf(lines[i].text).length && marks.every((cell) => /^:?-+:?$/.test(cell.trim()));
}

// ---- 画 ----

export function draw(block, depth = 0) {
  return DRAWERS[block.kind](block, depth);
}

function drawAll(lines, depth) {
  return blocksOf(lines, depth).map((block) => draw(block, depth));
}

const DRAWERS = {
  heading: (block) => {
    const line = block.lines[0];
    const at = line.text.indexOf(block.title, block.start);
    return wrap(`h${Math.min(6, block.level + 2)}`, inline([{ text: block.title, at: line.at + at }]));
  },
  rule: () => wrap("hr", []),
  paragraph: (block) => wrap("p", inline(block.lines.map(trimmed))),
  code: (block) => codeBlock(block),
  quote: (block, depth) => wrap("blockquote", drawAll(block.lines.map((line) => cut(line, QUOTE.exec(line.text)[0].length)), depth + 1)),
  list: (block, depth) => {
    const node = wrap(block.isOrdered ? "ol" : "ul", drawItems(block, 0, depth));
    if (block.isOrdered && block.number !== 1) node.start = block.number;
    return node;
  },
  table: (block) => drawTable(block),
};

// 列表从第几项起的各项
const drawItems = (block, from, depth = 0) => block.items.slice(from).map((body) => wrap("li", tight(drawAll(body, depth + 1))));

// 只有一段的一项，不要段落的上下空白
function tight(nodes) {
  return nodes[0]?.tagName === "P" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes;
}

function trimmed(line, i, all) {
  const start = line.text.length - line.text.trimStart().length;
  const text = i === all.length - 1 ? line.text.trim() : line.text.trimStart();
  return { text, at: line.at + start };
}

function drawRow(block, line, tag) {
  const aligns = cellsOf(block.lines[1].text).map((cell) => {
    const bare = cell.trim();
    return bare.endsWith(":") ? (bare.startsWith(":") ? "center" : "right") : "";
  });
  return wrap("tr", aligns.map((align, i) => drawCell(line, i, tag, align)));
}

// 表格从第几行起的各行，不算表头
const drawRows = (block, from) => block.lines.slice(2 + from).map((line) => drawRow(block, line, "td"));

// 还会长的列表与表格有几份，从第几份起重画，添在哪里
export const PARTS = {
  list: { count: (block) => block.items.length, draw: drawItems, into: (node) => node },
  table: { count: (block) => block.lines.length - 2, draw: drawRows, into: (node) => node.querySelector("tbody") },
};

function drawTable(block) {
  const head = wrap("thead", [drawRow(block, block.lines[0], "th")]);
  const body = wrap("tbody", drawRows(block, 0));
  const scroll = wrap("div", [wrap("table", [head, body])]);
  scroll.className = "table";
  scroll.tabIndex = 0;
  return scroll;
}

function drawCell(line, index, tag, align) {
  const cells = cellsOf(line.text);
  let at = line.text.length - line.text.trimStart().length;
  if (line.text.trimStart().startsWith("|")) at += 1;
  for (const cell of cells.slice(0, index)) at += cell.length + 1;
  const text = cells[index] ?? "";
  const start = at + text.length - text.trimStart().length;
  const node = wrap(tag, inline([{ text: text.trim(), at: line.at + start }]));
  if (align) node.className = align;
  if (tag === "th") node.scope = "col";
  return node;
}
