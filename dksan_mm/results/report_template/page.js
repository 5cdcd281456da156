// The page, from the data.
function aboutData(group) {
  return el('details', {}, el('summary', {}, 'About the data'),
    el('dl', {}, ...group.about.flatMap(([name, text]) => [
      el('dt', {}, name), el('dd', {}, text)])));
}

const rowsOf = (content) => content.rows.map((row) => [row.name, ...row.cells]);

function foldedTables(group) {
  return Object.entries(group.folded).map(([title, content]) => el('details', {},
    el('summary', {}, title),
    table(content.head, rowsOf(content), title === 'Hardware and weights' ? 1 : Infinity)));
}

function meansTable(group) {
  const rows = group.sequences.map((sequence) => [sequence.name, ...sequence.means]);
  return el('details', {}, el('summary', {}, 'PSNR by sequence, in dB'),
    table(['Sequence', ...group.systems], rows, Infinity));
}

function valuesTable(group, sequence) {
  const details = el('details', {}, el('summary', {}, 'All values'));
  // long, and seldom wanted: made when it is opened
  details.addEventListener('toggle', () => {
    const rows = sequence.frames.map((frame, t) => [frame,
      ...sequence.series.map((values) => showDecibel(values[t]))]);
    details.append(table(['Frame', ...group.systems], rows, Infinity));
  }, {once: true});
  return details;
}

function makeViews(sequence) {
  if (!sequence.views.length) return [];
  const holder = el('div', {});
  const chosen = {};
  const show = (i) => holder.replaceChildren(
    makeView(sequence.views[i], sequence.name, chosen));
  show(0);
  if (sequence.views.length === 1) return [holder];
  const frames = sequence.views.map((view) => view.frame);
  return [el('div', {class: 'controls'}, menu('Frame', frames, 0, show).label), holder];
}

function makeGroup(group, number) {
  const id = (i) => `s${number}-${i}`;
  const section = el('section', {},
    el('h2', {}, group.name),
    el('p', {class: 'soft'}, group.data),
    ...group.notes.map((note) => el('p', {class: 'note'}, note)),
    table(group.summary.head, rowsOf(group.summary), Infinity),
    el('p', {class: 'hint'}, 'Averages: frames of a sequence first, then sequences ' +
      'without weights. PSNR in dB; of tOF, LPIPS and NIQE less is better. In bold: the best. ' +
      's/frame: median time of the model for one frame.'),
    meansTable(group), ...foldedTables(group), aboutData(group),
    el('nav', {'aria-label': `Sequences of ${group.name}`},
      el('ul', {}, ...group.sequences.map((sequence, i) => el('li', {},
        el('a', {href: `#${id(i)}`}, sequence.name))))));
  group.sequences.forEach((sequence, i) => section.append(
    el('article', {}, el('h3', {id: id(i)}, sequence.name), ...makeViews(sequence),
      makePlot(sequence, group.systems, id(i)), valuesTable(group, sequence))));
  return section;
}

// localStorage may be closed to files; the choice then lasts for the visit.
function stored(theme) {
  try {
    if (theme) localStorage.setItem('theme', theme);
    return localStorage.getItem('theme');
  } catch (error) {
    return null;
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const other = theme === 'dark' ? 'light' : 'dark';
  const button = document.getElementById('theme');
  button.textContent = other === 'dark' ? 'Dark' : 'Light';
  button.setAttribute('aria-label', `Switch to ${other} colours`);
}

function startTheme() {
  const system = matchMedia('(prefers-color-scheme: dark)');
  const preferred = () => (system.matches ? 'dark' : 'light');
  const chosen = stored();
  setTheme(chosen === 'dark' || chosen === 'light' ? chosen : preferred());
  system.addEventListener('change', () => { if (!stored()) setTheme(preferred()); });
  document.getElementById('theme').addEventListener('click', () => {
    const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
    stored(next);
    setTheme(next);
  });
}

startTheme();
const payload = JSON.parse(document.getElementById('data').textContent);
document.getElementById('main').append(...payload.groups.map(makeGroup));
document.getElementById('foot').append(el('p', {class: 'soft'},
  'Restored frames and ground truth are shown as 8-bit pictures: crops, and frames of up ' +
  'to 76800 pixels, without loss (PNG), larger frames as WebP of quality 90. All numbers ' +
  'are from the result files, and those of crops from the pictures before they were ' +
  'compressed. Each shown frame was taken from the middle of its sequence, or, where there ' +
  'are several, evenly from it. Made by tools/report.py of dksan_mm; nothing is loaded ' +
  'from elsewhere.'));
