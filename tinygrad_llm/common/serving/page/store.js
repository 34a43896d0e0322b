// 对话存在 IndexedDB 里，一份一条；不许存的浏览器里只留在内存。读不出来的原样留着，只报个数。
import { fromPlain, toPlain } from "./tree.js";

const NAME = "zero-one-llm";
const SHELF = "conversations";

let database = null;
export let isLasting = true;

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function open() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(SHELF);
  database = await promised(request);
  database.onversionchange = () => database.close();
}

const shelf = () => database.transaction(SHELF, "readonly").objectStore(SHELF);

// 当场提交：下一刻网页被关掉，这一笔也存得完
async function change(alter) {
  const transaction = database.transaction(SHELF, "readwrite");
  alter(transaction.objectStore(SHELF));
  transaction.commit();
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
}

// 全部对话与读不出来的个数
export async function loadAll() {
  try {
    await open();
    const [keys, values] = await Promise.all([promised(shelf().getAllKeys()), promised(shelf().getAll())]);
    const talks = values.map((value, i) => restored(keys[i], value));
    return { talks: talks.filter(Boolean), broken: talks.filter((talk) => !talk).length };
  } catch {
    isLasting = false;
    return { talks: [], broken: 0 };
  }
}

export async function loadOne(id) {
  if (!isLasting) return null;
  return restored(id, await promised(shelf().get(id)).catch(() => null));
}

// 存着的仍用原来的 id，别的标签页也认得
function restored(key, value) {
  const talk = fromPlain(value);
  return talk && typeof key === "string" ? { ...talk, id: key } : null;
}

export async function save(talk) {
  if (!isLasting) return;
  try {
    await change((shelf) => shelf.put(toPlain(talk), talk.id));
    channel?.postMessage({ saved: talk.id });
  } catch {
    isLasting = false; // 满了，或被清掉了
  }
}

export async function remove(id) {
  if (!isLasting) return;
  await change((shelf) => shelf.delete(id)).catch(() => {});
  channel?.postMessage({ removed: id });
}

// 同一个浏览器的另一个标签页存了、删了什么
const channel = typeof BroadcastChannel === "function" ? new BroadcastChannel(NAME) : null;

export function onOtherTab(listener) {
  if (channel) channel.onmessage = ({ data }) => listener(data ?? {});
}
