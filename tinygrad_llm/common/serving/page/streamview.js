// 一边生成一边画：已经定下来的块不再碰，每次只重画末尾还会变的那一块。
import { growCode } from "./codeblock.js";
import { blocksOf, draw, linesOf } from "./markdown.js";

// 一块要等起头的一行（表格是两行）写完整了，前面的那块才算定下来
function isDecided(block, lastLine) {
  return (block.kind === "table" ? block.lines[1] : block.lines[0]) !== lastLine;
}

export class StreamView {
  constructor(root) {
    this.root = root;
    this.firm = 0; // 已经定下来的元素有几个
    this.tail = 0; // 原文从第几个字起还会变
    this.last = null; // 末尾那一块：{ kind, at }
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
    this.last = rest.length === 1 ? { kind: rest[0].kind, at: rest[0].lines[0].at } : null;
    const end = isOver ? this.root.children.length : this.firm;
    return [...this.root.children].slice(before, end);
  }

  // 末尾仍是同一个代码块：只添字
  grown(blocks) {
    const { last } = this;
    if (blocks.length !== 1 || last?.kind !== "code" || blocks[0].kind !== "code" || blocks[0].lines[0].at !== last.at) return false;
    return growCode(this.root.lastElementChild, blocks[0]);
  }

  redraw(blocks) {
    while (this.root.children.length > this.firm) this.root.lastElementChild.remove();
    this.root.append(...blocks.map((block) => draw(block)));
  }
}
