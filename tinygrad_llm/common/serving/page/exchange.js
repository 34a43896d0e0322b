// 导出与导入：每份对话一行 JSON。messages 是正看着的那条路，命令行的 chat --load 也读得懂；nodes 是整棵树。
import { add, fromPlain, messages, newConversation, titleOf, toPlain } from "./tree.js";

const MAX_BYTES = 50 * 2 ** 20;

export function exported(talks) {
  return talks.map((talk) => `${JSON.stringify({ messages: messages(talk), ...toPlain(talk) })}\n`).join("");
}

export function fileName(talk) {
  const day = new Date(talk.updated).toISOString().slice(0, 10);
  const title = titleOf(talk).replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40);
  return `${title || "chat"}-${day}.json`;
}

export function download(name, text) {
  const link = document.createElement("a");
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// 文件里的对话；读不懂时抛出词条的名字
export async function readFile(file) {
  if (file.size > MAX_BYTES) throw new Error("importTooBig");
  const records = parse(await file.text());
  if (!records.length) throw new Error("importEmpty");
  const talks = records.map((one) => fromPlain(one) ?? fromMessages(one));
  if (talks.includes(null)) throw new Error("importShape");
  const filled = talks.filter((talk) => talk.first.length);
  if (!filled.length) throw new Error("importEmpty");
  return filled;
}

function parse(text) {
  try {
    const whole = JSON.parse(text);
    return Array.isArray(whole) ? whole : [whole];
  } catch {
    // 也许一行一个
  }
  try {
    return text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
  } catch {
    throw new Error("importNotJson");
  }
}

// {"messages": [{"role", "content"}, …]}：命令行的 /save 与常见的对话数据
function fromMessages(record) {
  if (!Array.isArray(record?.messages)) return null;
  const talk = newConversation();
  let parent = "";
  for (const one of record.messages) {
    if (typeof one?.content !== "string") return null;
    if (one.role === "system" && !parent) talk.system = one.content;
    else if (one.role === "user" || one.role === "assistant") parent = add(talk, parent, one.role, one.content).id;
    else return null;
  }
  return talk;
}
