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
// Two maps of the same points: one view for both, marks and selections in both. Coordinates come as files, not as values.
const root = element.querySelector('.pm');
const spoken = element.querySelector('.said'); // stays while the rest is drawn anew
const dark = () => document.body.classList.contains('dark');
const coarse = matchMedia('(pointer: coarse)').matches;
const NEAR = 50; // points that Enter selects
const CROWD = 20000;
const ratioOf = () => Math.min(devicePixelRatio || 1, 2);
const SHAPES = [() => h('circle', { cx: 6, cy: 6, r: 5 }), () => h('polygon', { points: '6,0.5 11.6,11 0.4,11' }), () => h('rect', { x: 1, y: 1, width: 10, height: 10, rx: 2 })];
const glyph = (shape, ink) => h('svg', { class: 'mark', viewBox: '0 0 12 12', 'aria-hidden': 'true', style: `--ink:${ink}` }, SHAPES[shape]());

let value = null, panels = [], view = null, whole = null, codes = null;
let look = new Uint8Array(0), chosen = [], marked = -1, own = [], aim = null;
let mode = coarse ? '' : 'lasso', shown = [true, true], alone = new Set(), items = '';
let worded = true; // whether regions have their words

const files = new Map(); // address -> promise of its bytes; the last few, since their names say their content
const bytes = (src) => {
  if (!files.has(src)) {
    files.set(src, fetch(src).then((answer) => { if (!answer.ok) throw new Error(`${answer.status}`); return answer.arrayBuffer(); }));
    files.get(src).catch(() => files.delete(src));
    if (files.size > 12) files.delete(files.keys().next().value);
  }
  return files.get(src);
};

// ---- what is drawn

const inks = () => {
  const { colours, other } = dark() ? settings.dark : settings.light;
  return value.labels ? [...value.labels.names.map((_, at) => colours[at]), other] : colours.slice(0, 2);
};
const seen = () => {
  const [visuals] = value.counts, shows = (i) => shown[i < visuals ? 0 : 1] && (!alone.size || alone.has(codes[i]));
  for (let i = 0; i < look.length; i++) look[i] = shows(i) ? (chosen.length ? 1 : 2) : 0;
  for (const i of chosen) if (look[i]) look[i] = 3;
};
const pixel = (panel, i) =>
  [panel.wide / 2 + (panel.map.xs[i] - view.x) * scaleOf(panel), panel.high / 2 - (panel.map.ys[i] - view.y) * scaleOf(panel)];
const place = (panel, x, y) => [view.x + (x - panel.wide / 2) / scaleOf(panel), view.y - (y - panel.high / 2) / scaleOf(panel)];
const scaleOf = (panel) => (view.zoom * 0.92 * Math.min(panel.wide / whole.across, panel.high / whole.up));

