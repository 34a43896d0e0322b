// 讲解栏：当前一步在做什么；点开一个值，讲它的来历与去处。

/** 一小节：小标题与内容；没有内容就没有这一节。 */
function section(title, ...content) {
  const kept = content.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== "");
  return kept.length ? make("section", { class: "part" }, make("h3", { text: title }), kept) : null;
}

const code = (text, kind = "") => make("code", { class: `code ${kind}`, text });

/** 一个值的名字：点一下就看它。 */
function valueLink(id) {
  const { label, name } = app.doc.values[id];
  return make("button", {
    type: "button",
    class: "link",
    "data-value": id,
    text: name ?? label,
    onclick: () => chooseCard(id),
  });
}

const nameOf = (id) => app.doc.values[id].name ?? app.doc.values[id].label;

function showStep() {
  const pane = byId("side-step");
  const { chosen } = app;
  const parts = typeof chosen === "number" ? aboutValue(chosen) : chosen ? aboutModule(chosen) : aboutFrame();
  pane.replaceChildren(...parts.flat(Infinity).filter(Boolean));
  // 读写 scrollTop 会迫使浏览器立刻重排整页：真的滚动过才归零
  if (pane.dataset.scrolled) {
    pane.scrollTop = 0;
    delete pane.dataset.scrolled;
  }
}

function aboutFrame() {
  const frame = app.run.frames[app.frame];
  const banner = app.run.fault
    ? make(
        "p",
        { class: "broken", role: "note" },
        warningSign(),
        say("broken", { title: either(app.run.fault, "title") }),
      )
    : null;
  const about = { start: aboutStart, end: aboutEnd, seed: aboutSeed, forward: aboutForward, backward: aboutBackward };
  return [banner, ...about[frame.kind](frame)];
}

const warningSign = () => make("span", { class: "sign", "aria-hidden": "true", text: "✗" });

function heading(kind, phase, title, badge = null) {
  return make(
    "header",
    { class: `head ${kind}` },
    make("p", { class: "phase", text: phase }),
    make("h2", {}, badge ? make("span", { class: "op", text: badge }) : null, title),
  );
}

function aboutStart() {
  const note = app.doc.backwards.length ? null : make("p", { class: "faint", text: say("noBackward") });
  return [
    heading("start", say("start"), say("startTitle")),
    make("p", { text: say("startText") }),
    note,
    make("p", { class: "faint", text: say("startHint") }),
    program(),
  ];
}

function aboutEnd() {
  const leaves = app.doc.values.filter(
    (value) => finalGradient(app.right, value.id) !== null && !app.links.maker.has(value.id),
  );
  const rows = leaves.map(({ id }) =>
    make("div", { class: "pair" }, valueLink(id), show(finalGradient(app.run, id), { kind: "grad" })),
  );
  if (!app.doc.backwards.length)
    return [heading("end", say("end"), say("end")), make("p", { text: say("noBackward") }), program()];
  return [
    heading("end", say("end"), say("endTitle")),
    make("p", { text: say(app.run.fault ? "endFault" : "endText") }),
    app.run.fault ? comparison("comparison-end") : make("div", { class: "pairs" }, rows),
    program(),
  ];
}

function aboutSeed({ backward }) {
  const { seed, root } = backward;
  const isOne = isSingle(seed) && seed.flat[0] === 1;
  return [
    heading("backward", say("backward"), say("seedTitle")),
    make("p", { text: say(isOne ? "seedText" : "seedOther", { name: nameOf(root) }) }),
    section(`∂${nameOf(root)}/∂${nameOf(root)}`, show(seed, { kind: "grad" })),
    program(),
  ];
}

/** 程序里被记下的各行。 */
function program() {
  const shown = app.lines.slice(0, 24);
  if (shown.length === 0) return null;
  const rows = shown.map(({ line, text, file }, i) => {
    const gap = i > 0 && (shown[i - 1].line + 1 !== line || shown[i - 1].file !== file);
    return codeLine({ line, text, file }, gap ? "gap" : null);
  });
  return section(`${say("code")} · ${shown[0].file}`, make("ol", { class: "program" }, rows));
}

const codeLine = ({ file, line, text }, kind) =>
  make(
    "li",
    { class: kind, title: `${file}:${line}` },
    make("span", { class: "line", text: line }),
    make("code", { text }),
  );

/** 这一步来自用户的哪一行。 */
function sourceOf({ source }) {
  return source
    ? make(
        "ol",
        { class: "program", "aria-label": `${say("code")} ${source.file}:${source.line}` },
        codeLine(source, "current"),
      )
    : null;
}

