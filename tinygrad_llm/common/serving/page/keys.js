// 键盘：单个字母从不当快捷键，免得打扰读屏软件；用 Alt 加字母，按键位认（各种键盘布局与输入法都管用）。
import { byId, el } from "./dom.js";

const MAC = /mac|iphone|ipad/i.test(navigator.platform);
const ALT = MAC ? "⌥" : "Alt";

// 列在帮助里的：[词条, 各个键]
const HELP = [
  ["keySend", ["Enter"]],
  ["keyLine", ["Shift", "Enter"]],
  ["keyStop", ["Esc"]],
  ["keyUp", ["↑"]],
  ["keyNew", [ALT, "N"]],
  ["keyRegenerate", [ALT, "R"]],
  ["keyEdit", [ALT, "E"]],
  ["keyBranch", [ALT, "[", "]"]],
  ["keyTokens", [ALT, "T"]],
  ["keyCopy", [ALT, "C"]],
  ["keyList", [ALT, "L"]],
  ["keySettings", [ALT, "S"]],
  ["keyHelp", [ALT, "/"]],
];

// does：{ KeyN: 函数, …, Escape: 函数 }
export function prepareKeys(does) {
  byId("help-keys").replaceChildren(...HELP.flatMap(([word, keys]) => [el("dt", {}, ...keys.map((key) => el("kbd", { text: key }))), el("dd", { say: word })]));
  byId("open-help").addEventListener("click", openHelp);
  byId("close-help").addEventListener("click", () => byId("help").close());
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented) return;
    const isPlain = !event.altKey && !event.ctrlKey && !event.metaKey;
    if (event.key === "Escape" && isPlain) {
      if (!byId("help").open) does.Escape(event);
    } else if (event.altKey && !event.ctrlKey && !event.metaKey && !byId("help").open && (does[event.code] || event.code === "Slash")) {
      event.preventDefault();
      if (event.code === "Slash") openHelp();
      else does[event.code]();
    }
  });
}

function openHelp() {
  byId("help").showModal();
}
