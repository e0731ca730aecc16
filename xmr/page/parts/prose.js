const root = element.querySelector('.prose');
return ({ paragraphs }) => root.replaceChildren(...paragraphs.map(({ label, parts }) =>
  h('p', {}, label && h('b', {}, label), ...proseOf(parts, (set) => trigger('go', set)))));
