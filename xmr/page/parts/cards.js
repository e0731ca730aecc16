// Cards of pairs; every text becomes a text node. Where pairs can be judged, y n ? answer for the card that has the focus,
// u takes back; the answers go to the panel of verdicts (verdicts.js), which tells what stands, and brings the cards of pairs
// of which more may be seen since they were judged. One at a time, the first that is not judged is large and alone, and the
// keys answer for it wherever the focus is.
const root = element.querySelector('.cards');
const ANSWERS = [['yes', 'Yes', 'y'], ['no', 'No', 'n'], ['unsure', 'Unsure', '?']];
let told = null; // what the panel says: {judge, marks, waiting, faults, cards, round}, marks to cards by pair
let value = null;
let turning = ''; // the button that got the focus after the last card: what it brings is judged on
let current = ''; // the pair that is shown where it is one at a time
let onwards = false; // all of the page are answered: the next page comes when the answers are kept

const side = (item, at) =>
  h('section', { class: 'side' },
    h('p', { class: 'role' }, item.role, h('span', {}, item.name)),
    h('div', { class: 'item' },
      poster(item, { words: item.captions[0] || item.quote || item.name, size: 88, tab: !at, title: `${item.role} ${item.name}` }),
      h('div', { class: 'words' },
        item.quote && h('p', { class: 'quote' }, item.quote),
        item.note && h('p', { class: 'note' }, item.note),
        item.captions.length > 0 && h('ul', {}, item.captions.map((text) => h('li', {}, text))))));

const judging = (pair) =>
  h('div', { class: 'judge', role: 'group', 'aria-label': `Is ${pair.name} a match?` },
    h('span', { class: 'ask', 'aria-hidden': 'true' }, 'A match?'),
    ANSWERS.map(([answer, label, key]) =>
      h('button', { type: 'button', 'data-answer': answer, 'aria-pressed': 'false', 'aria-keyshortcuts': key, disabled: true },
        label, h('kbd', { 'aria-hidden': 'true' }, key))),
    h('span', { class: 'stands' }));

const card = (pair, of) => {
  const judged = of && pair.pair;
  const article = h('article', { 'data-pair': judged && pair.pair.join(':'), tabindex: judged ? 0 : null });
  fill(article, pair, of);
  return article;
};
const fill = (article, pair, of) => {
  const judged = of && pair.pair;
  article.className = `card${pair.suspected ? ' suspected' : ''}${pair.asked ? ' asked' : ''}`;
  article.setAttribute('aria-label', [pair.name, ...pair.badges.map((badge) => badge.text)].join(', '));
  article.replaceChildren(...[
    h('header', {},
      h('span', { class: 'name' }, pair.name),
      pair.badges.map((badge) => h('span', { class: `badge ${badge.kind}` }, badge.text)),
      h('dl', {}, pair.numbers.map(([name, number]) => h('div', {}, h('dt', {}, name), h('dd', {}, number))))),
    pair.note && h('p', { class: 'votes' }, pair.note),
    h('div', { class: 'sides' }, pair.sides.map(side)),
    pair.evidence && h('footer', {}, pair.evidence[0], pair.evidence[1] && h('q', {}, pair.evidence[1])),
    judged && judging(pair)].filter(Boolean));
};

const judgeable = () => [...root.querySelectorAll('article[data-pair]')];

// What may be seen of a pair since it was judged, or no more since that was taken back; who is on it stays on it.
const reveal = () => {
  for (const article of judgeable()) {
    const now = told?.cards.get(article.dataset.pair);
    const asked = article.classList.contains('asked');
    const at = now ? value.cards.findIndex((one) => one.pair?.join(':') === article.dataset.pair && one.asked === asked) : -1;
    if (at < 0) continue;
    const next = { ...now, name: value.cards[at].name, asked };
    if (JSON.stringify(value.cards[at]) === JSON.stringify(next)) continue;
    value.cards[at] = next;
    const held = article.contains(document.activeElement) && document.activeElement !== article ? document.activeElement.dataset.answer : null;
    fill(article, value.cards[at], value.of);
    if (held) article.querySelector(`[data-answer=${held}]`)?.focus({ preventScroll: true });
  }
};

// One at a time: which pair is seen, and what is known of the one before it.
const single = () => {
  const all = judgeable(), one = value.one;
  root.classList.toggle('one', Boolean(one));
  root.querySelector('.round')?.remove();
  root.querySelector('.last')?.remove();
  const own = (article) => told?.waiting.get(article.dataset.pair) ?? told?.marks.get(article.dataset.pair)?.[0];
  if (!all.some((article) => article.dataset.pair === current)) current = (all.find((article) => !own(article)) ?? all[0])?.dataset.pair ?? '';
  for (const article of all) article.hidden = Boolean(one) && article.dataset.pair !== current;
  if (!one || !all.length) return;
  const before = all[all.findIndex((article) => article.dataset.pair === current) - 1] ?? null;
  const known = before && value.cards.find((item) => item.pair?.join(':') === before.dataset.pair);
  root.prepend(h('p', { class: 'round' }, told?.round ? `${told.round} in this round` : 'Give your name above to judge.'));
  if (known && own(before)) root.append(h('p', { class: 'last', role: 'status' }, [`Before: you said ${own(before)}.`, told.marks.get(before.dataset.pair)?.[1],
    known.badges.map((badge) => badge.text).join(', ')].filter(Boolean).join(' ')));
};

