// 梯度表：每个值的数、至今的梯度、最终的梯度、torch 的梯度与相差。

const table = { leavesOnly: true, built: null };

/** 有梯度的值，叶子在前，按出现的次序。 */
function valuesWithGradients() {
  const found = app.doc.values.filter(({ id }) => finalGradient(app.right, id) !== null);
  return [...found.filter(({ id }) => !app.links.maker.has(id)), ...found.filter(({ id }) => app.links.maker.has(id))];
}

function buildTable() {
  const pane = byId("side-table");
  const values = valuesWithGradients();
  if (values.length === 0) {
    pane.replaceChildren(make("p", { class: "faint", text: say("noGradients") }));
    table.built = null;
    return;
  }
  const hasTorch = values.some((value) => value.torch_grad);
  const titles = [say("name"), say("valueOf"), say("soFar"), say("final"), ...(hasTorch ? [say("torch"), say("difference")] : [])];
  const rows = new Map(values.map((value) => [value.id, tableRow(value, hasTorch)]));
  const box = make("input", { type: "checkbox", id: "leaves-only", onchange: (event) => chooseLeaves(event.target.checked) });
  box.checked = table.leavesOnly;
  pane.replaceChildren(
    make("label", { class: "check" }, box, say("leavesOnly")),
    make(
      "div",
      { class: "scroll" },
      make(
        "table",
        { class: "gradients", id: "gradients" },
        make("thead", {}, make("tr", {}, titles.map((text) => make("th", { scope: "col", text })))),
        make("tbody", {}, [...rows.values()].map((row) => row.tr)),
      ),
    ),
    make("p", { class: "faint small", text: hasTorch ? say("tableNote") : torchNote() }),
  );
  table.built = rows;
  chooseLeaves(table.leavesOnly);
  updateTable();
}

function torchNote() {
  const why = app.doc.torch_reason ?? app.doc.torch?.reason;
  return why ? say("torchWhy", { why }) : say("noTorch");
}

function chooseLeaves(only) {
  table.leavesOnly = only;
  for (const [id, { tr }] of table.built ?? []) tr.hidden = only && app.links.maker.has(id) && app.doc.values.some((value) => value.kind === "leaf");
}

const DIGITS = 6;

/** 一格：单个的数直接写，张量写成小热图加全部的数（少的时候）。 */
function fillCell(cell, array, kind) {
  const text = arrayText(array, DIGITS);
  cell.dataset.text = text;
  if (array === null || isSingle(array)) cell.replaceChildren(make("span", { class: `number ${kind}`, text: array === null ? "–" : numberText(array.flat[0], DIGITS) }));
  else if (array.flat !== null && array.size <= 6) cell.replaceChildren(make("span", { class: `number wrapping ${kind}`, text }));
  else cell.replaceChildren(tableThumb(array, text));
}

function tableThumb(array, text) {
  const { rows, columns } = cellsOf(array);
  const side = clamp(Math.floor(96 / Math.max(columns, 1)), 1, 12);
  const image = make("img", { class: "pixels", src: heatPicture(array), alt: text, title: text });
  image.style.width = `${Math.max(columns * side, 12)}px`;
  image.style.height = `${clamp(rows * side, 8, 64)}px`;
  return image;
}

function tableRow(value, hasTorch) {
  const kinds = ["value", "so-far", "final", ...(hasTorch ? ["torch", "difference"] : [])];
  const cells = Object.fromEntries(kinds.map((kind) => [kind, make("td", { "data-kind": kind })]));
  const tr = make("tr", { "data-value": value.id }, make("th", { scope: "row" }, valueLink(value.id)), Object.values(cells));
  const right = finalGradient(app.right, value.id);
  fillCell(cells.value, value.data, "value");
  fillCell(cells.final, right, "grad");
  if (hasTorch) {
    fillCell(cells.torch, value.torch_grad, "grad");
    const gap = largestGap(right, value.torch_grad);
    cells.difference.textContent = gap === null ? "–" : gap === 0 ? "0" : gap.toExponential(1).replace("-", "−");
    cells.difference.dataset.gap = gap === null ? "" : gap;
  }
  return { tr, cells, seen: null };
}

/** 走一步，「至今」一列跟着变。 */
function updateTable() {
  for (const [id, row] of table.built ?? []) {
    const gradient = gradientAt(app.run, id, app.frame);
    if (row.seen === gradient && row.theme === app.theme) continue;
    Object.assign(row, { seen: gradient, theme: app.theme });
    fillCell(row.cells["so-far"], gradient, "grad");
  }
}