let due = 0, everything = false, moving = 0;
const redraw = (all) => {
  everything ||= all;
  due ||= requestAnimationFrame(() => { const whole = everything; due = 0; everything = false; for (const panel of panels) paint(panel, whole); });
};
const moved = () => { // while the view moves, crowds are drawn in coarse pixels
  clearTimeout(moving);
  moving = setTimeout(() => { moving = 0; if (look.length > CROWD) redraw(true); }, 180);
  redraw(true);
};
const paint = (panel, all) => {
  if (!panel.map || !panel.wide) return;
  if (all) {
    const context = panel.base.getContext('2d'), ratio = moving && look.length > CROWD ? 1 : ratioOf();
    const [width, height] = [panel.wide, panel.high].map((side) => Math.round(side * ratio));
    if (panel.base.width !== width || panel.base.height !== height) Object.assign(panel.base, { width, height });
    if (panel.image?.width !== width || panel.image?.height !== height) panel.image = context.createImageData(width, height);
    const count = panel.map.count, crowd = count > CROWD ? 1.7 : count > 5000 ? 2.2 : count > 1000 ? 3 : 4;
    raster(panel.image, panel.map, { x: view.x, y: view.y, scale: scaleOf(panel) * ratio }, {
      look, code: codes, colour: inks().map(rgb), visuals: value.counts[0], ground: rgb((dark() ? settings.dark : settings.light).ground),
      radius: Math.round(2 * crowd * Math.min(2.5, view.zoom ** 0.35) * ratio) / 2, opacity: count > CROWD ? 0.6 : 0.8,
    });
    context.putImageData(panel.image, 0, 0);
    root.dataset.drawn = Number(root.dataset.drawn ?? 0) + 1;
  }
  overlay(panel);
};
const overlay = (panel) => {
  const context = panel.over.getContext('2d'), ratio = panel.over.width / panel.wide, ink = dark() ? '#ffffff' : '#0f172a';
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, panel.wide, panel.high);
  pictures(panel, context, ink);
  if (worded) regions(panel, context, ink);
  context.strokeStyle = ink;
  const ring = (i, radius, width) => {
    context.lineWidth = width;
    context.beginPath();
    context.arc(...pixel(panel, i), radius, 0, 2 * Math.PI);
    context.stroke();
  };
  if (marked >= 0) {
    context.lineWidth = 1;
    for (const i of own) { context.beginPath(); context.moveTo(...pixel(panel, marked)); context.lineTo(...pixel(panel, i)); context.stroke(); ring(i, 4, 1.5); }
    ring(marked, 8, 3);
  }
  if (aim?.panel === panel) {
    const { x, y } = aim;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { context.moveTo(x + 5 * dx, y + 5 * dy); context.lineTo(x + 22 * dx, y + 22 * dy); }
    context.stroke();
  }
  if (panel.loop) {
    context.lineWidth = 2;
    context.setLineDash([6, 4]);
    context.fillStyle = dark() ? '#ffffff22' : '#0f172a14';
    context.beginPath();
    panel.loop.forEach((corner) => context.lineTo(...corner));
    context.closePath();
    context.fill();
    context.stroke();
    context.setLineDash([]);
  }
};

// Words that name regions, where they would not cover each other; of a map that is turning into another, none.
const regions = (panel, context, ink) => {
  const found = panel.mixed ? [] : value.panels[panels.indexOf(panel)]?.regions ?? [], boxes = [];
  context.font = `600 12.5px ${getComputedStyle(root).fontFamily}`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.lineJoin = 'round';
  context.lineWidth = 4;
  for (const { x, y, words } of found) {
    const text = words.join(' '), half = context.measureText(text).width / 2 + 4;
    const u = Math.min(Math.max(panel.wide / 2 + (x - view.x) * scaleOf(panel), half), panel.wide - half), v = panel.high / 2 - (y - view.y) * scaleOf(panel);
    const away = panel.wide / 2 + (x - view.x) * scaleOf(panel);
    if (away < 0 || away > panel.wide || v < 8 || v > panel.high - 8) continue;
    if (boxes.some(([a, b, width]) => Math.abs(a - u) < half + width && Math.abs(b - v) < 17)) continue;
    boxes.push([u, v, half]);
    context.strokeStyle = dark() ? '#10151ddd' : '#ffffffdd';
    context.strokeText(text, u, v);
    context.fillStyle = ink;
    context.fillText(text, u, v);
  }
  panel.over.dataset.words = boxes.length;
};

// Where few visuals are in sight, they are seen themselves; their small pictures are asked for once the map rests.
const SIDE = 46, images = new Map(); // place -> picture, null while it is asked for
let asked = 0;
const pictures = (panel, context, ink) => {
  const most = Math.floor((panel.wide * panel.high) / (SIDE * SIDE * 4)), near = [];
  for (let i = 0; i < value.counts[0] && near.length <= most; i++) {
    if (!look[i]) continue;
    const [x, y] = pixel(panel, i);
    if (x > 0 && y > 0 && x < panel.wide && y < panel.high) near.push([i, x, y]);
  }
  const seen = view.zoom > 1.4 && near.length && near.length <= most && !panel.mixed;
  panel.over.dataset.pictures = seen ? near.filter(([i]) => images.get(i)?.complete).length : 0;
  if (!seen) return;
  const unknown = near.map(([i]) => i).filter((i) => !images.has(i));
  if (unknown.length) {
    clearTimeout(asked);
    asked = setTimeout(() => fetchPictures(unknown), 160);
  }
  context.lineWidth = 1.5;
  for (const [i, x, y] of near) {
    const image = images.get(i);
    if (!image?.complete || !image.naturalWidth) continue;
    const scale = SIDE / Math.max(image.naturalWidth, image.naturalHeight), [wide, high] = [image.naturalWidth * scale, image.naturalHeight * scale];
    context.globalAlpha = look[i] === 1 ? 0.35 : 1;
    context.drawImage(image, x - wide / 2, y - high / 2, wide, high);
    context.strokeStyle = look[i] === 3 ? inks()[0] : ink;
    context.strokeRect(x - wide / 2, y - high / 2, wide, high);
    context.globalAlpha = 1;
  }
};
const fetchPictures = async (places) => {
  for (const i of places) images.set(i, null);
  const of = items, found = await trigger('pictures', { places, items });
  if (of !== items) return;
  for (const [i, src] of Object.entries(found?.pictures ?? {})) {
    const image = new Image();
    image.onload = () => redraw(false);
    image.src = src;
    images.set(Number(i), image);
  }
};