/** 录制里出现过的源码行，按文件与行号。 */
function programLines(doc) {
  const lines = new Map();
  for (const { source } of doc.nodes) if (source) lines.set(`${source.file}:${source.line}`, source);
  const files = [...new Set([...lines.values()].map(({ file }) => file))];
  return [...lines.values()].sort((a, b) => files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line);
}

function aboutForward(frame) {
  const node = app.doc.nodes[frame.node];
  const output = app.doc.values[node.output];
  const inputs = node.inputs.map((id, i) => inputRow(node, id, i));
  const attributes = Object.entries(node.attrs ?? {}).map(([key, value]) => code(`${key} = ${value}`, "chip"));
  return [
    heading(
      "forward",
      placed(say("forwardOf", { i: frame.index, n: frame.total }), node),
      titleOf(node, "→"),
      symbolOf(node.op),
    ),
    sourceOf(node),
    section(say("formula"), code(node.formula, "formula")),
    section(isSingle(output.data) ? say("numbers") : say("shapes"), code(node.text, "text")),
    section(say("inputs"), make("div", { class: "pairs" }, inputs)),
    section(say("attributes"), attributes),
    section(say("output"), make("div", { class: "pair" }, valueLink(node.output), show(output.data))),
    make("p", {
      class: "faint small",
      text: say("cost", {
        time: timeText(node.time_ns),
        bytes: byteText(node.saved_bytes),
        flops: countText(node.flops),
      }),
    }),
  ];
}

/** 阶段之后写上模块的路径。 */
const placed = (phase, { module }) => (module ? `${phase} · ${module}` : phase);

/** 标题：运算名（标记里已有的不再写）与它的输出。 */
function titleOf(node, arrow) {
  return [symbolOf(node.op) === node.op ? null : code(node.op, "plain"), ` ${arrow} `, valueLink(node.output)];
}

function inputRow(node, id, position) {
  if (id === null) return null;
  const name = node.input_names[position] ?? "";
  return make(
    "div",
    { class: "pair" },
    make("span", { class: "names" }, code(name, "plain"), " = ", valueLink(id)),
    show(app.doc.values[id].data),
  );
}

function aboutBackward(frame) {
  const { step, backward } = frame;
  const node = app.doc.nodes[frame.node];
  const phase =
    app.doc.backwards.length > 1 && !app.run.fault
      ? say("backwardMany", { b: backward.id + 1, i: frame.index, n: frame.total })
      : say("backwardOf", { i: frame.index, n: frame.total });
  return [
    heading("backward", placed(phase, node), titleOf(node, "←"), symbolOf(node.op)),
    sourceOf(node),
    section(say("formula"), code(node.formula, "formula")),
    section(
      say("incoming"),
      show(step.incoming, { kind: "grad" }),
      make("p", { class: "faint small", text: say("incomingNote", { name: nameOf(node.output) }) }),
    ),
    jointRule(node),
    step.edges.length
      ? step.edges.map((edge) => edgePart(node, edge))
      : make("p", { class: "faint", text: say("noEdges") }),
    step.time_ns
      ? make("p", { class: "faint small", text: say("costBackward", { time: timeText(step.time_ns) }) })
      : null,
  ];
}

/** 一次算出全部梯度的规则只写一遍。 */
function jointRule(node) {
  const source = node.vjps?.["*"];
  return source ? section(say("jointRule"), make("pre", { class: "code block", text: source })) : null;
}

/** 一条边：导数、代入的数、沿广播轴求和、加到哪里。 */
function edgePart(node, edge) {
  const name = node.input_names[edge.input] ?? "";
  const dtype = app.doc.values[edge.value].dtype;
  const joint = Boolean(node.vjps?.["*"]);
  const rule = joint
    ? null
    : make(
        "div",
        { class: "rule" },
        make("span", { class: "wrt" }, "∂/∂", code(name, "plain")),
        code(edge.vjp, "formula"),
      );
  return make(
    "section",
    { class: "part edge-part", "data-edge": edge.input, "data-value": edge.value },
    make("h3", {}, sayAround("contribution", valueLink(edge.value))),
    rule,
    edge.text ? make("div", { class: "numbers" }, code(edge.text, "text")) : null,
    edge.summed_axes.length ? summedPart(edge) : null,
    additionPart(edge, dtype),
  );
}

