// One download for all charts of the page; a failed one may be tried again by the next drawing.
const library = (settings) => {
  if (window.Plotly) return Promise.resolve();
  window.xmrPlotly ??= new Promise((done, failed) => {
    const tag = document.createElement('script');
    tag.src = settings.library;
    tag.onload = done;
    tag.onerror = () => { window.xmrPlotly = null; failed(new Error('plotly.js could not be loaded')); };
    document.head.append(tag);
  });
  return window.xmrPlotly;
};
// When the browser has nothing to do, after so many milliseconds.
const whenIdle = (after) => new Promise((done) => setTimeout(() => (window.requestIdleCallback ?? setTimeout)(done, { timeout: 1000 }), after));
