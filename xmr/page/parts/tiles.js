// A grid of items; every text becomes a text node.
const root = element.querySelector('.tiles');
const settle = roving(root, '.poster');

const tile = (item) =>
  h('li', {},
    poster(item, { words: item.text || item.name, size: 96, title: item.name }),
    h('div', { class: 'about' },
      h('p', { class: 'name', title: item.name }, item.name),
      item.text && h('p', { class: 'text', title: item.text }, item.text),
      item.note && h('p', { class: 'note' }, item.note),
      item.action && h('button', { type: 'button', 'aria-label': `${item.action}: ${item.text || item.name}`,
        onclick: () => trigger('pick', { key: item.key }) }, item.action)));

const draw = (value) => {
  root.replaceChildren(
    value.items.length ? h('ul', {}, value.items.map(tile))
      : value.empty ? h('p', { class: 'empty' }, value.empty) : '');
  settle();
};
return draw;
