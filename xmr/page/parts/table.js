const root = element.querySelector('.numbers');
const textOf = (cell) => (cell && typeof cell === 'object' ? cell.text : cell);
let sort = { column: '', descending: true };
const said = h('p', { class: 'lead', role: 'status' }); // one node, so that only what changes is said again
let told = ''; // the order that came with the last value

// Rows in the order of a column, what has no number last; equal ones stay as they came.
const ordered = (value) => {
  const at = value.columns.findIndex((column) => column.text === sort.column) - 1;
  if (!value.sortable || at < 0) return value.rows;
  const way = sort.descending ? -1 : 1;
  const number = (row) => row.cells[at]?.number ?? null;
  return [...value.rows].sort((a, b) => {
    const [one, other] = [number(a), number(b)];
    if (one === null || other === null) return (one === null) - (other === null);
    return way * (one - other);
  });
};

// Largest first, then smallest first, then as the rows came.
const turn = (column) => {
  if (sort.column !== column) sort = { column, descending: true };
  else if (sort.descending) sort = { column, descending: false };
  else sort = { column: '', descending: true };
  draw();
  trigger('sort', sort);
};

const head = (value, column, at) => {
  if (!value.sortable || !at) return h('th', { scope: 'col', title: column.means }, column.text);
  const own = sort.column === column.text;
  const way = own ? (sort.descending ? 'descending' : 'ascending') : 'none';
  return h('th', { scope: 'col', title: column.means, 'aria-sort': way },
    h('button', { type: 'button', 'data-column': column.text, onclick: () => turn(column.text) },
      column.text, h('span', { class: 'way', 'aria-hidden': 'true' }, own ? (sort.descending ? '▼' : '▲') : '↕')));
};

const name = (value, row) => [
  h('div', { class: 'who' }, glyphOf(row),
    value.pick
      ? h('button', { type: 'button', class: 'pick', title: value.pick, onclick: () => trigger('pick', { row: row.name }) }, named(row.name))
      : h('span', {}, named(row.name))),
  row.mark && h('small', {}, row.mark)];

const cell = (one) => [...named(textOf(one)), one?.more && h('small', {}, one.more)];

const sameAs = (node) => node.dataset.column ?? node.getAttribute('aria-label') ?? node.textContent;

let value = null;
const draw = (next = value) => {
  value = next;
  if (value.sort && JSON.stringify(value.sort) !== told) {
    told = JSON.stringify(value.sort);
    sort = value.sort;
  }
  if (said.textContent !== (value.lead ?? '')) said.textContent = value.lead ?? '';
  // Where it is wider than the page, the keyboard scrolls it.
  const named = { tabindex: 0, role: 'region', 'aria-label': value.title || value.columns.map((column) => column.text).join(', ') };
  const files = value.files ?? [];
  const held = root.contains(document.activeElement) ? sameAs(document.activeElement) : null; // who is on it stays on it
  root.replaceChildren(
    value.title && h('h3', {}, value.title) || '',
    said,
    value.rows.length > 0 && h('div', { class: value.words ? 'scroll words' : 'scroll', ...named }, h('table', {},
      h('thead', {}, h('tr', {}, value.columns.map((column, at) => head(value, column, at)))),
      h('tbody', {}, ordered(value).map((row) => h('tr', {},
        h('th', { scope: 'row' }, name(value, row)),
        row.cells.map((one) => h('td', {}, cell(one)))))))) || '',
    value.note && h('p', {}, value.note) || '',
    files.length > 0 && h('div', { class: 'files' }, files.map((file) =>
      h('button', { type: 'button', 'aria-label': `${file.label}: ${value.title}`, onclick: () => trigger('save', file.name) }, file.label))) || '');
  if (held !== null) [...root.querySelectorAll('button, [tabindex]')].find((node) => sameAs(node) === held)?.focus({ preventScroll: true });
};
return draw;
