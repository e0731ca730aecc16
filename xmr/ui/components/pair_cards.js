// Cards of pairs; every text becomes a text node.
const root = element.querySelector('.cards');

const side = (item) =>
  h('section', { class: 'side' },
    h('p', { class: 'role' }, item.role, h('span', {}, item.name)),
    h('div', { class: 'item' },
      item.image && h('span', { class: 'poster', tabindex: item.film ? 0 : null },
        still(item.image, item.film, { alt: item.captions[0] ?? item.name, loading: 'lazy', width: 88, height: 88 })),
      h('div', { class: 'words' },
        item.quote && h('p', { class: 'quote' }, item.quote),
        item.note && h('p', { class: 'note' }, item.note),
        item.captions.length > 0 && h('ul', {}, item.captions.map((text) => h('li', {}, text))))));

const card = (pair) =>
  h('article', { class: `card${pair.suspected ? ' suspected' : ''}`, 'aria-label': [pair.name, ...pair.badges.map((badge) => badge.text)].join(', ') },
    h('header', {},
      h('span', { class: 'name' }, pair.name),
      pair.badges.map((badge) => h('span', { class: `badge ${badge.kind}` }, badge.text)),
      h('dl', {}, pair.numbers.map(([name, number]) => h('div', {}, h('dt', {}, name), h('dd', {}, number))))),
    pair.note && h('p', { class: 'votes' }, pair.note),
    h('div', { class: 'sides' }, pair.sides.map(side)),
    pair.evidence && h('footer', {}, pair.evidence[0], pair.evidence[1] && h('q', {}, pair.evidence[1])));

const draw = () => {
  const value = props.value;
  if (!value) return;
  root.replaceChildren(...(value.cards.length ? value.cards.map(card) : value.empty ? [h('p', { class: 'empty', role: 'status' }, value.empty)] : []));
};
watch('value', draw);
draw();
