// Pictures as large as the window lets them be. A set of pictures stands side by side: one that was pressed, or what every run
// has at one rank. Arrow keys go from set to set, Escape closes, and the focus returns to where it was.
const largeBox = h('dialog', { class: 'large', 'aria-label': 'Large pictures' });
largeBox.addEventListener('click', (event) => { if (event.target === largeBox) largeBox.close(); });

// What every run has where the item of a card stands first: one large picture for each, of the results that have one; and with
// which of these sets to begin.
const setsOf = (item, runs) => {
  const columns = (runs ?? []).filter((run) => run.tiles.some((tile) => tile.image));
  const ranks = Math.max(0, ...columns.map((run) => run.tiles.length));
  const sets = Array.from({ length: ranks }, (_, at) => columns.filter((run) => run.tiles[at]?.image).map((run) => {
    const tile = run.tiles[at];
    return { ...tile, title: `${run.name} #${tile.rank} · ${tile.score}`, words: tile.caption, colour: run.colour };
  }));
  const places = columns.map((run) => run.tiles.findIndex((tile) => tile.index === item.index)).filter((at) => at >= 0);
  const alone = [[{ image: item.image, film: item.film, title: item.title, words: item.captions[0], status: item.status }]];
  return places.length ? [sets, Math.min(...places)] : [alone, 0];
};

// `sets`: lists of {image, film, title, words, colour, status}; `find` asks the server for the large picture of a small one.
window.xmrLarge = (sets, start, find) => {
  if (!largeBox.isConnected) document.querySelector('.xmr').append(largeBox);
  let at = start;
  const show = () => {
    const mine = at, last = sets.length - 1;
    const way = (step, words, sign) => h('button', { type: 'button', 'aria-label': words, disabled: at + step < 0 || at + step > last, onclick: () => go(step) }, sign);
    const place = h('span', { role: 'status' }, `${at + 1} of ${sets.length}`);
    largeBox.replaceChildren(
      h('header', {}, way(-1, 'Previous', '‹'), place, way(1, 'Next', '›'),
        h('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => largeBox.close() }, '×')),
      h('div', { class: 'side-by-side' }, sets[at].map((one) => {
        const image = h('span', { class: `poster ${one.status ?? ''} ${one.film ? 'playing' : ''}` }, still(one.image, one.film, { alt: one.words ?? '' }));
        const drawn = image.querySelector('img'); // its frame is as large as itself
        drawn.onload = () => image.style.setProperty('--ratio', drawn.naturalWidth / drawn.naturalHeight);
        if (!one.image.startsWith('data:')) find(one.image).then((found) => { if (mine === at && found?.image) drawn.src = found.image; });
        return h('figure', { style: one.colour ? `--run:${one.colour}` : null },
          h('figcaption', {}, one.title && h('b', {}, one.title), one.words && h('span', {}, one.words)), image);
      })));
  };
  const go = (step) => {
    if (sets[at + step] === undefined) return;
    at += step;
    show();
    largeBox.querySelector('.close').focus(); // what had the focus is no longer there
  };
  largeBox.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); go(step); }
  };
  show();
  largeBox.showModal();
  largeBox.querySelector('.close').focus();
};
