// What the marked point of a map is. Its matches go to the map, which draws lines to them.
const root = element.querySelector('.point');

const draw = (item) => {
  if (item.hint) { root.replaceChildren(h('p', { class: 'soft' }, item.hint)); return; }
  root.replaceChildren(
    poster(item, { words: item.text || item.name, size: 64, title: item.name }) ?? '',
    h('div', {}, h('p', { class: 'name' }, item.name), item.text && h('p', {}, item.text) || '', item.note && h('p', { class: 'soft' }, item.note) || ''),
    h('button', { type: 'button', 'aria-label': `Open in Search: ${item.name}`, onclick: () => trigger('pick', { key: item.key }) }, 'Open in Search'));
  document.dispatchEvent(new CustomEvent('xmr-point', { detail: { items: item.items, place: item.place, own: item.own } }));
};

return draw;
