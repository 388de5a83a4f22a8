// What every page of the dashboard shares: data for its parts, the heatmap's view, outlines, light and dark.
window.taktline = (() => {
  const takers = new Map();
  const last = new Map();
  const watchers = new Set();
  const stored = (name, fallback) => localStorage.getItem(`taktline-${name}`) ?? fallback;
  const view = { mode: stored("mode", "heatmap"), opacity: Number(stored("opacity", "0.6")) };

  // Data may come before the part of the page that shows it.
  function show(data) {
    for (const [key, value] of Object.entries(data)) {
      last.set(key, { ...last.get(key), ...value });
      for (const taker of takers.get(key) ?? []) taker(value);
    }
  }

  function take(key, taker) {
    if (!takers.has(key)) takers.set(key, new Set());
    takers.get(key).add(taker);
    if (last.has(key)) taker(last.get(key));
    return () => takers.get(key).delete(taker);
  }

  function setView(change) {
    Object.assign(view, change);
    for (const [name, value] of Object.entries(change)) localStorage.setItem(`taktline-${name}`, value);
    for (const watcher of watchers) watcher(view);
  }

  function watchView(watcher) {
    watchers.add(watcher);
    watcher(view);
    return () => watchers.delete(watcher);
  }

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  // Colours the grid on its fixed scale: 256 colours with their opacity, given by the server.
  function paint(canvas, grid, scale) {
    const cells = bytes(grid.data);
    canvas.width = grid.w;
    canvas.height = grid.h;
    const context = canvas.getContext("2d");
    const image = context.createImageData(grid.w, grid.h);
    for (let at = 0; at < cells.length; at++) image.data.set(scale.subarray(4 * cells[at], 4 * cells[at] + 4), 4 * at);
    context.putImageData(image, 0, 0);
  }

  // Where the grid crosses a level, as an SVG path: marching squares between the cells' centres, with a border of
  // zeros, so that every outline is closed.
  function outline(grid, level) {
    const cells = bytes(grid.data);
    const at = (x, y) => (x < 0 || y < 0 || x >= grid.w || y >= grid.h ? 0 : cells[y * grid.w + x]);
    const cut = (a, b) => (a === b ? 0.5 : (level - a) / (b - a));
    const path = [];
    for (let y = -1; y < grid.h; y++) {
      for (let x = -1; x < grid.w; x++) {
        const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
        const kind = (a > level) | ((b > level) << 1) | ((c > level) << 2) | ((d > level) << 3);
        if (kind === 0 || kind === 15) continue;
        const up = [x + cut(a, b), y];
        const right = [x + 1, y + cut(b, c)];
        const down = [x + cut(d, c), y + 1];
        const left = [x, y + cut(a, d)];
        const lines = {
          1: [left, up], 2: [up, right], 3: [left, right], 4: [right, down], 6: [up, down], 7: [left, down],
          8: [down, left], 9: [down, up], 11: [down, right], 12: [right, left], 13: [right, up], 14: [up, left],
          5: [left, up, right, down], 10: [up, right, down, left],
        }[kind];
        for (let i = 0; i < lines.length; i += 2) {
          const [[x1, y1], [x2, y2]] = [lines[i], lines[i + 1]];
          const place = (value, most) => Math.min(Math.max(value + 0.5, 0), most).toFixed(2);
          path.push(`M${place(x1, grid.w)} ${place(y1, grid.h)}L${place(x2, grid.w)} ${place(y2, grid.h)}`);
        }
      }
    }
    return path.join("");
  }

  function ink() {
    const style = getComputedStyle(document.body);
    return { soft: style.getPropertyValue("--soft").trim(), rule: style.getPropertyValue("--rule").trim() };
  }

  function setDark(dark) {
    localStorage.setItem("taktline-dark", dark);
    Quasar.Dark.set(dark);
    for (const watcher of watchers) watcher(view);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const dark = localStorage.getItem("taktline-dark");
    if (dark !== null) Quasar.Dark.set(dark === "true");
  });

  // Elements with data-shortcut are clicked by that key, unless somebody writes a text.
  document.addEventListener("keydown", (event) => {
    const writes = event.target.closest?.("input:not([type=radio]):not([type=range]), textarea, select, [contenteditable]");
    if (writes || event.ctrlKey || event.altKey || event.metaKey || event.target.type === "radio" || event.target.type === "range") return;
    const target = document.querySelector(`[data-shortcut="${CSS.escape(event.key)}"]`);
    if (target) {
      event.preventDefault();
      target.click();
    }
  });

  return { show, take, setView, watchView, view, bytes, paint, outline, ink, setDark, toggleDark: () => setDark(!Quasar.Dark.isActive) };
})();
