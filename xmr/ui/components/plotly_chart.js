// Draws a plotly figure into the same node again and again, in the page's light or dark colours.
const caption = element.querySelector('figcaption');
const plot = element.querySelector('.plot');
const details = element.querySelector('details');
const dark = () => document.body.classList.contains('dark');
const touch = matchMedia('(pointer: coarse)').matches;

// One download for all charts of the page; a failed one may be tried again by the next drawing.
const library = () => {
  if (window.Plotly) return Promise.resolve();
  window.xmrPlotly ??= new Promise((done, failed) => {
    const tag = document.createElement('script');
    tag.src = settings.library;
    tag.onload = done;
    tag.onerror = () => { window.xmrPlotly = null; failed(new Error('plotly.js could not be loaded')); };
    document.head.append(tag);
  });
  return window.xmrPlotly;
};

let cursor = null; // row and column of the framed cell
let revision; // a new batch has new cells: the frame of the old one goes

const inColours = (figure) => {
  if (!dark()) return figure;
  const swap = (node) => {
    if (typeof node === 'string') return Object.entries(settings.dark).reduce((text, [light, other]) => text.replaceAll(light, other), node);
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
  if (!plot.layout?.meta?.cells || plot.layout.uirevision !== detail.of) return;
  cursor = detail.cell;
  Plotly.relayout(plot, { shapes: frame() });
});

const choose = (row, column) => {
  move(row, column);
  trigger('select', { row, column });
};

const clicked = (event) => {
  const point = event.points[0];
  if (plot.layout.meta?.cells) choose(Math.round(point.y) - 1, Math.round(point.x) - 1);
  else trigger('select', { curve: point.curveNumber, index: point.pointIndex, x: point.x, y: point.y, customdata: point.customdata ?? null });
};

const numbers = (table) => {
  details.hidden = !table;
  if (!table) return;
  const row = (cells, tag) => h('tr', {}, cells.map((cell) => h(tag, tag === 'th' ? { scope: 'col' } : {}, cell)));
  details.replaceChildren(h('summary', {}, 'Numbers'),
    h('div', {}, h('table', {}, h('thead', {}, row(table.columns, 'th')), h('tbody', {}, table.rows.map((cells) => row(cells, 'td'))))));
};

let turn = 0;
const draw = async () => {
  if (!props.value) { caption.textContent = 'Measuring …'; return; }
  const value = JSON.parse(props.value);
  caption.textContent = value.words;
  numbers(value.table);
  element.classList.toggle('empty', !value.figure);
  plot.hidden = !value.figure;
  if (!value.figure) return;
  const { layout } = value.figure;
  // Cells are square: a narrow page needs no tall drawing.
  if (layout.meta?.cells && plot.clientWidth) layout.height = Math.min(layout.height, Math.round(plot.clientWidth * 0.9) + 180);
  plot.style.height = `${layout.height}px`;
  const mine = ++turn;
  try { await library(); } catch (error) {
    caption.textContent = `${value.words} (The drawing is missing: ${error.message}.)`;
    plot.hidden = true;
    return;
  }
  if (mine !== turn) return; // a later value came while the library was on its way
  const figure = inColours(value.figure);
  const { cells } = figure.layout.meta ?? {};
  if (revision !== figure.layout.uirevision) cursor = null;
  revision = figure.layout.uirevision;
  if (cells) figure.layout.shapes = frame();
  if (touch) figure.layout.dragmode = false; // else a chart would catch the finger that scrolls the page
  if (plot.clientWidth < 480 && figure.data.some((trace) => trace.colorbar)) figure.data.forEach((trace) => {
    if (trace.colorbar) trace.colorbar = { ...trace.colorbar, orientation: 'h', y: -0.12, yanchor: 'top', title: { ...trace.colorbar.title, side: 'top' } };
  });
  plot.setAttribute('role', cells ? 'application' : 'img');
  plot.setAttribute('aria-label', `${settings.name}. ${value.words}${cells ? ' Arrow keys move from pair to pair, Enter chooses.' : ''}`);
  plot.tabIndex = cells ? 0 : -1;
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

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
plot.addEventListener('keydown', (event) => {
  const cells = plot.layout?.meta?.cells;
  if (!cells || !(event.key in STEPS || event.key === 'Enter' || event.key === ' ')) return;
  event.preventDefault();
  const [row, column] = cursor ?? [0, 0];
  if (!(event.key in STEPS)) { choose(row, column); return; }
  const [down, right] = cursor ? STEPS[event.key] : [0, 0];
  move(Math.min(Math.max(row + down, 0), cells[0] - 1), Math.min(Math.max(column + right, 0), cells[1] - 1));
});

watch('value', draw);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ['class'] });
draw();
