// 逐次合并的播放器：每个 .player 各管各的一串帧；不发请求，不写 HTML，文字一律作为文字放进去。
"use strict";
(() => {
  const HUES = 6;

  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function chip(text, number) {
    return element("span", `chip chip-${number % HUES}`, text);
  }

  function start(player) {
    const frames = JSON.parse(player.querySelector('script[type="application/json"]').textContent);
    const [rule, stage, candidates] = [".rule", ".stage", ".candidates"].map((name) => player.querySelector(name));
    const slider = player.querySelector("input");
    const speed = player.querySelector("select");
    const playButton = player.querySelector('[data-do="play"]');
    let at = 0;
    let timer = 0;

    function showRule(frame) {
      rule.replaceChildren();
      if (frame.m < 0) {
        rule.append(`开始：${frame.t.length} 个字节`);
      } else {
        const [left, right, joined] = frame.r.map((text) => element("span", "chip chip-masked", text));
        rule.append(`第 ${frame.m + 1} 次合并：`, left, " + ", right, " → ", joined);
        rule.append(`　这句话现在 ${frame.t.length} 个 token`);
      }
      if (frame.total) rule.append(`　训练文本 ${frame.total.toLocaleString()} 个`);
    }

    function showCandidates(frame) {
      candidates.replaceChildren();
      const most = Math.max(1, ...(frame.c || []).map((one) => one[2]));
      (frame.c || []).forEach(([left, right, count], index) => {
        const pair = element("span", "pair", `${left} + ${right}`);
        const bar = element("span", index === 0 ? "bar chosen" : "bar");
        const fill = element("i");
        fill.style.width = `${(100 * count) / most}%`;
        bar.append(fill, element("b", "", count.toLocaleString()));
        candidates.append(pair, bar);
      });
    }

    function show(index) {
      at = Math.min(Math.max(index, 0), frames.length - 1);
      const frame = frames[at];
      stage.replaceChildren(...frame.t.map((text, i) => {
        const node = chip(text, frame.n[i]);
        if (frame.m >= 0 && frame.n[i] === 256 + frame.m) node.classList.add("new");
        return node;
      }));
      showRule(frame);
      showCandidates(frame);
      slider.value = at;
      if (at === frames.length - 1) pause();
    }

    function pause() {
      clearInterval(timer);
      timer = 0;
      playButton.textContent = "▶";
    }

    function play() {
      if (at === frames.length - 1) show(0);
      playButton.textContent = "❚❚";
      timer = setInterval(() => show(at + 1), Number(speed.value));
    }

    const actions = {
      first: () => show(0),
      back: () => show(at - 1),
      next: () => show(at + 1),
      last: () => show(frames.length - 1),
      play: () => (timer ? pause() : play()),
    };
    const keys = { ArrowLeft: "back", ArrowRight: "next", Home: "first", End: "last", " ": "play" };

    function act(name) {
      if (name !== "play") pause();
      actions[name]();
    }

    player.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) act(button.dataset.do);
    });
    player.addEventListener("keydown", (event) => {
      const name = keys[event.key];
      const onControl = event.target.matches("select, input") || (event.key === " " && event.target.matches("button"));
      if (!name || onControl || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      act(name);
    });
    slider.addEventListener("input", () => {
      pause();
      show(Number(slider.value));
    });
    speed.addEventListener("change", () => {
      if (!timer) return;
      pause();
      play();
    });
    show(0);
  }

  document.querySelectorAll(".player").forEach(start);
  document.body.dataset.ready = "true";
})();
