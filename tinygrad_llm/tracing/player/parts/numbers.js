// 数与数组：从池子里取出来、写成文字、相加。
// 一个数组是 {shape, flat, summary}：flat 是数（复数是 [实部, 虚部]）的列；太大而只有摘要的，flat 为 null。

const SPECIAL = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };
const asNumber = (x) => (typeof x === "string" ? SPECIAL[x] : x);

function decodeBase64(text, type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const width = type === "<f4" ? 4 : 8;
  return Array.from({ length: bytes.length / width }, (_, i) =>
    width === 4 ? shortest(view.getFloat32(4 * i, true)) : view.getFloat64(8 * i, true),
  );
}

/** 一个 float32 的最短写法：0.1 就是 0.1，不是 0.10000000149。 */
function shortest(single) {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(single.toPrecision(digits));
    if (Math.fround(short) === single) return short;
  }
  return Number.isFinite(single) ? Number(single.toPrecision(9)) : single;
}

/** 池中的一项 → 数组；大数组到第一次用到时才解码。 */
function openArray(entry) {
  const array = { shape: entry.shape, summary: null, size: entry.shape.reduce((a, b) => a * b, 1) };
  if (entry.base64 !== undefined) {
    let flat = null;
    Object.defineProperty(array, "flat", { get: () => (flat ??= decodeBase64(entry.base64, entry.type)) });
  } else if (entry.flat) {
    array.flat = entry.flat.map((x) => (Array.isArray(x) ? x.map(asNumber) : asNumber(x)));
  } else {
    array.flat = null;
    const { grid, ...rest } = entry.summary;
    array.summary = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, asNumber(value)]));
    array.summary.grid = grid.map((row) => row.map(asNumber));
  }
  return array;
}

/** 文档里的 {"$": 序号} 都换成池子里的数组，就地。 */
function hydrate(part, pool) {
  for (const key of Object.keys(part)) {
    const child = part[key];
    if (child === null || typeof child !== "object") continue;
    if ("$" in child) part[key] = pool[child.$];
    else hydrate(child, pool);
  }
  return part;
}

/** 有数，不只是摘要；问这个不解码。 */
const hasNumbers = (array) => array.summary === null;

const isSingle = (array) => array !== null && hasNumbers(array) && array.size === 1;

/** 写一个数，留 digits 位有效数字；负号用数学的减号。 */
function numberText(x, digits = 4) {
  if (Array.isArray(x)) {
    const imaginary = numberText(Math.abs(x[1]), digits);
    return `${numberText(x[0], digits)}${x[1] < 0 ? "−" : "+"}${imaginary}i`;
  }
  if (typeof x === "boolean") return x ? "1" : "0";
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  if (x === 0) return "0";
  const size = Math.abs(x);
  let text;
  if (Number.isInteger(x) && size < 1e6) text = String(size);
  else if (size >= 1e-4 && size < 1e6) text = trimZeros(size.toPrecision(digits));
  else
    text = size
      .toExponential(digits - 1)
      .replace(/\.?0+e/, "e")
      .replace("e+", "e")
      .replace("e-", "e−");
  return (x < 0 ? "−" : "") + text;
}

const trimZeros = (text) => (text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text);

const shapeText = (shape) => (shape.length ? `[${shape.join(", ")}]` : "[ ]");

/** 写一个数组：至多 limit 个元素写全，再多只写形状。 */
function arrayText(array, digits = 4, limit = 64) {
  if (array === null) return "–";
  if (!hasNumbers(array) || array.size > limit) return shapeText(array.shape);
  const write = (depth, from, count) => {
    if (depth === array.shape.length) return numberText(array.flat[from], digits);
    const length = array.shape[depth];
    const inner = length ? count / length : 0;
    const parts = Array.from({ length }, (_, i) => write(depth + 1, from + i * inner, inner));
    return `[${parts.join(", ")}]`;
  };
  return write(0, 0, array.size);
}

const realPart = (x) => (Array.isArray(x) ? Math.hypot(x[0], x[1]) : x);

/** 有限元素里绝对值最大的；没有则为 0。 */
function largest(array) {
  if (array === null) return 0;
  if (array.largest === undefined) {
    let most = 0;
    for (const cell of cellsOf(array).flat) if (Number.isFinite(cell)) most = Math.max(most, Math.abs(cell));
    array.largest = most;
  }
  return array.largest;
}

