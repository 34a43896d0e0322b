// 对话的列表：按日子分组，点一下打开，可以改名、删除（删了还能撤销）。
import { byId, el, iconButton } from "./dom.js";
import { titleOf } from "./tree.js";
import { say } from "./words.js";

const DAY_MS = 86_400_000;

function groupOf(talk) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  return talk.updated >= midnight ? "today" : talk.updated >= midnight - DAY_MS ? "yesterday" : "earlier";
}

// actions：{ open, rename, remove }
export function showList(talks, current, actions) {
  const box = byId("talks");
  const focused = box.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.id : "";
  const sorted = [...talks].sort((a, b) => b.updated - a.updated);
  const groups = ["today", "yesterday", "earlier"].map((name) => [name, sorted.filter((talk) => groupOf(talk) === name)]);
  const parts = groups.filter(([, found]) => found.length).flatMap(([name, found]) => [
    el("h3", { say: name }),
    el("ul", {}, ...found.map((talk) => item(talk, talk === current, actions))),
  ]);
  box.replaceChildren(...(parts.length ? parts : [el("p", { className: "hint", say: "noConversations" })]));
  if (focused) box.querySelector(`[data-id="${focused}"] button`)?.focus();
}

function item(talk, isCurrent, actions) {
  const title = titleOf(talk) || say("untitled");
  const open = el("button", { type: "button", className: "talk", text: title, title, on: { click: () => actions.open(talk) } });
  if (isCurrent) open.setAttribute("aria-current", "true");
  const line = el("li", { data: { id: talk.id } }, open,
    iconButton("edit", "rename", () => rename(line, talk, actions)),
    iconButton("bin", "remove", () => actions.remove(talk)));
  return line;
}

function rename(line, talk, actions) {
  const field = el("input", { type: "text", maxlength: "200", label: "rename", autocomplete: "off" });
  field.value = titleOf(talk);
  let isOver = false;
  const finish = (isKept) => {
    if (isOver) return;
    isOver = true;
    actions.rename(talk, isKept ? field.value.trim() : talk.title);
  };
  field.addEventListener("keydown", (event) => {
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    finish(event.key === "Enter");
  });
  field.addEventListener("blur", () => finish(true));
  line.replaceChildren(field);
  field.select();
  field.focus();
}
