// Two curves given by points. Each point is a slider: dragged up and down, or moved by the arrow keys.
const figure = element.querySelector('.drawing'), plane = figure.querySelector('.plane');
figure.querySelector('figcaption').textContent = 'Drag the points, or move them by the arrow keys: the weight of each at its similarity.';
const WIDE = 560, HIGH = 250, LEFT = 44, RIGHT = 16, TOP = 14, BOTTOM = 36;
const X = (score) => LEFT + ((score + 1) / 2) * (WIDE - LEFT - RIGHT);
const Y = (weight, top) => HIGH - BOTTOM - (weight / top) * (HIGH - TOP - BOTTOM);
const write = (tag, attributes, text) => { const node = h(tag, attributes); if (text) node.textContent = text; return node; };
let now = null, held = null, svg = null; // `held`: the point that is dragged

const top = () => Math.max(...now.curves.flatMap((curve) => curve.points.map((point) => point.high)));
const label = (curve, point) => `Weight of ${curve.label} at similarity ${point.x}`;
const place = (curve) => {
  const at = curve.points.map((point) => [X(point.x), Y(point.value, top())]);
  curve.line.setAttribute('d', `M${at.map((one) => one.join(' ')).join('L')}`);
  curve.points.forEach((point, i) => {
    point.node.setAttribute('transform', `translate(${at[i][0]} ${at[i][1]})`);
    point.node.setAttribute('aria-valuenow', point.value);
    point.node.setAttribute('aria-valuetext', point.value.toFixed(2));
  });
};
const move = (curve, point, value) => {
  const next = Number(Math.min(Math.max(value, point.low), point.high).toFixed(2));
  if (next === point.value) return;
  point.value = next;
  place(curve);
  trigger('move', { name: point.name, value: next });
};
const REACH = 24; // of a point, in the drawing's own units
const KEYS = { ArrowUp: 0.05, ArrowRight: 0.05, ArrowDown: -0.05, ArrowLeft: -0.05, PageUp: 0.25, PageDown: -0.25, Home: -Infinity, End: Infinity };
const made = (curve, point) => {
  const negative = curve.side === 'negative';
  point.node = h('g', { class: `knot ${curve.side}`, role: 'slider', tabindex: 0, 'aria-label': label(curve, point), 'aria-orientation': 'vertical',
    'aria-valuemin': point.low, 'aria-valuemax': point.high },
  h('circle', { r: REACH, class: 'reach' }), negative ? h('circle', { r: 7 }) : h('rect', { x: -6.5, y: -6.5, width: 13, height: 13 }));
  point.node.addEventListener('keydown', (event) => {
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(curve, point, point.value + KEYS[event.key]);
  });
  return point.node;
};
// What lies under the pointer may be two points, one over the other: the nearest is taken, of two in one place the one that has the
// focus.
const under = (event) => {
  const box = svg.getBoundingClientRect(), scale = WIDE / box.width;
  const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
  let best = null, least = REACH;
  for (const curve of now.curves) for (const point of curve.points) {
    const far = Math.hypot(X(point.x) - x, Y(point.value, top()) - y) - (point.node === document.activeElement ? 1 : 0);
    if (far < least) [best, least] = [[curve, point], far];
  }
  return best;
};
const drag = (event) => {
  if (!held) return;
  const box = svg.getBoundingClientRect(), y = ((event.clientY - box.top) / box.height) * HIGH;
  move(...held, ((HIGH - BOTTOM - y) / (HIGH - TOP - BOTTOM)) * top());
};
const grasp = (event) => {
  held = under(event);
  if (!held) return;
  event.preventDefault();
  svg.setPointerCapture(event.pointerId);
  held[1].node.focus({ preventScroll: true });
};
const build = (value) => {
  now = { curves: value.curves.map((curve) => ({ ...curve, points: curve.points.map((point) => ({ ...point })) })) };
  const lines = [0, 0.5, 1, 1.5, 2].filter((weight) => weight <= top());
  svg = h('svg', { viewBox: `0 0 ${WIDE} ${HIGH}`, role: 'group', 'aria-label': 'Weights by similarity, as points to move' },
    lines.map((weight) => h('path', { class: 'rule', d: `M${LEFT} ${Y(weight, top())}H${WIDE - RIGHT}` })),
    lines.map((weight) => write('text', { x: LEFT - 8, y: Y(weight, top()) + 4, class: 'end' }, String(weight))),
    now.curves[0].points.map((point) => write('text', { x: X(point.x), y: HIGH - 18, class: 'middle' }, String(point.x).replace('-', '−'))),
    write('text', { x: (LEFT + WIDE) / 2, y: HIGH - 3, class: 'middle' }, 'similarity of the pair'),
    now.curves.map((curve) => { curve.line = h('path', { class: `line ${curve.side}` }); return curve.line; }),
    now.curves.flatMap((curve) => curve.points.map((point) => made(curve, point))));
  svg.addEventListener('pointerdown', grasp);
  svg.addEventListener('pointermove', drag);
  for (const end of ['pointerup', 'pointercancel']) svg.addEventListener(end, () => { held = null; });
  plane.replaceChildren(svg, h('p', { class: 'key' }, now.curves.map((curve) => h('span', { class: curve.side },
    h('i', { 'aria-hidden': 'true' }, curve.side === 'negative' ? '●' : '■'), ` ${curve.label}`))));
  now.curves.forEach(place);
};
// What the server settled; a point that is just moved is left alone.
return (value) => {
  if (!now) { build(value); return; }
  value.curves.forEach((curve, c) => {
    curve.points.forEach((point, i) => { if (held?.[1] !== now.curves[c].points[i]) now.curves[c].points[i].value = point.value; });
    place(now.curves[c]);
  });
};
