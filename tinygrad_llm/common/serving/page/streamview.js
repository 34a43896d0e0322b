// 一边生成一边画：已经定下来的块不再碰，每次只重画末尾还会变的那一块；长的列表、表格与代码也只碰末尾。
import { growCode } from "./codeblock.js";
import { blocksOf, draw, linesOf, PARTS } from "./markdown.js";

// 一块要等起头的一行（表格是两行）写完整了，前面的那块才算定下来
function isDecided(block, lastLine) {
  return (block.kind === "table" ? block.lines[1] : block.lines[0]) !== lastLine;
}

export class StreamView {
  constructor(root) {
    this.root = root;
    this.firm = 0; // 已经定下来的元素有几个
    this.tail = 0; // 原文从第几个字起还会变
    this.last = null; // 末尾那一块：{ kind, at, count }；count 是画着的几项或几行
  }

  // source：到现在为止的全文；isOver：不会再变了。返回这一次定下来的元素
  update(source, isOver = false) {
    const lines = linesOf(source, this.tail);
    const blocks = blocksOf(lines);
    const before = this.firm;
    let settled = 0;
    while (settled + 1 < blocks.length && isDecided(blocks[settled + 1], lines.at(-1))) settled += 1;
    if (!this.grown(blocks)) this.redraw(blocks);
    if (settled) {
      this.firm += settled;
      this.tail = blocks[settled].lines[0].at;
    }
    const rest = blocks.slice(settled);
    this.last = rest.length === 1 ? { kind: rest[0].kind, at: rest[0].lines[0].at, count: PARTS[rest[0].kind]?.count(rest[0]) ?? 0 } : null;
    const end = isOver ? this.root.children.length : this.firm;
    return [...this.root.children].slice(before, end);
  }

  // 末尾仍是同一个代码块、列表或表格：只添新的
  grown(blocks) {
    const { last } = this;
    const [block] = blocks;
    if (blocks.length !== 1 || block.kind !== last?.kind || block.lines[0].at !== last.at) return false;
    if (block.kind === "code") return growCode(this.root.lastElementChild, block);
    return block.kind in PARTS && this.grownParts(block, PARTS[block.kind]);
  }

  // 末尾两项还会变：写到一半的一行可能并回前一项
  grownParts(block, { count, draw: drawFrom, into }) {
    const kept = Math.min(this.last.count, count(block)) - 2;
    if (kept <= 0) return false;
    const holder = into(this.root.lastElementChild);
    while (holder.children.length > kept) holder.lastElementChild.remove();
    for (const node of drawFrom(block, kept)) holder.append(node);
    return true;
  }

  redraw(blocks) {
    while (this.root.children.length > this.firm) this.root.lastElementChild.remove();
    for (const block of blocks) this.root.append(draw(block));
  }
}
