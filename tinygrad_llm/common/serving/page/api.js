// 与服务器说话：JSON 的请求，与一边生成一边到的回答。地址都相对于网页，放在反向代理的子路径下也通。
import { readKey } from "./preferences.js";

// kind：network（连不上）、cut（说到一半断了）、key（要密钥）、busy（过会儿再来）、refused（请求不对）、server（服务器出错）、reply（看不懂）
export class ApiError extends Error {
  constructor(kind, message, { status = 0, retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { kind, status, retryAfter });
  }
}

function headers(body) {
  const found = body ? { "Content-Type": "application/json" } : {};
  const key = readKey().trim();
  if (key && !/^[\x21-\x7e]+$/.test(key)) throw new ApiError("key", "the API key holds characters that no key has");
  if (key) found.Authorization = `Bearer ${key}`;
  return found;
}

async function request(path, body, signal) {
  let response;
  const asked = { method: body ? "POST" : "GET", headers: headers(body), signal, cache: "no-store" };
  if (body) asked.body = JSON.stringify(body);
  try {
    response = await fetch(path, asked);
  } catch (error) {
    if (error.name === "AbortError" || error.name === "TimeoutError") throw error;
    throw new ApiError("network", "the server cannot be reached");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const { status } = response;
  const found = await response.json().catch(() => null);
  const message = typeof found?.error?.message === "string" ? found.error.message : `HTTP ${status}`;
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  const kind = status === 401 ? "key" : status === 429 || status === 503 ? "busy" : status < 500 ? "refused" : "server";
  return new ApiError(kind, message.slice(0, 600), { status, retryAfter });
}

export async function getJson(path, signal) {
  return asJson(await request(path, null, signal));
}

export async function postJson(path, body, signal) {
  return asJson(await request(path, body, signal));
}

async function asJson(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError("reply", "the reply is not JSON");
  }
}

// 一边生成一边给出的回答；每次给出已经到的几个事件，一次网络读取一批
export async function* streamChat(body, signal) {
  const response = await request("v1/chat/completions", body, signal);
  if (!response.body) throw new ApiError("reply", "the reply is empty");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await piece(reader);
    const lines = (rest + (value ?? "")).split(/\r\n|\n|\r(?!$)/);
    rest = done ? "" : lines.pop();
    const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
    const isOver = data.includes("[DONE]");
    const events = data.filter((text) => text && text !== "[DONE]").map(parsed);
    if (events.length) yield events;
    if (isOver) return;
    if (done) throw new ApiError("cut", "the stream ended too early");
  }
}

async function piece(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("cut", "the connection broke");
  }
}

function parsed(text) {
  let event = null;
  try {
    event = JSON.parse(text);
  } catch {
    throw new ApiError("reply", "a piece of the stream is not JSON");
  }
  if (event?.error) throw new ApiError("server", String(event.error.message ?? "the server failed").slice(0, 600));
  const choice = event?.choices?.[0] ?? {};
  return {
    text: typeof choice.delta?.content === "string" ? choice.delta.content : "",
    tokens: Array.isArray(choice.logprobs?.content) ? choice.logprobs.content : [],
    finish: typeof choice.finish_reason === "string" ? choice.finish_reason : "",
    usage: event?.usage && typeof event.usage === "object" ? event.usage : null,
  };
}
