// 设置的面板：模型、系统提示、采样的旋钮、密钥。每个旋钮是一根滑杆与一个数字框，改了就记下。
import { connection, keyChanged } from "./connection.js";
import { byId, el } from "./dom.js";
import { accepts, FIELDS, preferences, prefer, readKey, resetSampling, writeKey } from "./preferences.js";
import { number, roughly, say } from "./words.js";

const knobs = new Map();
const PLAIN = { seed: "seed", stop: "stop-strings", format: "format" }; // 偏好 → 元素

export function prepareSettings(changed) {
  for (const field of FIELDS) byId(field.more ? "more-knobs" : "knobs").append(knob(field));
  byId("reset").addEventListener("click", () => {
    resetSampling();
    showValues();
  });
  for (const [name, id] of Object.entries(PLAIN)) {
    byId(id).addEventListener("input", (event) => {
      const isGood = prefer(name, name === "seed" ? event.target.value.trim() : event.target.value);
      event.target.setAttribute("aria-invalid", String(!isGood));
    });
  }
  byId("probabilities").addEventListener("change", (event) => prefer("probabilities", event.target.checked));
  byId("key").value = readKey();
  byId("key").addEventListener("change", (event) => {
    writeKey(event.target.value.trim());
    keyChanged();
  });
  byId("model").addEventListener("change", (event) => {
    prefer("model", event.target.value);
    changed();
  });
  showValues();
}

function knob(field) {
  const { name, min, max, step } = field;
  const range = el("input", { type: "range", min, max, step, id: `${name}-range`, "aria-hidden": "true", tabindex: "-1" });
  const box = el("input", { type: "number", min, max, step, id: name, inputmode: "decimal", "aria-describedby": `${name}-hint` });
  const set = (value, from) => {
    const isGood = value !== "" && accepts(name, Number(value)) && prefer(name, Number(value));
    box.setAttribute("aria-invalid", String(!isGood));
    if (isGood) (from === box ? range : box).value = value;
  };
  range.addEventListener("input", () => set(range.value, range));
  box.addEventListener("input", () => set(box.value, box));
  box.addEventListener("blur", () => show(field));
  knobs.set(name, { range, box });
  const hint = el("p", { className: "hint", id: `${name}-hint`, say: `${name}Hint` });
  return el("div", { className: "knob" }, el("label", { for: name, say: name }), box, range, hint);
}

function show(field) {
  const { range, box } = knobs.get(field.name);
  range.value = box.value = preferences[field.name];
  box.setAttribute("aria-invalid", "false");
}

function showValues() {
  FIELDS.forEach(show);
  for (const [name, id] of Object.entries(PLAIN)) {
    byId(id).value = preferences[name];
    byId(id).setAttribute("aria-invalid", "false");
  }
  byId("probabilities").checked = preferences.probabilities;
}

export const chosenModel = () => connection.models.find((one) => one.id === preferences.model) ?? null;

// 名单来了：记着的那个不在了，就用头一个
export function showModels() {
  const select = byId("model");
  const { models } = connection;
  if (models.length && !chosenModel()) prefer("model", models[0].id);
  const names = models.length ? models.map((one) => one.id) : [preferences.model || ""];
  select.replaceChildren(...names.map((name) => el("option", { value: name, text: name || say("noModel") })));
  select.value = preferences.model;
  select.disabled = models.length < 2;
  const model = chosenModel();
  byId("facts").textContent = model ? factsOf(model) : "";
  knobs.get("max_tokens").range.max = model?.context || 4096;
}

function factsOf(model) {
  return say("facts", {
    name: model.id,
    parameters: model.parameters ? say("parameters", { count: roughly(model.parameters) }) : "",
    context: model.context ? number(model.context) : "?",
    engine: model.engine ? ` · ${model.engine}` : "",
  });
}
