// A figure as plain SVG, as far as ours go, to look at until plotly.js is there: it takes a second to compile.
const { sketch, legendRows } = (() => {
  const make = (tag, attributes, parent) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== undefined && value !== null) node.setAttribute(name, value);
    parent?.append(node);
    return node;
  };
  const KINDS = { f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array, i2: Int16Array, u2: Uint16Array, i1: Int8Array, u1: Uint8Array };
  const numbers = (part) => {
    if (!part || Array.isArray(part)) return part ?? [];
    const flat = [...new KINDS[part.dtype](Uint8Array.from(atob(part.bdata), (one) => one.charCodeAt(0)).buffer)];
    if (!part.shape) return flat;
    const [rows, columns] = String(part.shape).split(',').map(Number);
    return Array.from({ length: rows }, (_, row) => flat.slice(row * columns, (row + 1) * columns));
  };
  const ruler = document.createElement('canvas').getContext('2d');
  const widthOf = (text, size, family) => { ruler.font = `${size}px ${family}`; return ruler.measureText(text).width; };
  const plain = (text) => text.replace(/<[^>]*>/g, '').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
  // The little HTML that plotly reads: lines, bold, and a colour.
  const write = (text, attributes, parent) => {
    const node = make('text', attributes, parent), size = Number(attributes['font-size']);
    let bold = false, colour = null;
    const lines = String(text).split(/<br\s*\/?>/);
    lines.forEach((line, at) => line.split(/(<[^>]*>)/).forEach((part, place) => {
      if (part.startsWith('<')) {
        if (/^<\/?b>/.test(part)) bold = part === '<b>';
        else colour = part.match(/color:\s*([^;'"]+)/)?.[1] ?? null;
      } else if (part) make('tspan', { 'font-weight': bold ? 'bold' : null, fill: colour,
        ...(at && !place && { x: attributes.x, dy: 1.3 * size }) }, node).textContent = plain(part);
    }));
    return node;
  };
  const DASHES = { dash: [3, 3], dot: [1, 1], dashdot: [3, 1, 1, 1], longdash: [5, 5], longdashdot: [5, 2, 1, 2] };
  const dashed = ({ dash, width = 2 } = {}) => DASHES[dash]?.map((one) => one * Math.max(width, 3)).join(' ');
  const polygon = (points, x, y, r) => `M${points.map(([a, b]) => `${x + a * r},${y + b * r}`).join('L')}Z`;
  const star = Array.from({ length: 10 }, (_, at) => [Math.sin(at * Math.PI / 5), -Math.cos(at * Math.PI / 5)].map((one) => one * (at % 2 ? 0.53 : 1.4)));
  const SHAPES = {
    square: [[-1, -1], [1, -1], [1, 1], [-1, 1]], diamond: [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]], 'triangle-up': [[0, -1.15], [1.15, 0.6], [-1.15, 0.6]],
    cross: [[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]], star,
  };
  const mark = (trace, x, y, parent) => {
    const { symbol = 'circle', size = 6, line, color } = trace.marker ?? {}, open = symbol.endsWith('-open');
    const colour = (typeof color === 'string' ? color : null) ?? trace.line?.color;
    const looks = { fill: open ? 'none' : colour, stroke: open ? colour : line?.color, 'stroke-width': line?.width ?? (open ? 1 : 0) };
    const shape = SHAPES[symbol.replace('-open', '')];
    if (shape) make('path', { d: polygon(shape, x, y, size / 2), ...looks }, parent);
    else make('circle', { cx: x, cy: y, r: size / 2, ...looks }, parent);
  };
  // A bar, and over its colour the lines by which it is told from others.
  const HATCHES = { '/': ['M0,1L1,0'], '\\': ['M0,0L1,1'], x: ['M0,1L1,0', 'M0,0L1,1'] };
  const bars = (box, fill, pattern, parent) => {
    make('rect', { ...box, fill }, parent);
    if (!HATCHES[pattern?.shape]) return;
    const id = `sketch-${Math.random().toString(36).slice(2)}`, size = pattern.size ?? 8;
    const tile = make('pattern', { id, width: 1, height: 1, patternUnits: 'userSpaceOnUse', patternTransform: `scale(${size})` }, parent);
    for (const d of HATCHES[pattern.shape]) make('path', { d, stroke: pattern.fgcolor, 'stroke-width': pattern.solidity ?? 0.3 }, tile);
    make('rect', { ...box, fill: `url(#${id})` }, parent);
  };

  // ---- axes --------------------------------------------------------------------------------------------------------
  const nice = (span, count) => {
    const rough = span / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].find((one) => one * power >= rough * 0.999) * power;
  };
  const spoken = (value, step) => String(Number(value.toFixed(Math.min(Math.max(-Math.floor(Math.log10(step) + 1e-9), 0), 6)))).replace('-', '−');
  const rangeOf = (axis, values, pad) => {
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const span = high - low || Math.abs(high) || 1;
    [low, high] = [low - pad * span, high + pad * span];
    if (axis.rangemode === 'tozero') [low, high] = [Math.min(low, 0), Math.max(high, 0)];
    if (axis.rangemode === 'tozero' && Math.min(...values) >= 0) low = 0;
    if (axis.rangemode === 'nonnegative') low = Math.max(low, 0);
    return [low, high];
  };
  const ticksOf = (axis, [from, to], length, upright) => {
    if (axis.tickvals) return numbers(axis.tickvals).map((value, at) => [value, numbers(axis.ticktext)[at] ?? String(value)]);
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    if (axis.type === 'log') {
      const powers = Array.from({ length: Math.max(Math.floor(high) - Math.ceil(low) + 1, 0) }, (_, at) => Math.ceil(low) + at);
      return powers.map((power) => [power, String(10 ** power)]);
    }
    const count = axis.nticks ?? (upright ? Math.min(Math.max(length / 40, 2), 7) : Math.min(Math.max(length / 90, 3), 10));
    const step = axis.dtick ?? nice(high - low, count), ticks = [];
    for (let at = Math.ceil(low / step - 1e-6); at * step <= high + step * 1e-6; at += 1) ticks.push([at * step, spoken(at * step, step)]);
    return ticks;
  };

  const family = 'system-ui, sans-serif';
  const listedOf = ({ data, layout }) => {
    const listed = data.filter((trace) => trace.showlegend !== false && trace.name && trace.type !== 'heatmap');
    return layout.showlegend ?? listed.length > 1 ? listed : [];
  };
  // How many lines the legend above a drawing of that width takes, which plotly does not make room for.
  const legendRows = (figure, width) => {
    const names = listedOf(figure).map((trace) => widthOf(plain(trace.name), 12, family)), { margin, legend } = figure.layout;
    const columns = Math.max(Math.floor((width - (margin?.l ?? 0) - (margin?.r ?? 0)) / (10 + (legend?.itemwidth ?? 30) + Math.max(...names))), 1);
    return Math.ceil(names.length / columns);
  };
  const draw = (plot, { data, layout }) => {
    const width = plot.clientWidth, height = layout.height;
    const svg = make('svg', { class: 'sketch', width, height, 'aria-hidden': true, 'font-family': family });
    const ink = layout.font.color, margin = { l: 80, r: 80, t: 100, b: 80, ...layout.margin };
    const bar = data.find((trace) => trace.colorbar);
    if (bar) margin.r += 74;
    for (const [name, axis] of Object.entries(layout)) if (/^yaxis/.test(name) && axis.automargin)
      margin.l = Math.max(margin.l, 10 + (axis.title?.text ? 22 : 0) + Math.max(0, ...numbers(axis.ticktext).map((text) => widthOf(plain(text), 12, family))));
    const inner = { width: width - margin.l - margin.r, height: height - margin.t - margin.b };
    if (!(inner.width > 0 && inner.height > 0)) return null;

    const axes = {};
    for (const [name, axis] of Object.entries(layout)) {
      const upright = name.startsWith('y');
      if (!/^[xy]axis\d*$/.test(name)) continue;
      const id = name.replace('axis', ''), own = data.filter((trace) => (trace[upright ? 'yaxis' : 'xaxis'] ?? id[0]) === id);
      const log = axis.type === 'log', along = upright ? 'y' : 'x';
      let range = axis.range && [...axis.range];
      if (!range) {
        const values = own.flatMap((trace) => {
          const found = numbers(trace[along]).filter(Number.isFinite), error = trace[`error_${along}`];
          const more = error ? found.flatMap((value, at) => [value + numbers(error.array)[at], value - numbers(error.arrayminus ?? error.array)[at]]) : [];
          const zero = trace.fill === 'tozeroy' && upright || trace.type === 'bar' && (trace.orientation === 'h') !== upright ? [0] : [];
          return [...found, ...more, ...zero];
        }).map((value) => (log ? Math.log10(value) : value)).filter(Number.isFinite);
        const marked = own.some((trace) => trace.mode?.includes('markers'));
        range = values.length ? rangeOf(axis, values, upright || marked ? 0.055 : 0) : [0, 1];
      }
      const [from, to] = axis.domain ?? [0, 1];
      const length = (to - from) * (upright ? inner.height : inner.width);
      const start = upright ? margin.t + inner.height * (1 - from) : margin.l + inner.width * from;
      axes[id] = { axis, range, length, start, upright, log };
    }
    if (layout.yaxis?.scaleanchor && axes.x && axes.y) { // square cells
      const [w, h] = ['x', 'y'].map((id) => Math.abs(axes[id].range[1] - axes[id].range[0]));
      const cell = Math.min(axes.x.length / w, axes.y.length / h);
      axes.x.start += (axes.x.length - cell * w) / 2;
      axes.y.start -= (axes.y.length - cell * h) / 2;
      [axes.x.length, axes.y.length] = [cell * w, cell * h];
    }
    for (const one of Object.values(axes)) one.at = (value) => {
      const share = ((one.log ? Math.log10(value) : value) - one.range[0]) / (one.range[1] - one.range[0]);
      return one.upright ? one.start - share * one.length : one.start + share * one.length;
    };
    const boxOf = (x, y) => ({ x: x.start, y: y.start - y.length, width: x.length, height: y.length });
    const others = (id) => axes[axes[id].axis.anchor ?? (id[0] === 'x' ? 'y' : 'x')] ?? axes[id[0] === 'x' ? 'y' : 'x'];

    const grid = make('g', { stroke: layout.xaxis?.gridcolor, 'shape-rendering': 'crispEdges' }, svg), labels = make('g', { 'font-size': 12 }, svg);
    for (const [id, own] of Object.entries(axes)) {
      const { axis, upright, range, start, length } = own, other = others(id);
      const edge = upright ? other.start : axis.anchor ? other.start : Math.max(...Object.values(axes).filter((one) => one.upright).map((one) => one.start));
      const far = upright ? other.start + other.length : Math.min(...Object.values(axes).filter((one) => one.upright).map((one) => one.start - one.length));
      const [low, high] = [Math.min(...range), Math.max(...range)];
      let widest = 0;
      for (const [value, text] of ticksOf(axis, range, length, upright)) {
        widest = Math.max(widest, widthOf(plain(text), 12, family));
        if (value < low - 1e-9 || value > high + 1e-9) continue;
        const place = own.at(own.log ? 10 ** value : value);
        if (axis.showgrid !== false) make('line', upright ? { x1: edge, x2: far, y1: place, y2: place } : { x1: place, x2: place, y1: edge, y2: far }, grid);
        const fill = axis.tickfont?.color ?? ink, turn = axis.tickangle;
        if (axis.showticklabels === false) continue;
        if (upright) write(text, { x: edge - 4, y: place + 4, 'text-anchor': 'end', fill, 'font-size': 12 }, labels);
        else write(text, { x: place, y: edge + 16, 'text-anchor': turn ? (turn < 0 ? 'end' : 'start') : 'middle', fill, 'font-size': 12,
          transform: turn ? `rotate(${turn} ${place} ${edge + 12})` : null }, labels);
      }
      if (axis.zeroline && low < 0 && high > 0) make('line', { ...(upright ? { x1: edge, x2: far, y1: own.at(0), y2: own.at(0) } : { x1: own.at(0), x2: own.at(0), y1: edge, y2: far }), stroke: axis.zerolinecolor }, grid);
      if (!axis.title?.text) continue;
      const looks = { 'text-anchor': 'middle', fill: axis.title.font?.color ?? ink, 'font-size': axis.title.font?.size ?? 14 };
      if (upright) write(axis.title.text, { ...looks, x: 0, y: 0, transform: `translate(${Math.max(edge - widest - 18, 12)} ${start - length / 2}) rotate(-90)` }, labels);
      else write(axis.title.text, { ...looks, x: start + length / 2, y: axis.tickangle ? height - 6 : Math.min(edge + 38, height - 6) }, labels);
    }

    // ---- traces ------------------------------------------------------------------------------------------------------
    const stacked = {};
    const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const mixed = (scale, share) => {
      const at = Math.max(scale.findIndex(([stop]) => stop >= share), 1), [[a, one], [b, two]] = [scale[at - 1], scale[at]];
      return `rgb(${rgb(one).map((part, place) => Math.round(part + (rgb(two)[place] - part) * (share - a) / (b - a || 1)))})`;
    };
    data.forEach((trace, at) => {
      const x = axes[trace.xaxis ?? 'x'], y = axes[trace.yaxis ?? 'y'], clip = `sketch-${Math.random().toString(36).slice(2)}-${at}`;
      const box = boxOf(x, y);
      make('rect', { x: box.x - 5, y: box.y - 5, width: box.width + 10, height: box.height + 10 }, make('clipPath', { id: clip }, svg));
      const group = make('g', { 'clip-path': `url(#${clip})`, opacity: trace.opacity }, svg);
      if (trace.type === 'heatmap') {
        const rows = numbers(trace.z), flat = rows.flat().filter(Number.isFinite);
        const low = trace.zmin ?? Math.min(...flat), high = trace.zmax ?? Math.max(...flat);
        const [xs, ys] = ['x', 'y'].map((along) => (trace[along] ? numbers(trace[along]) : null));
        rows.forEach((row, j) => row.forEach((value, i) => {
          if (!Number.isFinite(value)) return;
          const [cx, cy] = [xs ? xs[i] : (trace.x0 ?? 0) + i, ys ? ys[j] : (trace.y0 ?? 0) + j];
          const [x0, x1] = [x.at(cx - 0.5), x.at(cx + 0.5)], [y0, y1] = [y.at(cy - 0.5), y.at(cy + 0.5)];
          make('rect', { x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0) + 0.3, height: Math.abs(y1 - y0) + 0.3, fill: mixed(trace.colorscale, Math.min(Math.max((value - low) / (high - low || 1), 0), 1)) }, group);
          const text = trace.texttemplate && trace.text?.[j]?.[i];
          if (text) write(text, { x: (x0 + x1) / 2, y: (y0 + y1) / 2 + 4, 'text-anchor': 'middle', fill: trace.textfont?.color ?? ink, 'font-size': trace.textfont?.size ?? 12 }, group);
        }));
        return;
      }
      const [xs, ys] = [numbers(trace.x), numbers(trace.y)];
      if (trace.type === 'bar') {
        const flatly = trace.orientation === 'h', size = 1 - (layout.bargap ?? 0.2);
        xs.forEach((_, i) => {
          const [value, place] = flatly ? [xs[i], ys[i]] : [ys[i], xs[i]], own = flatly ? x : y, across = flatly ? y : x;
          const from = layout.barmode === 'stack' ? stacked[place] ?? 0 : 0;
          stacked[place] = from + value;
          const [a, b] = [own.at(from), own.at(from + value)], [c, d] = [across.at(place - size / 2), across.at(place + size / 2)];
          const [left, right, top, bottom] = flatly ? [a, b, c, d] : [c, d, a, b];
          const looks = trace.marker ?? {}, fill = Array.isArray(looks.color) ? looks.color[i] : looks.color;
          const box = { x: Math.min(left, right), y: Math.min(top, bottom), width: Math.abs(right - left), height: Math.abs(bottom - top) };
          bars(box, fill, looks.pattern, group);
          const text = Array.isArray(trace.text) ? trace.text[i] : trace.text;
          if (text) write(text, { x: (left + right) / 2, y: (top + bottom) / 2 + 4, 'text-anchor': 'middle', fill: trace.textfont?.color ?? ink, 'font-size': trace.textfont?.size ?? 12 }, group);
        });
        return;
      }
      const points = xs.map((value, i) => [x.at(value), y.at(ys[i])]);
      const parts = [[]];
      for (const point of points) if (point.every(Number.isFinite)) parts.at(-1).push(point); else parts.push([]);
      const paths = parts.filter((part) => part.length).map((part) => `M${part.map((point) => point.map((one) => one.toFixed(1)).join()).join('L')}`);
      if (trace.fill === 'tozeroy' && points.length) make('path', { d: `${paths[0]}L${points.at(-1)[0]},${y.at(0)}L${points[0][0]},${y.at(0)}Z`, fill: trace.fillcolor }, group);
      if ((trace.mode ?? 'lines').includes('lines')) make('path', { d: paths.join(''), fill: 'none', stroke: trace.line?.color, 'stroke-width': trace.line?.width ?? 2, 'stroke-dasharray': dashed(trace.line) }, group);
      if (trace.error_x) points.forEach(([px, py], i) => {
        const [low, high] = [numbers(trace.error_x.arrayminus ?? trace.error_x.array)[i], numbers(trace.error_x.array)[i]];
        make('line', { x1: x.at(xs[i] - low), x2: x.at(xs[i] + high), y1: py, y2: py, stroke: trace.error_x.color ?? trace.marker?.color, 'stroke-width': trace.error_x.thickness ?? 2 }, group);
      });
      const each = trace.marker?.maxdisplayed ? Math.ceil(points.length / trace.marker.maxdisplayed) : 1;
      if (trace.mode?.includes('markers')) points.forEach(([px, py], i) => { if (i % each === 0 && Number.isFinite(px + py)) mark(trace, px, py, group); });
    });

    // ---- what stands over it -----------------------------------------------------------------------------------------
    const place = (value, ref, along) => (ref === 'paper' ? (along === 'x' ? margin.l + inner.width * value : margin.t + inner.height * (1 - value)) : axes[ref ?? along].at(value));
    for (const { type, x0, x1, y0, y1, xref, yref, line } of layout.shapes ?? []) {
      const [a, b, c, d] = [place(x0, xref, 'x'), place(x1, xref, 'x'), place(y0, yref, 'y'), place(y1, yref, 'y')];
      const looks = { stroke: line?.color, 'stroke-width': line?.width, 'stroke-dasharray': dashed(line), fill: 'none' };
      if (type === 'line') make('line', { x1: a, x2: b, y1: c, y2: d, ...looks }, svg);
      else make('rect', { x: Math.min(a, b), y: Math.min(c, d), width: Math.abs(b - a), height: Math.abs(d - c), ...looks }, svg);
    }
    for (const { text, x, y, xref, yref, xanchor = 'center', yanchor = 'middle', xshift = 0, yshift = 0, textangle, font } of layout.annotations ?? []) {
      const size = font?.size ?? 12, [px, py] = [place(x, xref, 'x') + xshift, place(y, yref, 'y') - yshift];
      const looks = { fill: font?.color ?? ink, 'font-size': size };
      if (textangle) write(text, { ...looks, x: 0, y: 0, 'text-anchor': yanchor === 'top' ? 'end' : 'start', transform: `translate(${px + (xanchor === 'right' ? -3 : size)} ${py + 2}) rotate(${textangle})` }, svg);
      else write(text, { ...looks, x: px, y: py + { top: size + 2, middle: size / 3, bottom: -4 }[yanchor], 'text-anchor': { left: 'start', center: 'middle', right: 'end' }[xanchor] }, svg);
    }
    const listed = listedOf({ data, layout });
    if (listed.length) {
      const item = layout.legend?.itemwidth ?? 30;
      let left = margin.l, top = 14;
      for (const trace of listed) {
        const name = trace.name, room = item + 10 + widthOf(plain(name), 12, family);
        if (left + room > width - margin.r && left > margin.l) [left, top] = [margin.l, top + 19];
        if (trace.type === 'bar') bars({ x: left + item / 2 - 6, y: top - 6, width: 12, height: 12 }, trace.marker?.color, trace.marker?.pattern, svg);
        else {
          if ((trace.mode ?? 'lines').includes('lines')) make('line', { x1: left + 5, x2: left + item, y1: top, y2: top, stroke: trace.line?.color, 'stroke-width': trace.line?.width ?? 2, 'stroke-dasharray': dashed(trace.line) }, svg);
          if (trace.mode?.includes('markers')) mark(trace, left + item / 2 + 2, top, svg);
        }
        write(name, { x: left + item + 5, y: top + 4, fill: ink, 'font-size': 12 }, svg);
        left += room + 5;
      }
    }
    if (bar) {
      const id = `sketch-${Math.random().toString(36).slice(2)}`, scale = make('linearGradient', { id, x1: 0, x2: 0, y1: 1, y2: 0 }, svg);
      for (const [offset, colour] of bar.colorscale) make('stop', { offset, 'stop-color': colour }, scale);
      const side = width - margin.r + 12, thick = bar.colorbar.thickness ?? 30;
      make('rect', { x: side, y: margin.t + 10, width: thick, height: inner.height - 20, fill: `url(#${id})` }, svg);
    }
    return svg;
  };
  // What is not known to it stays empty until plotly.js is there.
  const sketch = (plot, figure) => {
    try {
      const drawn = draw(plot, figure);
      if (drawn) plot.replaceChildren(drawn);
      return Boolean(drawn);
    } catch (error) {
      console.debug(error);
      return false;
    }
  };
  return { sketch, legendRows };
})();
