// 一次回答：发出请求，边收边记进树里；停下、断线、服务器忙，都在这里收场。不画页面，只报告进展。
import { streamChat } from "./api.js";
import { reportLoss } from "./connection.js";
import { preferences, samplingBody } from "./preferences.js";
import { save } from "./store.js";
import { add, messages, versions } from "./tree.js";

const SAVE_MS = 2000;
const BUSY_TRIES = 5;

// 正在写的回答；没有则 node 为 null
export const running = { talk: null, node: null, abort: null };

export function stop() {
  running.abort?.abort();
}

// 为 parent 这一问写一个新的回答。report：{ started, grew, waits, finished }，各收到回答的节点
export async function generate(talk, parent, report) {
  const node = add(talk, parent.id, "assistant", "", { model: preferences.model, tokens: [] });
  const sampling = samplingBody(versions(talk, node).index);
  node.seed = sampling.seed;
  node.error = "cut"; // 写完才抹去：写到一半时关了网页，下次打开看得出没有写完
  const history = messages(talk, parent.id);
  const body = { model: node.model, messages: history, stream: true, stream_options: { include_usage: true }, ...sampling };
  Object.assign(running, { talk, node, abort: new AbortController() });
  report.started(node);
  save(talk);
  try {
    await receive(talk, node, body, running.abort.signal, report);
    delete node.error;
  } catch (error) {
    settle(node, error);
  }
  Object.assign(running, { talk: null, node: null, abort: null });
  talk.updated = Date.now();
  save(talk);
  report.finished(node);
  return node;
}

async function receive(talk, node, body, signal, report) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await read(talk, node, body, signal, report);
    } catch (error) {
      if (error.kind !== "busy" || node.content || tries >= BUSY_TRIES) throw error;
      await pause(Math.min(error.retryAfter || 2 ** tries, 60), signal, (seconds) => report.waits(node, seconds));
    }
  }
}

async function read(talk, node, body, signal, report) {
  const decoder = new TextDecoder();
  let startedAt = 0;
  let savedAt = performance.now();
  for await (const events of streamChat(body, signal)) {
    for (const event of events) {
      if (event.text && !startedAt) startedAt = performance.now();
      node.content += event.text;
      for (const token of event.tokens) node.tokens.push(asToken(token, decoder));
      node.finish = event.finish || node.finish;
      if (event.usage) node.count = Number(event.usage.completion_tokens) || 0;
    }
    const now = performance.now();
    node.seconds = startedAt ? (now - startedAt) / 1000 : 0;
    if (now - savedAt > SAVE_MS) {
      savedAt = now;
      save(talk);
    }
    report.grew(node);
  }
  node.count ||= node.tokens.length;
}

// 半个字的 token 没有文字，等下一个 token 凑齐
function asToken(one, decoder) {
  const isBytes = Array.isArray(one.bytes);
  const text = isBytes ? decoder.decode(new Uint8Array(one.bytes), { stream: true }) : String(one.token ?? "");
  const others = Array.isArray(one.top_logprobs) ? one.top_logprobs : [];
  return [text, finite(one.logprob), others.map((other) => [String(other?.token ?? ""), finite(other?.logprob)])];
}

const finite = (value) => (Number.isFinite(value) ? value : -9999);

// 没有写完的，记下缘故
function settle(node, error) {
  node.count ||= node.tokens.length;
  if (error.name === "AbortError") {
    node.finish = "stopped";
    delete node.error;
    return;
  }
  if (!error.kind) throw error;
  node.finish = "";
  node.error = ["cut", "network", "reply"].includes(error.kind) ? error.kind : error.message;
  if (["cut", "network", "key"].includes(error.kind)) reportLoss();
}

function pause(seconds, signal, tick) {
  return new Promise((resolve, reject) => {
    let left = Math.ceil(seconds);
    tick(left);
    const timer = setInterval(() => {
      left -= 1;
      tick(left);
      if (left <= 0) over(resolve);
    }, 1000);
    const stopped = () => over(() => reject(signal.reason));
    const over = (then) => {
      clearInterval(timer);
      signal.removeEventListener("abort", stopped);
      then();
    };
    signal.addEventListener("abort", stopped);
  });
}
