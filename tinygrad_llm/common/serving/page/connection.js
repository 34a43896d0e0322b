// 服务器在不在：隔一会儿问一次 /health；断了就一次比一次隔得久地再问，回来时重新取模型的名单。
import { getJson } from "./api.js";

const CALM_MS = 15_000;
const WAITS_S = [1, 2, 4, 8, 8, 15];
const PATIENCE_MS = 8000;

// state：connecting、ready、lost、key
export const connection = { state: "connecting", models: [], wait: 0 };

const listeners = [];
let timer = 0;
let failures = 0;
let asking = null;

export function onConnection(listener) {
  listeners.push(listener);
}

function change(state, wait = 0) {
  const before = connection.state;
  Object.assign(connection, { state, wait });
  for (const listener of listeners) listener(before);
}

// 现在就问一次；正在问就等那一次
export function check() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

async function ask() {
  clearTimeout(timer);
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    await getJson("health", signal);
    if (connection.state !== "ready") connection.models = readModels(await getJson("v1/models", signal));
    failures = 0;
    change("ready");
    timer = setTimeout(check, CALM_MS);
  } catch (error) {
    if (error.kind === "key") {
      change("key");
      timer = setTimeout(check, CALM_MS);
    } else {
      count(WAITS_S[Math.min(failures, WAITS_S.length - 1)]);
      failures += 1;
    }
  }
}

// 倒数，数到零再问
function count(seconds) {
  change("lost", seconds);
  timer = setTimeout(() => (seconds > 1 ? count(seconds - 1) : check()), 1000);
}

// 一次请求刚发现断了：不等下一次
export function reportLoss() {
  if (connection.state !== "ready") return;
  change("connecting");
  check();
}

// 密钥换了：名单要重新取
export function keyChanged() {
  change("connecting");
  return check();
}

function readModels(reply) {
  const found = Array.isArray(reply?.data) ? reply.data : [];
  return found
    .filter((one) => typeof one?.id === "string")
    .map((one) => ({
      id: one.id,
      context: whole(one.context_length ?? one.context),
      parameters: whole(one.parameters),
      engine: typeof one.engine === "string" ? one.engine : "",
    }));
}

const whole = (value) => (Number.isSafeInteger(value) && value > 0 ? value : 0);

window.addEventListener("online", check);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) check();
});
