// Draws the answer to one query: what was asked, where the annotated match stands, the runs' overlap, and a
// column of tiles per run. The same item is marked in all columns while one of its tiles is hovered or focused.
const root = element.querySelector('.rg');
// What the picture shows, in a sentence. Stays in place while the rest is drawn anew: readers announce changes of a region
// that was there before.
const headline = element.querySelector('.headline');
const settle = roving(root, '.tile', (tile) => `${tile.closest('.column').getAttribute('aria-label').split(': ')[0]} ${tile.dataset.item}`);

const MARKS = {
  circle: () => h('circle', { cx: 6, cy: 6, r: 4.6 }),
  square: () => h('rect', { x: 1.6, y: 1.6, width: 8.8, height: 8.8 }),
  diamond: () => h('polygon', { points: '6,0.6 11.4,6 6,11.4 0.6,6' }),
  'triangle-up': () => h('polygon', { points: '6,1 11.6,10.8 0.4,10.8' }),
  cross: () => h('polygon', { points: '4,1 8,1 8,4 11,4 11,8 8,8 8,11 4,11 4,8 1,8 1,4 4,4' }),
  star: () => h('polygon', { points: '6,0.4 7.5,4.2 11.6,4.5 8.5,7.1 9.5,11.2 6,8.9 2.5,11.2 3.5,7.1 0.4,4.5 4.5,4.2' }),
};
const mark = (run, title) =>
  h('svg', { class: 'mark', viewBox: '0 0 12 12', 'aria-hidden': 'true', style: `--run:${run.colour}` },
    (MARKS[run.marker] || MARKS.circle)());

const queryCard = (query) =>
  h('section', { class: 'query', 'aria-label': 'Query' },
    poster(query, { words: query.alt || query.kind, size: 96, kind: query.film ? 'playing' : '', title: query.kind }),
    h('div', {},
      h('p', { class: 'eyebrow' }, query.kind),
      query.text && h('p', { class: 'asked' }, query.text),
      h('p', { class: 'facts' }, query.facts)));

// Ranks on a logarithmic axis: the text of the same facts stands in the columns' heads, so this is hidden from readers.
const axis = (value) => {
  const size = Math.max(value.gallery, 10);
  const place = (rank) => `${(100 * Math.log(rank)) / Math.log(size)}%`;
  const ticks = [1, 10, 100, 1000, 10000, 100000].filter((tick) => tick < size * 0.45 || tick === 1).concat(value.gallery);
  const stacked = {};
  return h('section', { class: 'axis', 'aria-hidden': 'true' },
    h('p', { class: 'eyebrow' }, `Rank of the ${value.match}`),
    !value.columns.some((run) => run.rank) && h('p', { class: 'facts' }, 'Of this query, no match is annotated.'),
    value.columns.some((run) => run.rank) && h('div', { class: 'track' },
      h('div', { class: 'inside', style: `width:${place(Math.min(value.k + 0.5, size))}` }, h('span', {}, `first ${value.k}`)),
      ticks.map((tick) => h('span', { class: 'tick', style: `left:${place(tick)}` }, tick.toLocaleString('en'))),
      value.columns.filter((run) => run.rank).map((run) => {
        const level = (stacked[run.rank] = (stacked[run.rank] ?? -1) + 1);
        const point = mark(run);
        point.setAttribute('class', 'mark point');
        point.style.left = place(run.rank);
        point.style.bottom = `${26 + 13 * level}px`;
        point.append(h('title', {}, `${run.name}: rank ${run.rank}`));
        return point;
      })));
};

const overlap = (value) => {
  const runs = value.columns;
  if (runs.length < 2) return null;
  return h('section', { class: 'overlap' },
    h('table', {},
      h('caption', { class: 'eyebrow' }, `Overlap@${value.k}`),
      h('thead', {}, h('tr', {}, h('td'),
        runs.slice(1).map((run) => h('th', { scope: 'col', title: run.name }, mark(run), h('span', { class: 'sr' }, run.name))))),
      h('tbody', {}, runs.slice(0, -1).map((run, row) =>
        h('tr', {}, h('th', { scope: 'row', title: run.name }, mark(run), h('span', {}, run.name)),
          runs.slice(1).map((_, at) => {
            const cell = at >= row && value.overlap[row][at + 1];
            return cell
              ? h('td', { style: `--share:${cell.share}`, title: cell.words }, cell.percent, h('span', { class: 'sr' }, ` (${cell.words})`))
              : h('td', { class: 'void' });
          }))))));
};

