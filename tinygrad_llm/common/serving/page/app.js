// 把各部分接起来：开着哪份对话，发送、停下、改、重新生成、换版本，与服务器的来去。
import { check, connection, onConnection } from "./connection.js";
import { countSoon, showCount } from "./counter.js";
import { announce, byId, copyText, toast } from "./dom.js";
import { download, exported, fileName, readFile } from "./exchange.js";
import { generate, running, stop } from "./generation.js";
import { prepareKeys } from "./keys.js";
import { edit, finish, grow, nodeOfBody, refresh, setActions, showTalk, toEnd, toggleTokens } from "./messages.js";
import { closePanel, covering, isOpen, openPanel, preparePanels, togglePanel } from "./panels.js";
import { preferences, prefer } from "./preferences.js";
import { showList } from "./sidebar.js";
import { prepareSettings, showModels } from "./settings.js";
import { isLasting, loadAll, loadOne, onOtherTab, remove, save } from "./store.js";
import { hideCard, watchPointer } from "./tokens.js";
import { add, newConversation, path, titleOf, turn, versions } from "./tree.js";
import { language, number, say, sayAll, setLanguage } from "./words.js";

const talks = new Map();
let talk = newConversation();

// ---- 对话 ----

function list() {
  showList(talks.values(), talk, { open, rename, remove: removeTalk });
  byId("export").disabled = !talk.first.length;
  byId("export-all").disabled = !talks.size;
  document.title = titleOf(talk) ? `${titleOf(talk)} · zero-one-llm` : "zero-one-llm";
}

function open(next) {
  talk = next;
  prefer("open", talks.has(talk.id) ? talk.id : "");
  byId("system").value = talk.system;
  hideCard();
  showTalk(talk);
  list();
  toEnd();
  countSoon(talk);
  if (covering() === "list") closePanel("list");
}

function newTalk() {
  open(newConversation());
  byId("message").focus();
}

function rename(one, title) {
  one.title = title.slice(0, 200);
  save(one);
  list();
}

function removeTalk(one) {
  if (running.talk === one) stop();
  talks.delete(one.id);
  remove(one.id);
  if (one === talk) open(newConversation());
  else list();
  toast(say("removed", { title: titleOf(one) || say("untitled") }), { word: "undo", run: () => keep(one, true) });
}

function keep(one, isOpened = false) {
  talks.set(one.id, one);
  save(one);
  if (isOpened) open(one);
}

// ---- 问与答 ----

const report = {
  started: () => {
    busy(true);
    if (running.talk === talk) showTalk(talk);
    toEnd();
    list();
  },
  grew: (node) => {
    node.waits = 0;
    grow(node);
  },
  waits: (node, seconds) => {
    node.waits = seconds;
    refresh(node);
  },
  finished: (node) => {
    delete node.waits;
    busy(false);
    finish(node);
    list();
    countSoon(talk);
    if (!node.error) announce(node.finish === "stopped" ? say("stopped") : say("answered", { count: number(node.count) }));
    if (!isLasting) toast(say("notStored"));
  },
};

function busy(isBusy) {
  byId("send").hidden = isBusy;
  byId("stop").hidden = !isBusy;
  document.body.dataset.busy = String(isBusy);
}

// 提问之前：有模型、没有别的回答正在写
function isReady() {
  if (running.node) return false;
  if (!preferences.model) toast(say(connection.state === "key" ? "keyNeededLong" : "noServer"));
  return Boolean(preferences.model);
}

function send() {
  const box = byId("message");
  if (!box.value.trim() || !isReady()) return;
  const text = box.value;
  box.value = "";
  ask(path(talk).at(-1)?.id ?? "", text);
}

function ask(parent, text) {
  if (!talks.has(talk.id)) {
    keep(talk);
    prefer("open", talk.id);
  }
  generate(talk, add(talk, parent, "user", text), report);
}

function regenerate(node) {
  if (isReady()) generate(talk, talk.nodes.get(node.parent), report);
}

setActions({
  regenerate,
  answer: (node) => {
    if (isReady()) generate(talk, node, report);
  },
  edit: (node, text) => {
    if (isReady()) ask(node.parent, text);
  },
  turn: (node, step) => {
    if (!turn(talk, node, step)) return;
    save(talk);
    showTalk(talk);
    const now = path(talk).find((one) => one.parent === node.parent);
    const { index, count } = versions(talk, now);
    announce(say("branchOf", { index: index + 1, count }));
    const word = step < 0 ? "previousBranch" : "nextBranch";
    const other = step < 0 ? "nextBranch" : "previousBranch";
    const footer = byId("log").querySelector(`[data-id="${now.id}"] footer`);
    (footer.querySelector(`[data-say-label="${word}"]:enabled`) ?? footer.querySelector(`[data-say-label="${other}"]`))?.focus();
    countSoon(talk);
  },
});

const last = (role) => path(talk).filter((node) => node.role === role).at(-1);

function turnLast(step) {
  const node = path(talk).filter((one) => versions(talk, one).count > 1).at(-1);
  if (!node || running.node || !turn(talk, node, step)) return;
  save(talk);
  showTalk(talk);
  countSoon(talk);
}

