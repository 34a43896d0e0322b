// 把当前的帧存成 SVG 或 PNG：整张图，下面附上这一步的说明；颜色都写成实数，别的软件也认得。

/** 样式里的 var(--名字) 换成此刻的颜色。 */
function resolvedStyle() {
  const computed = getComputedStyle(document.documentElement);
  return byId("style-graph").textContent.replace(/var\((--[\w-]+)\)/g, (_, name) =>
    computed.getPropertyValue(name).trim(),
  );
}

/** 图下的几行字：标题与阶段，公式与代入，代码。 */
function captionLines() {
  const frame = app.run.frames[app.frame];
  const broken = app.run.fault ? ` · ${say("broken", { title: either(app.run.fault, "title") })}` : "";
  const lines = [`${app.doc.title || "trace"} · ${whereText()}${broken}`];
  const node = frame.node === undefined ? null : app.doc.nodes[frame.node];
  if (frame.kind === "forward") lines.push(`${node.op}: ${node.formula}    ${node.text}`);
  if (frame.kind === "backward") {
    for (const edge of frame.step.edges)
      lines.push(`→ ${nameOf(edge.value)}:  ${edge.text || edge.vjp.split("\n")[0]}${additionText(edge)}`);
  }
  if (node?.source) lines.push(`${node.source.file}:${node.source.line}    ${node.source.text}`);
  return lines;
}

function additionText(edge) {
  if (edge.before === null || !isSingle(edge.after)) return "";
  const [before, part, after] = [edge.before, edge.contribution, edge.after].map((one) => numberText(one.flat[0]));
  return `    ${before} + ${part} = ${after}`;
}

/** 当前的帧，一份独立的 SVG 文字。 */
function frameSvg() {
  finishMotion();
  const frame = app.run.frames[app.frame];
  if (frame.kind === "backward") restPackets(frame);
  const margin = 24;
  const lines = captionLines();
  const font = "13px ui-monospace, monospace";
  const widest = Math.min(Math.max(...lines.map((line) => textWidth(line, font))), 900);
  const width = Math.ceil(Math.max(app.scene.width, widest) + 2 * margin);
  const top = app.scene.height + 2 * margin;
  const height = Math.ceil(top + lines.length * 20 + 12);
  const world = graph.world.cloneNode(true);
  world.setAttribute("transform", `translate(${(width - app.scene.width) / 2},${margin})`);
  for (const group of world.children) for (const element of group.children) element.removeAttribute("hidden"); // 视野之外的也要
  for (const hidden of world.querySelectorAll("[hidden], .fold-button")) hidden.remove();
  for (const element of world.querySelectorAll("[tabindex]")) element.removeAttribute("tabindex");
  const background = getComputedStyle(document.documentElement).getPropertyValue("--page").trim();
  const svg = draw(
    "svg",
    { xmlns: SVG_NS, viewBox: `0 0 ${width} ${height}`, width, height, class: "exported" },
    draw("style", { text: resolvedStyle() }),
    draw("rect", { width, height, fill: background }),
    graph.svg.querySelector("defs").cloneNode(true),
    world,
    lines.map((text, i) =>
      draw("text", { class: i === 0 ? "caption first" : "caption", x: margin, y: top + 14 + 20 * i, text }),
    ),
  );
  return new XMLSerializer().serializeToString(svg);
}

/** 当前的帧，PNG 的 data: 地址。 */
async function framePng(scale = 2) {
  const text = frameSvg();
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  const fitting = Math.min(scale, 12000 / Math.max(image.width, image.height));
  canvas.width = Math.round(image.width * fitting);
  canvas.height = Math.round(image.height * fitting);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}

function fileName(ending) {
  const title = (app.doc.title || "trace").replace(/[^\p{L}\p{N}._-]+/gu, "-");
  return `${title}-${String(app.frame).padStart(3, "0")}.${ending}`;
}

function download(address, ending) {
  const link = make("a", { href: address, download: fileName(ending) });
  document.body.append(link);
  link.click();
  link.remove();
  announce(say("saved", { name: fileName(ending) }));
}

const saveSvg = () => download(`data:image/svg+xml;charset=utf-8,${encodeURIComponent(frameSvg())}`, "svg");
const savePng = async () => download(await framePng(), "png");