const tag = (item) => item.tag && h('span', { class: 'tag' }, item.tag);

const shift = (item) =>
  item.shift && h('span', { class: `shift ${item.shift.way}`, title: item.shift.words }, item.shift.short);

// Of a run that re-ranks: where its first stage had put the item.
const first = (item) => item.first && h('span', { class: 'first', title: item.first.words }, item.first.short);

const tile = (item, pinned) =>
  h('button', {
    type: 'button', tabindex: -1, class: `tile ${item.status}${item.image ? '' : ' text'}${pinned ? ' pinned' : ''}`,
    'data-item': item.index, 'aria-label': item.label, title: item.caption,
    onclick: () => trigger('item', { index: item.index }),
  },
    item.image
      ? [
        h('span', { class: 'frame' },
          still(item.image, item.film, { alt: '', loading: 'lazy', width: 96, height: 96 }), shift(item)),
        tag(item),
        h('span', { class: 'meta' }, h('span', { class: 'rank' }, item.rank), h('span', { class: 'score' }, item.score)),
        first(item),
      ]
      : [
        h('span', { class: 'meta' }, h('span', { class: 'rank' }, item.rank), tag(item), shift(item),
          h('span', { class: 'score' }, item.score)),
        first(item),
        h('span', { class: 'words' }, item.caption || item.id),
      ]);

const column = (run, match, staged, differs) =>
  h('section', { class: 'column', style: `--run:${run.colour}`, 'aria-label': `${run.name}: ${run.spoken}` },
    h('header', {},
      h('h3', { title: run.name }, mark(run), h('span', {}, run.name)),
      h('p', { class: 'about', title: run.setup }, run.setup),
      staged && h('p', { class: 'about', title: run.stage }, run.stage || '\u00a0'),
      h('p', { class: 'about', title: run.protocol }, run.about),
      h('p', { class: 'place' },
        h('b', {}, run.place || '–'),
        h('span', {}, h('span', {}, run.fault ? 'no answer' : run.place ? match : 'no annotated match'),
          first(run) || (staged && h('span', { class: 'first' }, '\u00a0')),
          h('span', { class: `delta ${run.delta.way}` }, run.delta.words))),
      run.hits && h('p', { class: 'about' }, run.hits)),
    run.fault && h('p', { class: 'fault' }, run.fault),
    differs && h('p', { class: 'differs', title: run.differs }, run.differs || '\u00a0'),
    h('div', { class: run.tiles.some((item) => item.image) ? 'tiles' : 'tiles list' }, run.tiles.map((item) => tile(item))),
    run.pinned && h('div', { class: 'below' },
      h('p', {}, `not in the first ${run.tiles.length}`), tile(run.pinned, true)));

const legend = (value) =>
  h('ul', { class: 'legend', 'aria-label': 'What frames and numbers mean' },
    value.legend.map((entry) => h('li', { class: entry.status }, h('i', { 'aria-hidden': 'true' }), entry.words)),
    [value.scale, ...value.terms].map(({ name, means }) => h('li', { class: 'scale' }, h('b', {}, name), means)));

const draw = (value) => {
  const within = root.contains(document.activeElement);
  headline.textContent = value.headline ?? '';
  if (value.notice) {
    root.replaceChildren(h('p', { class: 'notice', role: 'status' }, value.notice));
    return;
  }
  root.dataset.columns = value.columns.length;
  root.replaceChildren(
    h('div', { class: 'strip' }, queryCard(value.query), axis(value), overlap(value)),
    legend(value),
    value.left_out ? h('p', { class: 'left-out' }, value.left_out) : '',
    h('div', { class: 'columns' }, value.columns.map((run) => column(run, value.match, value.columns.some((one) => one.stage), value.columns.some((one) => one.differs)))));
  const held = settle();
  if (within) held?.focus({ preventScroll: true });
};

const same = (event, on) => {
  const item = event.target.closest('.tile')?.dataset.item;
  if (item !== undefined)
    root.querySelectorAll(`.tile[data-item="${item}"]`).forEach((other) => other.classList.toggle('same', on));
};
for (const [name, on] of [['mouseover', true], ['mouseout', false], ['focusin', true], ['focusout', false]])
  root.addEventListener(name, (event) => same(event, on));

return draw;