function summedPart(edge) {
  const scale = Math.max(largest(edge.raw), largest(edge.contribution));
  return make(
    "div",
    { class: "summed" },
    make("p", {
      class: "small",
      text: say("summedAxes", { axes: edge.summed_axes.join(", "), name: nameOf(edge.value) }),
    }),
    make(
      "div",
      { class: "sum-row" },
      show(edge.raw, { scale, kind: "grad" }),
      make("span", { class: "arrow", text: "→" }),
      show(edge.contribution, { scale, kind: "grad" }),
    ),
  );
}

/** 之前 + 这一份 = 之后；三者用同一把色标。 */
function additionPart(edge, dtype) {
  const scale = Math.max(largest(edge.before), largest(edge.contribution), largest(edge.after));
  const part = (array, label, kind) =>
    make(
      "div",
      { class: `term ${kind}` },
      make("span", { class: "tag", text: label }),
      show(array, { scale, kind: "grad", digits: 5 }),
    );
  if (edge.before === null) {
    return make("div", { class: "addition first" }, part(edge.contribution, say("firstArrival"), "fresh"));
  }
  return make(
    "div",
    { class: "addition", "aria-label": say("adds", { name: nameOf(edge.value) }), "data-dtype": dtype },
    part(edge.before, say("soFar"), "old"),
    make("span", { class: "operator", text: "+" }),
    part(edge.contribution, "", "fresh"),
    make("span", { class: "operator", text: "=" }),
    part(edge.after, "", "sum"),
  );
}

function aboutValue(id) {
  const value = app.doc.values[id];
  const node = app.links.maker.get(id);
  const gradient = gradientAt(app.run, id, app.frame);
  const born = app.frame >= app.run.born[id];
  const flows = app.run.ledgers.has(id);
  const jumps = [];
  if (node)
    jumps.push(
      make("button", {
        type: "button",
        class: "soft",
        text: say("goForward"),
        onclick: () => leaveFor(app.run.born[id]),
      }),
    );
  const fired = node ? app.run.fired.get(node.id) : null;
  if (fired)
    jumps.push(
      make("button", { type: "button", class: "soft", text: say("goBackward"), onclick: () => leaveFor(fired[0]) }),
    );
  return [
    heading(
      "value",
      [say(value.kind), value.dtype, ...(value.shape.length ? [shapeText(value.shape)] : [])].join(" · "),
      value.name ?? value.label,
      node ? symbolOf(node.op) : null,
    ),
    make(
      "p",
      { class: "jumps" },
      jumps,
      make("button", { type: "button", class: "soft", text: say("closeValue"), onclick: () => chooseCard(null) }),
    ),
    value.module ? make("p", { class: "faint small", text: `${say("moduleCard")} ${value.module}` }) : null,
    node ? section(say("formula"), code(node.formula, "formula"), code(node.text, "text")) : null,
    section(say("valueOf"), born ? show(value.data) : make("span", { class: "faint", text: "?" })),
    section(
      say("gradientSoFar"),
      gradient
        ? show(gradient, { kind: "grad" })
        : make("span", { class: "faint", text: say(flows ? "gradientNone" : "gradientNever") }),
    ),
    arrivalList(id),
    node ? sourceOf(node) : null,
  ];
}

function leaveFor(frame) {
  app.chosen = null;
  goTo(frame);
}

/** 至今收到的各份，一份一行，最后是和。 */
function arrivalList(id) {
  const got = arrivals(app.run, id, app.frame);
  if (got.length < 2) return null;
  const scale = Math.max(...got.map((entry) => Math.max(largest(entry.contribution), largest(entry.after))));
  const rows = got.map((entry, i) => {
    const from = entry.edge
      ? valueLink(app.doc.nodes[entry.step.node].output)
      : make("span", { class: "faint", text: say(entry.origin === "seed" ? "fromSeed" : "fromEarlier") });
    return make(
      "div",
      { class: "pair" },
      make("span", { class: "names" }, i > 0 ? "+ " : "", from),
      show(entry.contribution, { scale, kind: "grad" }),
    );
  });
  const total = make(
    "div",
    { class: "pair total" },
    make("span", { text: "=" }),
    show(got[got.length - 1].after, { scale, kind: "grad" }),
  );
  return section(say("contributions"), make("div", { class: "pairs" }, rows, total));
}

function aboutModule(group) {
  const ops = everyCard(group).filter((id) => app.links.maker.has(id)).length;
  return [
    heading("value", say("moduleCard"), group.path),
    make("p", { text: say("moduleText", { n: ops }) }),
    make(
      "p",
      { class: "jumps" },
      make("button", { type: "button", class: "soft", text: say("unfold"), onclick: () => setFolded(group, false) }),
      make("button", { type: "button", class: "soft", text: say("closeValue"), onclick: () => chooseCard(null) }),
    ),
  ];
}
