// h('button', {class: 'tile', onclick: f}, 'text', node, null): a node. Strings become text nodes, never markup;
// attributes that are null, undefined or false are left out.
const SVG = new Set(['svg', 'path', 'circle', 'rect', 'polygon']);
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

// All frames of a clip, in order.
const frames = (film) =>
  h('div', { class: 'frames', role: 'img', 'aria-label': `${film.frames} frames of the clip, in order` },
    Array.from({ length: film.frames }, (_, at) =>
      h('span', { style: `--frames:${film.frames};--at:${at};background-image:url(${JSON.stringify(film.src)})` })));

