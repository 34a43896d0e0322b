// 赶在第一次绘制之前定下语言与明暗，免得页面先白后黑地闪一下；其余都在 app.js。
(() => {
  const root = document.documentElement;
  let saved = null;
  try {
    saved = JSON.parse(localStorage.getItem("zero-one-llm.preferences"));
  } catch {
    // 存坏了，或浏览器不许存：照缺省的来
  }
  const asked = saved && typeof saved === "object" ? saved : {};
  const chinese = asked.language ? asked.language === "zh" : (navigator.language || "").toLowerCase().startsWith("zh");
  root.lang = chinese ? "zh-CN" : "en";
  root.dataset.theme = ["light", "dark"].includes(asked.theme) ? asked.theme : "auto";
})();