// ---- from one map to the other

// The first map's points go to where the other has them: `mix` is 0 there, 1 here.
let mix = 0, playing = 0;
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const blend = (to, settle = true) => {
  const [panel, other] = panels;
  if (!other?.own || !panel?.own) return;
  mix = to;
  panel.mixed = mix > 0;
  if (!mix) panel.map = panel.own;
  else {
    if (panel.map === panel.own) panel.map = { count: panel.own.count, xs: new Float32Array(panel.own.count), ys: new Float32Array(panel.own.count) };
    const { xs, ys } = panel.map, a = panel.own, b = other.own;
    for (let i = 0; i < xs.length; i++) { xs[i] = a.xs[i] + (b.xs[i] - a.xs[i]) * mix; ys[i] = a.ys[i] + (b.ys[i] - a.ys[i]) * mix; }
  }
  if (settle) panel.grid = gridOf(panel.map); // what is found under the pointer
  way.value = mix;
  way.setAttribute('aria-valuetext', mix === 0 ? `as under ${value.panels[0].name}` : mix === 1 ? `as under ${value.panels[1].name}` : `${Math.round(100 * mix)} per cent of the way`);
  panel.node.querySelector('h3 span').textContent = mix ? `${value.panels[0].name} → ${value.panels[1].name}` : value.panels[0].name;
  redraw(true);
};
const play = () => {
  cancelAnimationFrame(playing);
  const from = mix, to = mix < 0.5 ? 1 : 0;
  if (calm.matches) { blend(to); return; }
  let began = 0;
  const frame = (now) => {
    began ||= now;
    const part = Math.min((now - began) / 1400, 1), eased = part * part * (3 - 2 * part);
    blend(from + (to - from) * eased, part === 1);
    if (part < 1) playing = requestAnimationFrame(frame);
  };
  playing = requestAnimationFrame(frame);
};
const way = h('input', { type: 'range', min: 0, max: 1, step: 0.01, value: 0, 'aria-label': 'From map A to map B', oninput: () => { cancelAnimationFrame(playing); blend(Number(way.value)); } });
const morph = h('div', { class: 'morph', role: 'group', 'aria-label': 'From A to B' }, h('span', { 'aria-hidden': 'true' }, 'A'), way, h('span', { 'aria-hidden': 'true' }, 'B'),
  h('button', { type: 'button', onclick: play }, 'Turn A into B and back'));

// ---- what is asked of the server

let asking;
const mark = (i, wait = 140) => {
  if (i === marked || i < 0) return;
  marked = i;
  own = [];
  redraw(false);
  clearTimeout(asking);
  asking = setTimeout(() => trigger('look', { place: i, items }), wait);
};
document.addEventListener('xmr-point', ({ detail }) => { // the card of the marked point knows its matches
  if (detail.items !== items || detail.place !== marked) return;
  own = detail.own.filter((i) => i < look.length);
  redraw(false);
});
const choose = (found, panel, x, y) => {
  chosen = found;
  seen();
  redraw(true);
  toolbar();
  const visuals = value.counts[0], kept = closest(panel.map, found, x, y, settings.most);
  const pictures = found.reduce((sum, i) => sum + (i < visuals), 0), total = [pictures, found.length - pictures];
  trigger('lasso', { visual: kept.filter((i) => i < visuals), text: kept.filter((i) => i >= visuals).map((i) => i - visuals), total, items });
};
const chooseAll = (found, panel) => { // the middle is that of the points themselves
  const mean = (values) => found.reduce((sum, i) => sum + values[i], 0) / Math.max(found.length, 1);
  choose(found, panel, mean(panel.map.xs), mean(panel.map.ys));
};
const clear = () => { if (chosen.length) choose([], panels[0], 0, 0); };
const nearAim = (panel, x, y) => {
  const [u, v] = place(panel, x, y), shownOnes = [];
  for (let i = 0; i < look.length; i++) if (look[i]) shownOnes.push(i);
  choose(closest(panel.map, shownOnes, u, v, NEAR), panel, u, v);
};

