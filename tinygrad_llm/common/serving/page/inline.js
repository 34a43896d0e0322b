// 一段之内的强调、行内代码与链接。流入：几行 { text, at }；流出：DOM 节点。
const DEPTH = 6;
const TRIES = 64; // 一个记号至多看这么多个可能与它配对的
const ADDRESS = /^https?:\/\/[^\s<>"'`\u3000-\u303f\uff00-\uffef]+/i;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}_]/u;

// 文本节点从原文的第几个字来
const origins = new WeakMap();

export const originOf = (node) => origins.get(node);

export function textNode(text, at) {
  const node = document.createTextNode(text);
  origins.set(node, at);
  return node;
}

export function inline(lines) {
  const text = lines.map((line) => line.text).join("\n");
  const starts = []; // 各行在 text 里的起点
  let length = 0;
  for (const line of lines) {
    starts.push({ from: length, at: line.at });
    length += line.text.length + 1;
  }
  return parse({ text, starts, absent: new Set() }, 0, text.length, 0);
}

// 写下 text[from, to)，按行分成几个文本节点，各记自己的来历
function emit(found, slice, from, to) {
  let start = from;
  for (let i = 0; i < slice.starts.length && start < to; i += 1) {
    const line = slice.starts[i];
    const end = Math.min(to, slice.starts[i + 1]?.from ?? Infinity);
    if (end <= start) continue;
    found.push(textNode(slice.text.slice(start, end), line.at + start - line.from));
    start = end;
  }
}

function parse(slice, from, to, depth) {
  const found = [];
  let plain = from;
  let i = from;
  while (i < to) {
    const match = depth < DEPTH ? matchAt(slice, i, to, depth) : null;
    if (match) {
      emit(found, slice, plain, match.start ?? i);
      if (match.node) found.push(match.node);
      i = plain = match.end;
      if (match.start !== undefined && !match.node) plain = match.start + match.skip;
    } else {
      i += 1;
    }
  }
  emit(found, slice, plain, to);
  return found;
}

// 从第 i 个字起有没有一样东西：{ node, end }；没有则为 null
function matchAt(slice, i, to, depth) {
  const { text } = slice;
  switch (text[i]) {
    case "\\":
      return i + 1 < to && PUNCTUATION.test(text[i + 1]) ? { start: i, skip: 1, end: i + 2 } : null;
    case "`":
      return codeAt(slice, i, to);
    case "*":
    case "_":
      return emphasisAt(slice, i, to, depth);
    case "[":
      return linkAt(slice, i, to, depth);
    case "!":
      return text[i + 1] === "[" ? imageAt(slice, i, to, depth) : null;
    case "h":
    case "H":
      return addressAt(slice, i, to);
    default:
      return null;
  }
}

// 找 mark；找不到就记住，同一段里不再找（否则一长串没有配对的星号要找上平方次）
function find(slice, mark, from, to) {
  if (slice.absent.has(mark)) return -1;
  const at = slice.text.indexOf(mark, from);
  if (at < 0) slice.absent.add(mark);
  return at >= 0 && at + mark.length <= to ? at : -1;
}

// 逐个添：几十万个孩子展开成参数，调用栈装不下
export function wrap(tag, children) {
  const node = document.createElement(tag);
  for (const child of children) node.append(child);
  return node;
}

function codeAt(slice, i, to) {
  const { text } = slice;
  let size = 1;
  while (text[i + size] === "`") size += 1;
  const mark = "`".repeat(size);
  for (let at = find(slice, mark, i + size, to); at >= 0; at = find(slice, mark, at, to)) {
    let end = at;
    while (text[end] === "`") end += 1;
    if (end - at === size) return codeBetween(slice, i + size, at, end);
    at = end;
  }
  return { start: i, skip: 0, end: i + size };
}

function codeBetween(slice, from, to, end) {
  const inside = slice.text.slice(from, to);
  const isPadded = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim();
  const found = [];
  emit(found, slice, from + Boolean(isPadded), to - Boolean(isPadded));
  return { node: wrap("code", found), end };
}

const EMPHASIS = { 1: ["em"], 2: ["strong"], 3: ["strong", "em"] };

function emphasisAt(slice, i, to, depth) {
  const { text } = slice;
  let inner = i + 1;
  while (text[inner] === text[i]) inner += 1;
  const mark = text.slice(i, inner);
  const tags = EMPHASIS[mark.length];
  const isOpener = tags && inner < to && /\S/.test(text[inner]) && !(mark[0] === "_" && i > 0 && WORD.test(text[i - 1]));
  let at = isOpener ? find(slice, mark, inner, to) : -1;
  for (let tries = 0; at >= 0 && tries < TRIES; tries += 1) {
    if (closes(text, mark, at, inner)) {
      const node = tags.reduceRight((inside, tag) => [wrap(tag, inside)], parse(slice, inner, at, depth + 1))[0];
      return { node, end: at + mark.length };
    }
    at = find(slice, mark, at + 1, to);
  }
  return { start: i, skip: 0, end: Math.min(inner, to) };
}

// 恰好这么多个记号，前面不是空白；下划线的后面还不能是字母
function closes(text, mark, at, inner) {
  if (at <= inner || !/\S/.test(text[at - 1]) || text[at - 1] === mark[0]) return false;
  const after = text[at + mark.length] ?? "";
  return after !== mark[0] && (mark[0] === "*" || !WORD.test(after));
}

// [文字](地址)；地址不是 http(s) 的，原样写出来
function linkAt(slice, i, to, depth) {
  const parts = slice.isLink ? null : linkParts(slice, i, to);
  const url = parts && safe(parts.url);
  if (!url) return null;
  return { node: anchor(url, parse({ ...slice, isLink: true }, i + 1, parts.middle, depth + 1)), end: parts.end };
}

function linkParts(slice, i, to) {
  const middle = find(slice, "](", i + 1, Math.min(to, i + 1000));
  if (middle < 0 || slice.text.slice(i + 1, middle).includes("[")) return null;
  const end = find(slice, ")", middle + 2, Math.min(to, middle + 2100));
  if (end < 0) return null;
  return { middle, end: end + 1, url: slice.text.slice(middle + 2, end).trim().split(/\s/)[0] };
}

// 图片从不去取：只留下它的说明
function imageAt(slice, i, to, depth) {
  const parts = linkParts(slice, i + 1, to);
  if (!parts) return null;
  return { node: wrap("em", parse(slice, i + 2, parts.middle, depth + 1)), end: parts.end };
}

function addressAt(slice, i, to) {
  if (slice.isLink || (i > 0 && /[\w]/.test(slice.text[i - 1]))) return null;
  const found = ADDRESS.exec(slice.text.slice(i, Math.min(to, i + 2000)));
  if (!found) return null;
  const address = found[0].replace(/[.,;:!?)\]}*_]+$/, "");
  const url = safe(address);
  if (!url) return null;
  const children = [];
  emit(children, slice, i, i + address.length);
  return { node: anchor(url, children), end: i + address.length };
}

function safe(address) {
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : "";
  } catch {
    return "";
  }
}

function anchor(url, children) {
  const node = wrap("a", children);
  Object.assign(node, { href: url, target: "_blank", rel: "noopener noreferrer nofollow", title: url });
  return node;
}
