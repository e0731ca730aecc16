// One item: its picture, its captions, and where every run ranks it for the present query.
const dialog = element.querySelector('dialog');

const open = () => {
  const item = props.value;
  if (!item) return;
  dialog.replaceChildren(
    h('header', {}, h('h3', {}, item.title),
      h('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => dialog.close() }, '×')),
    h('div', { class: 'body' },
      item.image && h('span', { class: 'poster', tabindex: item.film ? 0 : null },
        still(item.image, item.film, { alt: item.captions[0] || '', width: 256 })),
      h('div', {},
        h('p', { class: `status ${item.status}` }, item.words),
        h('ul', { class: 'captions', 'aria-label': 'Captions' },
          item.captions.map((caption, at) => h('li', { class: item.marked === at ? 'marked' : null }, caption))))),
    item.film && frames(item.film),
    h('table', {},
      h('thead', {}, h('tr', {}, ['run', ...(item.stages ? ['1st stage'] : []), 'rank', 'score'].map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, item.runs.map((run) =>
        h('tr', {}, h('th', { scope: 'row' }, h('i', { style: `--run:${run.colour}`, 'aria-hidden': 'true' }), run.name),
          item.stages && h('td', {}, run.first), h('td', {}, run.rank), h('td', {}, run.score))))),
    h('footer', {},
      h('button', {
        type: 'button', class: 'use',
        onclick: () => { dialog.close(); trigger('use', { index: item.index }); },
      }, item.use)));
  if (!dialog.open) dialog.showModal();
};

// A click beside the card closes it, as Escape does.
dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
watch('value', open);
