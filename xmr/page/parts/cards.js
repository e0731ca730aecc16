// Cards of pairs; every text becomes a text node. Where pairs can be judged, y n ? answer for the card that has the focus,
// u takes back; the answers go to the panel of verdicts (verdict_panel.js), which tells what stands.
const root = element.querySelector('.cards');
const ANSWERS = [['yes', 'Yes', 'y'], ['no', 'No', 'n'], ['unsure', 'Unsure', '?']];
let told = null; // what the panel says: {judge, hint, marks, waiting, faults}, the last three by pair
let drawn = '';
let turning = ''; // the button that got the focus after the last card: what it brings is judged on

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

const judging = (pair) =>
  h('div', { class: 'judge', role: 'group', 'aria-label': `Is ${pair.name} a match?` },
    h('span', { class: 'ask', 'aria-hidden': 'true' }, 'A match?'),
    ANSWERS.map(([answer, label, key]) =>
      h('button', { type: 'button', 'data-answer': answer, 'aria-pressed': 'false', 'aria-keyshortcuts': key, disabled: true },
        label, h('kbd', { 'aria-hidden': 'true' }, key))),
    h('span', { class: 'stands' }));

const card = (pair, of) => {
  const judged = of && pair.pair;
  return h('article', { class: `card${pair.suspected ? ' suspected' : ''}${pair.asked ? ' asked' : ''}`,
    'data-pair': judged && pair.pair.join(':'), tabindex: judged ? 0 : null,
    'aria-label': [pair.name, ...pair.badges.map((badge) => badge.text)].join(', ') },
    h('header', {},
      h('span', { class: 'name' }, pair.name),
      pair.badges.map((badge) => h('span', { class: `badge ${badge.kind}` }, badge.text)),
      h('dl', {}, pair.numbers.map(([name, number]) => h('div', {}, h('dt', {}, name), h('dd', {}, number))))),
    pair.note && h('p', { class: 'votes' }, pair.note),
    h('div', { class: 'sides' }, pair.sides.map(side)),
    pair.evidence && h('footer', {}, pair.evidence[0], pair.evidence[1] && h('q', {}, pair.evidence[1])),
    judged && judging(pair));
};

const judgeable = () => [...root.querySelectorAll('article[data-pair]')];

// Buttons and words of all cards as the panel tells them.
const mark = () => {
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
    const words = fault ? `Not kept: ${fault}` : waiting ? 'Being kept …' : !told?.judge ? 'Give your name above to judge.' : others;
    stands.classList.toggle('fault', Boolean(fault));
    stands.toggleAttribute('role', false);
    if (fault) stands.setAttribute('role', 'alert');
    if (stands.textContent !== words) stands.textContent = words;
  }
};

const send = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));

const onward = (article, scroll) => {
  const all = judgeable();
  const next = all[all.indexOf(article) + 1];
  const button = next ? null : document.getElementById(given().of.onward);
  turning = button ? button.id : '';
  (next ?? button ?? article).focus({ preventScroll: !scroll });
};

const answer = (article, said, scroll) => {
  if (!told?.judge) { send('xmr-nameless'); return; }
  const { pair, asked } = given().cards.find((one) => one.pair?.join(':') === article.dataset.pair && one.asked === article.classList.contains('asked'));
  send('xmr-judge', { answer: said, pair, asked, of: given().of });
  onward(article, scroll);
};

root.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-answer]');
  if (button) answer(button.closest('article'), button.dataset.answer, event.detail === 0);
});

root.addEventListener('keydown', (event) => {
  if (!given()?.of || event.repeat || event.target.closest('input, textarea, select, [contenteditable]')) return;
  const back = event.key === 'u' ? !(event.ctrlKey || event.metaKey || event.altKey) : event.key === 'z' && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  const said = event.ctrlKey || event.metaKey || event.altKey ? null : ANSWERS.find(([, , key]) => key === event.key.toLowerCase());
  const article = event.target.closest('article[data-pair]');
  if (!back && !(said && article)) return;
  event.preventDefault();
  if (back) send('xmr-judge', { answer: 'undo', of: given().of });
  else answer(article, said[0], true);
});

document.addEventListener('xmr-verdicts', ({ detail }) => {
  if (!element.isConnected || !given()?.of) return;
  told = detail;
  mark();
  const again = detail.back && judgeable().find((article) => article.dataset.pair === detail.back);
  if (again) again.focus();
});

const draw = () => {
  const value = given();
  if (!value) return;
  const now = JSON.stringify(value);
  if (now === drawn) return; // the same cards again: who judges them keeps the place
  drawn = now;
  root.replaceChildren(...(value.cards.length ? value.cards.map((pair) => card(pair, value.of)) : value.empty ? [h('p', { class: 'empty', role: 'status' }, value.empty)] : []));
  if (!value.of) return;
  mark();
  send('xmr-shown', { shown: value.cards.map((one) => one.pair).filter(Boolean) });
  if (turning && document.activeElement?.id === turning) judgeable()[0]?.focus();
  turning = '';
};
watch('value', draw);
draw();
