// One item: its picture, its captions, and where every run ranks it for the present query. Arrow keys go to the items beside it.
const itemBox = h('dialog', { class: 'item', 'aria-label': 'Item' });
// A click beside the card closes it, as Escape does.
itemBox.addEventListener('click', (event) => { if (event.target === itemBox) itemBox.close(); });

window.xmrDialog = (item, { ask, beside, enlarge, why, closed }) => {
  if (!itemBox.isConnected) document.querySelector('.xmr').append(itemBox);
  // Name, key of a run, and what it means.
  const columns = [
    ['run', 'name', ''],
    ...(item.stages ? [['1st stage', 'first', "rank by the first stage's embeddings"]] : []),
    ['rank', 'rank', 'place in the whole gallery'],
    ['score', 'score', "the run's own score"],
    ['z-score', 'z', 'standard deviations above the mean score of this query'],
    ['matches below', 'above', "share of the run's annotated matches that score lower"],
    ...(item.opens ? [['weight', 'weight', 'of the pair in the loss']] : []),
  ];
  const go = (set) => { itemBox.onclose = null; closed(); itemBox.close(); ask(set, { step: true, act: { block: 'item', event: 'open' } }); };
  // The pair of the query and this item, in the tabs that tell of pairs under one run.
  const opening = () => {
    const runs = h('select', { 'aria-label': 'Run' }, Object.keys(item.opens).map((name) => h('option', {}, name)));
    const to = (tab, words) => h('button', { type: 'button', onclick: () => go(item.opens[runs.value][tab]) }, words);
    return h('div', { class: 'opening' }, h('span', {}, 'This pair under'), runs,
      to('weights', 'Open in Loss weights'), to('false_negatives', 'Open in False negatives'));
  };
  itemBox.replaceChildren(...[
    h('header', {}, h('h3', {}, item.title),
      h('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => itemBox.close() }, '×')),
    h('div', { class: 'body' },
      item.image && h('button', { type: 'button', class: 'poster', 'aria-label': `Enlarge: ${item.captions[0] || item.title}`, onclick: enlarge },
        still(item.image, item.film, { alt: '', width: 256 })),
      h('div', {},
        h('p', { class: `status ${item.status}` }, item.words),
        item.differs && h('p', { class: 'differs' }, item.differs),
        h('ul', { class: 'captions', 'aria-label': 'Captions' },
          item.captions.map((caption, at) => h('li', { class: item.marked === at ? 'marked' : null }, caption))))),
    item.film && frames(item.film),
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Under every run' }, h('table', {},
      h('thead', {}, h('tr', {}, columns.map(([name, , means]) => h('th', { scope: 'col', title: means }, name)))),
      h('tbody', {}, item.runs.map((run) =>
        h('tr', {}, h('th', { scope: 'row' }, h('i', { style: `--run:${run.colour}`, 'aria-hidden': 'true' }), named(run.name)),
          columns.slice(1).map(([, key]) => h('td', {}, run[key]))))))),
    item.opens && h('p', { class: 'hint' }, item.hint),
    whyOf(item, why),
    h('footer', {},
      h('button', { type: 'button', class: 'use', onclick: () => go(item.use.set) }, item.use.label),
      item.opens && opening())].filter(Boolean));
  itemBox.onclose = closed;
  itemBox.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && !event.target.closest('select, .looks')) { event.preventDefault(); beside(step); }
  };
  if (itemBox.open) itemBox.querySelector('.close').focus(); // what had the focus is no longer there
  else itemBox.showModal();
};
