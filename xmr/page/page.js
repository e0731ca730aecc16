// One page: a state, which the address holds, one question to the server, and what it answers is drawn. The latest question
// stands, however late an earlier answer comes.
window.xmrPage = (element, server, upload, boot) => {
  const main = h('div', { class: 'panels' }), side = h('div', { class: 'side' }), bar = h('div', { role: 'tablist', class: 'tabs', 'aria-label': 'Views' });
  const status = h('p', { class: 'busy', role: 'status' }), corner = h('div', { class: 'corner', role: 'alert' });
  const fold = h('button', { type: 'button', class: 'fold', 'aria-controls': 'sidebar', 'aria-expanded': 'false' }, 'Data and runs');
  const panels = {}, held = new Map(), has = {}; // by tab; every drawn block by tab and id; marks of values by tab and id
  let state = null, answer = null, since = {}, turn = 0, pending = null, // `since`: what was chosen after the last question
     doing = null, // the act that is not answered yet
     asker = null, // what had the focus when it was asked
     linked = true, // an address was opened whose card is not open yet
     timer = null, late = null, more = null;

  // ---- who looks: a name, and a secret that nobody else has, by which a verdict can be taken back --------------------
  const kept = (key, value) => { try { if (value !== undefined) localStorage.setItem(key, value); return localStorage.getItem(key); } catch { return value ?? null; } };
  const fresh = () => [...crypto.getRandomValues(new Uint8Array(24))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const visitor = { name: kept('xmr-judge') ?? '', secret: kept('xmr-secret') ?? kept('xmr-secret', fresh()) };

  // ---- the address ---------------------------------------------------------------------------------------------------
  const ours = (key) => key in boot.keys;
  const fromAddress = () => {
    const found = {}, query = new URLSearchParams(location.search);
    for (const key of new Set(query.keys())) if (ours(key) || key === 'v') found[key] = query.getAll(key).filter((text) => text !== '');
    return found;
  };
  const queryOf = (of) => {
    const query = new URLSearchParams(location.search);
    for (const key of ['v', boot.long.key, ...Object.keys(boot.keys)]) query.delete(key);
    query.set('v', boot.version);
    for (const [key, { tab, usual }] of Object.entries(boot.keys)) {
      if (tab && tab !== of.tab) continue;
      const value = of[key];
      if (Array.isArray(value) && !value.length) query.append(key, '-'); // an empty choice is said, else a link brings the usual one
      else if (key === 'tab' || key === 'dataset' || JSON.stringify(value) !== JSON.stringify(usual))
        for (const one of [value].flat()) if (one !== null && one !== '') query.append(key, String(one).startsWith('upload:') ? 'upload' : one);
    }
    return query;
  };
  // An uploaded picture is in no link, since another browser has not got it: what names it stays in this one's history.
  const uploaded = (query) => (/^upload:./.test(query) ? query : undefined);
  const fromHistory = (held) => ({ ...fromAddress(), ...(held?.upload && { query: held.upload }) });
  // What is chosen goes back by Back; a slider's way does not.
  const toAddress = (step) => {
    const query = `?${queryOf(state)}`;
    if (query === location.search) return;
    history[step ? 'pushState' : 'replaceState']({ upload: uploaded(state.query) }, '', query + location.hash);
    document.dispatchEvent(new Event('xmr-address'));
  };

  // What the page shows of itself, such as an open card: a link has it, and nothing is asked.
  const hold = (changes) => { Object.assign(state, changes); Object.assign(since, changes); toAddress(false); };

  // ---- asking --------------------------------------------------------------------------------------------------------
  // `step`: a step to go back from. While a question of less than 250 ms is on its way, newer ones are joined. An act that
  // has no answer yet goes along with what is asked next, so that no later choice takes it back; of an act that counts,
  // such as Next, the presses are added; and one that sets another value of the same block waits for its turn.
  const ask = (changes = {}, { act = null, step = false, quiet = false } = {}) => {
    state = { ...state, ...changes };
    Object.assign(since, changes);
    if (act?.counts) act = { ...act, data: 1 + (doing?.counts && doing.block === act.block ? doing.data : 0) };
    if (pending && !act) { pending.step ||= step; return; }
    if (timer && (!act || !step) || act && waits(act)) { pending = { act, step }; return; }
    send(act, step, quiet);
  };
  const waits = (act) => doing?.block === act?.block && doing?.data?.name !== act?.data?.name;
  const send = async (act, step, quiet = false) => {
    const mine = ++turn;
    if (!status.contains(document.activeElement)) asker = document.activeElement;
    pending = null;
    if (!act && doing) [act, step] = [doing, step || doing.step];
    doing = act && { ...act, step };
    since = {};
    for (const one of [timer, late, more]) clearTimeout(one);
    timer = setTimeout(flush, 250);
    if (!quiet) late = setTimeout(() => busy(mine), 150);
    let found;
    try {
      found = await server.view({ state, act, has: has[state.tab] ?? {}, visitor, first: !answer });
    } catch (error) {
      found = null;
    }
    if (!found?.blocks && !found?.fault) found = { broken: 'The server did not answer.' };
    if (mine !== turn) return; // somebody wants another thing by now
    clearTimeout(late);
    doing = null;
    idle();
    show(found, step, () => send(act, step));
    flush();
  };
  const flush = () => {
    clearTimeout(timer);
    timer = null;
    if (pending && !waits(pending.act)) send(pending.act, pending.step);
  };
  const idle = () => {
    const held = status.contains(document.activeElement);
    element.classList.remove('waits');
    main.removeAttribute('aria-busy');
    status.replaceChildren();
    if (held && asker?.isConnected) asker.focus({ preventScroll: true }); // the button that had it is gone
  };
  const busy = (mine) => {
    const held = status.contains(document.activeElement);
    element.classList.add('waits');
    main.setAttribute('aria-busy', 'true');
    status.replaceChildren('Working …', h('button', { type: 'button', onclick: () => {
      if (mine !== turn) return;
      turn += 1;
      doing = pending = null;
      idle();
      if (answer) { state = answer.state; draw(answer); toAddress(false); }
    } }, 'Cancel'));
    if (held) status.querySelector('button').focus({ preventScroll: true });
  };
  // Blocks that came beside the view take the place of those that are there.
  const told = (found, scope) => {
    if (!found || found.fault) return;
    for (const { on, ...block } of found.blocks ?? []) held.get(`${scope} ${block.id} ${block.kind} `)?.update({ ...block, ...(on?.length ? { on } : {}), brought: true });
  };
  // What a part of the page asks beside the view: an item's card, verdicts, a point of the map.
  const other = async (name, data) => {
    const found = await server.part({ state, name, data, visitor });
    if (found?.fault) tell(found.fault);
    return found;
  };

  const save = async (name) => {
    const found = await other('file', { name });
    if (!found || found.fault) return;
    const link = h('a', { href: URL.createObjectURL(found.base64 ? new Blob([Uint8Array.from(atob(found.base64), (one) => one.charCodeAt(0))], { type: 'application/zip' }) : new Blob([found.text], { type: 'text/plain;charset=utf-8' })), download: found.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    if (name.startsWith('verdicts')) document.dispatchEvent(new CustomEvent('xmr-exported', { detail: found.split }));
  };

  // ---- what is said --------------------------------------------------------------------------------------------------
  const tell = (text) => {
    const note = h('div', { class: 'note' }, h('p', {}, text), h('button', { type: 'button', 'aria-label': 'Close', onclick: () => note.remove() }, '×'));
    if (![...corner.children].some((one) => one.firstChild.textContent === text)) corner.append(note);
    while (corner.children.length > 4) corner.firstChild.remove();
  };

  const show = (found, step, again) => {
    (found.said ?? []).forEach(tell);
    if (found.broken || found.fault) {
      status.replaceChildren(h('span', { class: 'fault' }, found.broken ?? found.fault), h('button', { type: 'button', onclick: again }, 'Try again'));
      return;
    }
    answer = found;
    state = { ...found.state, ...since };
    toAddress(step);
    draw(found);
    tales.show(state);
    if (wanted && state.tab === 'search') toQuery();
    wanted = false;
    if (found.go) arrive(document.getElementById(found.go));
    if (linked && state.tab === 'search' && state.item) ACTS.item({ name: state.item }, found.blocks.find((one) => one.kind === 'grid'));
    linked = false;
    clearTimeout(more);
    if (found.again) more = setTimeout(() => { if (!pending) send(null, false, true); }, found.again);
  };

  // What was opened comes into sight where it is not, is marked for a moment, and is told to those who listen.
  const arrive = (node) => {
    if (!node) return;
    const { top, bottom } = node.getBoundingClientRect();
    if (top < 50 || Math.min(bottom, top + 200) > innerHeight) node.scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
    const held = document.activeElement;
    if (held === document.body || (main.contains(held) && !held.offsetParent)) { // what led here is out of sight
      node.tabIndex = -1;
      node.focus({ preventScroll: true });
    }
    node.classList.remove('arrived');
    void node.offsetWidth; // else the same mark would not begin again
    node.classList.add('arrived');
    status.replaceChildren(h('span', { class: 'sr' }, `Shown: ${(node.querySelector('[role="status"]') ?? node).innerText.trim().split('\n')[0].slice(0, 200)}`));
  };

  // ---- drawing -------------------------------------------------------------------------------------------------------
  const draw = (found) => {
    element.classList.toggle('empty', !found.side.length);
    const panel = panels[state.tab] ??= main.appendChild(h('section', { role: 'tabpanel', id: `panel-${state.tab}`, 'aria-labelledby': `tab-${state.tab}` }));
    turnTo(state.tab);
    reconcile(side, found.side, 'side');
    reconcile(panel, found.blocks, state.tab);
    drawn[state.tab] = String(queryOf(state));
  };
  // Only what changes is touched: what is touched is laid out again. A tab begins at its top; by Back, where it was left.
  const turnTo = (tab) => {
    const other = turned && turned !== tab, to = back ? places[tab] ?? 0 : 0;
    if (other) places[turned] = scrollY;
    back = false;
    turned = tab;
    document.title = `${boot.tabs.find(([id]) => id === tab)?.[1] ?? ''} · ${state.dataset} · xmr`;
    for (const one of bar.children) {
      const own = one.id === `tab-${tab}`;
      if (one.getAttribute('aria-selected') === String(own)) continue;
      one.setAttribute('aria-selected', own);
      one.tabIndex = own ? 0 : -1;
    }
    for (const [id, one] of Object.entries(panels)) if (one.hidden !== (id !== tab)) one.hidden = id !== tab;
    if (other) scrollTo({ top: to, behavior: 'instant' });
  };
  const drawn = {}, places = {}; // by tab: the address of what its panel shows, and how far down it was left
  let turned = '', back = false;
  // Blocks of a parent: those that are there stay where they are and are told what is new, so focus and zoom are kept.
  const reconcile = (parent, blocks, scope) => {
    let last = null;
    const kept = new Set();
    for (const block of blocks) {
      const name = `${scope} ${block.id} ${block.kind} ${block.control ?? ''}`;
      let one = held.get(name);
      if (!one) held.set(name, one = make(block, scope));
      kept.add(one.node);
      const after = last ? last.nextSibling : parent.firstChild;
      if (one.node !== after) parent.insertBefore(one.node, after);
      last = one.node;
      one.update(block); // in its place already: parts of a view tell each other what they show
    }
    for (const node of [...parent.children]) if (!kept.has(node)) node.remove();
  };
  const nested = (tag, attributes) => (block, scope) => {
    const node = h(tag, { id: block.id, ...attributes });
    return { node, update: (now) => {
      if (now.widths) now.blocks.forEach((one, at) => { one.grow = now.widths[at]; });
      reconcile(node, now.blocks, scope);
      if (now.widths) [...node.children].forEach((child, at) => child.style.setProperty('--grow', now.widths[at] ?? 1));
    } };
  };
  const KINDS = {
    row: nested('div', { class: 'row' }),
    column: nested('div', { class: 'column' }),
    fold: (block, scope) => {
      const inner = h('div', {}), node = h('details', { id: block.id, class: 'fold-in' }, h('summary', {}, block.title), inner);
      node.open = block.opened;
      return { node, update: (now) => reconcile(inner, now.blocks, scope) };
    },
    words: (block) => {
      const heading = block.style === 'heading';
      const node = h(heading ? 'h2' : 'p', { id: block.id, class: `words ${block.style}`, role: block.style === 'finding' ? 'status' : null });
      let keep = null;
      return { node, update: ({ text, keep: next, brought }) => {
        if (!brought && next && next === keep) return;
        keep = brought ? keep : next;
        if (node.textContent !== text) node.textContent = text;
        node.hidden = !text;
      } };
    },
    control: (block) => window.xmrControl(block, { ask, changed: (value, now, step = true, quiet = false) => change(now, value, step, quiet), upload, save, tell, newer: () => since }),
    brand: (block) => brandOf(block, boot.version, (dataset) => go({ tab: state.tab, dataset })),
    progress: (block) => {
      const node = h('progress', { id: block.id, 'aria-label': block.label });
      return { node, update: ({ done, of }) => { if (of) Object.assign(node, { max: of, value: done }); else node.removeAttribute('value'); } };
    },
    code: (block) => {
      const node = h('pre', { id: block.id, class: 'code' });
      return { node, update: ({ text }) => { node.textContent = text; } };
    },
    visitor: (block) => {
      const input = h('input', { type: 'text', id: `${block.id}-input`, maxlength: 80, placeholder: block.placeholder, autocomplete: 'off', value: visitor.name });
      input.addEventListener('input', () => {
        visitor.name = input.value;
        kept('xmr-judge', input.value);
        ask();
      });
      return { node: h('div', { id: block.id, class: 'control text' }, h('label', { for: input.id }, block.label), input), update: () => {} };
    },
    problem: (block) => {
      const node = h('section', { id: block.id, class: 'problem', role: 'alert' });
      return { node, update: (now) => node.replaceChildren(h('h2', {}, 'Nothing to show yet'), h('p', {}, now.reason),
        ...now.commands.map((line) => h('pre', {}, h('code', {}, line)))) };
    },
    faults: (block) => {
      const node = h('details', { id: block.id, class: 'faults', open: true });
      return { node, update: (now) => node.replaceChildren(h('summary', {}, now.title ?? `${now.items.length} not shown`),
        h('ul', {}, now.items.map(([name, reason]) => h('li', {}, h('b', {}, name), ` ${reason}`)))) };
    },
  };
  const change = (block, value, step, quiet) => {
    if (block.key) ask({ [block.key]: value, ...(block.resets ?? {}) }, { step, quiet });
    else ask({}, { act: { block: block.block ?? block.id, event: 'change', data: block.name ? { name: block.name, value } : value, counts: block.counts }, step });
  };
  // A part draws values into its own node; what happens in it goes to the view as an act, or to the page.
  const make = (block, scope) => {
    if (KINDS[block.kind]) return KINDS[block.kind](block, scope);
    const { template, run } = boot.parts[block.kind];
    const node = h('div', { id: block.id, class: `part ${block.kind}` });
    node.innerHTML = template; // a constant of ours
    let now = block, redraw = null, text; // of the value that is drawn
    const trigger = (event, data) => {
      if (ACTS[event]) ACTS[event](data, now);
      else if (now.ask?.[event]) return other(now.ask[event], data).then((found) => { told(found, scope); return found; });
      else if (now.on?.includes(event)) ask({}, { act: { block: now.id, event, data }, step: event !== 'move' });
    };
    const settings = { ...boot.settings, name: block.name ?? block.id, id: block.id, ...block.settings };
    return { node, update: (next) => {
      const kept = next.keep && next.keep === now.keep && redraw; // what was brought beside the view stays
      const same = next.mark && next.value === undefined;
      now = next.brought || same ? { ...now, ...next, value: next.value ?? now.value } : next;
      if (scope !== 'side') (has[scope] ??= {})[next.id] = next.brought ? '' : next.mark;
      if (kept || same) return;
      if (text === (text = JSON.stringify(next.value))) return;
      redraw ??= run(node, trigger, settings);
      redraw(next.value);
    } };
  };
  const ACTS = {
    save: (name) => save(name),
    go: (set) => ask({ page: 0, ...set }, { step: true }),
    // The card of an item that a grid shows, by its place, or by its name as a link has it.
    item: async ({ index, name }, block) => {
      const found = await other('item', { index, name });
      if (!found || found.fault) return;
      const beside = (step) => {
        const tiles = [...new Set([...document.getElementById(block.id).querySelectorAll('[data-item]')].map((tile) => Number(tile.dataset.item)))];
        const next = tiles[tiles.indexOf(found.index) + step];
        if (next !== undefined) ACTS.item({ index: next }, block);
      };
      hold({ item: found.use.set.query });
      window.xmrDialog(found, { ask, beside, closed: () => hold({ item: '', why: null }), enlarge: () => window.xmrLarge(...setsOf(found, block.value.columns), large),
        why: { runs: state.why, hold: (why) => hold({ why }), find: (runs) => other('why', { index: found.index, runs }) } });
    },
  };
  // Any other small picture: arrows lead through those of its part.
  const large = (src) => other('large', { src });
  main.addEventListener('click', ({ target }) => {
    const one = target.closest('.part .poster');
    if (!one || !shown.has(one)) return;
    const all = [...one.closest('.part').querySelectorAll('.poster')].filter((node) => shown.has(node));
    window.xmrLarge(all.map((node) => [shown.get(node)]), all.indexOf(one), large);
  });

  // ---- the frame -----------------------------------------------------------------------------------------------------
  let wanted = false; // the query, by who pressed / in another tab
  const toQuery = () => { const line = document.getElementById('query'); line?.focus(); line?.select(); };
  // A tab that was drawn of this very state is there at once; the answer, which may know more by now, follows.
  const choose = (id) => {
    if (panels[id] && drawn[id] === String(queryOf({ ...state, tab: id, page: 0 }))) turnTo(id);
    ask({ tab: id, page: 0 }, { step: true });
  };
  for (const [id, title] of boot.tabs) bar.append(h('button', { type: 'button', role: 'tab', id: `tab-${id}`, 'aria-controls': `panel-${id}`, onclick: () => choose(id) }, title));
  bar.addEventListener('keydown', (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const all = [...bar.children], at = all.indexOf(document.activeElement);
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? all.length - 1 : way && (at + way + all.length) % all.length;
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    all[to].focus();
    all[to].click();
  });
  const copied = h('span', { role: 'status' });
  const copy = h('button', { type: 'button', id: 'copy-link', onclick: async () => {
    const address = `${boot.space || location.origin + location.pathname}?${queryOf(state)}`;
    try { await navigator.clipboard.writeText(address); copied.textContent = 'Copied'; }
    catch { copied.replaceChildren(h('input', { value: address, readonly: true, 'aria-label': 'The link' })); }
    setTimeout(() => { copied.replaceChildren(); }, 8000);
  } }, 'Copy link');
  const go = (keys, beside) => { state = beside ? { ...state, ...keys } : keys; ask({}, { step: true }); };
  const tales = window.xmrStories(boot.stories, { go, kept, tell, queryOf, stateNow: () => state });
  const drawer = h('aside', { id: 'sidebar', 'aria-label': 'Data and runs' }, side, h('p', { class: 'copy' }, copy, copied), tales.shelf);
  fold.addEventListener('click', () => {
    const open = drawer.classList.toggle('open');
    fold.setAttribute('aria-expanded', open);
  });
  // Gradio's page has a base: a bare #panels would lead to its first view.
  const skip = (event) => { event.preventDefault(); document.getElementById('panels').focus(); };
  element.replaceChildren(h('a', { class: 'skip', href: '#panels', onclick: skip }, 'Skip to the results'),
    fold, drawer, h('main', { id: 'panels', tabindex: -1 }, h('div', { class: 'top' }, bar, status), tales.offer, tales.box, main), corner);
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select, dialog')) return;
    event.preventDefault();
    if (state.tab === 'search') toQuery(); else { choose('search'); wanted = true; }
  });
  addEventListener('beforeunload', (event) => document.dispatchEvent(new CustomEvent('xmr-leaving', { detail: event })));
  addEventListener('popstate', (event) => { doing = pending = null; back = linked = true; state = fromHistory(event.state); send(null, false); });
  history.scrollRestoration = 'manual'; // the browser would scroll what still stands there
  // plotly.js is fetched and compiled while nothing else is to be done: it holds the page up for most of a second, which nobody
  // should meet who has just come and opens a tab. Charts are drawn without it until then.
  whenIdle(3000).then(() => library(boot.settings)).catch(() => {});
  const long = new URLSearchParams(location.search).get(boot.long.key);
  if (long !== null) tell(`The address was not read: its ${Number(long).toLocaleString('en')} characters are more than ${boot.long.most.toLocaleString('en')}.`);
  state = fromHistory(history.state);
  ask();
};
