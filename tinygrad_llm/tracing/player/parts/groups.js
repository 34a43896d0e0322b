// 模块树：把属于同一次模块调用的卡片归在一起，收放自如。

const FEW = 48; // 一打开至多展开成这么多张卡片；再多的模块先收着

/**
 * 模块树。同一个模块调用两次就是两组：一组是执行次序里连续的一段，收成一张卡片也不会让图成环。
 *
 * 一组是 {id, path, label, parent, groups, cards, folded}；卡片是值的序号。
 */
function groupTree(doc, links) {
  const root = newGroup("", "", null);
  const home = new Map(); // 值 → 组
  const all = [];
  const stack = [root];
  for (const node of doc.nodes) {
    const parts = node.module ? node.module.split(".") : [];
    let common = 0;
    while (common < parts.length && common + 1 < stack.length && stack[common + 1].part === parts[common]) common++;
    stack.length = common + 1;
    for (let i = common; i < parts.length; i++) {
      const parent = stack[stack.length - 1];
      const group = newGroup(parts.slice(0, i + 1).join("."), parts[i], parent);
      group.id = `${group.path}#${all.length}`;
      parent.groups.push(group);
      stack.push(group);
      all.push(group);
    }
    const group = stack[stack.length - 1];
    for (const id of outputsOf(node)) {
      group.cards.push(id);
      home.set(id, group);
    }
  }
  for (const value of doc.values) {
    const users = links.users.get(value.id);
    if (home.has(value.id) || !users) continue;
    const group = users.map(({ node }) => home.get(node.output)).reduce(commonGroup);
    group.cards.push(value.id);
    home.set(value.id, group);
  }
  simplify(root);
  return root;
}

const newGroup = (path, part, parent) => ({
  id: "",
  path,
  part,
  label: path,
  parent,
  groups: [],
  cards: [],
  folded: false,
});

function depthOf(group) {
  let depth = 0;
  for (let one = group; one.parent; one = one.parent) depth++;
  return depth;
}

function commonGroup(a, b) {
  while (depthOf(a) > depthOf(b)) a = a.parent;
  while (depthOf(b) > depthOf(a)) b = b.parent;
  while (a !== b) [a, b] = [a.parent, b.parent];
  return a;
}

/** 只有一张卡片的组并入上一层；只装着一个组的组与它合成一个。 */
function simplify(group) {
  for (const child of group.groups) simplify(child);
  group.groups = group.groups.flatMap((child) => {
    if (child.groups.length === 0 && child.cards.length < 2) {
      group.cards.push(...child.cards);
      return [];
    }
    return [child];
  });
  if (group.parent && group.cards.length === 0 && group.groups.length === 1) {
    const [only] = group.groups;
    Object.assign(group, { path: only.path, label: only.path, groups: only.groups, cards: only.cards });
    for (const child of group.groups) child.parent = group;
  }
}

function* everyGroup(group) {
  for (const child of group.groups) {
    yield child;
    yield* everyGroup(child);
  }
}

const cardCount = (group) => group.cards.length + group.groups.reduce((sum, child) => sum + cardCount(child), 0);

/** 组里的各张卡片，里面的组也算。 */
function everyCard(group) {
  return [...group.cards, ...group.groups.flatMap(everyCard)];
}

/** 先全部收起，再由外到内逐个展开，直到卡片多过 FEW。 */
function foldToFit(root) {
  for (const group of everyGroup(root)) group.folded = true;
  let shown = root.cards.length + root.groups.length;
  const waiting = [...root.groups];
  while (waiting.length) {
    const group = waiting.shift();
    const more = group.cards.length + group.groups.length - 1;
    if (shown + more > FEW) continue;
    group.folded = false;
    shown += more;
    waiting.push(...group.groups);
  }
}

/** 卡片或组此刻看得见的样子：自己，或把它收在里面的最外一组。 */
function visibleGroup(group) {
  let seen = null;
  for (let one = group; one; one = one.parent) if (one.folded) seen = one;
  return seen;
}
