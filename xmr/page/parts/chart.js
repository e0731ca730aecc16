// Draws a plotly figure into the same node again and again, in the page's light or dark colours.
const caption = element.querySelector('figcaption');
const plot = element.querySelector('.plot');
const details = element.querySelector('details');
const tools = element.querySelector('.tools');
const spoken = element.querySelector('.spoken');
const dark = () => document.body.classList.contains('dark');
const touch = matchMedia('(pointer: coarse)').matches;

let cursor = null; // row and column of the framed cell
let revision; // a new batch has new cells: the frame of the old one goes

const inColours = (figure) => {
  if (!dark()) return figure;
  const swap = (node) => {
    if (typeof node === 'string') return Object.entries(settings.colours).reduce((text, [light, other]) => text.replaceAll(light, other), node);
    if (Array.isArray(node)) return node.map(swap);
    if (node && typeof node === 'object') return Object.fromEntries(Object.entries(node).map(([key, part]) => [key, key === 'bdata' ? part : swap(part)]));
    return node;
  };
  return swap(figure);
};

const frame = () => {
  if (!cursor) return [];
  const [row, column] = cursor;
  const line = { color: dark() ? '#ffffff' : '#000000', width: 2.5 };
  return [{ type: 'rect', x0: column + 0.5, x1: column + 1.5, y0: row + 0.5, y1: row + 1.5, line }];
};

// Maps of the same pairs, told by their revision, frame the same cell.
const move = (row, column) => {
  document.dispatchEvent(new CustomEvent('xmr-cell', { detail: { cell: [row, column], of: plot.layout.uirevision } }));
};
document.addEventListener('xmr-cell', ({ detail }) => {
  if (revision !== detail.of) return;
  cursor = detail.cell;
  if (!waiting && plot.layout) Plotly.relayout(plot, { shapes: frame() });
});

const choose = (row, column) => {
  move(row, column);
  trigger('select', { row, column });
};

const pick = (point) => {
  const { curveNumber: curve, x, y, customdata = null, data } = point;
  trigger('select', { curve, index: point.pointIndex ?? point.pointNumber, x, y, customdata, meta: data?.meta ?? null });
};

// Where all curves are told of at once, the one under the pointer is meant.
const clicked = ({ points, event }) => {
  if (plot.layout.meta?.cells) { choose(Math.round(points[0].y) - 1, Math.round(points[0].x) - 1); return; }
  const at = event.clientY - plot.getBoundingClientRect().top;
  const far = (point) => Math.abs((point.yaxis?.d2p?.(point.y) ?? 0) + (point.yaxis?._offset ?? 0) - at);
  pick(points.reduce((best, point) => (far(point) < far(best) ? point : best)));
};

let table; // its cells, often a thousand, are made when somebody asks for them
const summary = h('summary', {}, 'Numbers');
const numbers = () => {
  details.hidden = !table;
  if (!table || !details.open) { details.replaceChildren(summary); return; }
  const row = (cells, tag) => h('tr', {}, cells.map((cell) => h(tag, tag === 'th' ? { scope: 'col' } : {}, cell)));
  details.replaceChildren(summary,
    h('div', {}, h('table', {}, h('thead', {}, row(table.columns, 'th')), h('tbody', {}, table.rows.map((cells) => row(cells, 'td'))))));
};
details.addEventListener('toggle', numbers);

const image = async (format) => {
  if (waiting) await paint(waiting);
  if (!plot.layout) return; // the caption says what is missing
  const layout = { ...plot.layout, paper_bgcolor: dark() ? '#0b1120' : '#ffffff' };
  Plotly.downloadImage({ data: plot.data, layout }, { format, filename: settings.name.toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 60), width: plot.clientWidth, height: plot.clientHeight, scale: 2 });
};
const offer = (value) => {
  const tool = (words, act) => h('button', { type: 'button', 'aria-label': `${words}: ${settings.name}`, onclick: act }, words);
  const { table } = value;
  tools.replaceChildren(...[
    table && tool('CSV', () => trigger('save', `chart ${settings.id}`)),
    value.figure && tool('PNG', () => image('png')),
    value.figure && tool('SVG', () => image('svg')),
    value.figure?.layout.meta?.pick && h('span', {}, value.figure.layout.meta.pick),
  ].filter(Boolean));
};

// A figure costs a tenth of a second: one that is out of sight waits until somebody comes near.
let waiting = null;
const sight = new IntersectionObserver((changes) => {
  if (changes.at(-1).isIntersecting && waiting) paint(waiting);
}, { rootMargin: '150px' });

// Where the page has a base element, plotly clips by the page's whole address, which changes with every choice.
document.addEventListener('xmr-address', () => {
  const base = plot._context?._baseUrl, now = location.href.split('#')[0];
  if (!base || base === now) return;
  plot._context._baseUrl = now;
  for (const node of plot.querySelectorAll('[clip-path]')) node.setAttribute('clip-path', node.getAttribute('clip-path').replace(base, now));
});

let latest = null;
const draw = (next = latest) => {
  latest = next;
  const value = structuredClone(latest); // plotly writes into what it draws
  caption.textContent = value.words;
  table = value.table;
  numbers();
  offer(value);
  element.classList.toggle('empty', !value.figure);
  plot.hidden = !value.figure;
  waiting = null;
  if (!value.figure) return;
  const { layout } = value.figure;
  Object.assign(value, { tall: layout.height, top: layout.margin?.t ?? 0 });
  fit(value);
  const { cells, pick: hint } = layout.meta ?? {};
  const keys = cells ? ' Arrow keys move from pair to pair, Enter chooses.' : hint ? ` ${hint} Arrow keys move from point to point, Enter chooses.` : '';
  plot.setAttribute('role', keys ? 'application' : 'img');
  plot.setAttribute('aria-label', `${settings.name}. ${value.words}${keys}`);
  plot.tabIndex = keys ? 0 : -1;
  if (revision !== layout.uirevision) cursor = null;
  revision = layout.uirevision;
  waiting = value;
  sight.unobserve(plot); // asked anew: before its neighbours had heights, it may have stood elsewhere
  sight.observe(plot);
};

