// h('button', {class: 'tile', onclick: f}, 'text', node, null): a node. Strings become text nodes, never markup;
// attributes that are null, undefined or false are left out.
const SVG = new Set(['svg', 'path', 'circle', 'rect', 'polygon', 'g', 'text']);
const h = (tag, attributes = {}, ...children) => {
  const node = SVG.has(tag)
    ? document.createElementNS('http://www.w3.org/2000/svg', tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};

// Text in parts, as xmr/views/prose.py makes it; `go` is called with the keys of the state that a name sets.
const mathOf = ([tag, attributes, inner]) => {
  const node = document.createElementNS('http://www.w3.org/1998/Math/MathML', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...(typeof inner === 'string' ? [inner] : inner.map(mathOf)));
  return node;
};
const proseOf = (parts, go) => parts.map((one) => {
  if (one.math) {
    const node = mathOf(one.math);
    node.setAttribute('alttext', one.latex);
    if (one.math[1].display !== 'block') return node;
    return h('span', { class: 'formula', role: 'group', tabindex: 0, 'aria-label': 'Formula' }, node); // the keyboard scrolls it
  }
  if (one.set) return h('button', { type: 'button', class: 'link', onclick: () => go(one.set) }, ...named(one.text));
  if (one.href) return h('a', { href: one.href, target: '_blank', rel: 'noopener' }, one.text);
  return one.code || one.emphasis ? h(one.code ? 'code' : 'em', {}, one.text) : one.text;
});

// A name, which a narrow place breaks after its underscores.
const named = (name) => String(name ?? '').split(/(?<=_)/).flatMap((part, at) => (at ? [h('wbr'), part] : [part]));
// A run's mark before its name.
const glyphOf = ({ glyph, colour }) => glyph && h('i', { class: 'glyph', style: `--run:${colour}`, 'aria-hidden': 'true' }, glyph);

// A picture, and over it the film of a clip, which style.css plays while the pointer or the focus is on it.
const still = (src, film, attributes) =>
  [h('img', { src, ...attributes }),
    film && h('span', { class: 'film', 'aria-hidden': 'true',
      style: `--frames:${film.frames};background-image:url(${JSON.stringify(film.src)})` })];

// A small picture that is enlarged by a press; `tab`: whether Tab leads to it, as from one large picture arrows lead to the next.
const shown = new WeakMap();
const poster = (item, { words, size, kind = '', tab = true, title = '' }) => {
  if (!item.image) return null;
  const node = h('button', { type: 'button', class: `poster ${kind}`, tabindex: tab ? null : -1, 'aria-label': `Enlarge: ${words}` },
    still(item.image, item.film, { alt: '', loading: 'lazy', width: size, height: size }));
  shown.set(node, { image: item.image, film: item.film, title, words });
  return node;
};

// Of many buttons one is in the page's tab order, the one that was last focused; arrow keys lead to the nearest in their
// direction. What it returns is called when they were drawn anew: it finds, by its name, the one to go on from.
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const roving = (root, which, nameOf = (one) => one.getAttribute('aria-label')) => {
  let stop = '';
  const all = () => [...root.querySelectorAll(which)];
  const lead = (to) => { for (const one of all()) one.tabIndex = one === to ? 0 : -1; };
  root.addEventListener('focusin', ({ target }) => {
    const here = target.closest(which);
    if (!here) return;
    lead(here);
    stop = nameOf(here);
  });
  root.addEventListener('keydown', (event) => {
    const way = WAYS[event.key], here = event.target.closest(which);
    if (!way || !here) return;
    const middle = (node) => { const box = node.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; };
    const [x, y] = middle(here);
    let best = null, least = Infinity;
    for (const other of all()) {
      const [u, v] = middle(other);
      const along = (u - x) * way[0] + (v - y) * way[1];
      const aside = Math.abs((u - x) * way[1]) + Math.abs((v - y) * way[0]);
      if (other !== here && along > 8 && aside <= along * 2 + 8 && along + 3 * aside < least) [best, least] = [other, along + 3 * aside];
    }
    if (best) { event.preventDefault(); best.focus(); best.scrollIntoView({ block: 'nearest' }); }
  });
  return () => {
    const held = all().find((one) => nameOf(one) === stop) ?? all()[0];
    lead(held);
    return held;
  };
};

// All frames of a clip, in order.
const frames = (film) =>
  h('div', { class: 'frames', role: 'img', 'aria-label': `${film.frames} frames of the clip, in order` },
    Array.from({ length: film.frames }, (_, at) =>
      h('span', { style: `--frames:${film.frames};--at:${at};background-image:url(${JSON.stringify(film.src)})` })));

