// Why an item scores as it does, of two runs side by side: each word and each part of the picture in a colour and with a number
// that say what it adds, and where words look. Asked for when it is opened; the latest question is answered.

// A word with its number above it, or a cell or frame of a picture: blue adds, orange takes, by its share of the largest.
const whyMark = ({ share, shown }) => ({ class: share < 0 ? 'takes' : 'adds', style: `--share:${Math.abs(share).toFixed(3)}`, title: shown });

const whyWords = (found, run) =>
  h('p', { class: 'words-of' }, found.pieces.map((piece) => {
    const mark = run.words[piece.word];
    return mark ? h('ruby', whyMark(mark), piece.text, h('rt', {}, mark.shown)) : piece.text;
  }));

// The frames of a clip or the parts of a picture below `marks`, each called by `names`; `columns` of them in a row.
const whyPicture = (found, marks, names, columns, said) => {
  const far = (at) => Math.abs(marks[at].share) === 1;
  if (found.film)
    return h('ol', { class: 'frames-of', 'aria-label': said }, marks.map((mark, at) => {
      const place = marks.length > 1 ? Math.round((at * (found.film.frames - 1)) / (marks.length - 1)) : 0;
      return h('li', whyMark(mark),
        h('span', { class: 'frame-of', style: `--frames:${found.film.frames};--at:${place};background-image:url(${JSON.stringify(found.film.src)})` }),
        h('span', {}, h('span', { class: 'sr' }, `${names[at]}: `), mark.shown));
    }));
  if (!found.image) return null;
  return h('div', { class: 'picture-of', role: 'img', 'aria-label': said }, h('img', { src: found.image, alt: '' }),
    h('div', { style: `--columns:${columns}` }, marks.map((mark, at) =>
      h('i', { ...whyMark(mark), title: `${names[at]}: ${mark.shown}` }, far(at) && h('b', {}, mark.shown)))));
};

const whyNumbers = ({ columns, rows }, name) =>
  h('details', { class: 'numbers-of' }, h('summary', {}, name), h('div', { tabindex: 0, role: 'region', 'aria-label': name }, h('table', {},
    h('thead', {}, h('tr', {}, columns.map((text) => h('th', { scope: 'col' }, text)))),
    h('tbody', {}, rows.map(([first, ...cells]) => h('tr', {}, h('th', { scope: 'row' }, first), cells.map((cell) => h('td', {}, cell))))))));

// Which word looks where: the word that is pressed or has the focus shows its shares on the picture.
const whyLooks = (found, looks) => {
  const place = h('div', {}), words = h('p', { class: 'looks', role: 'group', 'aria-label': 'Words, each with where it looks' });
  const show = (at) => {
    const marks = looks.shares[at].map((share, region) => ({ share, shown: looks.shown[at][region] }));
    const best = looks.most[at], told = `“${looks.words[at]}”: ${looks.regions[best]}, ${looks.shown[at][best]}`;
    for (const [one, button] of [...words.children].entries()) button.setAttribute('aria-pressed', one === at);
    place.replaceChildren(h('p', { class: 'note', role: 'status' }, told), looks.picture && whyPicture(found, marks, looks.regions, looks.columns, told) || '');
  };
  words.append(...looks.words.map((word, at) => h('button', { type: 'button', class: 'look', 'aria-label': `${at + 1}: ${word}`, onclick: () => show(at), onfocus: () => show(at) }, word)));
  roving(words, '.look')();
  show(looks.first);
  return h('div', {}, h('p', {}, looks.said), words, place, whyNumbers({ columns: ['', ...looks.regions],
    rows: looks.words.map((word, at) => [word, ...looks.shown[at]]) }, 'Numbers of where words look'));
};

const whyRun = (found, run) => {
  const columns = Math.round(Math.sqrt(run.parts.length));
  return h('section', { 'aria-label': run.name, style: `--run:${run.colour}` },
    h('h4', {}, glyphOf(run), ' ', named(run.name), run.score && h('span', {}, ` scores it ${run.score}`)),
    run.said && h('p', {}, run.said),
    run.words.length ? whyWords(found, run) : run.no_words && h('p', { class: 'note' }, run.no_words),
    run.parts.length ? whyPicture(found, run.parts, run.part_names, columns, `What the parts add under ${run.name}. ${run.said}`)
      : run.no_parts && run.no_parts !== run.no_words && h('p', { class: 'note' }, run.no_parts),
    run.table && whyNumbers(run.table, 'Numbers'),
    run.looks && whyLooks(found, run.looks));
};

// `runs`: those that a link names, or null; `hold` keeps the choice in the address, `find` asks the server.
const whyOf = (item, { runs, hold, find }) => {
  const names = item.runs.map((run) => run.name);
  if (!names.length) return null;
  const known = (runs ?? []).filter((name) => names.includes(name));
  let chosen = known.length ? known : names.slice(0, 2), turn = 0;
  const status = h('p', { class: 'note', role: 'status' }), body = h('div', { class: 'sides-of' }), about = h('div', { class: 'note' });
  const ask = async () => {
    const mine = ++turn;
    const late = setTimeout(() => {
      if (mine === turn) status.replaceChildren('Working … ', h('button', { type: 'button', onclick: () => { turn += 1; status.replaceChildren(); box.open = body.children.length > 0; } }, 'Cancel'));
    }, 150);
    const found = await find(chosen).catch(() => null);
    clearTimeout(late);
    if (mine !== turn || !box.isConnected) return; // somebody wants another thing by now
    status.replaceChildren();
    if (!found || found.fault) {
      status.replaceChildren(found?.fault ?? 'The server did not answer. ', h('button', { type: 'button', onclick: ask }, 'Try again'));
      return;
    }
    about.replaceChildren(h('p', {}, found.about), found.note && h('p', {}, found.note) || '');
    body.replaceChildren(...found.runs.map((run) => whyRun(found, run)));
  };
  const menu = (label, at, options) => {
    const select = h('select', { 'aria-label': label, onchange: () => {
      chosen = (at ? [chosen[0], select.value] : [select.value, chosen[1]]).filter((name, place, all) => name && all.indexOf(name) === place);
      hold(chosen);
      ask();
    } }, options.map(([text, value]) => h('option', { value, selected: value === (chosen[at] ?? '') }, text)));
    return select;
  };
  const every = names.map((name) => [name, name]);
  const box = h('details', { class: 'why' }, h('summary', {}, 'Why this score?'),
    names.length > 1 && h('p', { class: 'runs-of' }, menu('First run', 0, every), menu('Run beside it', 1, [['no other run', ''], ...every])),
    status, body, about);
  box.addEventListener('toggle', () => {
    if (!box.isConnected) return;
    hold(box.open ? chosen : null);
    if (box.open) ask(); else turn += 1;
  });
  box.open = known.length > 0;
  return box;
};
