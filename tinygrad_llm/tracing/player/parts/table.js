// 梯度表：每个值的数、至今的梯度、torch 的梯度与相差。小的张量一个元素一行，大的一行一张小热图。

const table = { leavesOnly: true, rows: [] };
const DIGITS = 6;
const LISTED = 16; // 至多这么多个元素的张量逐个列出

/** 有梯度的值，叶子在前，按出现的次序。 */
function valuesWithGradients() {
  const found = app.doc.values.filter(({ id }) => finalGradient(app.right, id) !== null);
  return [...found.filter(({ id }) => !app.links.maker.has(id)), ...found.filter(({ id }) => app.links.maker.has(id))];
}

function buildTable() {
  const pane = byId("side-table");
  const values = valuesWithGradients();
  table.rows = [];
  if (values.length === 0) {
    pane.replaceChildren(make("p", { class: "faint", text: say("noGradients") }));
    return;
  }
  const hasTorch = values.some((value) => value.torch_grad);
  const titles = [
    say("name"),
    say("valueOf"),
    say("gradientSoFar"),
    ...(hasTorch ? [say("torch"), say("difference")] : []),
  ];
  table.rows = values.flatMap((value) => rowsOf(value, hasTorch));
  const box = make("input", {
    type: "checkbox",
    id: "leaves-only",
    onchange: (event) => chooseLeaves(event.target.checked),
  });
  box.checked = table.leavesOnly;
  pane.replaceChildren(
    make("label", { class: "check" }, box, say("leavesOnly")),
    gradientTable(
      "gradients",
      "",
      titles,
      table.rows.map((row) => row.tr),
    ),
    make("p", { class: "faint small", text: hasTorch ? say("tableNote") : torchNote() }),
  );
  chooseLeaves(table.leavesOnly);
  updateTable();
}

function gradientTable(id, kind, titles, rows) {
  const head = make(
    "tr",
    {},
    titles.map((text) => make("th", { scope: "col", text })),
  );
  return make(
    "div",
    { class: "scroll" },
    make("table", { class: `gradients ${kind}`, id }, make("thead", {}, head), make("tbody", {}, rows)),
  );
}

const torchNote = () => (app.doc.torch_note ? say("torchWhy", { why: app.doc.torch_note }) : say("noTorch"));

function chooseLeaves(only) {
  table.leavesOnly = only;
  const hasLeaves = table.rows.some(({ value }) => !app.links.maker.has(value.id));
  for (const { tr, value } of table.rows) tr.hidden = only && hasLeaves && app.links.maker.has(value.id);
}

/** 该逐个列出元素的数组：各个下标；否则 [null]，即整个一行。 */
function listing(arrays) {
  const [first, ...others] = arrays.filter(Boolean);
  const same = first && others.every((one) => String(one.shape) === String(first.shape));
  const short = same && arrays.every((one) => !one || (hasNumbers(one) && one.size > 0 && one.size <= LISTED));
  return short ? [...Array(first.size).keys()] : [null];
}

/** 行首：名字，列出元素时带下标。 */
function rowHead(value, at, array) {
  const index = at === null || array.shape.length === 0 ? "" : `[${indexText(array, at)}]`;
  return make(
    "th",
    { scope: "row" },
    at ? make("span", { class: "again", text: nameOf(value.id) }) : valueLink(value.id),
    index ? make("span", { class: "index", text: index }) : null,
  );
}

/** 一格：一个数，或整个数组。 */
function fillCell(cell, array, at, kind) {
  if (array === null) cell.replaceChildren(make("span", { class: "faint", text: "–" }));
  else if (at !== null || isSingle(array))
    cell.replaceChildren(make("span", { class: `number ${kind}`, text: numberText(array.flat[at ?? 0], DIGITS) }));
  else cell.replaceChildren(tableThumb(array), make("span", { class: "faint small", text: shapeText(array.shape) }));
}

function tableThumb(array) {
  const { width, height } = tiledSize(cellsOf(array));
  const side = clamp(84 / width, 1, 12);
  const text = arrayText(array, DIGITS);
  const image = make("img", { class: "pixels", src: heatPicture(array), alt: text, title: text });
  image.style.width = `${Math.max(width * side, 12)}px`;
  image.style.height = `${clamp(height * side, 8, 64)}px`;
  return image;
}

function rowsOf(value, hasTorch) {
  const right = finalGradient(app.right, value.id);
  return listing([value.data, right, value.torch_grad]).map((at) => {
    const kinds = ["value", "so-far", ...(hasTorch ? ["torch", "difference"] : [])];
    const cells = Object.fromEntries(kinds.map((kind) => [kind, make("td", { "data-kind": kind })]));
    const tr = make(
      "tr",
      { "data-value": value.id, "data-element": at, class: at ? "more" : null },
      rowHead(value, at, value.data),
      Object.values(cells),
    );
    fillCell(cells.value, value.data, at, "value");
    if (hasTorch) fillCell(cells.torch, value.torch_grad, at, "grad");
    return { value, at, tr, cells, seen: undefined };
  });
}

/** 走一步，「至今的梯度」与「相差」跟着变。 */
function updateTable() {
  for (const row of table.rows) {
    const { value, at, cells } = row;
    const gradient = gradientAt(app.run, value.id, app.frame);
    const settled = isSettled(app.run, value.id, app.frame);
    const seen = [app.theme, app.lang, settled].join();
    if (row.gradient === gradient && row.seen === seen) continue;
    Object.assign(row, { gradient, seen });
    const fits = gradient === null || at === null || gradient.size === value.data.size;
    fillCell(cells["so-far"], gradient, fits ? at : null, "grad");
    if (cells.difference) fillDifference(cells.difference, settled ? gradient : null, value.torch_grad, at);
  }
}

function fillDifference(cell, gradient, torch, at) {
  const gap =
    at !== null && gradient && torch && gradient.size === torch.size
      ? elementGap(gradient.flat[at], torch.flat[at])
      : largestGap(gradient, torch);
  cell.textContent = gap === null ? "–" : gap === 0 ? "0" : numberText(gap, 2);
  cell.dataset.gap = gap === null ? "" : gap;
  cell.classList.toggle("bad", gap !== null && !(gap <= 1e-6 * Math.max(1, largest(torch))));
}
