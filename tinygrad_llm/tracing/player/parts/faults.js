// 「弄坏它」：换上一趟走错的反传，把错的结果摆在对的旁边。

const faults = { runs: new Map() };

/** 弄坏的一趟；第一次用到时才排。 */
function runOf(name) {
  if (name === null) return app.right;
  if (!faults.runs.has(name))
    faults.runs.set(
      name,
      makeRun(
        app.doc,
        app.doc.faults.find((fault) => fault.name === name),
      ),
    );
  return faults.runs.get(name);
}

/** 换一种弄坏的办法；``null`` 是正确的做法。停在同一阶段的差不多同一处。 */
function setFault(name) {
  const before = app.run;
  const place = app.frame;
  app.run = runOf(name);
  const atEnd = place === before.frames.length - 1;
  const isForward = before.frames[place].kind === "forward" || before.frames[place].kind === "start";
  app.frame =
    atEnd || (!isForward && name !== null) ? app.run.frames.length - 1 : Math.min(place, app.run.frames.length - 1);
  document.body.dataset.fault = name ?? "";
  buildMarks();
  showSide(app.side);
  refresh(false);
}

function buildFaults() {
  const pane = byId("side-faults");
  const list = app.doc.faults ?? [];
  if (list.length === 0) {
    pane.replaceChildren(make("p", { class: "faint", text: say("noFaults") }));
    return;
  }
  const current = app.run.fault?.name ?? null;
  const off = faultSwitch(null, say("faultOff"), "", current === null);
  const switches = list.map((fault) =>
    faultSwitch(fault.name, either(fault, "title"), either(fault, "why"), current === fault.name),
  );
  pane.replaceChildren(
    make("p", { text: say("faultsIntro") }),
    make(
      "div",
      { class: "switches", role: "radiogroup", "aria-label": say("tabFaults"), onkeydown: moveInSwitches },
      off,
      switches,
    ),
    ...(app.run.fault ? [section(say("beside"), comparison())] : []),
  );
}

function faultSwitch(name, title, why, on) {
  return make(
    "button",
    {
      type: "button",
      class: "switch",
      role: "radio",
      "aria-checked": String(on),
      tabindex: on ? 0 : -1,
      "data-fault": name ?? "",
      onclick: () => {
        setFault(name);
        byId("side-faults")
          .querySelector(`[data-fault="${name ?? ""}"]`)
          ?.focus({ preventScroll: true });
      },
    },
    make("span", { class: "knob", "aria-hidden": "true" }),
    make("span", { class: "switch-text" }, make("b", { text: title }), why && on ? make("small", { text: why }) : null),
  );
}

/** 单选的一组里，上下键换下一个。 */
function moveInSwitches(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  const all = [...byId("side-faults").querySelectorAll("[data-fault]")];
  const next = all[(all.indexOf(document.activeElement) + by + all.length) % all.length];
  next.click();
}

/** 错的与对的并排；不同的在前。 */
function comparison(id = "comparison") {
  const { fault } = app.run;
  const note = either(fault, "note");
  const values = valuesWithGradients();
  const bad = values.filter(({ id }) => fault.differs.includes(id));
  const good = values.filter(({ id }) => !fault.differs.includes(id) && !app.links.maker.has(id));
  const titles = [say("name"), say("wrong"), say("right"), ""];
  const rows = [
    ...bad.flatMap((value) => comparedRows(value, true)),
    ...good.flatMap((value) => comparedRows(value, false)),
  ];
  return [
    note ? make("p", { class: "note small", text: note }) : null,
    bad.length === 0 && fault.steps.length ? make("p", { class: "faint", text: say("sameResult") }) : null,
    fault.steps.length ? gradientTable(id, "compare", titles, rows) : null,
  ];
}

function comparedRows(value, isBad) {
  const [wrong, right] = [finalGradient(app.run, value.id), finalGradient(app.right, value.id)];
  return listing([wrong, right]).map((at) => {
    const cells = [wrong, right].map((array, i) => {
      const cell = make("td", { "data-kind": i === 0 ? "wrong" : "right" });
      fillCell(cell, array, at, "grad");
      return cell;
    });
    const differs =
      isBad &&
      (at === null || !wrong || elementGap(wrong.flat[at], right.flat[at]) > 1e-12 * Math.max(1, largest(right)));
    const word = say(differs ? "isWrong" : "isRight");
    const mark = make(
      "td",
      { class: "mark", title: word },
      make("span", { "aria-hidden": "true", text: differs ? "✗" : "✓" }),
      make("span", { class: "unseen", text: word }),
    );
    const kind = `${differs ? "bad" : "good"}${at ? " more" : ""}`;
    return make(
      "tr",
      { "data-value": value.id, "data-element": at, class: kind },
      rowHead(value, at, right),
      cells,
      mark,
    );
  });
}
