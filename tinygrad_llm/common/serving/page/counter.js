// 输入框上方的细条：对话加上正写的这一句，占了模型的上下文多少。数由服务器用同一个分词器来数。
import { postJson } from "./api.js";
import { byId } from "./dom.js";
import { running } from "./generation.js";
import { chosenModel } from "./settings.js";
import { messages } from "./tree.js";
import { number, say } from "./words.js";

const WAIT_MS = 350;

let timer = 0;
let asking = null;
let seen = { used: 0, context: 0 };

export function countSoon(talk) {
  clearTimeout(timer);
  timer = setTimeout(() => count(talk), WAIT_MS);
}

async function count(talk) {
  const model = chosenModel();
  if (!model || running.node) return;
  const draft = byId("message").value;
  const all = messages(talk);
  // 服务器只数以 user 结尾的对话：还没有写下一问时，用一个字占着位置
  if (all.at(-1)?.role === "assistant") all.push({ role: "user", content: draft.trim() ? draft : "." });
  else if (draft.trim()) all.push({ role: "user", content: draft });
  asking?.abort();
  asking = new AbortController();
  const hasTurns = all.some((one) => one.role !== "system");
  const body = hasTurns ? { messages: all } : { text: all[0]?.content ?? "" };
  try {
    const reply = await postJson("v1/tokenize", { model: model.id, ...body }, asking.signal);
    seen = { used: Number(reply?.count) || 0, context: model.context };
    showCount();
  } catch {
    byId("counter").hidden = true; // 没有这个地址，或正忙：不数
  }
}

export function showCount() {
  const { used, context } = seen;
  byId("counter").hidden = !used;
  byId("counter-text").textContent = say(context ? "counter" : "counterOpen", { used: number(used), context: number(context) });
  byId("counter-full").hidden = !context || used < context;
  const bar = byId("counter-bar");
  Object.assign(bar, { max: context || 1, value: Math.min(used, context) });
  bar.dataset.level = !context ? "none" : used >= context ? "full" : used > 0.85 * context ? "high" : "calm";
}
