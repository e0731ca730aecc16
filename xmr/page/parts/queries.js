// One row per item; every text becomes a text node.
const root = element.querySelector('.queries');
const settle = roving(root, '.poster');

const number = (one) =>
  h('div', {},
    h('dt', { title: one.run },
      one.letter && h('b', {}, one.letter),
      glyphOf(one),
      h('span', {}, one.run)),
    h('dd', {}, one.value));

const top = (item) =>
  h('div', { class: `top ${item.kind}` },
    poster(item, { words: item.text || item.name, size: 48, kind: 'small', title: `${item.who} · ${item.status}` }),
    h('div', {},
      h('p', { class: 'who' }, h('b', {}, item.who), ` · ${item.status}`),
      h('p', { class: 'text' }, item.text || item.name)));

// Who was right at which moment of training: high where right, low where not.
const strip = (one) =>
  h('span', { class: 'strip' }, h('b', {}, one.letter),
    h('span', { class: 'cells', 'aria-hidden': 'true' }, one.right.map((right) => h('i', { class: right ? 'right' : null }))),
    h('span', {}, one.said));

const row = (item, value) =>
  h('li', {},
    h('div', { class: 'asked' },
      poster(item, { words: item.text || item.name, size: 72, title: item.name }),
      h('div', {},
        item.text && h('p', { class: 'text' }, item.text),
        h('p', { class: 'name' }, item.name),
        item.badges.length > 0 && h('p', { class: 'badges' }, item.badges.map((badge) => h('span', { class: `badge ${badge.kind}` }, badge.text))),
        item.strips?.length > 0 && h('p', { class: 'strips' }, item.strips.map(strip)))),
    h('dl', {}, item.numbers.map(number)),
    item.tops.length > 0 && h('div', { class: 'tops', role: 'group', 'aria-label': 'First results' }, item.tops.map(top)),
    h('button', { type: 'button', 'aria-label': `${value.action}: ${item.text || item.name}`, onclick: () => trigger('open', { index: item.index }) },
      value.action));

const draw = (value) => {
  root.replaceChildren(...(value.rows.length
    ? [h('p', { class: 'about' }, value.about), h('ol', { class: value.rows.some((item) => item.tops.length) ? 'with-tops' : '' }, value.rows.map((item) => row(item, value)))]
    : value.empty ? [h('p', { class: 'empty', role: 'status' }, value.empty)] : []));
  settle();
};
return draw;