// Cells are square: a narrow page needs no tall drawing. A legend of more lines than there is room for makes it taller.
const fit = ({ tall, top, figure }) => {
  const { layout } = figure, wide = plot.clientWidth;
  if (layout.meta?.cells && wide) layout.height = Math.min(tall, Math.round(wide * 0.9) + 180);
  else if (wide && layout.margin) {
    layout.margin.t = Math.max(top, 19 * legendRows(figure, wide) + 8);
    layout.height = tall + layout.margin.t - top;
  }
  plot.style.height = `${layout.height}px`;
};
const figureOf = (value) => {
  const figure = inColours(value.figure);
  if (figure.layout.meta?.cells) figure.layout.shapes = frame();
  return figure;
};

const paint = async (value) => {
  if (!window.Plotly && !plot.layout) fit(value);
  if (!window.Plotly && !plot.layout && sketch(plot, figureOf(value))) {
    plot.dataset.sketched = true;
    await whenIdle(700); // what is in sight is there: whoever reads or goes on at once is not held up
  }
  try { await library(settings); } catch (error) {
    caption.textContent = `${value.words} (The drawing is missing: ${error.message}.)`;
    plot.hidden = true;
    return;
  }
  if (waiting !== value) return; // a later value came while the library was on its way
  waiting = null;
  fit(value); // charts that came after it may have taken some of its width
  const figure = figureOf(value);
  if (touch) figure.layout.dragmode = false; // else a chart would catch the finger that scrolls the page
  if (plot.clientWidth < 480 && figure.data.some((trace) => trace.colorbar)) figure.data.forEach((trace) => {
    if (trace.colorbar) trace.colorbar = { ...trace.colorbar, orientation: 'h', y: -0.12, yanchor: 'top', title: { ...trace.colorbar.title, side: 'top' } };
  });
  plot.querySelector('.sketch')?.remove();
  await Plotly.react(plot, figure.data, figure.layout, {
    responsive: false, displayModeBar: false, doubleClick: 'reset',
  });
  plot.dataset.drawn = Number(plot.dataset.drawn ?? 0) + 1;
  if (!plot.listening) plot.on('plotly_click', clicked);
  plot.listening = true;
  if (!width) observer.observe(plot);
  width = plot.clientWidth;
};

let width = 0;
const observer = new ResizeObserver(() => {
  if (!plot.clientWidth || plot.clientWidth === width) return;
  width = plot.clientWidth;
  if (!plot.layout?.meta?.cells) { Plotly.Plots.resize(plot); return; }
  // Square cells of another size, with a colour bar that may move: drawn anew, an old drawing's axes would stay.
  Plotly.purge(plot);
  plot.listening = false;
  draw();
});

// Along a curve with left and right, from curve to curve with up and down.
const walk = (key) => {
  const curves = plot.data.map((trace, at) => ({ at, size: (plot.calcdata[at] ?? []).length, trace }))
    .filter(({ size, trace }) => size > 0 && trace.visible !== false && trace.visible !== 'legendonly' && trace.hoverinfo !== 'skip');
  if (!curves.length) return;
  const place = Math.max(curves.findIndex(({ at }) => at === walked?.curve), 0);
  const [down, right] = walked && key in STEPS ? STEPS[key] : [0, 0];
  const next = curves[(place + down + curves.length) % curves.length];
  const index = Math.min(Math.max((walked?.index ?? 0) + right, 0), next.size - 1);
  walked = { curve: next.at, index };
  const found = plot.calcdata[next.at][index];
  const short = (value) => (typeof value === 'number' && !Number.isInteger(value) ? value.toPrecision(3) : value);
  const full = plot._fullData[next.at];
  const [x, y] = [full.x ?? [], full.y ?? []];
  const at = found.i ?? index;
  const point = { curveNumber: next.at, pointNumber: at, x: x[at] ?? found.x, y: y[at] ?? found.y, data: next.trace, customdata: next.trace.customdata?.[at] };
  if (key in STEPS) {
    Plotly.Fx.hover(plot, [{ curveNumber: next.at, pointNumber: at }], `${full.xaxis ?? 'x'}${full.yaxis ?? 'y'}`);
    spoken.textContent = `${next.trace.name ?? ''}: ${short(point.x)}, ${short(point.y)}`;
  } else pick(point);
};
let walked = null;

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
plot.addEventListener('keydown', (event) => {
  const { cells, pick: hint } = plot.layout?.meta ?? {};
  if (!(cells || hint) || !(event.key in STEPS || event.key === 'Enter' || event.key === ' ')) return;
  event.preventDefault();
  if (!cells) { walk(event.key); return; }
  const [row, column] = cursor ?? [0, 0];
  if (!(event.key in STEPS)) { choose(row, column); return; }
  const [down, right] = cursor ? STEPS[event.key] : [0, 0];
  move(Math.min(Math.max(row + down, 0), cells[0] - 1), Math.min(Math.max(column + right, 0), cells[1] - 1));
});

new MutationObserver(() => draw()).observe(document.body, { attributes: true, attributeFilter: ['class'] });
return draw;