// ---- view and tools

const zoom = (panel, factor, x = panel.wide / 2, y = panel.high / 2) => {
  const [u, v] = place(panel, x, y), before = view.zoom;
  view.zoom = Math.min(200, Math.max(0.5, before * factor));
  const kept = before / view.zoom;
  view.x = u + (view.x - u) * kept;
  view.y = v + (view.y - v) * kept;
  moved();
};
const reset = () => { view = { x: whole.x, y: whole.y, zoom: 1 }; redraw(true); };
const button = (text, does, more = {}) =>
  h('button', { type: 'button', onclick: () => { does(); toolbar(); }, ...more }, ...[text].flat());
const toolbar = () => {
  const at = [...bar.querySelectorAll('button')].indexOf(document.activeElement);
  const pick = (name) => ({ 'aria-pressed': String(mode === name) });
  const ink = inks(), plain = dark() ? '#cbd5e1' : '#475569';
  const toggle = (set, code) => () => { set.has(code) ? set.delete(code) : set.add(code); seen(); redraw(true); };
  bar.replaceChildren(
    h('div', { class: 'group', role: 'group', 'aria-label': 'Dragging' },
      button('Lasso', () => { mode = mode === 'lasso' && coarse ? '' : 'lasso'; }, pick('lasso')),
      button('Move', () => { mode = mode === 'move' && coarse ? '' : 'move'; }, pick('move'))),
    h('div', { class: 'group', role: 'group', 'aria-label': 'View' },
      button('+', () => zoom(panels[0], 1.6), { 'aria-label': 'Zoom in' }),
      button('−', () => zoom(panels[0], 1 / 1.6), { 'aria-label': 'Zoom out' }),
      button('Whole map', reset), button('Clear selection', clear, { disabled: !chosen.length }),
      button('Words', () => { worded = !worded; redraw(false); }, { 'aria-pressed': String(worded), title: 'Words that name regions' })),
    h('div', { class: 'group', role: 'group', 'aria-label': 'Shown' },
      value.kinds.map((kind, at) => button([glyph(at, value.labels ? plain : ink[at]), h('span', {}, kind)],
        () => { shown[at] = !shown[at]; seen(); redraw(true); }, { class: 'kind', 'aria-pressed': String(shown[at]) }))),
    value.labels && h('div', { class: 'group', role: 'group', 'aria-label': `Only these: ${value.labels.title}` },
      h('span', { class: 'title' }, `${value.labels.title}:`), [...value.labels.names, value.labels.other].map((name, code) => name && button([glyph(2, ink[code]), h('span', {}, `${name} · ${value.labels.counts[code]}`)],
      toggle(alone, code), { 'aria-pressed': String(alone.has(code)) }))) || '');
  root.classList.toggle('holding', Boolean(mode));
  root.classList.toggle('move', mode === 'move');
  if (at >= 0) bar.querySelectorAll('button')[at]?.focus();
};
const bar = h('div', { class: 'bar' });

// ---- panels

const measure = (panel) => {
  const { clientWidth, clientHeight } = panel.over;
  if (!clientWidth) return;
  [panel.wide, panel.high] = [clientWidth, clientHeight];
  Object.assign(panel.over, { width: Math.round(clientWidth * ratioOf()), height: Math.round(clientHeight * ratioOf()) });
  if (panel.map) redraw(true);
};
const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => panels.filter((panel) => panel.over === target).forEach(measure)));

