// 造元素的小工具与全页共用的状态。

const SVG_NS = "http://www.w3.org/2000/svg";

/** 全页共用的状态；各文件只读自己需要的，写只经过 app.js 里的函数。 */
const app = {
  doc: null, // 录制
  run: null, // 此刻播放的一趟：正确的，或弄坏了的
  right: null, // 正确的一趟
  scene: null, // 排好的图
  frame: 0,
  chosen: null, // 读者点开的值；null 时说明栏讲的是当前一步
  lang: "en",
  theme: "light",
  playing: false,
  following: true,
  speed: 1,
};

const byId = (id) => document.getElementById(id);

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** 造一个 HTML 元素；值为 null 或 false 的属性略去，``text`` 是文字，``on*`` 是事件。 */
const make = (tag, attributes = {}, ...children) => dress(document.createElement(tag), attributes, children);

/** 造一个 SVG 元素。 */
const draw = (tag, attributes = {}, ...children) => dress(document.createElementNS(SVG_NS, tag), attributes, children);

const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

const ICONS = {
  first: "M6 5v14M19 5l-9 7 9 7z",
  back: "M16 5l-9 7 9 7z",
  play: "M7 4.5l12 7.5-12 7.5z",
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  step: "M8 5l9 7-9 7z",
  last: "M18 5v14M5 5l9 7-9 7z",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  follow: "M12 3v4M12 17v4M3 12h4M17 12h4M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  turn: "M5 4v9a4 4 0 0 0 4 4h10M15 13l4 4-4 4",
  fold: "M4 5h16v5H4zM7 14h10M7 18h10",
  theme: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 3v18a9 9 0 0 0 0-18z",
  save: "M12 4v11M7.5 10.5L12 15l4.5-4.5M5 20h14",
  help: "M9 9a3 3 0 1 1 4.2 2.8c-.9.4-1.2 1-1.2 2.2M12 17.6v.6",
};

/** 线条图标；颜色随文字。 */
function icon(name) {
  const solid = ["first", "back", "play", "pause", "step", "last"].includes(name);
  return draw(
    "svg",
    { viewBox: "0 0 24 24", class: solid ? "icon solid" : "icon", "aria-hidden": "true", focusable: "false" },
    draw("path", { d: ICONS[name] }),
  );
}
