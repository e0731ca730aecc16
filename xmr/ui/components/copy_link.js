// The listener on `copy` holds the values of the page; it gives their query string to window.xmrCopy.
const said = element.querySelector('span');
let fading;
const say = (words) => {
  said.textContent = words;
  clearTimeout(fading);
  fading = setTimeout(() => { said.textContent = ''; }, 6000);
};

// Pages without HTTPS and frames have no clipboard of the new kind.
const copied = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h('textarea', { readonly: true, 'aria-hidden': 'true', style: 'position:fixed;opacity:0' });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
};

window.xmrCopy = async (query) => {
  const address = `${base || location.origin + location.pathname}?${query}`;
  window.xmrLink = address;
  const upload = new URLSearchParams(query).get('query') === 'upload';
  if (!(await copied(address))) say(address);
  else say(upload ? 'Copied, without the uploaded picture: it stays with you' : 'Copied');
};
element.querySelector('button').addEventListener('click', () => trigger('copy'));