const panelOf = (at) => {
  const base = h('canvas', { class: 'base', 'aria-hidden': 'true' });
  const over = h('canvas', { class: 'over', tabindex: 0, role: 'application' });
  const panel = { base, over, wide: 0, high: 0, fingers: new Map() };
  panel.node = h('section', { class: 'panel' }, h('h3', {}, h('i', {}, 'AB'[at]), h('span', {})), h('p', { class: 'facts' }), h('div', { class: 'stage' }, base, over));
  listen(panel);
  observer.observe(over);
  return panel;
};

// ---- values

let turn = 0;
const finding = h('p', { class: 'finding' }), waiting = h('p', { class: 'waiting', hidden: true }), hint = h('p', { class: 'hint' });
const side = h('div', { class: 'panels' });
// Nodes stay while their words change: a canvas that is taken out for a moment loses the focus and the finger on it.
const frame = () => {
  const wanted = value.panels.length;
  if (!finding.isConnected) root.replaceChildren(finding, waiting, bar, morph, side, hint);
  while (panels.length > wanted) { const { over, node } = panels.pop(); observer.unobserve(over); node.remove(); }
  while (panels.length < wanted) { panels.push(panelOf(panels.length)); side.append(panels.at(-1).node); }
  side.classList.toggle('one', wanted === 1);
  for (const node of [bar, side, hint]) node.hidden = !wanted;
  morph.hidden = wanted < 2;
  [finding.textContent, waiting.textContent, hint.textContent] = [value.words, value.waiting, value.hint];
  if (waiting.hidden === Boolean(value.waiting)) spoken.textContent = value.waiting || 'The map is ready.';
  waiting.hidden = !value.waiting;
  panels.forEach((panel, at) => {
    const { name, facts } = value.panels[at];
    panel.node.querySelector('h3 span').textContent = name;
    panel.node.querySelector('.facts').textContent = facts;
    panel.over.setAttribute('aria-label', `Map of ${name}: ${value.kinds.join(' and ')}. ${facts} `
      + `Arrow keys move a cross-hair, Enter selects the ${NEAR} nearest points, plus and minus zoom, 0 shows the whole map, Escape clears the selection.`);
  });
};
const draw = async (next) => {
  const mine = ++turn;
  let read;
  try {
    read = await Promise.all([...next.panels, ...(next.labels ? [next.labels] : [])].map(({ src }) => bytes(src)));
  } catch (error) {
    if (mine === turn) { root.replaceChildren(h('p', { class: 'empty', role: 'alert' }, `The map could not be loaded (${error.message}). Choose another run and come back, or reload the page.`)); }
    return;
  }
  if (mine !== turn) return; // a later value came while this one's files were on their way
  const before = value;
  value = next;
  frame();
  if (!value.panels.length) return;
  panels.forEach((panel, at) => {
    const { src, place: how } = value.panels[at], key = `${src} ${how}`;
    if (panel.key === key) return;
    panel.key = key;
    panel.own = panel.map = placed(new Uint16Array(read[at]), how);
    panel.grid = gridOf(panel.map);
  });
  cancelAnimationFrame(playing);
  if (mix) blend(0);
  const count = panels[0].map.count;
  codes = value.labels ? new Uint8Array(read.at(-1)) : new Uint8Array(count).fill(1).fill(0, 0, value.counts[0]);
  const asked = JSON.stringify(value.panels) !== JSON.stringify(before?.panels);
  if (items !== value.items) { chosen = []; marked = -1; own = []; look = new Uint8Array(count); images.clear(); }
  items = value.items;
  if (before?.labels?.src !== value.labels?.src) alone = new Set();
  if (asked || !view) {
    const [x0, y0, x1, y1] = bounds(panels.map((panel) => panel.map));
    whole = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, across: Math.max(x1 - x0, 1e-9), up: Math.max(y1 - y0, 1e-9) };
    view = { x: whole.x, y: whole.y, zoom: 1 };
  }
  seen();
  toolbar();
  panels.forEach(measure);
  if (asked && before && chosen.length) chooseAll(chosen, panels[0]); // the same items under other runs
};

new MutationObserver(() => { if (value?.panels.length) { toolbar(); redraw(true); } }).observe(document.body, { attributes: true, attributeFilter: ['class'] });
return draw;
