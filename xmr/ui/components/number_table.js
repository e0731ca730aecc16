const root = element.querySelector('.numbers');
const draw = () => {
  const value = props.value;
  if (!value) return;
  root.replaceChildren(
    value.rows.length > 0 && h('div', { class: 'scroll' }, h('table', {},
      h('thead', {}, h('tr', {}, value.columns.map((column) => h('th', { scope: 'col', title: column.means }, column.text)))),
      h('tbody', {}, value.rows.map((row) => h('tr', {},
        h('th', { scope: 'row' }, row.glyph && h('i', { style: `color:${row.colour}`, 'aria-hidden': 'true' }, row.glyph), row.name),
        row.cells.map((cell) => h('td', {}, cell))))))) || '',
    value.note && h('p', {}, value.note) || '');
};
watch('value', draw);
draw();
