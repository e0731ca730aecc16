// Stories: sentences beside live views, one step after the other; their offer to who comes first; and the views that somebody
// collects for a story or a report of their own. `go` shows keys of a state, `queryOf` is a state as an address, `kept` what this
// browser keeps.
window.xmrStories = (stories, { go, kept, tell, queryOf, stateNow }) => {
  const SEEN = 'xmr-stories', VIEWS = 'xmr-views', MOST = 24;
  const box = h('section', { class: 'story', 'aria-label': 'Story', hidden: true });
  const offer = h('section', { class: 'offer', 'aria-label': 'Stories', hidden: true });
  const begin = (story, step = 0) => { kept(SEEN, 'seen'); go(story.steps[step].keys); };
  const named = (story) => h('button', { type: 'button', class: 'link', title: story.about, onclick: () => begin(story) }, story.title);

  // ---- the offer: once, above the page, and never again when it was closed or taken
  const close = () => { kept(SEEN, 'seen'); offer.hidden = true; };
  offer.replaceChildren(h('p', {}, h('b', {}, 'New here?'), ` ${stories.length === 1 ? 'A story shows' : 'Stories show'} around, a few sentences beside each view:`),
    h('ul', {}, stories.map((story) => h('li', {}, named(story)))),
    h('button', { type: 'button', class: 'close', 'aria-label': 'Close the offer of stories', onclick: close }, '×'));

  // ---- the story that is open: nodes stay, so that who pressed Next can press it again
  const title = h('p', { class: 'of' }), head = h('h2', {}), text = h('div', { class: 'text', role: 'status' }), others = h('p', { class: 'others' });
  const press = (words, does, kind = '') => h('button', { type: 'button', class: kind, onclick: does }, words);
  let shown = null, at = 0, settled = {}, drawn = '';
  const previous = press('Previous', () => begin(shown, at - 1)), next = press('Next', () => begin(shown, at + 1), 'next');
  const back = press('Back to this step', () => begin(shown, at));
  const leave = press('Leave the story', () => go({ story: '', step: 1 }, true));
  box.append(title, head, text, others, h('p', { class: 'ways' }, previous, next, back, leave));

  const show = (state) => {
    const story = stories.find((one) => one.id === state.story);
    offer.hidden = Boolean(story) || !stories.length || Boolean(kept(SEEN));
    if (state.story && !story) tell(`There is no story ${state.story.slice(0, 40)} here${stories.length ? `; there are: ${stories.map((one) => one.id).join(', ')}` : ''}.`);
    box.hidden = !story;
    shown = story;
    if (!story) { drawn = ''; return; }
    at = Math.min(state.step, story.steps.length) - 1;
    const name = `${story.id} ${at}`, query = String(queryOf(state)), step = story.steps[at];
    // What the step shows is what came when it was begun: whoever moves on from there finds a way back.
    if (drawn !== name) {
      drawn = name;
      settled = { name, query };
      title.textContent = `${story.title} · ${at + 1} of ${story.steps.length}`;
      head.textContent = step.title;
      text.replaceChildren(...step.paragraphs.map((parts) => h('p', {}, ...proseOf(parts, go))));
      const more = at + 1 === story.steps.length ? stories.filter((one) => one !== story) : [];
      others.replaceChildren(...(more.length ? ['Other stories: ', ...more.flatMap((one, place) => (place ? [' · ', named(one)] : [named(one)]))] : []));
      previous.disabled = !at;
      next.disabled = at + 1 === story.steps.length;
      if (box.getBoundingClientRect().top < 0) scrollTo({ top: 0, behavior: 'instant' });
    }
    back.hidden = settled.query === query;
  };

  // ---- the shelf: all stories, and what was collected
  const read = () => { try { const held = JSON.parse(kept(VIEWS) ?? '[]'); return Array.isArray(held) ? held.filter((one) => typeof one?.query === 'string').slice(0, MOST) : []; } catch { return []; } };
  let views = read();
  const keep = () => { kept(VIEWS, JSON.stringify(views)); };
  const list = h('ol', {}), count = h('span', {}), said = h('span', { class: 'sr', role: 'status' });
  const line = (text) => text.replace(/\s+/g, ' ').trim();
  // A line that would begin a heading or a link of its own is told to be text.
  const words = (text) => text.split('\n').map((one) => one.trim()).map((one) => (/^(#|\[|\\)/.test(one) ? `\\${one}` : one)).join('\n');
  const file = () => [`# ${line(name.value) || 'My story'}`, '', ...views.flatMap((one) => [`## ${line(one.title) || 'A view'}`, '', words(one.note ?? ''), '', `[${line(one.view).replace(/[[\]]/g, ' ') || 'The view'}](?${one.query})`, ''])].join('\n');
  const name = h('input', { type: 'text', id: 'story-name', maxlength: 120, value: kept('xmr-story-name') ?? '', placeholder: 'My story', autocomplete: 'off' });
  name.addEventListener('input', () => kept('xmr-story-name', name.value));
  const save = () => {
    const link = h('a', { href: URL.createObjectURL(new Blob([file()], { type: 'text/markdown;charset=utf-8' })), download: `${line(name.value).toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') || 'story'}.md` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const redraw = () => {
    count.textContent = views.length ? ` (${views.length})` : '';
    collected.hidden = !views.length;
    list.replaceChildren(...views.map((one, place) => {
      const field = (node, key) => { node.addEventListener('input', () => { one[key] = node.value; keep(); }); return node; };
      const move = (by, sign, label) => h('button', { type: 'button', 'aria-label': `${label}: view ${place + 1}`, disabled: !views[place + by], onclick: () => {
        [views[place], views[place + by]] = [views[place + by], views[place]];
        keep(); redraw();
        list.children[place + by].querySelector('input').focus();
      } }, sign);
      const note = h('textarea', { rows: 3, maxlength: 2000, 'aria-label': `What to say of view ${place + 1}`, placeholder: 'What is to be seen here' });
      note.value = one.note ?? '';
      return h('li', {}, field(h('input', { type: 'text', maxlength: 120, value: one.title, 'aria-label': `Title of view ${place + 1}` }), 'title'), field(note, 'note'),
        h('p', { class: 'ways' }, h('button', { type: 'button', class: 'link', onclick: () => go(Object.fromEntries([...new Set(new URLSearchParams(one.query).keys())].map((key) => [key, new URLSearchParams(one.query).getAll(key)]))) }, 'Show'),
          move(-1, '↑', 'Earlier'), move(1, '↓', 'Later'),
          h('button', { type: 'button', 'aria-label': `Take out view ${place + 1}`, onclick: () => { views.splice(place, 1); keep(); redraw(); add.focus(); } }, '×')));
    }));
  };
  const add = h('button', { type: 'button', id: 'add-view', onclick: () => {
    if (views.length >= MOST) { tell(`A story has at most ${MOST} views; take one out first.`); return; }
    const query = queryOf(stateNow());
    for (const key of ['story', 'step']) query.delete(key);
    const view = document.title.split(' · ')[0];
    views.push({ title: view, note: '', view, query: String(query) });
    keep();
    redraw();
    said.textContent = `Added; ${views.length} ${views.length === 1 ? 'view is' : 'views are'} collected.`;
    collected.open = true;
    list.lastChild.querySelector('textarea').focus();
  } }, 'Add to story or report');
  const collected = h('details', { class: 'fold-in', id: 'collected' }, h('summary', {}, 'Collected views', count),
    h('div', {}, h('label', { for: 'story-name' }, 'Title'), name, list, h('p', { class: 'ways' }, press('Save as Markdown', save)),
      h('p', { class: 'note' }, 'Kept in this browser. The file is a story for ', h('code', {}, 'app.py --stories DIR'), ', and a page to send for ', h('code', {}, 'scripts/report.py RUN … --story FILE'), '.')));
  const shelf = h('div', { class: 'shelf' },
    stories.length > 0 && h('details', { class: 'fold-in', id: 'stories' }, h('summary', {}, 'Stories'), h('ul', {}, stories.map((story) => h('li', {}, named(story))))) || '',
    h('p', { class: 'copy' }, add, said), collected);
  addEventListener('storage', (event) => { if (event.key === VIEWS) { views = read(); redraw(); } }); // of another tab of this browser
  redraw();
  return { box, offer, shelf, show };
};
