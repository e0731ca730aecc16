// The outbox of verdicts, and what stands: `xmr-judge` brings an answer from a card, `xmr-verdicts` tells the cards.
const state = element.querySelector('.state');
const said = element.querySelector('.said');
const marks = new Map(); // pair: [own answer, words on others, version of the store]
const cards = new Map(); // pair: its card as it is to be seen now
const faults = new Map(); // pair: why its last answer was not kept
const unexported = new Set(); // splits with verdicts that no export has
let outbox = [];
let sent = []; // on their way: one event after the other, so that answers arrive in their order
let shown = [];
let latest = null;
let late = null;

const input = () => document.querySelector(`#${settings.name} input, #${settings.name} textarea`);
const fresh = () => crypto.randomUUID?.() // only where the page came by https or from this machine
  ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

const tell = (back = '') => {
  const waiting = new Map([...sent, ...outbox].filter((item) => item.pair).map((item) => [item.pair.join(':'), item.answer]));
  document.dispatchEvent(new CustomEvent('xmr-verdicts', { detail: { judge: latest?.judge ?? '', marks, waiting, faults, cards, round: latest?.progress?.round, back } }));
};

const post = () => {
  clearTimeout(late);
  if (!sent.length) return;
  late = setTimeout(() => {
    said.replaceChildren('The server has not answered yet. ', h('button', { type: 'button', onclick: post }, 'Send again'));
  }, 10000);
  trigger('judge', { items: sent, shown });
};
const next = () => {
  if (sent.length || !outbox.length) return;
  sent = outbox.splice(0, 50);
  post();
};

const undo = () => document.dispatchEvent(new CustomEvent('xmr-judge', { detail: { answer: 'undo', of: latest.of } }));

const draw = () => {
  const value = latest;
  if (value.closed) { state.replaceChildren(h('p', { class: 'closed', role: 'alert' }, value.closed)); return; }
  const { listed, mine, anyone, words } = value.progress;
  const part = (count) => `width:${listed ? (100 * count) / listed : 0}%`;
  state.replaceChildren(...[
    value.hint && h('p', { class: 'hint' }, value.hint),
    h('div', { class: 'bar', 'aria-hidden': 'true' },
      h('i', { class: 'mine', style: part(mine) }), h('i', { class: 'others', style: part(anyone - Math.min(mine, anyone)) })),
    h('p', { class: 'words' }, words),
    h('p', { class: 'keys' }, h('button', { type: 'button', class: 'undo', disabled: !value.judge, 'aria-keyshortcuts': 'u', onclick: undo }, 'Undo', h('kbd', { 'aria-hidden': 'true' }, 'u')),
      h('span', {}, 'Keys on a card: ', h('kbd', {}, 'y'), ' yes, ', h('kbd', {}, 'n'), ' no, ', h('kbd', {}, '?'), ' unsure, ', h('kbd', {}, 'u'), ' undo.')),
  ].filter(Boolean));
};

const receive = (value) => {
  const done = new Set([...value.kept, ...value.failed.map(([key]) => key)]);
  const mine = sent.filter((item) => done.has(item.key));
  sent = sent.filter((item) => !done.has(item.key));
  if (!sent.length) clearTimeout(late);
  for (const item of mine) {
    const fault = value.failed.find(([key]) => key === item.key)?.[1];
    const pair = item.pair?.join(':');
    if (pair) faults.delete(pair);
    if (fault && pair) faults.set(pair, fault);
    if (!fault) unexported.add(item.of.split);
  }
  const words = [value.said, ...value.failed.map(([, reason]) => `Not kept: ${reason}`)].filter(Boolean).join(' ');
  if (words || done.size) {
    said.textContent = words;
    said.classList.toggle('fault', value.failed.length > 0);
  }
  if (value.closed) { latest = value; draw(); tell(); return; } // what waits is sent when there is a list again
  // An answer under another name than the one that stands there now, which has an answer of its own on the way.
  const typed = input()?.value ?? value.typed;
  if (typed === value.typed) {
    const other = latest && (latest.judge !== value.judge || latest.of?.split !== value.of.split);
    if (other) { marks.clear(); faults.clear(); cards.clear(); }
    for (const [pair, card] of Object.entries(value.cards)) cards.set(pair, card);
    for (const [pair, [own, others]] of Object.entries(value.marks)) {
      if (!((marks.get(pair)?.[2] ?? -1) > value.version)) marks.set(pair, [own, others, value.version]);
    }
    if (other || !done.size || !(latest?.version > value.version)) { latest = value; draw(); }
  }
  tell(value.back);
  next();
  // The first view of a split does not wait until everybody's verdicts are counted; the cards come after this.
  if (!value.counted) setTimeout(() => trigger('count', { shown }));
};

document.addEventListener('xmr-judge', ({ detail }) => {
  if (!element.isConnected || !latest?.judge) return;
  // Another name may stand in the box already, of which the server has not told yet.
  const typed = input()?.value ?? latest.typed;
  const judge = typed === latest.typed ? latest.judge : typed.trim();
  if (!judge) return;
  if (detail.pair) faults.delete(detail.pair.join(':'));
  outbox.push({ key: fresh(), judge, ...detail });
  tell();
  next();
});
document.addEventListener('xmr-shown', ({ detail }) => {
  if (!element.isConnected) return;
  shown = detail.shown;
  if (latest) tell();
});
document.addEventListener('xmr-nameless', () => { if (element.isConnected) input()?.focus(); });
document.addEventListener('xmr-exported', ({ detail }) => unexported.delete(detail));

document.addEventListener('xmr-leaving', ({ detail: event }) => {
  const forgotten = settings.forgetful && unexported.size > 0;
  if (!element.isConnected || !(forgotten || sent.length || outbox.length)) return;
  event.preventDefault();
  const exports = document.getElementById(settings.exports);
  const tab = element.closest('[role=tabpanel]');
  if (exports && !exports.offsetParent && tab) document.querySelector(`[role=tab][aria-controls="${tab.id}"]`)?.click();
  if (exports && 'open' in exports) exports.open = true;
  // After who was asked has stayed, and the tab is there.
  const see = (left) => setTimeout(() => {
    if (exports?.offsetParent) exports.scrollIntoView({ block: 'center' });
    else if (left) see(left - 1);
  }, 200);
  see(50);
});

return receive;
