// 偏好：语言、明暗、模型与采样的各个旋钮。存在 localStorage 里；读出来的值逐个核对，不对的用缺省值。
const WHERE = "zero-one-llm.preferences";
const KEY = "zero-one-llm.key";

// off：等于它就不发给服务器。max_tokens 的 0 表示不限。
export const FIELDS = [
  { name: "temperature", min: 0, max: 2, step: 0.05, initial: 0.7 },
  { name: "max_tokens", min: 0, max: 1_000_000, step: 1, initial: 0, off: 0 },
  { name: "top_p", min: 0.01, max: 1, step: 0.01, initial: 1, off: 1 },
  { name: "top_k", min: 0, max: 200, step: 1, initial: 0, off: 0 },
  { name: "min_p", min: 0, max: 1, step: 0.01, initial: 0, off: 0, more: true },
  { name: "repetition_penalty", min: 0.5, max: 2, step: 0.01, initial: 1, off: 1, more: true },
  { name: "presence_penalty", min: -2, max: 2, step: 0.05, initial: 0, off: 0, more: true },
  { name: "frequency_penalty", min: -2, max: 2, step: 0.05, initial: 0, off: 0, more: true },
];
export const MAX_SEED = 2 ** 31 - 1;

const isText = (value) => typeof value === "string" && value.length <= 20_000;
const OTHERS = {
  language: { initial: "", accepts: (v) => ["", "en", "zh"].includes(v) },
  theme: { initial: "auto", accepts: (v) => ["auto", "light", "dark"].includes(v) },
  model: { initial: "", accepts: isText },
  seed: { initial: "", accepts: (v) => v === "" || (/^\d{1,10}$/.test(v) && Number(v) <= MAX_SEED) },
  stop: { initial: "", accepts: isText },
  format: { initial: "text", accepts: (v) => ["text", "json_object"].includes(v) },
  probabilities: { initial: true, accepts: (v) => typeof v === "boolean" },
  open: { initial: "", accepts: isText },
};

export function accepts(name, value) {
  const field = FIELDS.find((one) => one.name === name);
  if (!field) return OTHERS[name].accepts(value);
  return typeof value === "number" && value >= field.min && value <= field.max;
}

const initials = () => ({
  ...Object.fromEntries(FIELDS.map((field) => [field.name, field.initial])),
  ...Object.fromEntries(Object.entries(OTHERS).map(([name, one]) => [name, one.initial])),
});

function load() {
  const found = initials();
  let saved = null;
  try {
    saved = JSON.parse(localStorage.getItem(WHERE));
  } catch {
    return found; // 存坏了
  }
  if (!saved || typeof saved !== "object") return found;
  for (const name of Object.keys(found)) {
    if (Object.hasOwn(saved, name) && accepts(name, saved[name])) found[name] = saved[name];
  }
  return found;
}

export const preferences = load();

export function prefer(name, value) {
  if (!accepts(name, value)) return false;
  preferences[name] = value;
  try {
    localStorage.setItem(WHERE, JSON.stringify(preferences));
  } catch {
    // 存不下：这一次仍然有效
  }
  return true;
}

export function resetSampling() {
  const first = initials();
  for (const name of [...FIELDS.map((field) => field.name), "seed", "stop", "format"]) prefer(name, first[name]);
}

// 请求里与采样有关的部分；times：这是同一问的第几次回答，固定的种子要随之而变
export function samplingBody(times) {
  const body = {};
  for (const field of FIELDS) {
    if (preferences[field.name] !== field.off) body[field.name] = preferences[field.name];
  }
  const fixed = preferences.seed !== "";
  body.seed = fixed ? (Number(preferences.seed) + times) % (MAX_SEED + 1) : Math.floor(Math.random() * MAX_SEED);
  const stop = preferences.stop.split("\n").filter(Boolean).slice(0, 4);
  if (stop.length) body.stop = stop;
  if (preferences.format !== "text") body.response_format = { type: preferences.format };
  if (preferences.probabilities) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  return body;
}

// 密钥只跟着这个标签页；标签页也不许存时，只跟着这张网页
let keyHere = "";

export function readKey() {
  try {
    return sessionStorage.getItem(KEY) ?? keyHere;
  } catch {
    return keyHere;
  }
}

export function writeKey(key) {
  keyHere = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // 只留在 keyHere 里
  }
}