function prepareComposer() {
  const box = byId("message");
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  byId("stop").addEventListener("click", () => {
    stop();
    box.focus();
  });
  box.addEventListener("input", () => countSoon(talk));
  box.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return; // 输入法还在选字
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && !box.value && !event.shiftKey && !event.altKey && last("user") && !running.node) {
      event.preventDefault();
      edit(last("user"));
    }
  });
  byId("system").addEventListener("input", (event) => {
    talk.system = event.target.value;
    if (talks.has(talk.id)) save(talk);
    countSoon(talk);
  });
  for (const button of document.querySelectorAll("#examples button")) {
    button.addEventListener("click", () => {
      box.value = button.textContent;
      box.focus();
      send();
    });
  }
}

// ---- 导出与导入 ----

async function importFiles(files) {
  let count = 0;
  for (const file of files) {
    try {
      const found = await readFile(file);
      for (const one of found) keep(one);
      count += found.length;
      open(found[0]);
    } catch (error) {
      toast(say("notImported", { name: file.name, reason: say(error.message) }));
      return;
    }
  }
  toast(say("imported", { count }));
}

function prepareExchange() {
  byId("export").addEventListener("click", () => {
    download(fileName(talk), exported([talk]));
  });
  byId("export-all").addEventListener("click", () => {
    download(`chats-${new Date().toISOString().slice(0, 10)}.jsonl`, exported([...talks.values()]));
  });
  byId("import").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", async (event) => {
    await importFiles([...event.target.files]);
    event.target.value = "";
  });
}

// ---- 语言、明暗、服务器 ----

const THEMES = ["auto", "light", "dark"];

function showTheme() {
  document.documentElement.dataset.theme = preferences.theme;
  byId("theme").dataset.sayLabel = `theme_${preferences.theme}`;
  sayAll(byId("theme").parentElement);
}

function speak(name) {
  setLanguage(name);
  showModels();
  showCount();
  showConnection(connection.state);
  for (const node of path(talk)) refresh(node);
  list();
}

function prepareLooks() {
  byId("language").addEventListener("click", () => {
    const next = language() === "en" ? "zh" : "en";
    prefer("language", next);
    speak(next);
  });
  byId("theme").addEventListener("click", () => {
    prefer("theme", THEMES[(THEMES.indexOf(preferences.theme) + 1) % THEMES.length]);
    showTheme();
  });
  showTheme();
}

function showConnection(before) {
  const { state, wait } = connection;
  const bar = byId("banner");
  byId("status").dataset.state = state;
  if (byId("status-text").dataset.say !== (state === "key" ? "keyNeeded" : state)) {
    byId("status-text").dataset.say = state === "key" ? "keyNeeded" : state;
    byId("status-text").textContent = say(byId("status-text").dataset.say);
  }
  bar.hidden = state !== "lost" && state !== "key";
  byId("banner-text").textContent = state === "key" ? say("keyNeededLong") : say("lostLong");
  byId("banner-wait").textContent = state === "lost" ? say("again", { seconds: wait }) : "";
  byId("banner-action").textContent = say(state === "key" ? "enterKey" : "tryNow");
  if (state !== "ready") return;
  showModels();
  if (before !== "ready") countSoon(talk);
  if (before === "lost") toast(say("back"));
}

function prepareConnection() {
  onConnection(showConnection);
  byId("banner-action").addEventListener("click", () => {
    if (connection.state !== "key") {
      check();
      return;
    }
    if (!isOpen("settings")) openPanel("settings");
    byId("key").focus();
  });
  check();
}

function escape() {
  if (running.node) {
    stop();
    byId("message").focus();
  } else if (!byId("card").hidden) hideCard();
  else if (covering()) closePanel(covering());
}

onOtherTab(async ({ saved, removed }) => {
  if (removed) talks.delete(removed);
  if (saved && running.talk?.id !== saved) {
    const fresh = await loadOne(saved);
    if (!fresh) return;
    const isShown = talk.id === saved;
    if (isShown && talk.nodes.size === fresh.nodes.size && talk.updated === fresh.updated) return; // 那边还在写
    talks.set(saved, fresh);
    if (isShown) open(fresh);
  }
  list();
});

window.addEventListener("pagehide", () => running.talk && save(running.talk));

async function start() {
  sayAll(document);
  preparePanels();
  prepareSettings(() => {
    showModels();
    countSoon(talk);
  });
  prepareComposer();
  prepareExchange();
  prepareLooks();
  prepareKeys({
    KeyN: newTalk,
    KeyR: () => last("assistant") && regenerate(last("assistant")),
    KeyE: () => last("user") && !running.node && edit(last("user")),
    BracketLeft: () => turnLast(-1),
    BracketRight: () => turnLast(1),
    KeyT: () => last("assistant") && toggleTokens(last("assistant")),
    KeyC: () => last("assistant") && copyText(last("assistant").content),
    KeyL: () => togglePanel("list"),
    KeyS: () => togglePanel("settings"),
    Escape: escape,
  });
  byId("new").addEventListener("click", newTalk);
  watchPointer(byId("log"), nodeOfBody);
  byId("scroller").addEventListener("scroll", hideCard, { passive: true });
  const { talks: found, broken } = await loadAll();
  for (const one of found) talks.set(one.id, one);
  open(talks.get(preferences.open) ?? newConversation());
  if (broken) toast(say("unreadable", { count: broken }));
  if (!isLasting) toast(say("notStored"));
  prepareConnection();
  if (matchMedia("(hover: hover)").matches) byId("message").focus(); // 手机上不急着弹出键盘
  document.body.dataset.ready = "true";
}

start();
