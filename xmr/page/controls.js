// A labelled control of a view. `changed(value, block)` tells what somebody chose; `update` brings what the server settled,
// and leaves alone what a person is just moving or typing.
window.xmrControl = (block, { changed, ask, upload, save, tell, newer }) => {
  let now = block;
  const id = `${block.id}-input`;
  const told = (value, step) => changed(value, now, step);
  const options = () => now.options ?? [];
  const valueAt = (index) => options()[index]?.[1];
  const indexOf = (value) => options().findIndex(([, own]) => own === value);
  const wrap = (kind, ...children) => h('div', { id: block.id, class: `control ${kind}` }, ...children);
  const label = (text) => h('label', { for: id, class: block.quiet ? 'sr' : null }, text);
  const busy = (node) => document.activeElement === node;

  const made = {
    menu: () => {
      const select = h('select', { id, onchange: () => told(valueAt(select.selectedIndex)) });
      const text = label(now.label);
      let drawn = '';
      return [wrap('menu', text, select), () => {
        if (drawn !== (drawn = JSON.stringify(options()))) select.replaceChildren(...options().map(([words]) => h('option', {}, words)));
        select.selectedIndex = indexOf(now.value);
      }];
    },
    radio: () => {
      const group = h('fieldset', { id: block.id, class: 'control radio' });
      let drawn = '';
      return [group, () => {
        if (drawn !== (drawn = JSON.stringify(options()))) group.replaceChildren(h('legend', { class: block.quiet ? 'sr' : null }, now.label), ...options().map(([words], at) =>
          h('label', {}, h('input', { type: 'radio', name: id, onchange: () => told(valueAt(at)) }), h('span', {}, words))));
        [...group.querySelectorAll('input')].forEach((input, at) => { input.checked = at === indexOf(now.value); });
      }];
    },
    slider: () => {
      const range = h('input', { type: 'range', id, oninput: () => { figure.value = range.value; told(Number(range.value), false); } });
      const figure = h('input', { type: 'number', 'aria-label': `${now.label}, as a number`, onchange: () => {
        if (figure.value !== '') told(Math.min(Math.max(Number(figure.value), now.low), now.high));
      } });
      const text = label(now.label);
      return [wrap('slider', text, range, figure), () => {
        text.textContent = now.label;
        for (const one of [range, figure]) Object.assign(one, { min: now.low, max: now.high, step: now.step });
        figure.step = 'any';
        if (!busy(range)) range.value = now.value;
        if (!busy(figure)) figure.value = now.value;
      }];
    },
    // Moments along a way, the last one is where it ends. While they are played, the next one is asked for when this one is
    // drawn, so that no server is asked for more than it draws; whoever moves the slider goes on by hand.
    moments: () => {
      const range = h('input', { type: 'range', id, min: 0, step: 1, oninput: () => { stop(); choose(Number(range.value)); } });
      const play = h('button', { type: 'button', onclick: () => (playing ? stop() : start()) });
      const figure = h('output', { for: id });
      let playing = false, timer = null;
      const show = () => {
        figure.value = options()[Number(range.value)]?.[0] ?? '';
        range.setAttribute('aria-valuetext', figure.value);
        play.textContent = playing ? 'Pause' : 'Play';
      };
      const choose = (at) => { show(); changed(valueAt(at), now, false, playing); };
      const stop = () => { playing = false; clearTimeout(timer); timer = null; show(); };
      const go = (at) => {
        timer = null;
        if (!playing || !node.offsetParent || at >= options().length) { stop(); return; }
        range.value = at;
        choose(at);
      };
      const start = () => { playing = true; go(range.value === range.max ? 0 : Number(range.value) + 1); };
      const node = wrap('moments', label(now.label), play, range, figure);
      return [node, () => {
        range.max = options().length - 1;
        const at = indexOf(now.value);
        if (!busy(range) || playing) range.value = at;
        show();
        if (playing && !timer) timer = setTimeout(() => requestAnimationFrame(() => go(Number(range.value) + 1)), 450);
      }];
    },
    number: () => {
      const input = h('input', { type: 'number', id, onchange: () => { if (input.value !== '') told(Number(input.value)); } });
      return [wrap('number', label(now.label), input), () => {
        Object.assign(input, { min: now.low, max: now.high, step: 1 });
        if (!busy(input)) input.value = now.value;
      }];
    },
    text: () => {
      const input = h('input', { type: 'text', id: block.bare ? block.id : id, maxlength: now.longest ?? 500, placeholder: now.placeholder ?? '', autocomplete: 'off', 'aria-label': now.quiet ? now.label : null });
      if (now.live) input.addEventListener('change', () => told(input.value));
      else input.addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); told(input.value); } });
      const node = block.bare ? input : wrap('text', !now.quiet && label(now.label), input);
      let last = null;
      return [node, () => {
        if (last !== now.value) input.value = last = now.value; // what is typed stays until the server says another
        node.hidden = now.hidden ?? false;
      }];
    },
    many: () => {
      const chips = h('span', { class: 'chips' }), list = h('datalist', { id: `${id}-list` });
      const input = h('input', { id, list: `${id}-list`, placeholder: 'add by name', autocomplete: 'off' });
      const names = () => now.value;
      // At once, so that a second press before the answer takes nothing back.
      const choose = (value) => { now = { ...now, value }; refresh(); told(value); };
      input.addEventListener('input', () => {
        const found = options().find(([words, name]) => words === input.value || name === input.value);
        if (!found || names().includes(found[1])) return;
        input.value = '';
        choose([...names(), found[1]]);
      });
      input.addEventListener('keydown', (event) => {
        if (event.key === 'Backspace' && !input.value && names().length) choose(names().slice(0, -1));
        if (event.key !== 'Enter') return;
        event.preventDefault();
        const found = options().find(([words, name]) => !names().includes(name) && words.toLowerCase().startsWith(input.value.toLowerCase()));
        if (found && input.value) { input.value = ''; choose([...names(), found[1]]); }
      });
      const node = wrap('many', label(now.label), h('div', { class: 'box' }, chips, input), list);
      let drawn = '';
      const refresh = () => {
        if (drawn !== (drawn = JSON.stringify([now.value, now.options]))) {
          const words = Object.fromEntries(options().map(([text, name]) => [name, text]));
          chips.replaceChildren(...names().map((name) => h('span', { class: 'chip' }, words[name] ?? name,
            h('button', { type: 'button', 'aria-label': `Take out ${name}`, onclick: () => { choose(names().filter((other) => other !== name)); input.focus(); } }, '×'))));
          list.replaceChildren(...options().filter(([, name]) => !names().includes(name)).map(([text]) => h('option', { value: text })));
        }
      };
      return [node, refresh];
    },
    button: () => {
      const node = h('button', { type: 'button', id: block.id, class: `control button ${now.primary ? 'primary' : ''}`, onclick: () => {
        if (now.source) { told(document.getElementById(now.source)?.value ?? ''); return; }
        if (now.set) { ask(now.set, { step: true }); return; }
        if (now.save) { save(now.save); return; }
        told(now.data ?? null);
      } }, now.label);
      return [node, () => { node.textContent = now.label; node.disabled = now.disabled ?? false; node.hidden = now.hidden ?? false; }];
    },
    upload: () => {
      const file = h('input', { type: 'file', accept: 'image/*', hidden: true, onchange: async () => {
        const [chosen] = file.files;
        file.value = '';
        if (!chosen) return;
        try { told((await upload(chosen)).path); }
        catch { tell(`${chosen.name} could not be uploaded: it may be too large, or the server does not answer.`); }
      } });
      const node = h('button', { type: 'button', id: block.id, class: 'control button', onclick: () => file.click() }, now.label);
      return [h('span', { class: 'upload' }, node, file), () => { node.hidden = now.hidden ?? false; }];
    },
  };
  const [node, refresh] = made[block.control]();
  // An answer to what was asked before the last choice takes nothing of that back.
  return { node, update: (next) => { now = next.key in newer() ? { ...next, value: newer()[next.key] } : next; refresh(); } };
};
