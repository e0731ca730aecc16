// Gradio builds a tab when it is opened first, which takes half a second and more with its charts. So what nobody has
// opened is built and laid out beside the screen, tab after tab, while nobody does anything.
let touched = 0;
for (const sign of ['pointerdown', 'keydown', 'input', 'wheel', 'touchmove']) {
  document.addEventListener(sign, () => { touched = performance.now(); }, { capture: true, passive: true });
}
const pause = (time) => new Promise((go) => { setTimeout(go, time); });
const calm = async () => {
  do await pause(100); while (document.hidden || performance.now() - touched < 1000);
  await new Promise((go) => { (window.requestIdleCallback ?? setTimeout)(go); });
};
const until = async (holds) => {
  for (let tries = 0; tries < 100 && !holds(); tries += 1) await pause(50);
};

const lay = async (part, place) => {
  await calm();
  if (document.getElementById(place)) return; // somebody was faster
  trigger('gradio_tab_select', { component_id: part }); // Gradio's own event: it builds the tab, and selects nothing
  await until(() => document.getElementById(place));
  const tab = document.getElementById(place);
  if (!tab) return;
  const charts = () => [...tab.querySelectorAll('.chart')];
  await until(() => charts().every((chart) => !chart.textContent.startsWith('Measuring')));
  await calm();
  const shown = [...tab.parentElement.children].find((one) => one.role === 'tabpanel' && one.offsetParent);
  if (!shown || shown === tab) return;
  tab.style.setProperty('--ahead', `${shown.clientWidth}px`); // charts are drawn as wide as they will be
  tab.dataset.ahead = '';
  const first = charts().map((chart) => chart.querySelector('.plot'))
    .filter((plot) => plot.offsetParent && plot.getBoundingClientRect().top < innerHeight);
  for (const plot of first) {
    plot.dispatchEvent(new Event('xmr-ahead'));
    await until(() => plot.dataset.drawn);
  }
  delete tab.dataset.ahead;
};

document.addEventListener('xmr-idle', async () => {
  for (const [part, place] of tabs) await lay(part, place);
}, { once: true });
