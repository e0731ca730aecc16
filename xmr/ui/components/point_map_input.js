// Pointers and keys over one map; the state that they change is point_map.js's.
const listen = (panel) => {
  const { over, fingers } = panel;
  const spot = (event) => { const box = over.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const find = (x, y, reach = 14) => nearest(panel.map, panel.grid, ...place(panel, x, y), reach / scaleOf(panel), look);
  let start = null, hovering = 0;
  over.addEventListener('pointerdown', (event) => {
    if (!panel.map || event.button > 0) return;
    fingers.set(event.pointerId, spot(event));
    start = { at: spot(event), x: view.x, y: view.y, dragged: false };
    aim = null;
    if (mode) over.setPointerCapture(event.pointerId);
    if (mode === 'lasso' && fingers.size === 1) panel.loop = [spot(event)];
    if (fingers.size > 1) panel.loop = null;
  });
  over.addEventListener('pointermove', (event) => {
    if (!panel.map) return;
    const [x, y] = spot(event);
    if (!fingers.has(event.pointerId)) {
      if (event.pointerType === 'mouse') hovering ||= requestAnimationFrame(() => { hovering = 0; mark(find(x, y)); });
      return;
    }
    if (fingers.size === 2 && mode) {
      const [a, b] = fingers.values(), before = Math.hypot(a[0] - b[0], a[1] - b[1]);
      fingers.set(event.pointerId, [x, y]);
      const [c, d] = fingers.values();
      zoom(panel, Math.hypot(c[0] - d[0], c[1] - d[1]) / Math.max(before, 1), (c[0] + d[0]) / 2, (c[1] + d[1]) / 2);
      start.dragged = true;
      return;
    }
    fingers.set(event.pointerId, [x, y]);
    if (Math.hypot(x - start.at[0], y - start.at[1]) > 4) start.dragged = true;
    if (!start.dragged) return;
    if (panel.loop) {
      const [u, v] = panel.loop.at(-1);
      if (Math.hypot(x - u, y - v) >= 3) { panel.loop.push([x, y]); redraw(false); }
    } else if (mode === 'move') {
      view.x = start.x - (x - start.at[0]) / scaleOf(panel);
      view.y = start.y + (y - start.at[1]) / scaleOf(panel);
      moved();
    }
  });
  const ended = (event) => {
    if (!fingers.delete(event.pointerId) || fingers.size || !start) return;
    const loop = panel.loop;
    panel.loop = null;
    if (event.type === 'pointerup' && !start.dragged) mark(find(...start.at, 22), 0);
    if (event.type === 'pointerup' && loop?.length > 2 && start.dragged) {
      chooseAll(within(panel.map, loop.map(([x, y]) => place(panel, x, y)), look), panel);
    } else redraw(false);
    start = null;
  };
  over.addEventListener('pointerup', ended);
  over.addEventListener('pointercancel', ended);
  over.addEventListener('wheel', (event) => {
    // A wheel that only passes by scrolls the page.
    if (!panel.map || !(event.ctrlKey || event.metaKey || document.activeElement === over)) return;
    event.preventDefault();
    zoom(panel, Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / 240), ...spot(event));
  }, { passive: false });
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  over.addEventListener('keydown', (event) => {
    if (!panel.map || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key, cross = aim?.panel === panel ? aim : { panel, x: panel.wide / 2, y: panel.high / 2 };
    if (key in STEPS) {
      const step = event.shiftKey ? 60 : 15, [dx, dy] = STEPS[key];
      aim = { panel, x: cross.x + dx * step, y: cross.y + dy * step };
      const out = [aim.x < 0 || aim.x > panel.wide ? dx * step : 0, aim.y < 0 || aim.y > panel.high ? dy * step : 0];
      aim.x -= out[0];
      aim.y -= out[1];
      view.x += out[0] / scaleOf(panel);
      view.y -= out[1] / scaleOf(panel);
      mark(find(aim.x, aim.y, 40), 350);
      redraw(Boolean(out[0] || out[1]));
    } else if (key === 'Enter') nearAim(panel, cross.x, cross.y);
    else if (key === '+' || key === '=') zoom(panel, 1.6, cross.x, cross.y);
    else if (key === '-') zoom(panel, 1 / 1.6, cross.x, cross.y);
    else if (key === '0') reset();
    else if (key === 'Escape') clear();
    else return;
    event.preventDefault();
  });
  over.addEventListener('blur', () => { if (aim?.panel === panel) { aim = null; redraw(false); } });
};
