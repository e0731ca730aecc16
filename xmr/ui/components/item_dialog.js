// One item: its picture, its captions, and where every run ranks it for the present query.
const dialog = element.querySelector('dialog');

// Name, key of a run, and what it means.
const columns = (item) => [
  ['run', 'name', ''],
  ...(item.stages ? [['1st stage', 'first', "rank by the first stage's embeddings"]] : []),
  ['rank', 'rank', 'place in the whole gallery'],
  ['score', 'score', "the run's own score"],
  ['z-score', 'z', 'standard deviations above the mean score of this query'],
  ['matches below', 'above', "share of the run's annotated matches that score lower"],
  ...(item.pair ? [['weight', 'weight', 'of the pair in the loss']] : []),
];

// The pair of the query and this item, in the tabs that tell of pairs under one run.
const opening = (item) => {
  const runs = h('select', { 'aria-label': 'Run' },
    item.runs.filter((run) => run.trained).map((run) => h('option', { value: run.name }, run.name)));
  const to = (tab, words) => h('button', { type: 'button', onclick: () => {
    dialog.close();
    trigger('open', { index: item.index, tab, run: runs.value });
  } }, words);
  return h('div', { class: 'opening' }, h('span', {}, 'This pair under'), runs,
    to('weights', 'Open in Loss weights'), to('false_negatives', 'Open in False negatives'));
};

const open = () => {
  const item = given();
  if (!item) return;
  dialog.replaceChildren(...[
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
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Under every run' }, h('table', {},
      h('thead', {}, h('tr', {}, columns(item).map(([name, , means]) => h('th', { scope: 'col', title: means }, name)))),
      h('tbody', {}, item.runs.map((run) =>
        h('tr', {}, h('th', { scope: 'row' }, h('i', { style: `--run:${run.colour}`, 'aria-hidden': 'true' }), run.name),
          columns(item).slice(1).map(([, key]) => h('td', {}, run[key]))))))),
    item.pair && h('p', { class: 'hint' }, 'Weight: d loss / d score of this pair in the loss of this one query against the whole gallery; + pushes apart, − pulls together. In a batch fewer items share the push: Loss weights shows this pair there, in the loss of each side and in their mean.'),
    h('footer', {},
      h('button', {
        type: 'button', class: 'use',
        onclick: () => { dialog.close(); trigger('use', { index: item.index }); },
      }, item.use),
      item.pair && opening(item))].filter(Boolean));
  if (!dialog.open) dialog.showModal();
};

// A click beside the card closes it, as Escape does.
dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
watch('value', open);