/**
 * 数组看成一片片的二维表：{rows, columns, slices, across, flat}。
 *
 * 一维的是一行；三维以上的，前几维各成一片，并排摆成 across 列，让整体不太扁也不太高。
 */
function cellsOf(array) {
  if (array.cells) return array.cells;
  if (!hasNumbers(array)) {
    const { grid } = array.summary;
    array.cells = { rows: grid.length, columns: grid[0]?.length ?? 0, slices: 1, across: 1, flat: grid.flat() };
    return array.cells;
  }
  const { shape, size } = array;
  const columns = shape.length ? shape[shape.length - 1] : 1;
  const rows = shape.length > 1 ? shape[shape.length - 2] : Math.min(size, 1);
  const slices = rows * columns ? size / (rows * columns) : 0;
  const flat = array.flat.some(Array.isArray) ? array.flat.map(realPart) : array.flat;
  array.cells = { rows, columns, slices, across: tilesAcross(rows, columns, slices), flat };
  return array.cells;
}

function tilesAcross(rows, columns, slices) {
  let best = 1;
  let least = Infinity;
  for (let across = 1; across <= slices; across++) {
    if (slices % across) continue;
    const ratio = (across * (columns + 1)) / ((slices / across) * (rows + 1));
    const off = Math.abs(Math.log(ratio / 1.6));
    if (off < least) [best, least] = [across, off];
  }
  return best;
}

/** 并排之后的尺寸，以格计；片与片之间空一格。 */
function tiledSize({ rows, columns, slices, across }) {
  const down = Math.max(1, slices / across);
  return { width: Math.max(1, across * (columns + 1) - 1), height: Math.max(1, down * (rows + 1) - 1) };
}

/** 平铺图上的一格对应第几个元素；空隙是 -1。 */
function elementAt({ rows, columns, across, slices }, x, y) {
  const [i, j] = [y % (rows + 1), x % (columns + 1)];
  const slice = Math.floor(y / (rows + 1)) * across + Math.floor(x / (columns + 1));
  return i < rows && j < columns && slice < slices ? (slice * rows + i) * columns + j : -1;
}

function combine(a, b, operation) {
  const flat = a.flat.map((x, i) =>
    Array.isArray(x) ? x.map((part, j) => operation(part, b.flat[i][j])) : operation(x, b.flat[i]),
  );
  return { shape: a.shape, size: a.size, summary: null, flat };
}

/** 两个数组相加；有一个只有摘要，或大小不同时为 null。float32 的和也舍入到 float32，与引擎一致。 */
function addArrays(a, b, dtype) {
  if (!hasNumbers(a) || !hasNumbers(b) || a.size !== b.size) return null;
  return combine(
    a,
    b,
    dtype === "float32" ? (x, y) => shortest(Math.fround(Math.fround(x) + Math.fround(y))) : (x, y) => x + y,
  );
}

/** 两个数组各元素之差的最大绝对值；比不了（只有摘要，或形状不同）时为 null。 */
function largestGap(a, b) {
  if (!a || !b || !hasNumbers(a) || !hasNumbers(b) || String(a.shape) !== String(b.shape)) return null;
  let most = 0;
  for (let i = 0; i < a.size; i++) {
    const gap = elementGap(a.flat[i], b.flat[i]);
    if (Number.isNaN(gap)) return NaN;
    most = Math.max(most, gap);
  }
  return most;
}

/** 两个数相差多少；同是无穷或同是 NaN 的不差。 */
function elementGap(x, y) {
  if (Array.isArray(x) || Array.isArray(y)) return Math.hypot((x[0] ?? x) - (y[0] ?? y), (x[1] ?? 0) - (y[1] ?? 0));
  return Object.is(x, y) || x === y ? 0 : Math.abs(x - y);
}

/** 时间、字节与次数，各用合适的单位。 */
function timeText(nanoseconds) {
  if (nanoseconds < 1e3) return `${Math.round(nanoseconds)} ns`;
  if (nanoseconds < 1e6) return `${numberText(nanoseconds / 1e3, 3)} µs`;
  return `${numberText(nanoseconds / 1e6, 3)} ms`;
}

function byteText(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1048576 ? `${numberText(bytes / 1024, 3)} KiB` : `${numberText(bytes / 1048576, 3)} MiB`;
}

const countText = (count) => count.toLocaleString("en");