// Buttons and words of all cards as the panel tells them.
const mark = () => {
  reveal();
  for (const article of judgeable()) {
    const pair = article.dataset.pair;
    const [mine, others] = told?.marks.get(pair) ?? ['', ''];
    const waiting = told?.waiting.get(pair);
    const fault = told?.faults.get(pair);
    article.toggleAttribute('data-judged', Boolean(waiting ?? mine));
    for (const button of article.querySelectorAll('button[data-answer]')) {
      button.disabled = !told?.judge;
      button.setAttribute('aria-pressed', String((waiting ?? mine) === button.dataset.answer));
    }
    const stands = article.querySelector('.stands');
    const words = fault ? `Not kept: ${fault}` : waiting ? 'Being kept …' : told?.judge ? others : '';
    stands.classList.toggle('fault', Boolean(fault));
    stands.toggleAttribute('role', false);
    if (fault) stands.setAttribute('role', 'alert');
    if (stands.textContent !== words) stands.textContent = words;
  }
  single();
  if (onwards && !told.waiting.size) {
    onwards = false;
    document.getElementById(value.of.onward)?.click();
  }
};

const send = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));

const onward = (article, scroll) => {
  const all = judgeable(), one = value.one;
  const next = all[all.indexOf(article) + 1];
  const button = next ? null : document.getElementById(value.of.onward);
  turning = button ? button.id : '';
  if (one && next) {
    current = next.dataset.pair;
    single();
  }
  if (one && !next) onwards = true; // mark() goes on
  (next ?? button ?? article).focus({ preventScroll: one || !scroll });
};

const answer = (article, said, scroll) => {
  if (!told?.judge) { send('xmr-nameless'); return; }
  const { pair, asked } = value.cards.find((one) => one.pair?.join(':') === article.dataset.pair && one.asked === article.classList.contains('asked'));
  onward(article, scroll);
  send('xmr-judge', { answer: said, pair, asked, of: value.of });
};

root.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-answer]');
  if (button) answer(button.closest('article'), button.dataset.answer, event.detail === 0);
});

const press = (event) => {
  if (!value?.of || event.repeat || event.target.closest('input, textarea, select, [contenteditable]')) return;
  const back = event.key === 'u' ? !(event.ctrlKey || event.metaKey || event.altKey) : event.key === 'z' && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  const said = event.ctrlKey || event.metaKey || event.altKey ? null : ANSWERS.find(([, , key]) => key === event.key.toLowerCase());
  const article = value.one ? judgeable().find((each) => !each.hidden) : event.target.closest('article[data-pair]');
  if (!back && !(said && article)) return;
  event.preventDefault();
  if (back) send('xmr-judge', { answer: 'undo', of: value.of });
  else answer(article, said[0], true);
};
root.addEventListener('keydown', (event) => { if (!value?.one) press(event); });
document.addEventListener('keydown', (event) => {
  if (element.isConnected && value?.one && root.offsetParent && !event.target.closest('dialog')) press(event);
});

document.addEventListener('xmr-verdicts', ({ detail }) => {
  if (!element.isConnected || !value?.of) return;
  told = detail;
  mark();
  const again = detail.back && judgeable().find((article) => article.dataset.pair === detail.back);
  if (!again) return;
  current = detail.back;
  onwards = false;
  single();
  again.focus();
});

const draw = (next) => {
  value = structuredClone(next); // what is seen of a card changes once it is judged
  const held = root.contains(document.activeElement) ? document.activeElement.closest('article')?.dataset.pair : null;
  root.replaceChildren(...(value.cards.length ? value.cards.map((pair) => card(pair, value.of)) : value.empty ? [h('p', { class: 'empty', role: 'status' }, value.empty)] : []));
  if (!value.of) return;
  told?.cards.clear(); // older than these
  mark();
  send('xmr-shown', { shown: value.cards.map((one) => one.pair).filter(Boolean) });
  if (turning && document.activeElement?.id === turning) judgeable()[0]?.focus();
  turning = '';
  // Cards that came anew while somebody judged: without the focus the next keys would be lost.
  if (held && document.activeElement === document.body) judgeable().find((article) => article.dataset.pair === held)?.focus({ preventScroll: true });
};
return draw;
