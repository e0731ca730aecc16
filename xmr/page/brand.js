// The head of the sidebar: what this is, the dataset that is shown, and those of other pages; `go` opens one by its title.
const brandOf = (block, version, go) => {
  const node = h('header', { id: block.id, class: 'brand' });
  const other = (page) => h('a', { href: `?v=${version}&dataset=${encodeURIComponent(page.title)}`, onclick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(page.title);
  } }, page.title);
  let drawn = '';
  return { node, update: (now) => {
    if (drawn === (drawn = JSON.stringify(now))) return;
    node.replaceChildren(h('h1', {}, 'xmr'), h('p', {}, 'What each loss retrieves, weighs and gets wrong'),
      h('dl', {}, h('dt', {}, now.title), now.lines.map((line) => h('dd', {}, line))),
      now.pages.length > 1 && h('nav', { 'aria-label': 'Datasets', class: 'pages' }, h('ul', {}, now.pages.map((page) => h('li', {},
        page.here ? h('b', { 'aria-current': 'page' }, page.title) : other(page), h('span', {}, ` ${page.runs}`))))) || '');
  } };
};
