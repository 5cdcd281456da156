// PSNR over time: a line a system, told apart by colour and by dashes.
const DASHES = ['5 4', '1.5 3.5', 'none', '9 3 2 3', '12 4', '3 3'];
const MARGIN = {top: 10, right: 8, bottom: 24, left: 40};

function lineStyle(i, dotted) {
  const dash = DASHES[i % DASHES.length];
  return `stroke: var(--s${i % 6});` +
    (dotted ? '' : ` stroke-dasharray: ${dash};`);
}

function showDecibel(value) {
  if (typeof value === 'number') return `${value.toFixed(2)} dB`;
  return `${value.replace('inf', '\u221e')} dB`;
}

// Round numbers that cover low to high, about so many.
function ticks(low, high, number) {
  const rough = Math.max(high - low, 1e-9) / number;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * [1, 2, 5, 10].find((k) => k * size >= rough);
  const marks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
    marks.push(k * step);
  }
  return {marks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9))};
}

// A sequence's values, apart from 'inf' and 'nan', with some room.
function extent(series) {
  const finite = series.flat().filter(Number.isFinite);
  if (!finite.length) return [0, 1];
  const low = Math.min(...finite), high = Math.max(...finite);
  const room = Math.max((high - low) * 0.06, 0.05);
  return [low - room, high + room];
}

// A line with gaps where the value is 'inf' or 'nan'.
function curve(values, x, y) {
  let path = '', open = false;
  values.forEach((value, t) => {
    if (Number.isFinite(value)) {
      path += `${open ? 'L' : 'M'}${x(t).toFixed(1)} ${y(value).toFixed(1)}`;
    }
    open = Number.isFinite(value);
  });
  return path;
}

function describe(sequence, systems) {
  const parts = systems.map((name, i) => {
    const finite = sequence.series[i].filter(Number.isFinite);
    const range = finite.length ? `, frames from ${Math.min(...finite).toFixed(2)}` +
      ` to ${Math.max(...finite).toFixed(2)}` : '';
    return `${name}: mean ${sequence.means[i]} dB${range}`;
  });
  return `${sequence.frames.length} frames. ${parts.join('; ')}.`;
}

function drawAxes(width, height, x, y, low, high, count) {
  const parts = [], bottom = height - MARGIN.bottom;
  const up = ticks(low, high, 5);
  for (const mark of up.marks) {
    parts.push(svg('line', {class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right,
                            y1: y(mark), y2: y(mark)}),
      svg('text', {x: MARGIN.left - 7, y: y(mark) + 4, 'text-anchor': 'end'},
        mark.toFixed(up.digits)));
  }
  for (const mark of ticks(0, count - 1, Math.min(count, width / 90)).marks) {
    if (Number.isInteger(mark)) {
      parts.push(svg('text', {x: x(mark), y: bottom + 17, 'text-anchor': 'middle'},
        String(mark)));
    }
  }
  return parts;
}

// The plot of one sequence; number makes its ids distinct.
function makePlot(sequence, systems, number) {
  const count = sequence.frames.length;
  const [low, high] = extent(sequence.series);
  const outputs = systems.map((_, i) => el('b', {}, `mean ${sequence.means[i]} dB`));
  const legend = el('ul', {class: 'legend'}, ...systems.map((name, i) => el('li', {},
    svg('svg', {viewBox: '0 0 30 10', 'aria-hidden': 'true'},
      svg('path', {class: 'curve', d: 'M0 5H30', style: lineStyle(i)})),
    `${name} `, outputs[i])));
  const where = el('p', {class: 'hint', 'aria-live': 'polite'});
  const chart = svg('svg', {role: 'img',
    'aria-labelledby': `plot-title-${number} plot-desc-${number}`});
  const box = el('div', {class: 'plot', tabindex: '0', role: 'group',
    'aria-label': `Values of ${sequence.name}, left and right arrow keys`}, chart);
  let width = 0, shown = null;
  const height = 240;
  const x = (t) => MARGIN.left + (count > 1 ? t / (count - 1) : 0.5) *
    (width - MARGIN.left - MARGIN.right);
  const y = (value) => height - MARGIN.bottom - (value - low) / (high - low) *
    (height - MARGIN.top - MARGIN.bottom);
  const cursor = svg('g', {});

  function show(t) {
    shown = t;
    cursor.replaceChildren();
    outputs.forEach((output, i) => {
      const value = t === null ? null : sequence.series[i][t];
      output.textContent = t === null ? `mean ${sequence.means[i]} dB` : showDecibel(value);
      if (Number.isFinite(value)) {
        cursor.append(svg('circle', {class: 'dot', cx: x(t), cy: y(value), r: 4,
                                     style: `fill: var(--s${i % 6})`}));
      }
    });
    where.textContent = t === null ? 'Frame by frame; point at the plot for values.'
      : `Frame ${sequence.frames[t]}`;
    if (t !== null) {
      cursor.prepend(svg('line', {class: 'cursor', x1: x(t), x2: x(t), y1: MARGIN.top,
                                  y2: height - MARGIN.bottom}));
    }
  }

  function draw() {
    width = box.clientWidth;
    chart.setAttribute('viewBox', `0 0 ${width} ${height}`);
    chart.replaceChildren(
      svg('title', {id: `plot-title-${number}`}, `PSNR over time, ${sequence.name}`),
      svg('desc', {id: `plot-desc-${number}`}, describe(sequence, systems)),
      ...drawAxes(width, height, x, y, low, high, count),
      ...sequence.series.map((values, i) => svg('path', {class: 'curve',
        style: lineStyle(i), d: curve(values, x, y)})),
      ...(count > 1 ? [] : sequence.series.map((values, i) => Number.isFinite(values[0]) ?
        svg('circle', {class: 'dot', cx: x(0), cy: y(values[0]), r: 4,
                       style: `fill: var(--s${i % 6})`}) : null)), cursor);
    show(shown);
  }

  function at(event) {
    const inside = event.clientX - box.getBoundingClientRect().left - MARGIN.left;
    const t = inside / (width - MARGIN.left - MARGIN.right) * (count - 1);
    show(Math.min(Math.max(Math.round(t), 0), count - 1));
  }
  box.addEventListener('pointermove', at);
  box.addEventListener('pointerdown', at);
  box.addEventListener('pointerleave', () => show(null));
  box.addEventListener('blur', () => show(null));
  box.addEventListener('keydown', (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step) return;
    event.preventDefault();
    const t = shown === null ? (step > 0 ? 0 : count - 1) : shown + step;
    show(Math.min(Math.max(t, 0), count - 1));
  });
  new ResizeObserver(draw).observe(box);
  show(null);
  return el('div', {}, el('h4', {}, 'PSNR over time, in dB'), legend, box, where);
}
