// Drawing, finding and counting points of a map: plain arrays in and out, nothing of the page.
const INSIDE = {
  circle: (x, y) => x * x + y * y <= 1,
  triangle: (x, y) => y <= 0.8 && y >= -1.1 + 2.1 * Math.abs(x),
};

// The pixels that a mark of that radius covers, by how much of each in 256ths of `strength`: { half, dx, dy, share }.
const stamp = (kind, radius, strength) => {
  const half = Math.ceil(radius), dx = [], dy = [], share = [], fine = 4;
  for (let row = -half; row <= half; row++) for (let column = -half; column <= half; column++) {
    let inside = 0;
    for (let i = 0; i < fine; i++) for (let j = 0; j < fine; j++)
      if (INSIDE[kind]((column + (j + 0.5) / fine - 0.5) / radius, (row + (i + 0.5) / fine - 0.5) / radius)) inside++;
    const part = Math.round((256 * strength * inside) / (fine * fine));
    if (part) { dx.push(column); dy.push(row); share.push(part); }
  }
  return { half, dx: Int32Array.from(dx), dy: Int32Array.from(dy), share: Int32Array.from(share) };
};

// Points from a file of uint16 pairs: x = [qx qy 1] · place, in single precision.
const placed = (steps, place) => {
  const count = steps.length / 2, xs = new Float32Array(count), ys = new Float32Array(count);
  const [[a, b], [c, d], [e, f]] = place;
  for (let i = 0; i < count; i++) {
    const x = steps[2 * i], y = steps[2 * i + 1];
    xs[i] = a * x + c * y + e;
    ys[i] = b * x + d * y + f;
  }
  return { count, xs, ys };
};

const bounds = (maps) => {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { xs, ys, count } of maps) for (let i = 0; i < count; i++) {
    if (xs[i] < box[0]) box[0] = xs[i];
    if (ys[i] < box[1]) box[1] = ys[i];
    if (xs[i] > box[2]) box[2] = xs[i];
    if (ys[i] > box[3]) box[3] = ys[i];
  }
  return box;
};

// An order that mixes both kinds without chance, so that neither covers the other: every stride-th point, round and round.
const strideOf = (count) => {
  const gcd = (a, b) => (b ? gcd(b, a % b) : a);
  let stride = Math.max(1, Math.round(count * 0.618));
  while (gcd(stride, count) > 1) stride++;
  return stride;
};

// Draws points into the pixels of `image`. `look(i)` is 0 hidden, 1 faint, 2 usual, 3 strong; `colour[code[i]]` is
// [red, green, blue]; points before `visuals` are circles, the others triangles.
const raster = (image, map, view, { look, code, colour, visuals, ground, radius, opacity }) => {
  const { width, height } = image, { xs, ys, count } = map, pixels = new Uint32Array(image.data.buffer);
  const packed = ([red, green, blue]) => red | (green << 8) | (blue << 16);
  const inks = Int32Array.from(colour, packed), opaque = 0xff000000, stride = strideOf(count);
  pixels.fill((opaque | packed(ground)) >>> 0);
  const pair = (scale, strength) => [stamp('circle', radius * scale, strength), stamp('triangle', radius * scale * 1.15, strength)];
  const marks = [null, pair(1, 0.16 * opacity), pair(1, opacity), pair(1.4, 1)];
  const levels = [0, 0, 0, 0];
  for (let i = 0; i < count; i++) levels[look[i]]++;
  for (const level of [1, 2, 3]) for (let turn = 0, i = 0; levels[level] && turn < count; turn++, i = (i + stride) % count) {
    if (look[i] !== level) continue;
    const { half, dx, dy, share } = marks[level][i < visuals ? 0 : 1];
    const x = Math.round(width / 2 + (xs[i] - view.x) * view.scale), y = Math.round(height / 2 - (ys[i] - view.y) * view.scale);
    if (x < -half || y < -half || x >= width + half || y >= height + half) continue;
    const cut = x < half || y < half || x >= width - half || y >= height - half;
    const ink = inks[code[i]], outer = ink & 0xff00ff, middle = ink & 0xff00, here = y * width + x;
    for (let k = 0; k < share.length; k++) {
      if (cut && (x + dx[k] < 0 || x + dx[k] >= width || y + dy[k] < 0 || y + dy[k] >= height)) continue;
      // Red with blue, and green, each mixed in one step; the sums wrap around in 32 bits and come back by the shift.
      const at = here + dy[k] * width + dx[k], old = pixels[at], part = share[k], rest = 256 - part;
      const sides = ((Math.imul(old & 0xff00ff, rest) + Math.imul(outer, part)) >>> 8) & 0xff00ff;
      const green = ((Math.imul(old & 0xff00, rest) + Math.imul(middle, part)) >>> 8) & 0xff00;
      pixels[at] = opaque | sides | green;
    }
  }
};

