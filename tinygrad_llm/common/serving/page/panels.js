// 两侧的面板：左边是对话的列表，右边是设置。窄屏上它们盖在对话之上，一次只开一个。
import { byId } from "./dom.js";

const NARROW = matchMedia("(max-width: 859px)");
const MIDDLE = matchMedia("(max-width: 1179px)");
const opener = { list: "open-list", settings: "open-settings" };

const covers = (name) => (name === "list" ? NARROW : MIDDLE).matches;

export const isOpen = (name) => !byId(name).hidden;

export function togglePanel(name) {
  if (isOpen(name)) closePanel(name);
  else openPanel(name);
}

export function openPanel(name) {
  for (const other of Object.keys(opener)) if (other !== name && isOpen(other) && (covers(other) || NARROW.matches)) closePanel(other);
  byId(name).hidden = false;
  settle();
  byId(name).querySelector("[data-first]")?.focus();
}

export function closePanel(name) {
  const hadFocus = byId(name).contains(document.activeElement);
  byId(name).hidden = true;
  settle();
  if (hadFocus) byId(opener[name]).focus();
}

// 盖着对话的那一个；没有则为空
export function covering() {
  return Object.keys(opener).find((name) => isOpen(name) && covers(name)) ?? "";
}

function settle() {
  const name = covering();
  byId("scrim").hidden = !name;
  byId("main").inert = Boolean(name);
  for (const [panel, id] of Object.entries(opener)) {
    byId(id).setAttribute("aria-expanded", String(isOpen(panel)));
    byId(panel).inert = Boolean(name) && panel !== name;
  }
}

export function preparePanels() {
  for (const [name, id] of Object.entries(opener)) {
    byId(id).addEventListener("click", () => togglePanel(name));
    byId(`close-${name}`).addEventListener("click", () => closePanel(name));
  }
  byId("scrim").addEventListener("click", () => closePanel(covering()));
  byId("list").hidden = NARROW.matches;
  NARROW.addEventListener("change", () => {
    byId("list").hidden = NARROW.matches;
    settle();
  });
  MIDDLE.addEventListener("change", settle);
  settle();
}
