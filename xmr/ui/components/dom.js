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