// Points sorted by the cell of a grid that they lie in, so that the nearest is found without visiting all.
const CELLS = 96;
const gridOf = (map) => {
  const [x0, y0, x1, y1] = bounds([map]);
  const across = Math.max(x1 - x0, 1e-9) / CELLS, up = Math.max(y1 - y0, 1e-9) / CELLS;
  const cell = (value, low, step) => Math.min(CELLS - 1, Math.max(0, Math.floor((value - low) / step)));
  const of = (i) => cell(map.ys[i], y0, up) * CELLS + cell(map.xs[i], x0, across);
  const starts = new Uint32Array(CELLS * CELLS + 1), items = new Uint32Array(map.count);
  for (let i = 0; i < map.count; i++) starts[of(i) + 1]++;
  for (let c = 0; c < CELLS * CELLS; c++) starts[c + 1] += starts[c];
  const next = starts.slice();
  for (let i = 0; i < map.count; i++) items[next[of(i)]++] = i;
  return { columnOf: (x) => cell(x, x0, across), rowOf: (y) => cell(y, y0, up), starts, items };
};

// The shown point nearest to (x, y) within `reach`, or -1.
const nearest = (map, grid, x, y, reach, look) => {
  let best = -1, least = reach * reach;
  const [left, right] = [grid.columnOf(x - reach), grid.columnOf(x + reach)];
  for (let row = grid.rowOf(y - reach); row <= grid.rowOf(y + reach); row++)
    for (let at = grid.starts[row * CELLS + left]; at < grid.starts[row * CELLS + right + 1]; at++) {
      const i = grid.items[at], dx = map.xs[i] - x, dy = map.ys[i] - y, gap = dx * dx + dy * dy;
      if (gap <= least && look[i]) { best = i; least = gap; }
    }
  return best;
};

// Of the given points the `most` nearest to (x, y), nearest first.
const closest = (map, points, x, y, most) => {
  const gaps = new Float64Array(points.length);
  points.forEach((i, at) => { gaps[at] = (map.xs[i] - x) ** 2 + (map.ys[i] - y) ** 2; });
  const farthest = gaps.slice().sort()[Math.min(most, points.length) - 1];
  const near = [];
  for (let at = 0; at < gaps.length; at++) if (gaps[at] <= farthest) near.push(at);
  return near.sort((a, b) => gaps[a] - gaps[b] || a - b).slice(0, most).map((at) => points[at]);
};

// The shown points inside a polygon of [x, y], counted even-odd. Edges are kept by the bands of height that they cross.
const BANDS = 64;
const within = (map, polygon, look) => {
  const found = [], corners = polygon.length, [xs, ys] = [0, 1].map((at) => polygon.map((corner) => corner[at]));
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const high = Math.max(y1 - y0, 1e-12) / BANDS, bandOf = (y) => Math.min(BANDS - 1, Math.floor((y - y0) / high));
  const bands = Array.from({ length: BANDS }, () => []);
  for (let a = 0, b = corners - 1; a < corners; b = a++)
    for (let band = bandOf(Math.min(ys[a], ys[b])); band <= bandOf(Math.max(ys[a], ys[b])); band++) bands[band].push(a, b);
  for (let i = 0; i < map.count; i++) {
    const x = map.xs[i], y = map.ys[i];
    if (!look[i] || x < x0 || x > x1 || y < y0 || y > y1) continue;
    const edges = bands[bandOf(y)];
    let odd = false;
    for (let e = 0; e < edges.length; e += 2) {
      const a = edges[e], b = edges[e + 1];
      if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
    }
    if (odd) found.push(i);
  }
  return found;
};

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
