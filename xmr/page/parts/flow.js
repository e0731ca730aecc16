// How the order of the first results changes from one run to another: two lists, and a line from each item's place in the one to
// that in the other. What has the pointer or the focus is marked in both.
const root = element.querySelector('.flow');
const settle = roving(root, '.item');

const item = (one, side) => {
  const out = !one[`in_${side}`];
  return h('li', {}, h('button', { type: 'button', class: `item ${one.status}${out ? ' out' : ''}`, tabindex: -1, 'data-item': one.index, title: one.label, 'aria-label': `${side.toUpperCase()}: ${one.label}`,
    onclick: () => trigger('item', { index: one.index }) },
    h('span', { class: 'rank' }, one[side].toLocaleString('en')),
    one.image && h('span', { class: 'frame' }, still(one.image, one.film, { alt: '', loading: 'lazy', width: 36, height: 36 })),
    h('span', { class: 'caption' }, one.caption)));
};

const list = (value, side, items) =>
  h('section', { style: `--run:${value.looks[side].colour}`, 'aria-label': `${side.toUpperCase()}, ${value.names[side]}` },
    h('h3', { title: value.names[side] }, `${side.toUpperCase()} `, named(value.names[side])),
    h('ol', {}, items.map((one) => item(one, side))));

// Lines between the middles of rows, which are all of one height.
const lines = (items, before, after) => {
  const height = items.length;
  const path = (one) => {
    const [from, to] = [before.indexOf(one) + 0.5, after.indexOf(one) + 0.5];
    return h('path', { d: `M0 ${from} C50 ${from} 50 ${to} 100 ${to}`, class: `${one.b < one.a ? 'up' : 'down'}${one.in_a && one.in_b ? '' : ' out'}`, 'data-item': one.index, 'vector-effect': 'non-scaling-stroke' });
  };
  return h('svg', { viewBox: `0 0 100 ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', style: `--rows:${height}` }, items.map(path));
};

const draw = (value) => {
  const by = (side) => [...value.items].sort((one, other) => one[side] - other[side]);
  const [before, after] = [by('a'), by('b')];
  root.replaceChildren(h('p', { role: 'status' }, value.words),
    value.items.length > 0 && h('div', { class: 'lists' }, list(value, 'a', before), lines(value.items, before, after), list(value, 'b', after)) || '',
    value.items.length > 0 && h('p', { class: 'means' }, 'A line that rises is better under B. Dashed: in one of the lists only, with its rank in the whole gallery of the other run.') || '',
    value.table && h('details', {}, h('summary', {}, 'Numbers'), h('div', { tabindex: 0, role: 'region', 'aria-label': 'Numbers' }, h('table', {},
      h('thead', {}, h('tr', {}, value.table.columns.map((text) => h('th', { scope: 'col' }, text)))),
      h('tbody', {}, value.table.rows.map(([first, ...cells]) => h('tr', {}, h('th', { scope: 'row' }, first), cells.map((cell) => h('td', {}, cell)))))))) || '');
  settle();
};

const same = (event, on) => {
  const index = event.target.closest('[data-item]')?.dataset.item;
  if (index === undefined) return;
  for (const node of root.querySelectorAll(`[data-item="${index}"]`)) node.classList.toggle('same', on);
  root.querySelector('.lists')?.classList.toggle('one', on);
};
for (const [name, on] of [['mouseover', true], ['mouseout', false], ['focusin', true], ['focusout', false]]) root.addEventListener(name, (event) => same(event, on));
return draw;
