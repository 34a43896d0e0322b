// 热图：正负两色的色标，小图与能看清数字的大图。
// 紫—白—绿（PRGn）在常见的色觉缺陷下仍能分辨；蓝与橙留给「值」与「梯度」。

const RAMPS = {
  light: {
    zero: [247, 247, 247],
    negative: [
      [231, 212, 232],
      [194, 165, 207],
      [153, 112, 171],
      [118, 42, 131],
    ],
    positive: [
      [217, 240, 211],
      [166, 219, 160],
      [90, 174, 97],
      [27, 120, 55],
    ],
  },
  dark: {
    zero: [38, 43, 54],
    negative: [
      [66, 48, 84],
      [104, 70, 132],
      [152, 106, 184],
      [212, 178, 238],
    ],
    positive: [
      [36, 72, 56],
      [44, 116, 76],
      [74, 176, 112],
      [164, 234, 178],
    ],
  },
};
const NOT_A_NUMBER = [230, 0, 122];

/** 颜色分量；t 在 −1 与 1 之间，NaN 是品红。 */
function heatColour(t, theme = app.theme) {
  if (Number.isNaN(t)) return NOT_A_NUMBER;
  const ramp = RAMPS[theme];
  const stops = [ramp.zero, ...(t < 0 ? ramp.negative : ramp.positive)];
  const place = clamp(Math.abs(t), 0, 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((from, i) => Math.round(from + (stops[low + 1][i] - from) * (place - low)));
}

const shade = (x, scale) => (scale > 0 ? x / scale : Math.sign(x));

const LEVELS = 255;
const tables = {}; // 主题 → 从 −1 到 1 的颜色，每个是画布上的一个 32 位像素

function pixelTable() {
  return (tables[app.theme] ??= Uint32Array.from({ length: 2 * LEVELS + 1 }, (_, i) =>
    packPixel(heatColour((i - LEVELS) / LEVELS)),
  ));
}

const packPixel = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

/** 画一张像素图，一格一个像素；``stride`` 大于 1 时隔着取，小图用不着每一格。 */
function heatCanvas(array, scale, stride = 1) {
  const cells = cellsOf(array);
  const full = tiledSize(cells);
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(full.width / stride);
  canvas.height = Math.ceil(full.height / stride);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(picture.data.buffer);
  const table = pixelTable();
  const odd = packPixel(NOT_A_NUMBER);
  for (let y = 0, k = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++, k++) {
      const at = elementAt(cells, x * stride, y * stride);
      if (at < 0) continue; // 片与片之间的空隙透明
      const t = shade(Number(cells.flat[at]), scale);
      pixels[k] = Number.isNaN(t) ? odd : table[Math.round((clamp(t, -1, 1) + 1) * LEVELS)];
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

const pictures = new WeakMap(); // 数组 → {主题与色标: 图的地址}
const SMALL = 40; // 卡片上的小图至多这么多格宽

/** 卡片与表格里的小图的地址；同一个数组只画一次。 */
function heatPicture(array, scale = largest(array)) {
  if (!pictures.has(array)) pictures.set(array, {});
  const known = pictures.get(array);
  const { width, height } = tiledSize(cellsOf(array));
  const stride = cellsOf(array).slices > 1 ? 1 : Math.max(1, Math.ceil(Math.max(width, height) / SMALL));
  return (known[`${app.theme} ${scale}`] ??= heatCanvas(array, scale, stride).toDataURL());
}

/** 读得出深浅的字色。 */
function inkOn([r, g, b]) {
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff";
}

const NUMBERED = 64; // 至多这么多格时，格子里写数

/** 讲解栏里的一张热图：小的写出每个数，大的是像素图，指到哪格读哪格。 */
function heatMap(array, scale = largest(array), kind = "value") {
  const cells = cellsOf(array);
  const figure = make("figure", { class: `heat ${kind}` });
  if (array.size === 0) {
    figure.append(make("span", { class: "faint", text: shapeText(array.shape) }));
    return figure;
  }
  if (hasNumbers(array) && array.size <= NUMBERED && cells.columns <= 8) {
    const slices = Array.from({ length: cells.slices }, (_, i) => numberedGrid(array, cells, i, scale));
    figure.append(make("div", { class: "slices" }, slices));
  } else {
    figure.append(pixelImage(array, cells, scale));
  }
  figure.append(make("figcaption", { text: captionOf(array, scale) }));
  return figure;
}

function captionOf(array, scale) {
  const note = `${shapeText(array.shape)} · ${say("scale", { max: numberText(scale, 3) })}`;
  if (hasNumbers(array)) return note;
  const { min, mean, max, norm } = array.summary;
  const [low, middle, high, size] = [min, mean, max, norm].map((x) => numberText(x, 3));
  return `${note} · ${say("summaryNote", { size: countText(array.size), min: low, mean: middle, max: high, norm: size })}`;
}

function numberedGrid(array, { rows, columns }, slice, scale) {
  const body = make("tbody");
  for (let i = 0; i < rows; i++) {
    const row = make("tr");
    for (let j = 0; j < columns; j++) {
      const number = array.flat[(slice * rows + i) * columns + j];
      const colour = heatColour(shade(Number(realPart(number)), scale));
      const style = `background:rgb(${colour});color:${inkOn(colour)}`;
      row.append(make("td", { style, text: numberText(number, columns > 5 ? 2 : 3) }));
    }
    body.append(row);
  }
  return make("table", { class: "cells" }, body);
}

function pixelImage(array, cells, scale) {
  const { width, height } = tiledSize(cells);
  const image = heatCanvas(array, scale);
  dress(image, { class: "pixels", role: "img", "aria-label": shapeText(array.shape) }, []);
  const side = clamp(300 / width, 1, 22);
  image.style.width = `${width * side}px`;
  image.style.height = `${clamp(height * side, 8, 200)}px`;
  image.addEventListener("mousemove", (event) => {
    const box = image.getBoundingClientRect();
    const x = clamp(Math.floor(((event.clientX - box.left) / box.width) * width), 0, width - 1);
    const y = clamp(Math.floor(((event.clientY - box.top) / box.height) * height), 0, height - 1);
    const at = elementAt(cells, x, y);
    const value = at < 0 ? "" : numberText(cells.flat[at], 5);
    image.title =
      at < 0
        ? ""
        : hasNumbers(array)
          ? say("element", { index: indexText(array, at), value })
          : say("blockMean", { value });
  });
  return image;
}

function indexText(array, at) {
  const index = [];
  for (let axis = array.shape.length - 1; axis >= 0; axis--) {
    index.unshift(at % array.shape[axis]);
    at = Math.floor(at / array.shape[axis]);
  }
  return index.join(", ");
}

/** 一个数，或一张热图：讲解栏里到处都用。 */
function show(array, { scale, kind = "value", digits = 6 } = {}) {
  if (array === null) return make("span", { class: "faint", text: say("nothingYet") });
  if (isSingle(array)) return make("span", { class: `number ${kind}`, text: numberText(array.flat[0], digits) });
  return heatMap(array, scale ?? largest(array), kind);
}
