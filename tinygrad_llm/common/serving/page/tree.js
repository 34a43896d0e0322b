// 一份对话是一棵树：改一句话、重新回答一次，都是添一根枝，原来的还在。这里只有数据，不碰页面。
//
// 对话：{ id, title, created, updated, system, nodes: Map, first: [id], chosen: id }
// 节点：{ id, parent, role, content, created, children: [id], chosen: id, ... }；chosen 是孩子里正看着的那一个。
// 回答的节点另有：model、seed、finish、error、usage、seconds、tokens（[文字, 对数概率, [[文字, 对数概率]…]]）。

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(16).padStart(2, "0")).join("");

export function newConversation(system = "") {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, system, nodes: new Map(), first: [], chosen: "" };
}

const holder = (talk, parent) => (parent ? talk.nodes.get(parent) : talk);
const childrenOf = (talk, parent) => (parent ? talk.nodes.get(parent).children : talk.first);

// 添一个节点，并看着它
export function add(talk, parent, role, content, more = {}) {
  const node = { id: newId(), parent, role, content, created: Date.now(), children: [], chosen: "", ...more };
  talk.nodes.set(node.id, node);
  childrenOf(talk, parent).push(node.id);
  holder(talk, parent).chosen = node.id;
  return node;
}

// 正看着的一条路，由早到晚
export function path(talk) {
  const found = [];
  for (let id = talk.chosen; id; id = found.at(-1).chosen) found.push(talk.nodes.get(id));
  return found;
}

// 到某个节点为止（含它）的一条路
export function pathTo(talk, id) {
  const found = [];
  for (let node = talk.nodes.get(id); node; node = talk.nodes.get(node.parent)) found.unshift(node);
  return found;
}

export function versions(talk, node) {
  const siblings = childrenOf(talk, node.parent);
  return { index: siblings.indexOf(node.id), count: siblings.length };
}

// 换到同一处的另一个版本；它下面仍是上次看着的那条路
export function turn(talk, node, step) {
  const siblings = childrenOf(talk, node.parent);
  const next = siblings[siblings.indexOf(node.id) + step];
  if (next === undefined) return false;
  holder(talk, node.parent).chosen = next;
  return true;
}

export function drop(talk, node) {
  const siblings = childrenOf(talk, node.parent);
  siblings.splice(siblings.indexOf(node.id), 1);
  if (holder(talk, node.parent).chosen === node.id) holder(talk, node.parent).chosen = siblings.at(-1) ?? "";
  talk.nodes.delete(node.id);
}

// 发给服务器的话；没有得到回答的一问（出错、刚停下）略去
export function messages(talk, upTo) {
  const found = talk.system.trim() ? [{ role: "system", content: talk.system }] : [];
  const nodes = upTo ? pathTo(talk, upTo) : path(talk);
  nodes.forEach((node, i) => {
    const next = nodes[i + 1];
    const unanswered = node.role === "user" && next && (next.role === "user" || !next.content.trim());
    if (node.content.trim() && !unanswered) found.push({ role: node.role, content: node.content });
  });
  return found;
}

export function titleOf(talk) {
  if (talk.title) return talk.title;
  const first = talk.nodes.get(talk.first[0]);
  const line = (first?.content ?? "").trim().split("\n")[0];
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

// ---- 存与取：写出去的是普通的 JSON；读进来的一概不信，逐样核对，id 全部重新起 ----

export function toPlain(talk) {
  const { nodes, ...rest } = talk;
  return { kind: "zero-one-llm.conversation", version: 1, ...rest, nodes: [...nodes.values()] };
}

const text = (value, limit = 2_000_000) => (typeof value === "string" ? value.slice(0, limit) : "");
const time = (value) => (Number.isFinite(value) && value > 0 ? value : Date.now());
const finite = (value) => (Number.isFinite(value) ? value : undefined);

// 不是一棵好树就返回 null
export function fromPlain(plain) {
  if (plain?.kind !== "zero-one-llm.conversation" || !Array.isArray(plain.nodes)) return null;
  const talk = { ...newConversation(text(plain.system)), title: text(plain.title, 200), created: time(plain.created), updated: time(plain.updated) };
  const renamed = new Map();
  for (const one of plain.nodes) {
    const isRole = one?.role === "user" || one?.role === "assistant";
    const isPlaced = one?.parent === "" || renamed.has(one?.parent);
    if (!isRole || !isPlaced || typeof one.id !== "string" || typeof one.content !== "string" || renamed.has(one.id)) return null;
    const node = add(talk, one.parent === "" ? "" : renamed.get(one.parent), one.role, text(one.content), extras(one));
    renamed.set(one.id, node.id);
  }
  choose(talk, plain.chosen, renamed);
  for (const one of plain.nodes) choose(talk.nodes.get(renamed.get(one.id)), one.chosen, renamed, talk);
  return talk;
}

function choose(from, wanted, renamed) {
  const id = renamed.get(wanted);
  if ((from.first ?? from.children).includes(id)) from.chosen = id;
}

function extras(one) {
  const found = { created: time(one.created) };
  for (const name of ["model", "finish", "error"]) if (one[name]) found[name] = text(one[name], 600);
  for (const name of ["seed", "seconds", "count"]) if (finite(one[name]) !== undefined) found[name] = one[name];
  const tokens = Array.isArray(one.tokens) ? one.tokens.filter(isToken) : [];
  if (tokens.length && tokens.length === one.tokens.length) found.tokens = tokens;
  return found;
}

const isPair = (one) => Array.isArray(one) && typeof one[0] === "string" && Number.isFinite(one[1]);
const isToken = (one) => isPair(one) && Array.isArray(one[2]) && one[2].every(isPair);
